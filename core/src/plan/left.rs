//! Which fields of a declared object are left to others: to an autoscaler, to the aggregation of ClusterRoles, or to
//! whomever the GitSync names.

use serde_json::Value;

use super::ObjectKey;
use crate::names;

/// The field that autoscalers write.
const REPLICAS: &str = "/spec/replicas";

/// A workload that is scaled by something other than git.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Autoscaler {
    /// API group of the workload.
    pub group: String,
    /// Kind of the workload.
    pub kind: String,
    /// Namespace of both.
    pub namespace: String,
    /// Name of the workload.
    pub name: String,
}

impl Autoscaler {
    /// Whether this is the workload.
    pub fn scales(&self, key: &ObjectKey) -> bool {
        self.group == key.group && self.kind == key.kind && self.namespace == key.namespace && self.name == key.name
    }
}

/// What an autoscaler scales: a HorizontalPodAutoscaler, or a ScaledObject of KEDA. `None` for all other objects; a
/// VerticalPodAutoscaler writes Pods, never the workload itself.
pub fn autoscaler(object: &Value, namespace: &str) -> Option<Autoscaler> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let group = names::group_of(object["apiVersion"].as_str()?);
    let target = &object["spec"]["scaleTargetRef"];
    let (version, kind) = match (group, object["kind"].as_str()?) {
        ("autoscaling", "HorizontalPodAutoscaler") => (target["apiVersion"].as_str()?, text(&target["kind"])?),
        ("keda.sh", "ScaledObject") => (
            target["apiVersion"].as_str().unwrap_or("apps/v1"),
            text(&target["kind"]).unwrap_or_else(|| "Deployment".to_owned()),
        ),
        _ => return None,
    };
    let name = text(&target["name"])?;
    Some(Autoscaler { group: names::group_of(version).to_owned(), kind, namespace: namespace.to_owned(), name })
}

/// Fields of some objects that a GitSync leaves to others.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    /// API group; empty for the core API.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Any where it is `None`.
    pub namespace: Option<String>,
    /// Any where it is `None`.
    pub name: Option<String>,
    /// JSON pointers (RFC 6901).
    pub pointers: Vec<String>,
}

impl Ignore {
    fn is_about(&self, key: &ObjectKey) -> bool {
        self.group == key.group
            && self.kind == key.kind
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
    }
}

/// JSON pointers to what is left to others in a declared object. What is not declared may be among them: others may add it.
pub fn left_to_others(key: &ObjectKey, object: &Value, autoscalers: &[Autoscaler], ignore: &[Ignore]) -> Vec<String> {
    let mut left: Vec<String> =
        ignore.iter().filter(|one| one.is_about(key)).flat_map(|one| one.pointers.iter().cloned()).collect();
    if autoscalers.iter().any(|one| one.scales(key)) {
        left.push(REPLICAS.to_owned());
    }
    // The aggregation controller writes the rules, and replaces whatever else stands there.
    if key.kind == "ClusterRole" && object.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
        left.push("/rules".to_owned());
    }
    left.sort();
    left.dedup();
    left
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_autoscaler_names_the_workload_whose_replicas_it_writes() {
        let hpa = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
        let keda = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "spec": {"scaleTargetRef": {"name": "web"}}});
        let target = autoscaler(&hpa, "shop").unwrap();
        assert_eq!(autoscaler(&keda, "shop").as_ref(), Some(&target));
        let key = "apps/Deployment:shop/web".parse().unwrap();
        let web = json!({"spec": {"replicas": 3}});
        assert_eq!(left_to_others(&key, &web, &[target], &[]), ["/spec/replicas"]);
        assert!(left_to_others(&key, &web, &[], &[]).is_empty());
    }

    #[test]
    fn what_a_gitsync_ignores_is_left_in_the_objects_that_it_names() {
        let one = |name: Option<&str>| Ignore {
            kind: "ConfigMap".into(),
            name: name.map(str::to_owned),
            pointers: vec!["/data/a".into()],
            ..Ignore::default()
        };
        let key = "/ConfigMap:shop/settings".parse().unwrap();
        let of = |ignore: Ignore| left_to_others(&key, &json!({}), &[], &[ignore]);
        assert_eq!(of(one(None)), ["/data/a"]);
        assert_eq!(of(one(Some("settings"))), ["/data/a"]);
        assert!(of(one(Some("other"))).is_empty());
    }

    #[test]
    fn the_rules_of_an_aggregated_cluster_role_are_left_to_its_controller() {
        let key = "rbac.authorization.k8s.io/ClusterRole:/a".parse().unwrap();
        let role = json!({"aggregationRule": {}, "rules": []});
        assert_eq!(left_to_others(&key, &role, &[], &[]), ["/rules"]);
    }
}
