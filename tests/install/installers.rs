//! Who may upgrade gitward: its installers, whatever groups they are in, and nobody else.

use gitward_test_cluster::eventually;

use crate::shop::{PATIENCE, SYSTEM, Shop, chart};

#[test]
fn an_installer_upgrades_and_others_are_told_whom_to_ask() {
    let shop = Shop::open(&chart(), &["installers.users={ops}", "installers.groups={}"]);
    for user in ["ops", "ci"] {
        let bind = ["create", "clusterrolebinding", user, "--clusterrole=cluster-admin", "--user", user];
        shop.cluster.kubectl("admin", &[&bind[..], &["--kubeconfig", &masters(&shop)]].concat()).ok();
    }
    eventually("the roles are in force", PATIENCE, || {
        let output = shop.cluster.kubectl("ci", &["get", "secrets", "-n", SYSTEM]);
        if output.status == 0 { Ok(()) } else { Err(output.stderr) }
    });
    let values = ["installers.users={ops}", "installers.groups={}", "guard.drainSeconds=7"];
    let helps = "Ask an installer of gitward (the chart's value `installers`)";
    // By RBAC `ci` may do everything, and admin is of system:masters; neither is an installer here.
    for user in ["ci", "admin"] {
        let refused = shop.helm_as(user, "upgrade", &chart(), &values);
        assert!(refused.refused().contains(helps), "{user}: {}", refused.stderr);
    }
    let config = shop.cluster.kubeconfig("ci").display().to_string();
    for verb in [&["rollback", "gitward", "1"][..], &["uninstall", "gitward"]] {
        let refused = shop.cluster.helm(&[verb, &["-n", SYSTEM, "--kubeconfig", &config]].concat());
        assert!(refused.refused().contains(helps), "{verb:?}: {}", refused.stderr);
    }
    let history = shop.cluster.helm(&["history", "gitward", "-n", SYSTEM, "-o", "json"]);
    let history: Vec<serde_json::Value> = serde_json::from_str(history.ok()).unwrap();
    assert!(history.len() == 1 && history[0]["status"] == "deployed", "a refusal leaves nothing: {history:?}");

    shop.helm_as("ops", "upgrade", &chart(), &values).ok();
    let guard = shop.cluster.get(&["deployment/gitward-guard", "-n", SYSTEM]).unwrap();
    let args = guard.pointer("/spec/template/spec/containers/0/args").unwrap().to_string();
    assert!(args.contains("--drain-for=7"), "{args}");
    shop.assert_guarded("upgraded by an installer");
}

fn masters(shop: &Shop) -> String {
    shop.cluster.kubeconfig("admin").display().to_string()
}
