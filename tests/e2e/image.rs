//! The image: its bills of material, and its way to the node.

use std::path::Path;
use std::process::Command;

use gitward_test_cluster::{Node, Output, workspace};
use serde_json::Value;

/// Checks the bills of material in an image, and gives it to the node. Returns its repository and tag.
pub(crate) fn load(node: &Node, image: &Path) -> (String, String) {
    let layout = node.dir().join("image");
    std::fs::create_dir(&layout).unwrap();
    let unpack = |archive: &Path| {
        Output::of(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&layout), None).ok();
    };
    unpack(image);
    let json = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let index = json(&layout.join("index.json"));
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        layout.join("blobs").join(digest)
    };
    let manifest = json(&blob(&index["manifests"][0]));
    unpack(&blob(&manifest["layers"][0]));
    let bill = |program: &str| json(&layout.join(format!("usr/share/sbom/{program}.cdx.json")));
    check_rust(&bill("gitward"));
    for program in ["helm", "kustomize"] {
        check_go(&bill(program), program);
    }
    node.load(image);
    let name = index["manifests"][0]["annotations"]["io.containerd.image.name"].as_str().unwrap();
    let (repository, tag) = name.rsplit_once(':').unwrap();
    (repository.to_owned(), tag.to_owned())
}

fn components(bill: &Value) -> Vec<(&str, &str)> {
    assert_eq!(bill["bomFormat"], "CycloneDX");
    let text = |component: &'static str| move |value: &Value| value[component].as_str().unwrap_or_default().len();
    let all = bill["components"].as_array().expect("components");
    assert!(all.iter().all(|component| text("purl")(component) > 0), "each has a package URL");
    all.iter().map(|one| (one["name"].as_str().unwrap(), one["version"].as_str().unwrap_or_default())).collect()
}

/// It names the crates of Cargo.lock that are linked, at their versions.
fn check_rust(bill: &Value) {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    let listed = components(bill);
    for (name, version) in &listed {
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")), "{name} {version}");
    }
    for linked in ["kube", "rustls", "git2", "openssl-sys"] {
        assert!(listed.iter().any(|(name, _)| *name == linked), "{linked} is missing");
    }
    assert!(!listed.iter().any(|(name, _)| *name == "indicatif"), "what only the demo needs is none of it");
}

/// It names the modules that the linker has written into the program.
fn check_go(bill: &Value, program: &str) {
    let module = std::fs::read_to_string(workspace().join(format!("tests/cluster/tools/{program}/go.mod"))).unwrap();
    let required = module.lines().find_map(|line| line.strip_prefix("require ")).unwrap();
    let (name, version) = required.split_once(' ').unwrap();
    let about = &bill["metadata"]["component"];
    assert_eq!((about["name"].as_str(), about["version"].as_str()), (Some(name), Some(version)));
    let listed = components(bill);
    assert!(listed.len() > 10 && listed.iter().any(|(name, _)| *name == "std"), "{program}: {} modules", listed.len());
}
