//! The guard switched off on purpose, repaired and removed: nobody is ever locked out.

use gitward_test_cluster::{Output, eventually, workspace};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map, deployment};

const CONFIGURATION: &str = "validatingwebhookconfiguration/gitward";

fn gitward(world: &World, user: &str, args: &[&str]) -> Output {
    world.gitward.command(user, args)
}

fn upgrade(world: &World, values: &[&str]) {
    let chart = workspace().join("charts/gitward").display().to_string();
    let mut args = vec!["upgrade".to_owned(), "gitward".into(), chart, "-n".into(), "gitward-system".into()];
    args.extend(world.gitward.values());
    args.extend(values.iter().flat_map(|value| ["--set".to_owned(), (*value).to_owned()]));
    world.cluster.helm(&args.iter().map(String::as_str).collect::<Vec<_>>()).ok();
}

fn webhooks(world: &World) -> usize {
    world.field(CONFIGURATION, "", "/webhooks").as_array().map_or(0, Vec::len)
}

#[test]
fn a_guard_can_be_disabled_repaired_and_removed_in_every_state() {
    let mut world = World::start();
    let ns = "switched";
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("web.yaml", &deployment(ns, "web", 3));
    // So gitward's namespace is guarded too, which must not keep Helm from repairing a dead guard.
    repo.write("own.yaml", &config_map("gitward-system", "declared", "green"));
    let commit = repo.push("web");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);
    let all = webhooks(&world);
    only_installers_disable(&world);
    disabled_with_everything_dead(&mut world, ns);
    enabled_again(&mut world, ns, all);
    a_guard_that_does_not_start_is_repaired(&mut world, ns);
    uninstalled_while_disabled(&world, ns);
}

fn only_installers_disable(world: &World) {
    let bind = ["create", "clusterrolebinding", "ops", "--clusterrole=cluster-admin", "--user=ops"];
    world.cluster.kubectl("admin", &bind).ok();
    let refused = eventually("ops is refused", PATIENCE, || {
        let output = gitward(world, "ops", &["disable", "--reason", "I may"]);
        if output.stderr.contains("gitward disable --reason") {
            Ok(output)
        } else {
            Err(output.stdout + &output.stderr)
        }
    });
    assert_eq!(refused.status, 2);
    assert_eq!(gitward(world, "admin", &["disable", "--reason", " "]).status, 2);
}

/// Neither the guard nor the reconciler has to live for this.
fn disabled_with_everything_dead(world: &mut World, ns: &str) {
    world.gitward.stop_guard();
    world.gitward.stop_reconciler();
    let scale = ["scale", "deployment/web", "--replicas=5", "-n", ns];
    assert!(world.cluster.kubectl("dev", &scale).refused().contains("failed calling webhook"));
    gitward(world, "admin", &["disable", "--reason", "the guard is broken"]).ok();
    eventually("nothing is refused", PATIENCE, || {
        let output = world.cluster.kubectl("dev", &scale);
        if output.status == 0 { Ok(()) } else { Err(output.stderr) }
    });
    let annotations = world.field(CONFIGURATION, "", "/metadata/annotations");
    assert_eq!(annotations["gitward.dev/disabled"], "the guard is broken");
    assert_eq!(annotations["gitward.dev/disabled-by"], "admin");

    // Helm brings the webhooks back; the reconciler takes them out again, and heals on.
    upgrade(world, &[]);
    world.gitward.start_reconciler();
    eventually("it stays disabled", PATIENCE, || match webhooks(world) {
        0 => Ok(()),
        some => Err(some.to_string()),
    });
    world.wait_field("deployment/web", ns, "/spec/replicas", &json!(3));
    world.cluster.kubectl("dev", &["label", "deployment/web", "team=mine", "-n", ns]).ok();
}

fn enabled_again(world: &mut World, ns: &str, all: usize) {
    world.gitward.start_guard();
    let record = eventually("the guard records that it was disabled while it was dead", PATIENCE, || {
        let list = world.cluster.get(&["blockedchanges", "-n", "gitward-system"]).unwrap_or_default();
        let found = list["items"].as_array().into_iter().flatten().find(|record| record["spec"]["verb"] == "disable");
        found.map(|record| record["spec"].clone()).ok_or_else(|| list.to_string())
    });
    let said = ["user", "fieldSummary", "reason", "decision", "count"].map(|field| record[field].clone());
    assert_eq!(json!(said), json!(["admin", "the guard is broken", "GuardDisabled", "allow", 1]));
    gitward(world, "admin", &["enable"]).ok();
    assert_eq!(webhooks(world), all);
    assert_eq!(world.field(CONFIGURATION, "", "/metadata/annotations")["gitward.dev/disabled"], Value::Null);
    let scale = ["scale", "deployment/web", "--replicas=5", "-n", ns];
    eventually("the guard refuses again", PATIENCE, || {
        let output = world.cluster.kubectl("dev", &scale);
        if output.stderr.contains("is pinned to git") { Ok(()) } else { Err(output.stdout + &output.stderr) }
    });
}

/// A bad version is rolled out, no guard answers, and the next `helm upgrade` is not in its own way.
fn a_guard_that_does_not_start_is_repaired(world: &mut World, ns: &str) {
    upgrade(
        world,
        &["image.tag=broken", "guard.extraLookups[0].apiGroups={a.b}", "guard.extraLookups[0].resources={c}"],
    );
    world.gitward.stop_guard();
    upgrade(world, &["image.tag=repaired", "webhook.timeoutSeconds=4"]);
    world.wait_field(CONFIGURATION, "", "/webhooks/0/timeoutSeconds", &json!(4));
    let image = "/spec/template/spec/containers/0/image";
    let live = world.field("deployment/gitward-guard", "gitward-system", image);
    assert!(live.as_str().is_some_and(|image| image.ends_with(":repaired")), "{live}");
    world.gitward.start_guard();
    world.gitward.start_reconciler();
    let scale = ["scale", "deployment/web", "--replicas=5", "-n", ns];
    assert!(world.cluster.kubectl("dev", &scale).refused().contains("is pinned to git"));
}

fn uninstalled_while_disabled(world: &World, ns: &str) {
    gitward(world, "admin", &["disable", "--reason", "we part"]).ok();
    world.cluster.helm(&["uninstall", "gitward", "-n", "gitward-system"]).ok();
    eventually("nothing of it is left", PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let kinds = "validatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings";
        let left =
            world.cluster.kubectl("admin", &["get", kinds, "-l", "app.kubernetes.io/part-of=gitward", "-o", "name"]);
        if left.stdout.trim().is_empty() { Ok(()) } else { Err(left.stdout) }
    });
    world.cluster.kubectl("dev", &["scale", "deployment/web", "--replicas=5", "-n", ns]).ok();
    world.cluster.kubectl("ops", &["create", "configmap", "mine", "-n", "gitward-system"]).ok();
}
