//! Taking over what people's tools own, so that the next apply drops it.
//!
//! A forced apply leaves fields that others added (KEP-555). Where somebody's tool added them to a declared object, their
//! entry is folded into gitward's own: what git does not declare is then removed by the next apply.

use serde_json::{Map, Value};

use super::{Path, Segment};
use crate::names;

/// Managers by whose names people's tools are known; what follows a hyphen is what the tool did. `before-first-apply` holds what
/// was written before field ownership was tracked.
const TOOLS: [&str; 14] = [
    "kubectl",
    "oc",
    "helm",
    "k9s",
    "Lens",
    "node-fetch",
    "freelens",
    "headlamp",
    "dashboard",
    "Mozilla",
    "curl",
    "python-requests",
    "terraform",
    "before-first-apply",
];
/// What the names of programs that run by themselves contain.
const PROGRAMS: [&str; 3] = ["controller", "operator", "agent"];
const SCALE: &str = "scale";

/// Whose additions are removed.
#[derive(Clone, Debug, Default)]
pub struct People {
    /// How the names of more tools begin.
    pub more: Vec<String>,
}

impl People {
    /// Whether a manager is a tool of people.
    pub fn is_tool(&self, manager: &str) -> bool {
        let is_known = |tool: &str| {
            manager.strip_prefix(tool).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/', ' ']))
        };
        let is_program = PROGRAMS.iter().any(|part| manager.contains(part));
        (TOOLS.iter().any(|tool| is_known(tool)) && !is_program)
            || self.more.iter().any(|tool| manager.starts_with(tool.as_str()))
    }

    /// Whether an entry of `managedFields` holds what may be taken over. A set of another version may name other fields.
    fn is_theirs(&self, entry: &Value, version: &str) -> bool {
        // `scale` speaks of the version of the Scale.
        (entry["apiVersion"] == version || entry["subresource"] == SCALE)
            && entry["manager"].as_str().is_some_and(|manager| self.is_tool(manager))
    }
}

/// `managedFields` with people's entries folded into gitward's; `None` where there is nothing to fold. What `stays` says of a
/// path stays theirs.
pub fn fold(managed_fields: &[Value], people: &People, stays: impl Fn(&Path) -> bool) -> Option<Vec<Value>> {
    let is_ours = |entry: &&Value| {
        entry["manager"] == names::MANAGER && entry["operation"] == "Apply" && entry.get("subresource").is_none()
    };
    let ours = managed_fields.iter().find(is_ours)?;
    let version = ours["apiVersion"].as_str()?.to_owned();
    let mut mine = ours["fieldsV1"].clone();
    let mut taken_any = false;
    let mut others = Vec::new();
    for entry in managed_fields.iter().filter(|entry| !is_ours(entry)) {
        if !people.is_theirs(entry, &version) {
            others.push(entry.clone());
            continue;
        }
        // Through the status and other subresources metadata can be changed as well; the rest is not git's to declare.
        let is_whole = entry.get("subresource").is_none_or(|subresource| subresource == SCALE || subresource == "");
        let stays = |path: &Path| stays(path) || !(is_whole || path.is_under(&["metadata"]));
        let (kept, taken) = split(&entry["fieldsV1"], &Path::default(), &stays);
        if let Some(taken) = taken {
            taken_any = true;
            // A fieldsV1 holds nothing but maps: their union is their merge.
            unite(&mut mine, &taken);
        }
        if let Some(kept) = kept {
            others.push(with_fields(entry, kept));
        }
    }
    taken_any.then(|| {
        let mut folded = vec![with_fields(ours, mine)];
        folded.append(&mut others);
        folded
    })
}

fn with_fields(entry: &Value, fields: Value) -> Value {
    let mut entry = entry.clone();
    entry["fieldsV1"] = fields;
    entry
}

fn unite(into: &mut Value, from: &Value) {
    let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) else { return };
    for (key, below) in from {
        unite(into.entry(key).or_insert_with(|| Value::Object(Map::new())), below);
    }
}

/// What stays of a set, and what is taken from it.
fn split(fields: &Value, here: &Path, stays: &impl Fn(&Path) -> bool) -> (Option<Value>, Option<Value>) {
    let members = fields.as_object().filter(|members| !members.is_empty());
    let Some(members) = members else {
        let fields = Some(Value::Object(Map::new()));
        return if stays(here) { (fields, None) } else { (None, fields) };
    };
    let (mut kept, mut taken) = (Map::new(), Map::new());
    for (key, below) in members {
        let at = Segment::parse(key).map_or_else(|| here.clone(), |segment| here.child(segment));
        let (keep, take) = split(below, &at, stays);
        kept.extend(keep.map(|keep| (key.clone(), keep)));
        taken.extend(take.map(|take| (key.clone(), take)));
    }
    let some = |map: Map<String, Value>| (!map.is_empty()).then_some(Value::Object(map));
    (some(kept), some(taken))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn what_people_added_is_ours_and_what_controllers_added_stays_theirs() {
        let fields = [
            entry("kubectl-edit", "Update", json!({"f:spec": {"f:paused": {}, "f:replicas": {}}})),
            entry("gitward", "Apply", json!({"f:spec": {"f:replicas": {}}})),
            entry("kube-controller-manager", "Update", json!({"f:metadata": {"f:annotations": {"f:x": {}}}})),
        ];
        let folded = fold(&fields, &People::default(), |_| false).unwrap();
        assert_eq!(folded.len(), 2);
        assert_eq!(folded[0], entry("gitward", "Apply", json!({"f:spec": {"f:paused": {}, "f:replicas": {}}})));
        assert_eq!(folded[1]["manager"], "kube-controller-manager");
        assert_eq!(fold(&folded, &People::default(), |_| false), None, "the second time there is nothing to fold");
    }

    #[test]
    fn a_program_whose_name_begins_like_a_tool_is_none() {
        let people = People { more: vec!["our-ui".to_owned()] };
        for tool in ["kubectl-edit", "kubectl", "helm", "our-ui/2"] {
            assert!(people.is_tool(tool), "{tool}");
        }
        for program in ["helm-controller", "oci-cloud-controller-manager", "kubectl-agent", "kube-controller-manager"] {
            assert!(!people.is_tool(program), "{program}");
        }
    }

    #[test]
    fn what_the_policy_allows_stays() {
        let added = json!({"f:spec": {"f:paused": {}}, "f:metadata": {"f:labels": {".": {}, "f:team": {}}}});
        let fields = [entry("gitward", "Apply", json!({"f:spec": {}})), entry("kubectl-label", "Update", added)];
        let team = Path::of_fields(&["metadata", "labels", "team"]);
        let folded = fold(&fields, &People::default(), |path| *path == team).unwrap();
        assert_eq!(folded[1]["fieldsV1"], json!({"f:metadata": {"f:labels": {"f:team": {}}}}));
        assert_eq!(folded[0]["fieldsV1"]["f:spec"], json!({"f:paused": {}}));
    }

    #[test]
    fn what_came_through_a_subresource_is_taken_where_git_could_declare_it() {
        let of = |subresource: &str, fields: Value| {
            let mut theirs = entry("kubectl", "Update", fields);
            theirs["subresource"] = json!(subresource);
            fold(&[entry("gitward", "Apply", json!({"f:spec": {}})), theirs], &People::default(), |_| false)
        };
        let status = json!({"f:metadata": {"f:ownerReferences": {}}, "f:status": {"f:replicas": {}}});
        let folded = of("status", status).unwrap();
        assert_eq!(folded[0]["fieldsV1"], json!({"f:metadata": {"f:ownerReferences": {}}, "f:spec": {}}));
        assert_eq!(folded[1]["fieldsV1"], json!({"f:status": {"f:replicas": {}}}));
        assert_eq!(of("scale", json!({"f:spec": {"f:replicas": {}}})).unwrap().len(), 1);
        assert_eq!(of("ephemeralcontainers", json!({"f:spec": {"f:ephemeralContainers": {}}})), None);
    }

    #[test]
    fn sets_of_another_version_and_of_the_status_are_left_alone() {
        let mut old = entry("kubectl", "Apply", json!({"f:spec": {"f:paused": {}}}));
        old["apiVersion"] = json!("apps/v1beta1");
        let mut status = entry("kubectl-edit", "Update", json!({"f:status": {}}));
        status["subresource"] = json!("status");
        let fields = [entry("gitward", "Apply", json!({"f:spec": {}})), old, status];
        assert_eq!(fold(&fields, &People::default(), |_| false), None);
    }
}
