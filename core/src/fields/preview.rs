//! What an apply would make of a live object, from the two objects alone. For `gitward diff`: the guard refuses people's dry
//! runs like their writes, so nobody could ask the API server.
//!
//! Source of the rules: server-side apply (KEP-555) and `sigs.k8s.io/structured-merge-diff`. The stations: [`receive`] takes
//! out what nobody can declare, [`merge`](super::merge) lays the declared fields over the live ones,
//! [`prune`](super::prune) takes away what was ours and is declared no longer, [`fill`](super::fill) adds what the API server
//! fills in.

use serde_json::{Map, Value};

use super::builtin::Type;
use super::fill::fill;
use super::merge::merge;
use super::prune::prune;
use super::received::{Received, receive};
use super::shape::Shape;
use super::tree::Tree;
use super::{Path, People, Segment, fold};
use crate::names;

/// The live object after a forced server-side apply of `declared` by gitward, once what people's tools added is taken over.
/// With `null` for `live`: the object as it would be created.
///
/// A preview, not the API server's word. What it cannot know without a schema:
/// - what admission would change, and values that the server allocates or computes: a `clusterIP`, `generation`,
///   `resourceVersion`, times;
/// - defaults of custom resources, and of built-in kinds other than the common ones ([`builtin`](super::builtin)). A field that
///   is declared no longer is then shown as removed, where the server puts its default back;
/// - a key with a default that a new item of a custom resource's list leaves out;
/// - whether a list or map that no manager owns yet is atomic, in a custom resource: maps are merged, lists are replaced;
/// - sets of another version of the kind: they are read as if they were of this one;
/// - what conversion between versions or a custom resource's schema would drop;
/// - an object without any `managedFields`: what stands there is left alone.
///
/// `managedFields` of the result hold what gitward will own, and what others owned before: that they lose what was
/// forced from them changes nothing of the next preview.
pub fn preview(live: &Value, declared: &Value) -> Value {
    preview_with(live, declared, &People::default(), |_| false)
}

/// A [`preview`] under a policy: whose additions are taken over, and which of their fields stay theirs, as in [`fold`].
pub fn preview_with(live: &Value, declared: &Value, people: &People, stays: impl Fn(&Path) -> bool) -> Value {
    let Received { object: declared, texts } = receive(declared);
    let text = |name: &str| declared.get(name).and_then(Value::as_str).unwrap_or_default();
    let managed = Managed::of(live, text("apiVersion"), people, stays);
    let of = Type::of(names::group_of(text("apiVersion")), text("kind"));
    let mut known = managed.owned.clone();
    known.unite(&managed.others);
    let mut owned = Tree::default();
    let base = live.is_object().then(|| live.clone());
    let merged = merge(base, &Value::Object(declared), Shape::root(&known, of), &mut owned, 0);
    let mut after = merged.unwrap_or_default();
    let mut keep = owned.clone();
    disown_identity(&mut owned);
    rename_texts(&mut owned, &texts);
    keep.unite(&managed.others);
    prune(&mut after, &managed.owned, Some(&keep));
    fill(&mut after, Some(live).filter(|live| live.is_object()), of);
    managed.write(&mut after, &owned);
    after
}

/// What names an object is owned by nobody.
fn disown_identity(owned: &mut Tree) {
    let field = |name: &str| Segment::Field(name.to_owned());
    owned.below.remove(&field("apiVersion"));
    owned.below.remove(&field("kind"));
    let metadata = owned.grow(&field("metadata"));
    metadata.below.remove(&field("name"));
    metadata.below.remove(&field("namespace"));
    if *metadata == Tree::default() {
        owned.below.remove(&field("metadata"));
    }
}

/// What came of a Secret's `stringData` is owned as such.
fn rename_texts(owned: &mut Tree, texts: &[String]) {
    let field = |name: &str| Segment::Field(name.to_owned());
    for text in texts {
        owned.grow(&field("data")).below.remove(&field(text));
        owned.grow(&field("stringData")).grow(&field(text)).is_member = true;
    }
    if owned.child(&field("data")) == Some(&Tree::default()) {
        owned.below.remove(&field("data"));
    }
}

/// The `managedFields` of the live object, with people's entries in ours.
struct Managed {
    ours: Map<String, Value>,
    /// What we own, but for the status, which an apply never touches.
    owned: Tree,
    entries: Vec<Value>,
    others: Tree,
}

impl Managed {
    fn of(live: &Value, version: &str, people: &People, stays: impl Fn(&Path) -> bool) -> Managed {
        let mut entries =
            live.pointer("/metadata/managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
        if !entries.iter().any(is_ours) {
            entries.push(serde_json::json!({
                "manager": names::MANAGER, "operation": "Apply", "apiVersion": version, "fieldsType": "FieldsV1",
                "fieldsV1": {},
            }));
        }
        let mut entries = fold(&entries, people, stays).unwrap_or(entries);
        let place = entries.iter().position(is_ours).unwrap_or_default();
        let ours = match entries.remove(place) {
            Value::Object(entry) => entry,
            _ => Map::new(),
        };
        let mut owned = ours.get("fieldsV1").map(Tree::of).unwrap_or_default();
        owned.below.remove(&Segment::Field("status".to_owned()));
        let mut others = Tree::default();
        entries.iter().filter_map(|entry| entry.get("fieldsV1")).for_each(|fields| others.unite(&Tree::of(fields)));
        Managed { ours, owned, entries, others }
    }

    /// Writes the entries as they are after the apply.
    fn write(mut self, after: &mut Value, owned: &Tree) {
        self.ours.insert("fieldsV1".to_owned(), owned.to_fields());
        if let Some(version) = after.get("apiVersion") {
            self.ours.insert("apiVersion".to_owned(), version.clone());
        }
        let mut entries = vec![Value::Object(self.ours)];
        entries.append(&mut self.entries);
        if let Some(metadata) = after.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("managedFields".to_owned(), Value::Array(entries));
        }
    }
}

fn is_ours(entry: &Value) -> bool {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    text("manager") == names::MANAGER && text("operation") == "Apply" && entry.get("subresource").is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fields::explain;

    /// What a preview says: `live` are the spec, and who owns what of it.
    fn lines(kind: &str, spec: &Value, entries: &[(&str, Value)], declared: &Value) -> Vec<String> {
        let version = match kind {
            "Service" => "v1",
            "Deployment" => "apps/v1",
            _ => "example.com/v1",
        };
        let object =
            |spec: &Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        let entries: Vec<_> = entries
            .iter()
            .map(|(manager, fields)| {
                let operation = if *manager == "gitward" { "Apply" } else { "Update" };
                json!({"manager": manager, "operation": operation, "apiVersion": version, "fieldsV1": {"f:spec": fields}})
            })
            .collect();
        let mut live = object(spec);
        live["metadata"]["managedFields"] = json!(entries);
        let after = preview(&live, &object(declared));
        assert_eq!(preview(&after, &object(declared)), after, "the second time nothing changes");
        explain(&live, &after).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_ours_and_not_declared_goes_and_what_controllers_own_stays() {
        let spec = json!({"a": 1, "b": 1, "c": 1, "free": 1});
        let ours = ("gitward", json!({"f:a": {}, "f:b": {}, "f:c": {}}));
        let theirs = ("some-controller", json!({"f:b": {}}));
        let people = ("kubectl-edit", json!({"f:free": {}, "f:a": {}}));
        let expected = ["spec.a: 1 -> 2", "spec.c: 1 -> (removed)", "spec.free: 1 -> (removed)"];
        assert_eq!(lines("X", &spec, &[ours, theirs, people], &json!({"a": 2})), expected);
    }

    #[test]
    fn what_names_an_object_never_goes() {
        let declared = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        let mut live = declared.clone();
        live["metadata"]["annotations"] = json!({"by": "hand"});
        let fields = json!({"f:metadata": {"f:annotations": {".": {}, "f:by": {}}}});
        live["metadata"]["managedFields"] = json!([{"manager": "kubectl-annotate", "operation": "Update",
            "apiVersion": "v1", "fieldsV1": fields}]);
        let mut after = preview(&live, &declared);
        after["metadata"]["managedFields"] = Value::Null;
        assert_eq!(after["metadata"], json!({"name": "a", "managedFields": null}));
    }

    #[test]
    fn the_defaults_of_built_in_kinds_come_back() {
        let spec = json!({"replicas": 8, "revisionHistoryLimit": 10, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 3, "maxUnavailable": "25%"}}, "paused": true});
        let scaled = (
            "kubectl",
            json!({"f:replicas": {}, "f:revisionHistoryLimit": {}, "f:paused": {},
            "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}}}),
        );
        let expected = [
            "spec.paused: true -> (removed)",
            "spec.replicas: 8 -> 1",
            "spec.strategy.rollingUpdate.maxSurge: 3 -> 25%",
        ];
        assert_eq!(lines("Deployment", &spec, &[("gitward", json!({})), scaled], &json!({})), expected);
    }

    #[test]
    fn equal_amounts_keep_the_form_in_which_they_are_stored() {
        let spec = |cpu: Value| json!({"template": {"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": cpu}}}]}}});
        let live = spec(json!("500m"));
        assert_eq!(lines("Deployment", &live, &[], &spec(json!(0.5))), [""; 0]);
        let changed = lines("Deployment", &live, &[], &spec(json!("0.6")));
        assert_eq!(changed.len(), 1, "{changed:?}");
        assert_eq!(lines("X", &live, &[], &spec(json!("0.5"))).len(), 1, "a custom resource keeps what it is told");
    }

    #[test]
    fn items_are_merged_by_keys_that_the_kind_or_an_entry_tells() {
        let spec = json!({"ports": [{"port": 80, "protocol": "TCP", "nodePort": 1, "targetPort": 80}]});
        let declared = json!({"ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]});
        let new = r#"spec.ports[53,UDP]: (none) -> {"port":53,"protocol":"UDP","targetPort":53}"#;
        let free =
            ("some-controller", json!({"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:nodePort": {}}}}));
        assert_eq!(lines("Service", &spec, std::slice::from_ref(&free), &declared), [new]);
        let new = r#"spec.ports[53,UDP]: (none) -> {"port":53,"protocol":"UDP"}"#;
        assert_eq!(lines("X", &spec, &[free], &declared), [new]);
        assert_eq!(lines("X", &spec, &[], &declared).len(), 1, "an unknown list is replaced");
    }

    #[test]
    fn an_object_that_is_not_there_is_made() {
        let declared = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {}}, "data": {"a": "1"}});
        let after = preview(&Value::Null, &declared);
        assert_eq!(after["data"], declared["data"]);
        assert_eq!(after["metadata"].get("labels"), None);
        assert_eq!(after["metadata"]["managedFields"][0]["fieldsV1"]["f:data"], json!({"f:a": {}}));
        assert_eq!(preview(&after, &declared), after);
    }
}
