//! gitward follows its own chart in git: installed once by Helm, then upgraded by commits.

use std::path::Path;
use std::time::Duration;

use gitward_test_cluster::{Repo, eventually, workspace};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, deployment, sync};

const OWN: &str = "gitward-system";
const WEBHOOK: &str = "validatingwebhookconfiguration/gitward";
/// What the chart makes.
const KINDS: &str = "resourcequotas,poddisruptionbudgets,serviceaccounts,configmaps,clusterroles,clusterrolebindings,roles,rolebindings,\
                     services,deployments,validatingwebhookconfigurations,flowschemas,guardpolicies,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings";

/// Puts a folder into the repository.
fn copy(repo: &Repo, from: &Path, to: &str) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = format!("{to}/{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap().is_dir() {
            true => copy(repo, &entry.path(), &to),
            false => repo.write(&to, &std::fs::read_to_string(entry.path()).unwrap()),
        }
    }
}

/// Values as `helm --set` takes them, as an object.
fn values(world: &World, more: &[&str]) -> Value {
    let mut values = json!({});
    let args = world.gitward.values();
    let given = args.iter().map(String::as_str).filter(|arg| *arg != "--set");
    for (path, value) in given.chain(more.iter().copied()).filter_map(|value| value.split_once('=')) {
        let place = path.split('.').fold(&mut values, |object, key| &mut object[key]);
        *place = value.parse::<i64>().map_or_else(|_| value.into(), Value::from);
    }
    values
}

fn follow_itself(world: &World, repo: &Repo, more: &[&str]) {
    let spec = json!({
        "source": {"url": repo.file_url(), "path": "gitward", "interval": "1s"},
        "targetNamespace": OWN,
        "render": {"helm": {"releaseName": "gitward", "values": values(world, more)}},
    });
    let mut own = sync("gitward", &repo.file_url(), json!({}));
    own["spec"] = spec;
    world.apply("admin", &own);
}

/// What would change all the time where two fight for it.
fn versions(world: &World) -> Vec<String> {
    let listed = [
        world.cluster.get(&["deployments,services,configmaps,serviceaccounts", "-n", OWN]),
        world.cluster.get(&[
            "validatingwebhookconfigurations,validatingadmissionpolicies,clusterroles,clusterrolebindings,customresourcedefinitions",
        ]),
    ];
    let objects = listed.iter().flatten().flat_map(|list| list["items"].as_array().into_iter().flatten());
    let version = |object: &Value| {
        format!("{} {} {}", object["kind"], object["metadata"]["name"], object["metadata"]["resourceVersion"])
    };
    // A Deployment's status is its controller's.
    objects.filter(|object| object["kind"] != "Deployment").map(version).collect()
}

fn settle(world: &World) {
    let mut last = Vec::new();
    eventually("nothing is written any more", PATIENCE, || {
        let now = versions(world);
        std::thread::sleep(Duration::from_secs(4));
        let later = versions(world);
        last = later.iter().filter(|line| !now.contains(line)).cloned().collect();
        if last.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "{last:?}\n{}",
                world.gitward.reconciler_log().lines().rev().take(5).collect::<Vec<_>>().join("\n")
            ))
        }
    });
}

/// Those of the chart's objects that Helm takes for somebody else's.
fn not_of_helm(world: &World) -> Vec<String> {
    let listed = world.cluster.get(&[KINDS, "-A", "-l", "app.kubernetes.io/part-of=gitward"]).unwrap_or_default();
    let objects = listed["items"].as_array().expect("there are objects of gitward").iter();
    let others = objects.filter(|object| object["metadata"]["annotations"]["meta.helm.sh/release-name"] != "gitward");
    others.map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect()
}

/// What docs/upgrade.md says for a commit that breaks gitward, once its GitSync has let go: Helm takes the objects again, and makes
/// them what they have to be. `values` are those of the GitSync.
fn repair_with_helm(world: &World, values: &Value) {
    let file = world.cluster.dir().join("own-values.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    let (chart, file) = (workspace().join("charts/gitward").display().to_string(), file.display().to_string());
    let mut args = vec!["upgrade", "--install", "gitward", &chart, "-n", OWN, "--values", &file];
    args.extend(["--set", "guard.replicas=2"]);
    let foreign = world.cluster.helm(&args);
    assert!(foreign.refused().contains("cannot be imported into the current release"), "{}", foreign.stderr);
    args.extend(["--take-ownership", "--force-conflicts"]);
    world.cluster.helm(&args).ok();
    assert_eq!(not_of_helm(world), Vec::<String>::new());
    assert_eq!(world.field("deployment/gitward-guard", OWN, "/spec/replicas"), 2);
}

#[test]
fn gitward_follows_its_own_chart_in_git() {
    let mut world = World::start();
    let ns = "self-managed";
    world.namespace(ns);
    let repo = world.git.repo("own");
    copy(&repo, &workspace().join("charts/gitward"), "gitward");
    repo.write("shop/web.yaml", &deployment(ns, "web", 1));
    let commit = repo.push("gitward itself, and a workload");
    let mut shop = sync(ns, &repo.file_url(), json!({}));
    shop["spec"]["source"]["path"] = "shop".into();
    world.apply("admin", &shop);
    world.wait_applied(ns, &commit);
    let uid = world.field("deployment/gitward-guard", OWN, "/metadata/uid");

    follow_itself(&world, &repo, &[]);
    world.wait_applied("gitward", &commit);
    settle(&world);
    assert_eq!(world.field("deployment/gitward-guard", OWN, "/metadata/uid"), uid, "it was taken over as it was");
    assert_eq!(world.field("gitsync/gitward", OWN, "/status/drifts"), Value::Null);
    assert!(world.field("deployment/gitward-guard", OWN, "/metadata/labels/gitward.dev~1sync-name").is_string());
    world.cluster.kubectl("dev", &["scale", "deployment/web", "--replicas=5", "-n", ns]).refused();
    world.cluster.kubectl("admin", &["delete", "secret", "-n", OWN, "-l", "owner=helm,name=gitward"]).ok();

    // Whoever went around it, even an installer: git says how gitward runs.
    world.cluster.kubectl("admin", &["scale", "deployment/gitward-guard", "--replicas=0", "-n", OWN]).ok();
    eventually("the guard has its replicas back", PATIENCE, || {
        match world.field("deployment/gitward-guard", OWN, "/spec/replicas") {
            replicas if replicas == 2 => Ok(()),
            replicas => Err(replicas.to_string()),
        }
    });

    // Its Pod went, and with it the token of the process.
    world.gitward.start_guard();

    // The upgrade is a commit, or here another value.
    follow_itself(&world, &repo, &["guard.replicas=3", "webhook.timeoutSeconds=7"]);
    eventually("the upgrade arrives", PATIENCE, || {
        let replicas = world.field("deployment/gitward-guard", OWN, "/spec/replicas");
        let timeout = world.field(WEBHOOK, "", "/webhooks/0/timeoutSeconds");
        if replicas == 3 && timeout == 7 { Ok(()) } else { Err(format!("{replicas} replicas, {timeout} s")) }
    });
    settle(&world);
    assert!(world.field(WEBHOOK, "", "/webhooks/0/clientConfig/caBundle").is_string());
    world.cluster.kubectl("dev", &["scale", "deployment/web", "--replicas=5", "-n", ns]).refused();

    // Nothing of it goes with the GitSync.
    let values = world.field("gitsync/gitward", OWN, "/spec/render/helm/values");
    world.cluster.kubectl("admin", &["delete", "gitsync", "gitward", "-n", OWN]).ok();
    eventually("its objects are released", PATIENCE, || {
        // The definitions come last.
        let kinds = "deployments,customresourcedefinitions";
        let of_git = ["get", kinds, "-A", "-l", "gitward.dev/sync-name=gitward", "-o", "name"];
        match world.cluster.kubectl("admin", &of_git).ok() {
            "" => Ok(()),
            left => Err(left.to_owned()),
        }
    });
    world.cluster.kubectl("dev", &["scale", "deployment/web", "--replicas=5", "-n", ns]).refused();

    repair_with_helm(&world, &values);
    // Of three Pods two are left: the one whose token the process has may have been the third.
    world.gitward.start_guard();
    settle(&world);
    assert!(world.field(WEBHOOK, "", "/webhooks/0/clientConfig/caBundle").is_string());
    let scale = world.cluster.kubectl("dev", &["scale", "deployment/web", "--replicas=5", "-n", ns]);
    assert!(scale.refused().contains("is pinned to git"), "{}", scale.stderr);
}
