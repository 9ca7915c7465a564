//! What is synced: charts and manifests that others wrote, out of the packages that `get.sh` gets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use gitward_test_cluster::{Output, workspace};
use serde_json::{Value, json};

/// How an input is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renderer {
    Helm,
    Kustomize,
    Plain,
}

/// One chart, kustomization or folder of manifests.
pub(crate) struct Input {
    /// Also the name of the GitSync and of its namespace.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) what: &'static str,
    /// The package it comes from.
    pub(crate) package: &'static str,
    pub(crate) renderer: Renderer,
    /// The files that are committed: from the package, where they stay under their paths.
    pub(crate) files: &'static [&'static str],
    /// The folder that the GitSync follows.
    pub(crate) path: &'static str,
    /// Values for Helm.
    pub(crate) values: Value,
    /// What is special about it, for people.
    pub(crate) remarks: &'static str,
    /// Why it cannot be synced: a part of the message.
    pub(crate) refused: Option<&'static str>,
}

/// Inputs that are synced one after the other, while the first stays.
pub(crate) struct Row {
    pub(crate) stays: Option<Input>,
    pub(crate) inputs: Vec<Input>,
}

fn input(
    name: &'static str,
    what: &'static str,
    package: &'static str,
    renderer: Renderer,
    files: &'static [&'static str],
    path: &'static str,
) -> Input {
    Input { name, what, package, renderer, files, path, values: json!({}), remarks: "", refused: None }
}

impl Input {
    fn values(self, values: Value) -> Input {
        Input { values, ..self }
    }

    fn refused(self, message: &'static str) -> Input {
        Input { refused: Some(message), ..self }
    }

    fn remarks(self, remarks: &'static str) -> Input {
        Input { remarks, ..self }
    }
}

fn chart(name: &'static str, what: &'static str, package: &'static str, files: &'static [&'static str]) -> Input {
    input(name, what, package, Renderer::Helm, files, files[0])
}

fn kustomization(name: &'static str, what: &'static str, package: &'static str, path: &'static str) -> Input {
    input(name, what, package, Renderer::Kustomize, &["kustomize", "test"], path)
}

fn plain(name: &'static str, what: &'static str, package: &'static str, files: &'static [&'static str]) -> Input {
    input(name, what, package, Renderer::Plain, files, ".")
}

/// Everything, in rows that do not touch each other's objects.
pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row { stays: None, inputs: network_and_storage() },
        Row {
            stays: Some(
                kustomization("kwok-crds", "KWOK's definitions", "kwok", "kustomize/crd")
                    .remarks("12 CRDs; stay while the next are synced"),
            ),
            inputs: of_kwoks_kinds(),
        },
        Row { stays: None, inputs: kwok_itself() },
    ]
}

fn network_and_storage() -> Vec<Input> {
    const MAGNUM: &str = "magnum-cluster-api";
    vec![
        chart("cilium", "Cilium", MAGNUM, &["charts/cilium"])
            .values(json!({"hubble": {"tls": {"enabled": false}}}))
            .remarks("`hubble.tls.enabled: false`: the chart would make new certificates at each rendering"),
        chart("cluster-autoscaler", "Cluster Autoscaler", MAGNUM, &["charts/cluster-autoscaler"])
            .values(json!({"autoDiscovery": {"clusterName": "shop"}}))
            .remarks("PodDisruptionBudget; `autoDiscovery.clusterName`, which it needs"),
        chart("keystone-auth", "Keystone webhook", MAGNUM, &["charts/k8s-keystone-auth"]).remarks(
            "declares the namespace's ServiceAccount `default`, which Kubernetes makes anew when it is removed",
        ),
        chart("openstack-ccm", "OpenStack cloud controller", MAGNUM, &["charts/openstack-cloud-controller-manager"])
            .remarks("a library chart lies beside it in `charts/`"),
        chart("cinder-csi", "Cinder CSI", MAGNUM, &["charts/openstack-cinder-csi"])
            .remarks("CSIDriver, StorageClasses, rules in kube-system"),
        chart("manila-csi", "Manila CSI", MAGNUM, &["charts/openstack-manila-csi"]),
        plain("nfs-csi", "NFS CSI", MAGNUM, &["manifests/nfs-csi"]),
        plain("calico", "Calico", MAGNUM, &["manifests/calico/v3.32.1.yaml"]).remarks("one file of 7,800 lines"),
        plain(
            "calico-addon",
            "Calico, as Kubernetes' addon",
            "kubernetes",
            &["cluster/addons/calico-policy-controller"],
        )
        .remarks("38 files"),
    ]
}

fn of_kwoks_kinds() -> Vec<Input> {
    let of = |name, what, path| kustomization(name, what, "kwok", path);
    vec![
        chart("stage-fast", "KWOK's stages", "kwok", &["charts/stage-fast"]).remarks("custom resources only"),
        chart("metrics-usage", "KWOK's metrics", "kwok", &["charts/metrics-usage"]).remarks("custom resources only"),
        of("k-stage-fast", "KWOK's stages", "kustomize/stage/fast").remarks("three bases"),
        of("k-stage-general", "KWOK's stages of pods", "kustomize/stage/pod/general"),
        of("k-stage-volume", "KWOK's stages of volumes", "kustomize/stage/volume/fast").remarks("StorageClass, RBAC"),
        of("k-usage", "KWOK's metrics", "kustomize/metrics/usage"),
        of("k-rbac", "KWOK's rights", "kustomize/rbac").remarks("FlowSchema"),
        of("k-e2e", "KWOK's test objects", "test/e2e"),
        chart("kwok", "KWOK", "kwok", &["charts/kwok"]).remarks("FlowSchema"),
    ]
}

fn kwok_itself() -> Vec<Input> {
    const KRUSTY: &str = "krusty/testdata";
    const WORDPRESS: &str = "pkg/action/testdata/charts/chart-with-uncompressed-dependencies";
    let of_kustomize = |name, what, path| input(name, what, "kustomize", Renderer::Kustomize, &[KRUSTY], path);
    vec![
        chart(
            "dask-operator",
            "Dask operator",
            "dask-kubernetes",
            &["operator/deployment/helm/dask-kubernetes-operator"],
        )
        .remarks("4 CRDs in `crds/`"),
        chart("wordpress", "WordPress, as Helm tests with", "helm", &[WORDPRESS])
            .refused("apps/v1beta1")
            .remarks("a StatefulSet of `apps/v1beta1`, which Kubernetes no longer serves"),
        plain("fluentd", "Fluentd, as Kubernetes' addon", "kubernetes", &["cluster/addons/fluentd-gcp"])
            .refused("fluentd-gcp-ds.yaml:")
            .remarks("one file is a template of the addon manager and no YAML"),
        kustomization("k-kwokctl", "KWOK's settings", "kwok", "kustomize/kwokctl")
            .refused("KwokctlResource")
            .remarks("settings of a program in the form of objects; no cluster serves their kind"),
        chart("subpop", "Nested charts, as Helm tests with", "helm", &["pkg/chart/v2/util/testdata/subpop"])
            .refused("subchart1")
            .remarks("a Role without API groups and a CRD of `v1beta1`, both of which the API server refuses"),
        of_kustomize("k-prefix", "A prefix, as kustomize tests with", "krusty/testdata/localize/simple"),
        of_kustomize("k-overlay", "An overlay, as kustomize tests with", "krusty/testdata/remoteload/multibase/dev"),
        plain("snapshots", "Volume snapshots, as Kubernetes' addon", "kubernetes", &["cluster/addons/volumesnapshots"])
            .remarks("CRDs and their controller"),
    ]
}

/// KWOK as a whole, whose definitions the row above has; and what the API server asks others for, which slows down
/// everybody's discovery while it is there.
pub(crate) fn last() -> Vec<Input> {
    let of = |name, what, path| kustomization(name, what, "kwok", path);
    vec![
        of("k-kwok", "KWOK", "kustomize/kwok").remarks("namespace, labels with selectors, a generator"),
        of("k-kwok-test", "KWOK, patched", "test/kwok").remarks("JSON patches, images, replicas"),
        of("k-kwok-single", "KWOK, patched", "test/e2e/kwok/single").remarks("JSON patches, a base four folders up"),
        plain(
            "metrics-server",
            "metrics-server, as Kubernetes' addon",
            "kubernetes",
            &["cluster/addons/metrics-server"],
        )
        .remarks("an APIService without a server behind it"),
    ]
}

/// A package as it lies on the disk.
pub(crate) struct Package {
    pub(crate) version: String,
    folder: PathBuf,
}

/// The packages, by name.
pub(crate) fn packages() -> BTreeMap<String, Package> {
    let script = workspace().join("tests/compatibility/get.sh");
    let output = Output::of(&mut Command::new(script), None);
    let package = |line: &str| {
        let [name, version, folder] = line.splitn(3, ' ').map(str::to_owned).collect::<Vec<_>>().try_into().ok()?;
        Some((name, Package { version, folder: folder.into() }))
    };
    output.ok().lines().filter_map(package).collect()
}

impl Input {
    /// The folder that the GitSync follows, from the root of the repository.
    pub(crate) fn folder(&self) -> String {
        format!("app/{}", self.path).trim_end_matches("/.").to_owned()
    }

    /// Copies its files into a repository, below `app/`.
    pub(crate) fn copy(&self, package: &Package, repository: &Path) {
        for file in self.files {
            let target = repository.join("app").join(file);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            // Modules are not writable, and should not be copied so.
            let mut copy = Command::new("cp");
            Output::of(copy.args(["-r", "--no-preserve=mode"]).arg(package.folder.join(file)).arg(&target), None).ok();
        }
    }

    /// The version of a chart as it says itself, else that of the package.
    pub(crate) fn version(&self, package: &Package) -> String {
        let chart = std::fs::read_to_string(package.folder.join(self.path).join("Chart.yaml")).unwrap_or_default();
        let own = chart.lines().find_map(|line| line.strip_prefix("version: "));
        own.map_or_else(|| package.version.clone(), |version| version.trim_matches('"').to_owned())
    }
}
