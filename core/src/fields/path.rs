//! Where a value stands in an object.

use std::fmt;

use crate::json::Json;

/// One step from a value to one of its parts, as `fieldsV1` names them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// `f:<name>`: a key of a map.
    Field(String),
    /// `k:{…}`: an item of a list that is merged by key; the keys in order of their names, each with its value as JSON.
    Item(Vec<(String, String)>),
    /// `v:<json>`: a member of a list that is a set, as JSON.
    Member(String),
    /// `i:<n>`: a position in a list. Kubernetes' own types do not use it.
    Index(usize),
}

impl Segment {
    /// Reads one key of `fieldsV1` other than `"."`. `None` where it has none of the four forms.
    pub fn parse(key: &str) -> Option<Segment> {
        let (form, rest) = key.split_once(':')?;
        match form {
            "f" => Some(Segment::Field(rest.to_owned())),
            "v" => Some(Segment::Member(serde_json::from_str::<Json<'_>>(rest).ok()?.canonical())),
            "i" => rest.parse().ok().map(Segment::Index),
            "k" => {
                let map: Json<'_> = serde_json::from_str(rest).ok().filter(|json: &Json<'_>| json.is_object())?;
                let mut keys: Vec<_> =
                    map.entries().into_iter().map(|(key, value)| (key.into_owned(), value.canonical())).collect();
                keys.sort();
                Some(Segment::Item(keys))
            }
            _ => None,
        }
    }

    /// The segment that names `item` in a list merged by the keys `names` (sorted). A key that the item lacks counts as
    /// null.
    pub fn of_item(item: Json<'_>, names: &[String]) -> Segment {
        let key = |name: &str| item.get(name).map_or_else(|| "null".to_owned(), Json::canonical);
        Segment::Item(names.iter().map(|name| (name.clone(), key(name))).collect())
    }
}

/// A path from an object's root. [`fmt::Display`] writes the form of the audit record, a JSON pointer with list items
/// by their keys (`/spec/containers[name=web]/image`); [`Path::dotted`] the form that people type.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<Segment>);

impl Path {
    /// A path of plain map keys.
    pub fn of_fields(names: &[&str]) -> Path {
        Path(names.iter().map(|name| Segment::Field((*name).to_owned())).collect())
    }

    /// The steps, outermost first.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The path of a part of the value at this path.
    #[must_use]
    pub fn child(&self, segment: Segment) -> Path {
        let mut segments = Vec::with_capacity(self.0.len() + 1);
        segments.extend_from_slice(&self.0);
        segments.push(segment);
        Path(segments)
    }

    /// Whether the value at `self` is, or contains, the value at `other`.
    pub fn contains(&self, other: &Path) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Whether the path begins with these map keys.
    pub fn is_under(&self, names: &[&str]) -> bool {
        self.0.len() >= names.len()
            && self.0.iter().zip(names).all(|(s, name)| matches!(s, Segment::Field(f) if f == name))
    }

    /// Whether the value at the path is, is inside of, or contains the value below these map keys.
    pub fn meets(&self, names: &[&str]) -> bool {
        self.0.iter().zip(names).all(|(s, name)| matches!(s, Segment::Field(f) if f == name))
    }

    /// The form that people type: `spec.template.spec.containers[web].image`. A map key that itself holds a dot or
    /// a slash stands in brackets: `metadata.labels[app.kubernetes.io/name]`.
    pub fn dotted(&self) -> String {
        let mut out = String::new();
        for segment in &self.0 {
            match segment {
                Segment::Field(name) if name.contains(['.', '/']) => {
                    out.push('[');
                    out.push_str(name);
                    out.push(']');
                }
                Segment::Field(name) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(name);
                }
                Segment::Item(keys) => {
                    let values: Vec<_> = keys.iter().map(|(_, value)| bare(value)).collect();
                    out.push_str(&format!("[{}]", values.join(",")));
                }
                Segment::Member(value) => out.push_str(&format!("[{}]", bare(value))),
                Segment::Index(n) => out.push_str(&format!("[{n}]")),
            }
        }
        out
    }
}

impl FromIterator<Segment> for Path {
    fn from_iter<I: IntoIterator<Item = Segment>>(segments: I) -> Path {
        Path(segments.into_iter().collect())
    }
}

/// A JSON scalar without the quotes of a string.
fn bare(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}

/// Escapes a map key as RFC 6901 says.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            match segment {
                Segment::Field(name) => write!(f, "/{}", escape(name))?,
                Segment::Item(keys) => {
                    let keys: Vec<_> = keys.iter().map(|(k, v)| format!("{k}={}", bare(v))).collect();
                    write!(f, "[{}]", keys.join(","))?;
                }
                Segment::Member(value) => write!(f, "[={}]", bare(value))?,
                Segment::Index(n) => write!(f, "/{n}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(keys: &[&str]) -> Path {
        keys.iter().fold(Path::default(), |p, key| p.child(Segment::parse(key).unwrap()))
    }

    #[test]
    fn list_items_are_named_by_their_keys() {
        let p = path(&["f:spec", "f:ports", r#"k:{"protocol":"TCP","containerPort":8080}"#, "f:name"]);
        assert_eq!(p.to_string(), "/spec/ports[containerPort=8080,protocol=TCP]/name");
        assert_eq!(p.dotted(), "spec.ports[8080,TCP].name");
    }

    #[test]
    fn map_keys_are_escaped_as_in_json_pointers() {
        let p = path(&["f:metadata", "f:labels", "f:a/b~c"]);
        assert_eq!(p.to_string(), "/metadata/labels/a~1b~0c");
        assert_eq!(p.dotted(), "metadata.labels[a/b~c]");
    }

    #[test]
    fn a_key_of_an_unknown_form_is_refused() {
        assert_eq!(Segment::parse("x:1"), None);
        assert_eq!(Segment::parse("k:[1]"), None);
        assert_eq!(Segment::parse("plain"), None);
    }
}
