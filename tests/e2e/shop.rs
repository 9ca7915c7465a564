//! The demo's story, with Pods that really run: git declares a shop, people are refused, drift is healed.

use std::process::Command;

use gitward_test_cluster::{GitServer, Node, Output, Repo, eventually};
use serde_json::{Value, json};

use crate::install::{available, pods, ready};
use crate::{PATIENCE, SYSTEM};

pub(crate) const SHOP: &str = "shop";
/// The reconciler's account, as a user name.
const RECONCILER: &str = "system:serviceaccount:gitward-system:gitward-reconciler";

pub(crate) struct Shop<'a> {
    pub(crate) node: &'a Node,
    repo: Repo,
}

/// Declares the shop in git, lets a GitSync follow it, and waits until it is served.
pub(crate) fn open<'a>(node: &'a Node, git: &GitServer, (repository, tag): &(String, String)) -> Shop<'a> {
    let repo = git.repo("shop");
    repo.write("shop.yaml", &manifests(&format!("{repository}:{tag}")));
    // What the image brings along is used: kustomize renders it.
    repo.write(
        "kustomization.yaml",
        "resources: [shop.yaml]\nconfigMapGenerator: [{name: note, namespace: shop, literals: [by=kustomize]}]\n",
    );
    let commit = repo.push("The shop");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop", "namespace": SYSTEM},
        "stringData": {"ca.crt": git.ca()}});
    let sync = json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "GitSync", "metadata": {"name": "shop", "namespace": SYSTEM},
        "spec": {"source": {"url": repo.url(), "ref": {"branch": "main"}, "interval": "1s", "secretRef": {"name": "shop"}}}});
    for object in [secret, sync] {
        node.kubectl_in("admin", &["apply", "-f", "-"], Some(&object.to_string())).ok();
    }
    let shop = Shop { node, repo };
    shop.applied(&commit);
    available(node, SHOP, "web");
    shop.served();
    node.kubectl("admin", &["create", "rolebinding", "dev", "--clusterrole=admin", "--user=dev", "-n", SHOP]).ok();
    shop
}

/// A Deployment that really serves, with the image that the node has: gitward's guard, without a cluster, from files.
fn manifests(image: &str) -> String {
    let made = rcgen::generate_simple_self_signed(["web.shop.svc".to_owned()]).unwrap();
    let files = json!({"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()});
    let label = json!({"app": "web"});
    let container = json!({"name": "web", "image": image, "args": ["guard", "--tls-cert=/files/tls.crt", "--tls-key=/files/tls.key"],
        "ports": [{"name": "http", "containerPort": 8080}], "volumeMounts": [{"name": "files", "mountPath": "/files"}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1}});
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "files", "namespace": SHOP}, "stringData": files}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": SHOP},
            "spec": {"selector": label, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": SHOP}, "spec": {"replicas": 2,
            "selector": {"matchLabels": label}, "template": {"metadata": {"labels": label}, "spec": {"containers": [container],
            "terminationGracePeriodSeconds": 1, "volumes": [{"name": "files", "secret": {"secretName": "files"}}]}}}}),
    ];
    objects.map(|object| format!("---\n{object}\n")).concat()
}

impl Shop<'_> {
    fn admin(&self, args: &[&str]) -> Output {
        self.node.kubectl("admin", args)
    }

    pub(crate) fn dev(&self, args: &[&str]) -> Output {
        self.node.kubectl("dev", &[&["-n", SHOP], args].concat())
    }

    /// Waits until a commit is applied.
    fn applied(&self, commit: &str) {
        eventually("the commit is applied", PATIENCE, || {
            let sync = self.node.get(&["gitsync/shop", "-n", SYSTEM]);
            let revision = sync.pointer("/status/lastAppliedRevision").and_then(Value::as_str).unwrap_or_default();
            if revision.ends_with(commit) { Ok(()) } else { Err(sync["status"].to_string()) }
        });
    }

    /// Waits until the Service's address answers: kube-proxy leads to a Pod that is ready.
    pub(crate) fn served(&self) {
        let service = self.node.get(&["service/web", "-n", SHOP]);
        let url = format!("http://{}/readyz", service["spec"]["clusterIP"].as_str().unwrap_or_default());
        eventually("the shop is served", PATIENCE, || {
            let answer = Output::of(
                Command::new("curl").args(["--silent", "--show-error", "--fail", "--max-time", "2", &url]),
                None,
            );
            if answer.status == 0 { Ok(()) } else { Err(answer.stderr) }
        });
    }

    /// Waits until the guard refuses what people try.
    pub(crate) fn refuses(&self) {
        eventually("the guard refuses", PATIENCE, || {
            let output = self.dev(&["scale", "deployment/web", "--replicas=5"]);
            assert_ne!(output.status, 0, "nobody may scale it at any time");
            if output.stderr.contains("is pinned to git") { Ok(()) } else { Err(output.stderr) }
        });
    }

    pub(crate) fn web_pods(&self) -> Vec<Value> {
        pods(self.node, SHOP, "app=web")
    }

    pub(crate) fn people(&self) {
        let pod = self.web_pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
        let tries: [&[&str]; 6] = [
            &["scale", "deployment/web", "--replicas=5"],
            &["set", "image", "deployment/web", "web=shop/web:evil"],
            &["delete", "deployment/web"],
            &["delete", "pod", &pod],
            &["label", "service/web", "team=mine"],
            &["annotate", "pod", &pod, "note=mine"],
        ];
        for args in tries {
            let output = self.dev(args);
            assert!(output.refused().contains("pinned to git"), "{args:?}: {}", output.stderr);
        }
        assert!(self.dev(&["scale", "deployment/web", "--replicas=5"]).stderr.contains("Declared in shop.yaml:"));
        // By default exec is allowed, and on record.
        assert!(self.dev(&["exec", &pod, "--", "gitward", "--version"]).ok().starts_with("gitward "));
        eventually("the exec is on record", PATIENCE, || {
            let records = self.node.get(&["blockedchanges", "-n", SHOP]);
            let exec =
                records["items"].as_array().into_iter().flatten().any(|one| one["spec"]["verb"] == "connect exec");
            if exec { Ok(()) } else { Err(records.to_string()) }
        });
        // So are evictions: nodes are drained.
        let eviction =
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": SHOP}})
                .to_string();
        let path = format!("/api/v1/namespaces/{SHOP}/pods/{pod}/eviction");
        self.node.kubectl_in("dev", &["create", "--raw", &path, "-f", "-"], Some(&eviction)).ok();
        available(self.node, SHOP, "web");
        assert!(
            self.web_pods().iter().all(|one| one["metadata"]["name"] != pod.as_str()),
            "another Pod runs in its place"
        );
        // And what git does not declare is free.
        self.dev(&["create", "configmap", "mine", "--from-literal=a=b"]).ok();
        self.dev(&["delete", "configmap", "mine"]).ok();
    }

    pub(crate) fn identity(&self) {
        // It pushes, and the reconciler writes: its Pod's projected token is what the guard believes.
        let manifests = self.repo.read("shop.yaml").replace("\"replicas\":2", "\"replicas\":3");
        self.repo.write("shop.yaml", &manifests);
        let commit = self.repo.push("Three replicas");
        self.applied(&commit);
        available(self.node, SHOP, "web");
        assert_eq!(self.web_pods().len(), 3);
        let borrowed = ["scale", "deployment/web", "--replicas=9", "-n", SHOP, "--as", RECONCILER];
        assert!(self.admin(&borrowed).refused().contains("is pinned to git"));
        let token = self.admin(&["create", "token", "gitward-reconciler", "-n", SYSTEM]);
        let unbound = [
            "scale",
            "deployment/web",
            "--replicas=9",
            "-n",
            SHOP,
            "--token",
            token.ok().trim(),
            "--kubeconfig=/dev/null",
        ];
        let server = self.admin(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]).ok().to_owned();
        let place = ["--server", &server, "--insecure-skip-tls-verify"];
        assert!(self.admin(&[&unbound[..], &place].concat()).refused().contains("is pinned to git"));
    }

    pub(crate) fn heals(&self) {
        // Only a cluster admin can forge the Pod that the guard asks for.
        let extra = "--as-user-extra=authentication.kubernetes.io/pod-name=forged";
        let around = ["scale", "deployment/web", "--replicas=1", "-n", SHOP, "--as", RECONCILER, extra];
        self.admin(&around).ok();
        eventually("the replicas are those of git again", PATIENCE, || {
            let live = self.node.get(&["deployment/web", "-n", SHOP])["spec"]["replicas"].clone();
            if live == 3 { Ok(()) } else { Err(live.to_string()) }
        });
        available(self.node, SHOP, "web");
        let drifts = self.admin(&["get", "events", "-n", SYSTEM, "--field-selector=reason=DriftHealed", "-o", "name"]);
        assert!(drifts.ok().contains("event"), "it is told");
    }

    pub(crate) fn guard_crashes(&self) {
        let selector = "app.kubernetes.io/name=gitward-guard";
        let guards = pods(self.node, SYSTEM, selector);
        let uid = guards[0]["metadata"]["uid"].as_str().unwrap();
        let restarts = |uid: &str| {
            let all = pods(self.node, SYSTEM, selector);
            let one = all.iter().find(|pod| pod["metadata"]["uid"] == uid).cloned().unwrap_or_default();
            one.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64).unwrap_or_default()
        };
        let before = restarts(uid);
        kill_process_of(uid, "gitward");
        self.refuses();
        eventually("the kubelet has started it again", PATIENCE, || {
            let now = restarts(uid);
            if now > before { Ok(()) } else { Err(format!("{now} restarts")) }
        });
        ready(self.node);
    }

    pub(crate) fn uninstall(&self) {
        let uids = |pods: &[Value]| {
            let mut all: Vec<String> = pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect();
            all.sort();
            all
        };
        let before = uids(&self.web_pods());
        // With the GitSync there, and the reconciler alive, which puts back what it sees removed.
        self.node.helm(&["uninstall", "gitward", "-n", SYSTEM, "--wait", "--timeout", "3m"]).ok();
        eventually("no process of gitward is left", PATIENCE, || {
            let left = self.node.get(&["pods", "-n", SYSTEM]);
            let count = left["items"].as_array().map_or(0, Vec::len);
            if count == 0 { Ok(()) } else { Err(format!("{count} Pods")) }
        });
        let locks = "validatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings";
        assert_eq!(self.admin(&["get", locks, "-l", "app.kubernetes.io/part-of=gitward", "-o", "name"]).ok(), "");
        assert_eq!(uids(&self.web_pods()), before, "the same Pods run on");
        self.served();
        self.dev(&["scale", "deployment/web", "--replicas=1"]).ok();
        available(self.node, SHOP, "web");
    }
}

/// Ends the process of a Pod as a crash would; it is found by its cgroup, which bears the Pod's number.
fn kill_process_of(pod_uid: &str, name: &str) {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let of_pod = |pid: &String| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        read("cgroup").contains(pod_uid) && read("comm").trim() == name
    };
    let found: Vec<String> = processes.filter(|pid| pid.parse::<u32>().is_ok()).filter(of_pod).collect();
    assert_eq!(found.len(), 1, "one process of the Pod");
    Output::of(Command::new("kill").args(["-9", &found[0]]), None).ok();
}
