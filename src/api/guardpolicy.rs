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
    /// git declares stays refused. `kubectl rollout restart` needs
    /// `/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt`.
    #[serde(default)]
    #[schemars(length(max = 256), inner(regex(pattern = r"^(/[^/]+)+$"), length(max = 512)))]
    pub allow: Vec<String>,
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
