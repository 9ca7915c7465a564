//! Who may upgrade gitward: its installers, whatever groups they are in, and nobody else.

use gitward_test_cluster::eventually;

use crate::shop::{PATIENCE, SYSTEM, Shop, chart};

#[test]
fn an_installer_upgrades_and_others_are_told_whom_to_ask() {
    // By its name alone: `admin` stands in for whoever installs, and system:masters are none here.
    let installers = ["--set", "installers.users={admin,ops}", "--set", "installers.groups={platform}"];
    let shop = Shop::open(&chart(), &installers);
    for user in ["ops", "ci"] {
        let bind = ["create", "clusterrolebinding", user, "--clusterrole=cluster-admin", "--user", user];
        shop.cluster.kubectl("admin", &bind).ok();
    }
    eventually("the roles are in force", PATIENCE, || {
        let output = shop.cluster.kubectl("ci", &["get", "secrets", "-n", SYSTEM]);
        if output.status == 0 { Ok(()) } else { Err(output.stderr) }
    });
    let values = [&installers[..], &["--set", "guard.drainSeconds=7"]].concat();
    let helps = "Ask an installer of gitward (the chart's value `installers`)";
    // By RBAC, `ci` may do everything.
    let refused = shop.upgrade("ci", &chart(), &values);
    assert!(refused.refused().contains(helps), "{}", refused.stderr);
    let config = shop.cluster.kubeconfig("ci").display().to_string();
    let refused = shop.cluster.helm(&["rollback", "gitward", "1", "-n", SYSTEM, "--kubeconfig", &config]);
    assert!(refused.refused().contains(helps), "{}", refused.stderr);
    for object in ["flowschema/gitward", "clusterrole/gitward-guard", "validatingwebhookconfiguration/gitward"] {
        let refused = shop.cluster.kubectl("ci", &["delete", object]);
        assert!(refused.refused().contains("This is a part of gitward"), "{object}: {}", refused.stderr);
    }
    let history = shop.cluster.helm(&["history", "gitward", "-n", SYSTEM, "-o", "json"]);
    let history: Vec<serde_json::Value> = serde_json::from_str(history.ok()).unwrap();
    assert!(history.len() == 1 && history[0]["status"] == "deployed", "a refusal leaves nothing: {history:?}");

    shop.upgrade("ops", &chart(), &values).ok();
    let guard = shop.cluster.get(&["deployment/gitward-guard", "-n", SYSTEM]).unwrap();
    let args = guard.pointer("/spec/template/spec/containers/0/args").unwrap().to_string();
    assert!(args.contains("--drain-for=7"), "{args}");
    shop.assert_guarded("upgraded by an installer");
}
