//! The order of kinds: what others need exists before them.

use super::ObjectKey;

/// Groups of kinds that are applied one after the other; a kind that is named nowhere comes with [`OTHERS`]. The
/// order is the one that Helm and Flux settled on.
const ORDER: [&[&str]; 12] = [
    &["Namespace"],
    &["CustomResourceDefinition"],
    &["ResourceQuota", "LimitRange", "PriorityClass", "StorageClass", "RuntimeClass", "IngressClass"],
    &["ServiceAccount", "Role", "ClusterRole"],
    &["RoleBinding", "ClusterRoleBinding"],
    &["Secret", "ConfigMap", "PersistentVolume"],
    &["PersistentVolumeClaim", "NetworkPolicy", "PodDisruptionBudget"],
    &["Service"],
    &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "Job", "CronJob", "ReplicationController"],
    &["HorizontalPodAutoscaler", "Ingress"],
    &[],
    &[
        "APIService",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ],
];

/// Where custom resources and all other kinds come: after the workloads that serve them, before what can refuse them.
const OTHERS: usize = 10;

/// The place of an object in the order of application; lower comes first, equal may go side by side.
pub fn rank(key: &ObjectKey) -> usize {
    let builtin = !key.group.contains('.') || key.group.ends_with(".k8s.io");
    let place = ORDER.iter().position(|kinds| kinds.contains(&key.kind.as_str()));
    place.filter(|_| builtin).unwrap_or(OTHERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank_of(id: &str) -> usize {
        rank(&id.parse().unwrap())
    }

    #[test]
    fn a_custom_kind_that_borrows_a_name_is_no_builtin() {
        assert_eq!(rank_of("serving.knative.dev/Service:a/b"), OTHERS);
        assert!(rank_of("/Service:a/b") < OTHERS);
    }

    #[test]
    fn definitions_come_before_their_objects() {
        assert!(rank_of("apiextensions.k8s.io/CustomResourceDefinition:/x") < rank_of("example.com/Widget:a/b"));
        assert!(rank_of("/Namespace:/a") < rank_of("apiextensions.k8s.io/CustomResourceDefinition:/x"));
    }
}
