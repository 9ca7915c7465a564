//! How the files of a GitSync become objects.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SecretReference;

/// How files become objects.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Render {
    /// Which renderer.
    #[serde(default, rename = "type")]
    pub renderer: Renderer,
    /// Whether a kustomization may name files of other servers, and whether the dependencies of a chart that are not in git
    /// are fetched. What such a server answers is then as good as git.
    #[serde(default)]
    pub allow_remote: bool,
    /// What Helm is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<Helm>,
}

/// A renderer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Renderer {
    /// Helm where `helm.chart` is given or the folder has a `Chart.yaml`, kustomize where it has a `kustomization.yaml`, else
    /// plain manifests.
    #[default]
    Auto,
    /// The manifests (`.yaml`, `.yml`, `.json`) of the folder and all folders below.
    Plain,
    /// `kustomize build`.
    Kustomize,
    /// `helm template`.
    Helm,
}

/// What Helm is given.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Helm {
    /// The chart; that of the folder where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Chart>,
    /// The name of the release; that of the GitSync where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 53))]
    pub release_name: Option<String>,
    /// Files with values, below the GitSync's folder; a later one wins. Beside the chart's own `values.yaml`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub values_files: Vec<String>,
    /// Values from ConfigMaps and Secrets; they win over `valuesFiles`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub values_from: Vec<ValuesFrom>,
    /// Values; they win over all others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub values: BTreeMap<String, Value>,
}

/// A chart that is not in the repository.
#[derive(Clone, Debug, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Where charts are: `https://…` for a chart repository, `oci://…` for a registry.
    #[schemars(regex(pattern = r"^(https|oci)://[^@]+$"), length(max = 2048))]
    pub repository: String,
    /// The name of the chart.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 255))]
    pub name: String,
    /// The version, or a range such as `>=6.0.0 <7.0.0`, of which the newest counts.
    #[schemars(regex(pattern = r"^[0-9A-Za-z.*<>=~^|, +-]+$"), length(max = 255))]
    pub version: String,
    /// A Secret of the same namespace with `username` and `password`, and `ca.crt` where the server's certificate is from a
    /// private authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// Values that stand in a ConfigMap or Secret of the GitSync's namespace.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValuesFrom {
    /// ConfigMap or Secret.
    pub kind: ValuesKind,
    /// Its name.
    pub name: String,
    /// The key whose value is YAML.
    #[serde(default = "values_yaml")]
    pub key: String,
    /// Whether it may be missing.
    #[serde(default)]
    pub optional: bool,
}

fn values_yaml() -> String {
    "values.yaml".to_owned()
}

/// Where values stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ValuesKind {
    /// In a ConfigMap.
    ConfigMap,
    /// In a Secret.
    Secret,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
