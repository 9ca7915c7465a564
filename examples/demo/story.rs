//! The story itself.

use std::time::{Duration, Instant};

use gitward_test_cluster::{ControlPlane, GitServer, Gitward, Output, Repo, eventually, workspace};
use serde_json::{Value, json};

use crate::narrator::{Narrator, median_and_worst, time};
use crate::tries::TRIES;

const PATIENCE: Duration = Duration::from_secs(60);
/// How often times are measured.
const ROUNDS: u32 = 20;

struct Story<'a> {
    narrator: &'a Narrator,
    cluster: &'a ControlPlane,
}

pub(crate) fn tell(narrator: &Narrator, cluster: &ControlPlane, gitward: &mut Gitward<'_>, git: &GitServer) {
    let story = Story { narrator, cluster };
    let repo = git.repo("shop");
    repo.copy(&workspace().join("examples/shop"));
    story.git_is_applied(&repo, git);
    story.people_are_refused();
    story.git_moves_on(&repo);
    story.the_guard_dies(gitward);
    story.an_installer_disables_the_guard(gitward);
    story.times(&repo);
    story.system_goes_on();
    story.everything_is_recorded();
}

impl Story<'_> {
    /// Runs kubectl and shows it.
    fn run(&self, user: &str, args: &[&str], input: Option<&str>) -> Output {
        let begun = Instant::now();
        let output = self.cluster.kubectl_in(user, args, input);
        self.narrator.show(user, &output, begun.elapsed());
        output
    }

    fn git_is_applied(&self, repo: &Repo, git: &GitServer) {
        self.narrator.part("Git declares the shop; a GitSync follows it");
        let commit = repo.push("The shop");
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop", "namespace": "gitward-system"},
            "stringData": {"ca.crt": git.ca()}});
        self.cluster.kubectl_in("admin", &["apply", "-f", "-"], Some(&secret.to_string())).ok();
        let sync = format!(
            "apiVersion: gitward.dev/v1alpha1\nkind: GitSync\nmetadata: {{name: shop, namespace: gitward-system}}\nspec:\n  \
             source:\n    url: {}\n    ref: {{branch: main}}\n    interval: 1s\n    secretRef: {{name: shop}}\n",
            repo.url()
        );
        self.narrator.say(&sync);
        self.run("admin", &["apply", "-f", "-"], Some(&sync)).ok();
        let took = self.applied(&commit);
        self.narrator.say(&format!("\napplied after {}", time(took)));
        let listed = self.run("admin", &["get", "gitsyncs", "-n", "gitward-system"], None);
        assert!(listed.ok().contains(&commit) && listed.stdout.contains("True"), "the GitSync is Ready at the commit");
        let kinds = "deployments,services,configmaps,secrets,horizontalpodautoscalers,widgets.shop.example.com";
        let objects =
            self.run("admin", &["get", kinds, "-n", "shop", "-l", "gitward.dev/sync-name=shop", "-o", "name"], None);
        assert_eq!(objects.ok().lines().count(), 7, "all seven objects of the namespace are there");
        self.cluster
            .kubectl("admin", &["create", "rolebinding", "dev", "--clusterrole=admin", "--user=dev", "-n", "shop"])
            .ok();
    }

    fn people_are_refused(&self) {
        self.narrator.part("dev, who has the role admin in the namespace, is refused and told where to change it");
        for (args, input) in TRIES {
            let output = self.run("dev", args, input);
            let pinned = output.refused().contains("Declared in apps/web/deployment.yaml:1 — change it there");
            assert!(
                pinned || input.is_some() && output.stderr.contains("only the reconciler may mark"),
                "the refusal explains itself"
            );
        }
    }

    fn git_moves_on(&self, repo: &Repo) {
        self.narrator.part("The same change by git: five replicas, and the ConfigMap goes");
        repo.write(
            "apps/web/deployment.yaml",
            &repo.read("apps/web/deployment.yaml").replace("replicas: 3", "replicas: 5"),
        );
        repo.remove("apps/web/configmap.yaml");
        let commit = repo.push("Five replicas, no settings");
        let took = self.applied(&commit);
        let replicas = ["get", "deployment/web", "-n", "shop", "-o", "jsonpath={.spec.replicas}"];
        assert_eq!(self.run("admin", &replicas, None).ok(), "5");
        self.run("admin", &["get", "configmap/settings", "-n", "shop"], None).refused();
        self.narrator.say(&format!("\nfrom push to applied and pruned: {}", time(took)));
    }

    fn the_guard_dies(&self, gitward: &mut Gitward<'_>) {
        self.narrator.part("The guard is dead: people are refused all the same (fail closed)");
        gitward.stop_guard();
        let scale = ["scale", "deployment/web", "--replicas=9", "-n", "shop"];
        assert!(self.run("dev", &scale, None).refused().contains("failed calling webhook"), "it fails closed");

        self.narrator.part("A cluster admin removes the webhook configuration and edits the Deployment");
        let edit = ["patch", "deployment/web", "-n", "shop", "-p", r#"{"spec":{"replicas":9}}"#];
        self.narrator.say("admin$ kubectl delete validatingwebhookconfiguration gitward");
        self.narrator.say(&format!("admin$ kubectl {}", edit.join(" ")));
        let tries = self.cluster.around_the_guard(&edit);
        let times = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
        self.narrator.say(&format!("the configuration was removed {times} before an edit got in between"));
        let begun = Instant::now();
        self.wait_replicas(5);
        self.narrator.say(&format!("the edit is undone (seen {} after kubectl was through)", time(begun.elapsed())));
        let webhook = self.run("admin", &["get", "validatingwebhookconfiguration", "gitward"], None);
        assert!(webhook.ok().contains("gitward"), "the webhook configuration is back");
        let drifts = self.run(
            "admin",
            &[
                "get",
                "events",
                "-n",
                "gitward-system",
                "--field-selector=reason=DriftHealed",
                "-o",
                "custom-columns=DRIFT:.message",
            ],
            None,
        );
        drifts.ok();
        gitward.start_guard();
    }

    fn an_installer_disables_the_guard(&self, gitward: &Gitward<'_>) {
        self.narrator.part("In an emergency an installer disables the guard, with a reason that stays on record");
        let command = |args: &[&str]| {
            let begun = Instant::now();
            let output = gitward.command("admin", args);
            self.narrator.show("admin", &output, begun.elapsed());
            output.ok().to_owned()
        };
        command(&["disable", "--reason", "incident 4711: the image registry is down"]);
        eventually("nothing is refused", PATIENCE, || {
            let label = ["label", "deployment/web", "incident=4711", "-n", "shop", "--dry-run=server"];
            let output = self.cluster.kubectl("dev", &label);
            if output.status == 0 { Ok(()) } else { Err(output.stderr) }
        });
        self.run("dev", &["scale", "deployment/web", "--replicas=9", "-n", "shop"], None).ok();
        self.wait_replicas(5);
        self.narrator.say("drift is healed all the same: deployment/web is at 5 replicas again");
        command(&["enable"]);
        let scale = ["scale", "deployment/web", "--replicas=9", "-n", "shop"];
        eventually("the guard refuses again", PATIENCE, || {
            let output = self.cluster.kubectl("dev", &scale);
            if output.stderr.contains("is pinned to git") { Ok(()) } else { Err(output.stdout + &output.stderr) }
        });
        self.narrator.say("and the guard refuses again");
    }

    /// Measures what the README quotes. An object that drifts again and again is healed more and more slowly, so each
    /// round edits another one.
    fn times(&self, repo: &Repo) {
        self.narrator.part(&format!("Times, {ROUNDS} rounds each"));
        let file = |round: u32, color: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: round-{round}, namespace: shop}}\ndata: {{color: {color}}}\n"
            )
        };
        let sync = self.cluster.watch(&[
            "gitsync/shop",
            "-n",
            "gitward-system",
            "-o",
            "jsonpath={.status.lastAppliedRevision}{'\\n'}",
        ]);
        let push = |round: u32| {
            repo.write(&format!("rounds/{round}.yaml"), &file(round, "green"));
            let commit = repo.push("Another round");
            let pushed = Instant::now();
            sync.wait("the commit is applied", PATIENCE, |line| line.ends_with(&commit))
                .saturating_duration_since(pushed)
        };
        let pushes = (0..ROUNDS).map(push).collect();
        self.narrator.say(&format!("from push to applied, polled every second: {}", median_and_worst(pushes)));

        let columns = "custom-columns=NAME:.metadata.name,COLOR:.data.color";
        let objects = self.cluster.watch(&["configmaps", "-n", "shop", "--no-headers", "-o", columns]);
        let is = |line: &str, name: &str, color: &str| line.split_whitespace().eq([name, color]);
        objects.wait("the last of them", PATIENCE, |line| line.starts_with("round-9 "));
        let heal = |round: u32| {
            let name = format!("round-{round}");
            self.forge(&["patch", "configmap", &name, "-n", "shop", "-p", r#"{"data":{"color":"red"}}"#]);
            let edited = objects.wait("the edit", PATIENCE, |line| is(line, &name, "red"));
            objects.wait("the edit is undone", PATIENCE, |line| is(line, &name, "green")) - edited
        };
        let heals = (0..ROUNDS).map(heal).collect();
        self.narrator.say(&format!("from edit to healed, as a watch sees it: {}", median_and_worst(heals)));
    }

    /// Goes around the guard as only a cluster admin can: with the forged pod of the reconciler.
    fn forge(&self, args: &[&str]) {
        self.cluster.kubectl(ControlPlane::FORGER, args).ok();
    }

    fn system_goes_on(&self) {
        self.narrator.part("Kubernetes' own controllers go on");
        let slices = self.run(
            "admin",
            &["get", "endpointslices", "-n", "shop", "-l", "kubernetes.io/service-name=web", "-o", "name"],
            None,
        );
        assert!(slices.ok().contains("endpointslice"), "the pinned Service has its EndpointSlice");
        eventually("the autoscaler scales the worker", PATIENCE, || {
            let replicas = self
                .cluster
                .kubectl("admin", &["get", "deployment/worker", "-n", "shop", "-o", "jsonpath={.spec.replicas}"])
                .stdout;
            if replicas == "2" { Ok(()) } else { Err(replicas) }
        });
        self.run("admin", &["get", "hpa", "-n", "shop"], None).ok();
    }

    fn everything_is_recorded(&self) {
        self.narrator.part("Every refused change is on record");
        eventually("the records are written", PATIENCE, || {
            let list = self.cluster.get(&["blockedchanges", "-A"]).unwrap_or_default();
            let count = list["items"].as_array().map_or(0, Vec::len);
            if count >= 7 { Ok(()) } else { Err(format!("{count} records")) }
        });
        self.run("admin", &["get", "blockedchanges", "-A"], None).ok();
    }

    /// Waits until a commit is applied; gives the time since the call.
    fn applied(&self, commit: &str) -> Duration {
        let begun = Instant::now();
        eventually("the commit is applied", PATIENCE, || {
            let sync = self.cluster.get(&["gitsync/shop", "-n", "gitward-system"]).unwrap_or_default();
            let applied = sync.pointer("/status/lastAppliedRevision").and_then(Value::as_str).unwrap_or_default();
            if applied.ends_with(commit) { Ok(()) } else { Err(sync["status"].to_string()) }
        });
        begun.elapsed()
    }

    fn wait_replicas(&self, replicas: u32) {
        eventually("the Deployment is as git declares it", PATIENCE, || {
            let live = self
                .cluster
                .kubectl("admin", &["get", "deployment/web", "-n", "shop", "-o", "jsonpath={.spec.replicas}"])
                .stdout;
            if live == replicas.to_string() { Ok(()) } else { Err(live) }
        });
    }
}
