//! What changes from one object to another, in lines for people.

use std::fmt;

use serde_json::{Map, Value};

use super::shown::{HIDDEN, hides_values, shorten, show_both};
use super::{Object, Path, Segment, Set, diff};
use crate::json::Json;
use crate::names;

/// How deep a value that is one change is opened to show what differs in it.
const DEEPEST: usize = 64;

/// One field that changes. [`fmt::Display`] writes it as `spec.replicas: 3 -> 5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where, as people type it: `spec.template.spec.containers[web].image`.
    pub path: String,
    /// The value before, shortened; `None` where there was none.
    pub before: Option<String>,
    /// The value after, shortened; `None` where there is none.
    pub after: Option<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.before.as_deref().unwrap_or("(none)");
        let after = self.after.as_deref().unwrap_or("(removed)");
        write!(f, "{}: {before} -> {after}", self.path)
    }
}

/// What changes from `live` to `after`, field by field. Of a Secret no value is shown, also none of its metadata.
///
/// The objects tell by their `managedFields` which lists are merged by key. Where an atomic list keeps its length, what
/// differs in its items is named by its position. `null` for either: all of the other is new or gone.
pub fn explain(live: &Value, after: &Value) -> Vec<Line> {
    let texts = [live, after].map(|object| if object.is_object() { object.to_string() } else { "{}".to_owned() });
    let jsons: Vec<Json<'_>> = texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    let [old, new] = jsons.as_slice() else { return Vec::new() };
    // What is no Kubernetes object has no metadata that could be read.
    let (Ok(old), Ok(new)) = (Object::read(*old), Object::read(*new)) else { return Vec::new() };
    let shape = Set::of_managers(&old, &new);
    let mut lines = Lines { hidden: is_hidden(live) || is_hidden(after), out: Vec::new() };
    for change in diff(&old, &new, &shape) {
        let value = |json: Option<Json<'_>>| json.and_then(Json::value);
        lines.add(change.path, value(change.before).as_ref(), value(change.after).as_ref(), 0);
    }
    lines.out
}

fn is_hidden(object: &Value) -> bool {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    hides_values(names::group_of(text("apiVersion")), text("kind"))
}

struct Lines {
    hidden: bool,
    out: Vec<Line>,
}

impl Lines {
    fn add(&mut self, path: Path, before: Option<&Value>, after: Option<&Value>, depth: usize) {
        match (before, after) {
            (Some(a), Some(b)) if a == b => {}
            (Some(Value::Object(a)), Some(Value::Object(b))) if depth < DEEPEST => self.maps(&path, a, b, depth),
            (Some(Value::Array(a)), Some(Value::Array(b))) if depth < DEEPEST && a.len() == b.len() => {
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    self.add(path.child(Segment::Index(index)), Some(a), Some(b), depth + 1);
                }
            }
            (before, after) => self.line(&path, before, after),
        }
    }

    fn maps(&mut self, path: &Path, before: &Map<String, Value>, after: &Map<String, Value>, depth: usize) {
        let new = after.keys().filter(|key| !before.contains_key(*key));
        for key in before.keys().chain(new) {
            self.add(path.child(Segment::Field(key.clone())), before.get(key), after.get(key), depth + 1);
        }
    }

    fn line(&mut self, path: &Path, before: Option<&Value>, after: Option<&Value>) {
        let (before, after) = match (before, after) {
            _ if self.hidden => (before.map(|_| HIDDEN.to_owned()), after.map(|_| HIDDEN.to_owned())),
            (Some(before), Some(after)) => {
                let (before, after) = show_both(before, after);
                (Some(before), Some(after))
            }
            (before, after) => (before.map(shorten), after.map(shorten)),
        };
        self.out.push(Line { path: path.dotted(), before, after });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(live: &Value, after: &Value) -> Vec<String> {
        explain(live, after).iter().map(Line::to_string).collect()
    }

    #[test]
    fn each_field_is_one_line() {
        let fields = json!({"f:spec": {"f:env": {"k:{\"name\":\"A\"}": {".": {}}}, "f:rules": {}}});
        let object = |spec: Value| {
            json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x", "generation": 1,
            "managedFields": [{"manager": "gitward", "operation": "Apply", "apiVersion": "x/v1", "fieldsV1": fields}]},
            "spec": spec})
        };
        let live = object(json!({"replicas": 3, "env": [{"name": "A", "value": "1"}], "paused": true,
            "rules": [{"host": "a", "path": "/"}]}));
        let after = object(json!({"replicas": 5, "env": [{"name": "A", "value": "2"}], "min": {"a": 1},
            "rules": [{"host": "b", "path": "/"}]}));
        let expected = [
            "spec.env[A].value: 1 -> 2",
            r#"spec.min: (none) -> {"a":1}"#,
            "spec.paused: true -> (removed)",
            "spec.replicas: 3 -> 5",
            "spec.rules[0].host: a -> b",
        ];
        assert_eq!(lines(&live, &after), expected);
        assert_eq!(lines(&live, &live), [""; 0]);
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let secret = |password: &str| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": password}}, "data": {"password": password}, "type": password})
        };
        let shown = lines(&secret("old"), &secret("new"));
        assert_eq!(shown.len(), 3);
        assert!(shown.iter().all(|line| line.ends_with(": (hidden) -> (hidden)")), "{shown:?}");
        assert!(!lines(&Value::Null, &secret("new")).concat().contains("new"));
        assert!(!lines(&secret("old"), &Value::Null).concat().contains("old"));
    }

    #[test]
    fn what_is_no_object_is_explained_without_a_panic() {
        let deep = (0..120).fold(json!(1), |inner, _| json!([inner]));
        for other in [json!(null), json!([]), json!({"metadata": 1}), json!({"spec": deep})] {
            explain(&other, &json!({"spec": {"a": 1}}));
        }
    }
}
