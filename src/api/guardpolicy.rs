//! GuardPolicy: what the administrator decides about refusals.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the guard makes of changes that git did not ask for. There is one, named `default`; without it everything is
/// enforced and nothing is allowed.
#[derive(Clone, Debug, Default, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "gitward.dev",
    version = "v1alpha1",
    kind = "GuardPolicy",
    plural = "guardpolicies",
    category = "gitward",
    validation = Rule::new("self.metadata.name == 'default'").message("there is one GuardPolicy, and its name is default"),
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct GuardPolicySpec {
    /// What happens to a change that is against the policy.
    #[serde(default)]
    pub mode: GuardMode,
    /// Fields that everybody may change, as JSON pointers in which a step `*` stands for any one key. A field that
    /// git declares stays refused, and so do owners and the status. `kubectl rollout restart` needs
    /// `/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt`.
    #[serde(default)]
    #[schemars(length(max = 256), inner(regex(pattern = r"^(/([^/~]|~[01])+)+$"), length(max = 512)))]
    #[x_kube(validation = Rule::new(
        "self.all(p, p != '/metadata' && !p.startsWith('/metadata/ownerReferences') && !p.startsWith('/metadata/managedFields') && p != '/status' && !p.startsWith('/status/') && p != '/*' && !p.startsWith('/*/'))"
    ).message("owners, field ownership, the status and whole objects cannot be allowed"))]
    pub allow: Vec<String>,
    /// Namespaces in which nothing may be created, changed or deleted outside of git.
    #[serde(default)]
    pub exclusive: ExclusiveNamespaces,
    /// Callers that are no people.
    #[serde(default)]
    pub callers: Callers,
    /// Who may change gitward itself and the GitSyncs in its namespace. The chart's value `installers` sets this and the
    /// admission policies that enforce it without a guard.
    #[serde(default)]
    pub installers: Installers,
    /// What people may do with the Pods, ReplicaSets, Jobs and ControllerRevisions of pinned objects.
    #[serde(default)]
    pub descendants: Descendants,
    /// Whose declarations are enforced.
    #[serde(default)]
    pub owner: DeclarationOwner,
}

/// What happens to a change that is against the policy. All three record it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum GuardMode {
    /// It is refused.
    #[default]
    Enforce,
    /// It goes through, and the caller sees a warning.
    Warn,
    /// It goes through silently.
    Audit,
}

/// Namespaces that are git's alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExclusiveNamespaces {
    /// Their names.
    #[schemars(length(max = 1024), inner(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"), length(max = 63)))]
    pub namespaces: Vec<String>,
    /// Kinds of which people may create, change and delete objects there nevertheless. Without a word: Events and
    /// Leases, which running programs write for themselves.
    #[schemars(length(max = 256))]
    pub except: Vec<ExceptedKind>,
    /// What happens to strays: objects there that no git declares, whether somebody came around the guard or they were there
    /// before the namespace was git's alone. `Remove` deletes both: everything that people made there by hand and no
    /// GitSync has applied yet, role bindings and volume claims with their data too. Let git declare and apply what is to stay, look at
    /// what `Report` says, and only then ask for `Remove`. It acts at once, whatever the `mode`.
    pub strays: StrayAction,
}

/// What happens to an object that no git declares, in an exclusive namespace. Never a stray: what has an owner or is being
/// deleted, excepted kinds, Events, Leases and EndpointSlices, gitward's own kinds, what is in gitward's own namespace, what an
/// inventory lists, and what Kubernetes and well-known operators made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum StrayAction {
    /// It is reported: an Event `StrayFound`, the metric `gitward_strays`, a log line.
    #[default]
    Report,
    /// It is deleted, which is reported too, where a tool of people (kubectl, helm, known consoles) was the first to write
    /// it. What an unknown program wrote, or nobody knows who did, is only reported, and so is all of kube-system,
    /// kube-public and kube-node-lease.
    Remove,
}

impl Default for ExclusiveNamespaces {
    fn default() -> ExclusiveNamespaces {
        let kind = |group: &str, kind: &str| ExceptedKind { group: group.to_owned(), kind: kind.to_owned() };
        let except = vec![kind("", "Event"), kind("events.k8s.io", "Event"), kind("coordination.k8s.io", "Lease")];
        ExclusiveNamespaces { namespaces: Vec::new(), except, strays: StrayAction::default() }
    }
}

/// A kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct ExceptedKind {
    /// API group; empty for the core API.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub group: String,
    /// Such as `ConfigMap`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
}

/// Callers that are no people.
#[derive(Clone, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Callers {
    /// User names of parts of Kubernetes beyond the known ones. They are believed by their name: no service accounts,
    /// whose names people may borrow.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(validation = Rule::new(
        "self.all(name, !name.startsWith('system:serviceaccount:') && name != 'system:anonymous')"
    ).message("a service account belongs in operators, where it must show a token of its pod"))]
    pub system: Vec<String>,
    /// Service accounts, as `namespace/name`, that may change what git does not declare of pinned objects. Each must
    /// show a token that is bound to its pod.
    #[serde(default)]
    #[schemars(
        length(max = 64),
        inner(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"), length(max = 317))
    )]
    pub operators: Vec<String>,
    /// Tools of people beyond the known ones (kubectl, helm, k9s, Lens, …), by how the names of their field managers begin. What
    /// they add to pinned objects is removed; what all others add stays.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)))]
    pub tools: Vec<String>,
    /// Operators whose accounts are known.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub presets: Vec<OperatorPreset>,
}

/// An operator in the namespace and under the account that its own installation gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum OperatorPreset {
    /// cert-manager and its CA injector.
    CertManager,
    /// KEDA.
    Keda,
    /// Argo Rollouts.
    ArgoRollouts,
    /// Flagger.
    Flagger,
    /// External Secrets Operator.
    ExternalSecrets,
    /// Istio's control plane.
    Istio,
    /// The Vertical Pod Autoscaler.
    VerticalPodAutoscaler,
}

/// Who may change gitward itself. Not what git declares: that nobody may but git.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Installers {
    /// User names.
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub users: Vec<String>,
    /// Groups.
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub groups: Vec<String>,
    /// Service accounts, as `namespace/name`.
    #[schemars(
        length(max = 64),
        inner(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"), length(max = 317))
    )]
    pub service_accounts: Vec<String>,
}

impl Default for Installers {
    fn default() -> Installers {
        Installers { users: Vec::new(), groups: vec!["system:masters".to_owned()], service_accounts: Vec::new() }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DescendantAccess {
    /// It goes through.
    Allow,
    /// It goes through and is recorded as a BlockedChange with the decision `allow`.
    Record,
    /// It is refused.
    Refuse,
}

/// What people may do with what belongs to pinned objects.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Descendants {
    /// Changing them, scaling a ReplicaSet, resizing and binding a Pod.
    pub update: DescendantAccess,
    /// Deleting them.
    pub delete: DescendantAccess,
    /// Evicting a Pod, as `kubectl drain` does.
    pub evict: DescendantAccess,
    /// `kubectl exec` and `kubectl attach`.
    pub exec: DescendantAccess,
    /// `kubectl port-forward` and the proxy of the API server.
    pub port_forward: DescendantAccess,
    /// `kubectl debug` with an ephemeral container.
    pub debug: DescendantAccess,
    /// `kubectl create job --from` a pinned CronJob.
    pub run_job: DescendantAccess,
}

impl Default for Descendants {
    fn default() -> Descendants {
        use DescendantAccess::{Allow, Record, Refuse};
        Descendants {
            update: Refuse,
            delete: Refuse,
            evict: Allow,
            exec: Record,
            port_forward: Record,
            debug: Record,
            run_job: Allow,
        }
    }
}

/// The GitOps operator whose declarations are enforced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeclarationOwner {
    /// Which.
    pub preset: OwnerPreset,
    /// The namespace in which it runs, where it is not the usual one. gitward's own is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub namespace: Option<String>,
}

/// A GitOps operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum OwnerPreset {
    /// gitward's own reconciler.
    #[default]
    Gitward,
    /// Flux: kustomize-controller and helm-controller.
    Flux,
    /// Argo CD's application controller.
    ArgoCd,
}
