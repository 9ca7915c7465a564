//! For those who do not use Helm: `make manifests` and kubectl.

use std::path::Path;
use std::process::Command;

use gitward_test_cluster::{ControlPlane, Gitward, Output, workspace};

use crate::shop::{SYSTEM, Shop, binary};

/// What has to be there before an object of its kind, as docs/values.md waits for it.
const DEFINITIONS: [&str; 3] =
    ["crd/gitsyncs.gitward.dev", "crd/guardpolicies.gitward.dev", "crd/blockedchanges.gitward.dev"];

/// Makes both files with more values for helm, in a folder.
fn manifests(dir: &Path, values: &[String]) {
    let mut make = Command::new("make");
    make.current_dir(workspace()).arg("--no-print-directory").arg("manifests");
    make.arg(format!("DIST={}", dir.display())).arg(format!("VALUES={}", values.join(" ")));
    Output::of(&mut make, None).ok();
}

#[test]
fn manifests_install_upgrade_and_remove_gitward_without_helm() {
    let cluster = ControlPlane::for_tests();
    let dir = cluster.dir().join("dist");
    let file = |name: &str| dir.join(name).display().to_string();
    let (stays, goes) = (file("crds.yaml"), file("gitward.yaml"));
    let kubectl = |args: &[&str]| cluster.kubectl("admin", args);
    let apply = |file: &str| kubectl(&["apply", "--server-side", "--force-conflicts", "-f", file]);
    let gitward = Gitward::install_by(cluster, binary(), |ports| {
        manifests(&dir, ports);
        apply(&stays).ok();
        kubectl(&[&["wait", "--for=condition=Established", "--timeout=1m"], &DEFINITIONS[..]].concat()).ok();
        apply(&goes).ok();
    });
    let mut shop = Shop::stock(cluster, gitward);
    shop.assert_guarded("applied");

    // The reconciler has put its hand on what it keeps; another version is applied over it.
    let values = [shop.gitward.values(), ["--set", "webhook.timeoutSeconds=6"].map(str::to_owned).into()].concat();
    manifests(&dir, &values);
    apply(&goes).ok();
    shop.roll_out();
    shop.assert_guarded("applied again");
    let configuration = cluster.get(&["validatingwebhookconfiguration", "gitward"]).unwrap();
    assert_eq!(configuration["webhooks"][0]["timeoutSeconds"], 6);

    // What belongs to another object of the file may go with it.
    kubectl(&["delete", "--ignore-not-found", "-f", &goes, "--timeout=90s"]).ok();
    shop.gitward.stop_reconciler();
    shop.gitward.stop_guard();
    shop.assert_unlocked("deleted");
    assert!(cluster.get(&["gitsync/shop", "-n", SYSTEM]).is_some(), "GitSyncs and definitions stay");
    kubectl(&["delete", "-f", &stays, "--timeout=90s"]).ok();
    shop.assert_gone("deleted");
}
