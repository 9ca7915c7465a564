//! The names by which gitward marks what it owns. One place, since the chart, the guard and the reconciler must agree.

/// The API group of gitward's own kinds, and the prefix of its labels and annotations.
pub const GROUP: &str = "gitward.dev";
/// Label of a pinned object: the namespace of the GitSync that declares it.
pub const SYNC_NAMESPACE: &str = "gitward.dev/sync-namespace";
/// Label of a pinned object: the name of the GitSync that declares it.
pub const SYNC_NAME: &str = "gitward.dev/sync-name";
/// Annotation of a pinned object: its own identity. Where it names another object, the object is a copy.
pub const PINNED_ID: &str = "gitward.dev/pinned-id";
/// Annotation of a pinned object: the file and line that declare it, as `path/in/repository.yaml:line`.
pub const ORIGIN: &str = "gitward.dev/origin";
/// Label of a Namespace or CustomResourceDefinition that holds pinned objects.
pub const GUARDED: &str = "gitward.dev/guarded";
/// Label of a Namespace in which nothing may be created outside of git.
pub const EXCLUSIVE: &str = "gitward.dev/exclusive";
/// The field manager under which the reconciler applies what git declares.
pub const MANAGER: &str = "gitward";

/// The accounts of kube-system that the controller manager uses without any Pod: those that Kubernetes 1.33 to 1.37 binds to a role
/// `system:controller:…` (its `bootstrappolicy/controller_policy.go`). Not by their ending: accounts of add-ons end in `-controller` too. The
/// same list stands in charts/gitward/templates/_protection.tpl.
pub const CONTROLLER_ACCOUNTS: [&str; 47] = [
    "attachdetach-controller",
    "bootstrap-signer",
    "certificate-controller",
    "cloud-provider",
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "device-taint-eviction-controller",
    "disruption-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "ephemeral-volume-controller",
    "expand-controller",
    "generic-garbage-collector",
    "horizontal-pod-autoscaler",
    "job-controller",
    "kube-apiserver-serving-clustertrustbundle-publisher",
    "legacy-service-account-token-cleaner",
    "namespace-controller",
    "node-controller",
    "persistent-volume-binder",
    "pod-garbage-collector",
    "podcertificaterequestcleaner",
    "podgroup-protection-controller",
    "pv-protection-controller",
    "pvc-protection-controller",
    "replicaset-controller",
    "replication-controller",
    "resource-claim-controller",
    "resourcepoolstatusrequest-controller",
    "resourcequota-controller",
    "root-ca-cert-publisher",
    "route-controller",
    "selinux-warning-controller",
    "service-account-controller",
    "service-cidrs-controller",
    "service-controller",
    "statefulset-controller",
    "storage-version-garbage-collector",
    "storage-version-migrator-controller",
    "token-cleaner",
    "ttl-after-finished-controller",
    "ttl-controller",
    "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
];

/// The [`PINNED_ID`] of an object: `<group>/<Kind>:<namespace>/<name>`, with an empty group for the core API and an
/// empty namespace for cluster-scoped objects.
pub fn pinned_id(group: &str, kind: &str, namespace: &str, name: &str) -> String {
    format!("{group}/{kind}:{namespace}/{name}")
}

/// The group of an `apiVersion` (`apps/v1` → `apps`, `v1` → the empty core group).
pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}
