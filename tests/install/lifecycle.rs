//! From the first install to a second one: the workloads that git declares stay the same objects all the time.

use gitward_test_cluster::{Gitward, Output, eventually};
use serde_json::{Value, json};

use crate::shop::{PATIENCE, SHOP, SYSTEM, Shop, binary, chart, previous_chart, release};

/// What is deleted here in one stroke, a kubelet ends first; so the next reconciler waits for the Lease. Not for long.
const SOON: [&str; 2] = ["--set", "reconciler.leaseSeconds=15"];

#[test]
fn what_git_declares_survives_upgrades_rollbacks_and_a_new_install() {
    // It does not know all values that are set for this place.
    let mut shop = Shop::open(&previous_chart(), &["--skip-schema-validation"]);
    shop.assert_guarded("installed in the version before");

    shop.upgrade("admin", &chart(), &SOON).ok();
    // Until the new guards are there, the old ones serve on.
    shop.assert_refused("upgraded, with the guard of the version before");
    shop.roll_out();
    shop.assert_guarded("upgraded");

    let before = pod_templates(&shop);
    shop.upgrade("admin", &chart(), &SOON).ok();
    assert_eq!(pod_templates(&shop), before, "an upgrade that changes nothing restarts nothing");
    shop.assert_guarded("upgraded once more");

    for owner in ["Flux", "Gitward", "Flux"] {
        upgrade_to(&shop, owner).ok();
        wait_left_to_helm(&shop);
    }
    entries_that_an_older_reconciler_holds(&mut shop);
    shop.assert_guarded("of another owner, and back");

    for (revision, version) in [("1", "0.1.0"), ("3", env!("CARGO_PKG_VERSION"))] {
        shop.cluster.helm(&["rollback", "gitward", revision, "-n", SYSTEM]).ok();
        let guard = shop.cluster.get(&["deployment/gitward-guard", "-n", SYSTEM]).unwrap();
        assert_eq!(guard["metadata"]["labels"]["app.kubernetes.io/version"], version);
        shop.roll_out();
        shop.assert_guarded(&format!("rolled back to {version}"));
    }

    // With everything alive, and the GitSync there: the reconciler puts back what it sees removed, and that goes too.
    shop.cluster.helm(&["uninstall", "gitward", "-n", SYSTEM]).ok();
    shop.gitward.stop_reconciler();
    shop.gitward.stop_guard();
    shop.assert_unlocked("uninstalled");

    adopted_again(shop);
}

/// The GitSync is still there: a new gitward goes on with it, and creates nothing anew. Its Pods keep to the strictest Pod
/// Security.
fn adopted_again(mut shop: Shop) {
    let restricted = ["label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted"];
    shop.cluster.kubectl("admin", &restricted).ok();
    shop.scale("dev", 7).ok();
    let cluster = shop.cluster;
    shop.gitward = Gitward::install_by(cluster, binary(), |ports| {
        cluster.helm(&release("install", &chart(), ports)).ok();
    });
    shop.assert_guarded("installed again");
    forgotten(shop);
}

/// A GitSync that would delete its objects goes while no gitward is there: they stay, and the next gitward only lets go of them.
fn forgotten(mut shop: Shop) {
    shop.cluster.helm(&["uninstall", "gitward", "-n", SYSTEM]).ok();
    shop.gitward.stop_reconciler();
    shop.gitward.stop_guard();
    shop.cluster.kubectl("admin", &["delete", "gitsync", "shop", "-n", SYSTEM, "--timeout=60s"]).ok();
    let cluster = shop.cluster;
    shop.gitward = Gitward::install_by(cluster, binary(), |ports| {
        cluster.helm(&release("install", &chart(), ports)).ok();
    });
    eventually("the workloads are nobody's", PATIENCE, || {
        let web = cluster.get(&["deployment/web", "-n", SHOP]).unwrap_or_default();
        if web["metadata"]["labels"]["gitward.dev/sync-name"].is_null() { Ok(()) } else { Err(web.to_string()) }
    });
    shop.assert_unlocked_workloads("the GitSync went before");
}

/// An upgrade by which the webhook configuration gets other entries, and loses those that it had: nobody but Helm holds on to them.
fn upgrade_to(shop: &Shop, owner: &str) -> Output {
    let owner = format!("guardPolicy.owner.preset={owner}");
    shop.upgrade("admin", &chart(), &[&SOON[..], &["--set", &owner]].concat())
}

/// What the reconciler of 0.1.0 owned stayed of an entry that Helm took out, and no API server takes that. The next one mends it.
fn entries_that_an_older_reconciler_holds(shop: &mut Shop) {
    shop.gitward.stop_reconciler();
    let held = webhooks(shop).into_iter();
    let held = held
        .map(|entry| json!({"name": entry["name"], "clientConfig": {"caBundle": entry["clientConfig"]["caBundle"]}}));
    let held = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "gitward"}, "webhooks": held.collect::<Vec<Value>>()});
    let apply = ["apply", "--server-side", "--field-manager=gitward", "--force-conflicts", "-f", "-"];
    shop.cluster.kubectl_in("admin", &apply, Some(&held.to_string())).ok();
    let stuck = upgrade_to(shop, "Gitward");
    assert!(stuck.refused().contains("Required value"), "{}", stuck.stderr);
    let before = webhooks(shop).len();
    shop.gitward.start_reconciler();
    eventually("the entries are out", PATIENCE, || {
        let now = webhooks(shop).len();
        if now < before { Ok(()) } else { Err(format!("{now} entries")) }
    });
    wait_left_to_helm(shop);
    upgrade_to(shop, "Gitward").ok();
}

fn wait_left_to_helm(shop: &Shop) {
    eventually("the entries are trusted, and left to Helm", PATIENCE, || {
        let webhook = ["validatingwebhookconfiguration/gitward", "--show-managed-fields"];
        let webhook = shop.cluster.get(&webhook).unwrap_or_default();
        let holders = webhook["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let is_left =
            holders.iter().all(|entry| entry["manager"] == "helm" || entry["fieldsV1"]["f:webhooks"].is_null());
        let is_trusted = webhooks(shop).iter().all(|entry| entry["clientConfig"]["caBundle"].is_string());
        if is_left && is_trusted { Ok(()) } else { Err(webhook.to_string()) }
    });
}

fn webhooks(shop: &Shop) -> Vec<Value> {
    let webhook = shop.cluster.get(&["validatingwebhookconfiguration/gitward"]).unwrap_or_default();
    webhook["webhooks"].as_array().cloned().unwrap_or_default()
}

/// How often each Deployment of gitward was changed.
fn pod_templates(shop: &Shop) -> Vec<String> {
    ["deployment/gitward-guard", "deployment/gitward-reconciler"]
        .map(|name| shop.cluster.get(&[name, "-n", SYSTEM]).unwrap()["spec"]["template"].to_string())
        .into()
}
