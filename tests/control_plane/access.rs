//! `gitward access`: who could change what git declares around the guard.

use gitward_test_cluster::Output;
use serde_json::Value;

use crate::support::World;

fn access(world: &World, args: &[&str]) -> Output {
    world.gitward.command("admin", &[&["access"], args].concat())
}

fn bind(world: &World, name: &str, user: &str, verb: &str, resource: &str) {
    let role = ["create", "clusterrole", name, &format!("--verb={verb}"), &format!("--resource={resource}")];
    world.cluster.kubectl("admin", &role).ok();
    let binding = ["create", "clusterrolebinding", name, &format!("--clusterrole={name}"), &format!("--user={user}")];
    world.cluster.kubectl("admin", &binding).ok();
}

#[test]
fn who_has_a_way_around_the_guard_is_named_with_the_binding() {
    let world = World::shared();
    bind(world, "access-impersonators", "eve", "impersonate", "users");
    bind(world, "access-webhooks", "trent", "delete", "validatingwebhookconfigurations");
    let output = access(world, &[]);
    assert_eq!(output.status, 1, "{}", output.stdout);
    for expected in [
        "User eve\n    impersonate: ",
        "through ClusterRoleBinding access-impersonators → ClusterRole access-impersonators",
        "User trent\n    change webhook configurations: ",
        "CI and CD are not separated",
    ] {
        assert!(output.stdout.contains(expected), "{expected}: {}", output.stdout);
    }
    assert!(
        !output.stdout.contains("gitward-reconciler") && !output.stdout.contains("kube-system"),
        "{}",
        output.stdout
    );
    let all = access(world, &["--all"]);
    assert!(all.stdout.contains("ServiceAccount gitward-system/gitward-reconciler"), "{}", all.stdout);
}

#[test]
fn ci_may_write_nothing_and_installers_may_everything() {
    let world = World::shared();
    world.namespace("access-ci");
    let binding = ["create", "rolebinding", "ci", "--clusterrole=edit", "--user=builder", "-n", "access-ci"];
    world.cluster.kubectl("admin", &binding).ok();
    let findings = |args: &[&str]| {
        let output = access(world, &[args, &["-o", "json"]].concat());
        let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.stderr));
        let all = report["findings"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|f| f["who"]["name"] == "builder").collect::<Vec<_>>()
    };
    assert!(findings(&[]).is_empty(), "who edits a team's namespace goes by the guard");
    let of_ci = findings(&["--ci", "user:builder"]);
    assert_eq!(of_ci[0]["expected"], false, "{of_ci:?}");
    assert!(of_ci[0]["why"].as_str().unwrap().starts_with("CI may push images and commits"));

    bind(world, "access-installer", "builder", "impersonate", "users");
    assert_eq!(findings(&[])[0]["expected"], false);
    assert_eq!(findings(&["--installer", "user:builder"])[0]["expected"], true);
    assert_eq!(access(world, &["--ci", "builder"]).status, 2, "a name without its kind");
}
