//! What `make dist` puts together, and `gitward verify`, which checks it. Nothing is compiled for a release here: its programs are scripts that
//! start the ones that are there; `make dist-compare` builds the real ones, twice.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod archives;
mod hostile;
mod verify;
mod workflows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use gitward_test_cluster::{Output, Tools, make_release, workspace};
use serde_json::Value;
use tempfile::TempDir;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn gitward() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gitward"))
}

fn gitward_command(args: &[&str]) -> Output {
    Output::of(Command::new(gitward()).args(args), None)
}

/// A release, made once.
fn release() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("release/gitward-{VERSION}"));
        make_release(gitward(), &out);
        out
    })
}

/// The files of a folder by their names.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: std::fs::DirEntry| {
        (entry.file_name().to_str().unwrap().to_owned(), std::fs::read(entry.path()).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Unpacks an archive of the release.
fn unpack(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    Output::of(tar.arg("-xf").arg(release().join(name)).arg("-C").arg(folder.path()), None).ok();
    folder
}

#[test]
fn the_same_inputs_give_the_same_files() {
    let again = tempfile::tempdir().unwrap();
    let folder = again.path().join("another");
    make_release(gitward(), &folder);
    let (first, second) = (files(release()), files(&folder));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (name, content) in &first {
        assert!(*content == second[name], "{name} has other bytes");
    }
}

#[test]
fn a_release_has_everything() {
    let mut expected: BTreeSet<String> = [
        "SHA256SUMS",
        "crds.yaml",
        "gitward-VERSION.tgz",
        "gitward-chart-VERSION.tar",
        "gitward-image-VERSION.tar",
        "gitward.yaml",
        "krew.yaml",
        "provenance.json",
    ]
    .map(|name| name.replace("VERSION", VERSION))
    .into();
    for arch in ["amd64", "arm64"] {
        for name in ["gitward", "gitward-tools", "kubectl-gitward"] {
            expected.insert(format!("{name}-{VERSION}-linux-{arch}.tar.gz"));
        }
        expected.insert(format!("sbom-gitward-linux-{arch}.spdx.json"));
    }
    let found: BTreeSet<String> = files(release()).into_keys().collect();
    assert_eq!(found, expected);
}

#[test]
fn every_file_is_in_the_list_and_in_the_provenance() {
    let mut check = Command::new("sha256sum");
    Output::of(check.args(["--check", "--strict", "SHA256SUMS"]).current_dir(release()), None).ok();
    let sums = std::fs::read_to_string(release().join("SHA256SUMS")).unwrap();
    let listed: BTreeMap<&str, &str> =
        sums.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect();
    assert_eq!(listed.len() + 1, files(release()).len(), "all but the list");

    let statement = json(&release().join("provenance.json"));
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let subjects = statement["subject"].as_array().unwrap();
    assert_eq!(subjects.len() + 1, listed.len(), "all but itself");
    for subject in subjects {
        assert_eq!(subject["digest"]["sha256"], listed[subject["name"].as_str().unwrap()]);
    }
    // The lock files pin what is built in: they are named as they are.
    let dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    let lock = dependencies.iter().find(|one| one["uri"] == "Cargo.lock").unwrap();
    let sum = Output::of(Command::new("sha256sum").arg(workspace().join("Cargo.lock")), None);
    assert!(sum.ok().starts_with(lock["digest"]["sha256"].as_str().unwrap()));
    if std::env::var_os("GITHUB_ACTIONS").is_none() {
        let builder = &statement["predicate"]["runDetails"]["builder"]["id"];
        assert_eq!(builder, "https://gitward.dev/release/builders/unhosted", "nobody vouches for this machine");
    }
}

#[test]
fn the_bill_of_material_is_spdx() {
    let bill = json(&release().join("sbom-gitward-linux-amd64.spdx.json"));
    assert_eq!((bill["spdxVersion"].as_str(), bill["dataLicense"].as_str()), (Some("SPDX-2.3"), Some("CC0-1.0")));
    let packages = bill["packages"].as_array().unwrap();
    let package = |name: &str| packages.iter().find(|package| package["name"] == name).unwrap();
    let tar = package("tar");
    assert_eq!((&tar["versionInfo"], &tar["licenseDeclared"]), (&"0.4.46".into(), &"MIT OR Apache-2.0".into()));
    assert_eq!(tar["externalRefs"][0]["referenceLocator"], "pkg:cargo/tar@0.4.46");
    assert_eq!(tar["checksums"][0]["algorithm"], "SHA256");

    let relationships = bill["relationships"].as_array().unwrap();
    let has = |from: &Value, kind: &str, to: &Value| {
        relationships.iter().any(|one| {
            one["spdxElementId"] == *from && one["relationshipType"] == kind && one["relatedSpdxElement"] == *to
        })
    };
    assert!(has(&bill["SPDXID"], "DESCRIBES", &package("gitward")["SPDXID"]));
    assert!(has(&package("gitward")["SPDXID"], "DEPENDS_ON", &tar["SPDXID"]));
    assert!(has(&tar["SPDXID"], "DEPENDS_ON", &package("filetime")["SPDXID"]));
    let identifiers: BTreeSet<&str> = packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
    assert_eq!(identifiers.len(), packages.len(), "each has its own");
    assert!(relationships.iter().all(|one| identifiers.contains(one["relatedSpdxElement"].as_str().unwrap())));
}

#[test]
fn the_chart_is_a_package_and_an_artifact() {
    let package = release().join(format!("gitward-{VERSION}.tgz"));
    let helm = |args: &[&str]| Output::of(Command::new(Tools::get().path("helm")).args(args).arg(&package), None);
    helm(&["lint", "--strict", "--quiet"]).ok();
    let metadata: Value = serde_saphyr::from_str(helm(&["show", "chart"]).ok()).unwrap();
    assert_eq!(metadata["appVersion"], VERSION);
    let rendered = helm(&["template", "gitward", "-n", "gitward-system", "--skip-tests"]);
    assert_eq!(rendered.ok().as_bytes(), files(release())["gitward.yaml"], "the plain manifests are the chart's");

    let layout = unpack(&format!("gitward-chart-{VERSION}.tar"));
    let blob =
        |descriptor: &Value| layout.path().join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"));
    let index = json(&layout.path().join("index.json"));
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], VERSION);
    let manifest = json(&blob(&index["manifests"][0]));
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.cncf.helm.config.v1+json");
    assert_eq!(json(&blob(&manifest["config"])), metadata, "what `helm push` would store");
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.cncf.helm.chart.content.v1.tar+gzip");
    assert!(std::fs::read(blob(layer)).unwrap() == std::fs::read(&package).unwrap());
}

#[test]
fn the_image_is_there_for_each_architecture() {
    let layout = unpack(&format!("gitward-image-{VERSION}.tar"));
    let blob =
        |descriptor: &Value| layout.path().join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"));
    let named = json(&layout.path().join("index.json"))["manifests"].clone();
    assert_eq!(named.as_array().unwrap().len(), 1, "one thing by the name, for every reader");
    let name = format!("ghcr.io/gitward/gitward:{VERSION}");
    assert_eq!(named[0]["annotations"]["io.containerd.image.name"], name.as_str(), "where the chart looks for it");
    let index = json(&blob(&named[0]));
    let mut seen = Vec::new();
    for descriptor in index["manifests"].as_array().unwrap() {
        let arch = descriptor["platform"]["architecture"].as_str().unwrap();
        let manifest = json(&blob(descriptor));
        assert_eq!(json(&blob(&manifest["config"]))["architecture"], arch);
        let mut tar = Command::new("tar");
        tar.args(["-xzOf"]).arg(blob(&manifest["layers"][0])).arg("./usr/local/bin/gitward");
        assert!(Output::of(&mut tar, None).ok().contains(&format!("# {arch}\n")), "the program of {arch}");
        seen.push(arch.to_owned());
    }
    assert_eq!(seen, ["amd64", "arm64"]);
}

#[test]
fn a_missing_target_is_named_before_anything_is_built() {
    // A target that nobody has installed.
    let target = "x86_64-unknown-linux-gnux32";
    let out = tempfile::tempdir().unwrap();
    let mut dist = Command::new(workspace().join("release/dist.sh"));
    let refused = Output::of(dist.arg(out.path()).arg(target), None);
    assert!(refused.refused().contains(&format!("rustup target add {target}")), "{}", refused.stderr);
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
}
