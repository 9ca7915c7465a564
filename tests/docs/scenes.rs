//! What happens between the commands of a document, by the words of its comments.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gitward_test_cluster::{ControlPlane, Flux, Output, ReleaseKey, eventually, make_release, operator, pack_release};
use serde_json::{Value, json};

use crate::stage::{PATIENCE, Stage};

impl Stage<'_> {
    /// Lets happen what a document speaks of.
    pub(crate) fn scene(&mut self, scene: &str) {
        match scene {
            "the pods run" => self.start(),
            "the pods end" => self.end(),
            "a signed release is downloaded" => self.download(),
            "gitward follows the shop" => self.follow(),
            "no guard answers" => self.gitward.stop_guard(),
            "the guard answers again" => self.gitward.start_guard(),
            "the git server is down" => std::fs::rename(self.repo.bare(), self.away()).unwrap(),
            "the git server is back" => std::fs::rename(self.away(), self.repo.bare()).unwrap(),
            "a controller works against git" => self.work_against(),
            "a commit declares what the cluster refuses" => self.break_git(),
            "a commit drops nearly everything" => self.drop_much(),
            "the reconciler is dead" => self.gitward.kill_reconciler(),
            "the reconciler runs again" => self.gitward.start_reconciler(),
            "you are a cluster admin and no installer" => self.be_no_installer(),
            "you are an installer" => self.user = "admin",
            "a backup tool restores the shop as it was" => self.restore(),
            "the inventory is lost" => self.lose_inventory(),
            "your authority has signed a certificate" => self.sign(),
            "Flux applies the shop" => self.begin_with_flux(),
            "Helm has installed a release in shop" => self.install_release(),
            "Argo CD applies the shop" => self.begin_with_argo(),
            _ => panic!("no test knows the scene {scene:?}"),
        }
    }

    fn away(&self) -> std::path::PathBuf {
        self.repo.bare().with_extension("away")
    }

    /// As the kubelet would.
    fn start(&mut self) {
        self.gitward.start_reconciler();
        self.gitward.start_guard();
    }

    /// A release made here, in place of one that was published; only its archive and the public key are there.
    fn download(&self) {
        let typed = self.cluster.dir().join("work");
        let release = typed.join(concat!("gitward-", env!("CARGO_PKG_VERSION")));
        make_release(std::path::Path::new(env!("CARGO_BIN_EXE_gitward")), &release);
        ReleaseKey::create(&typed, "cosign").sign(&release);
        pack_release(&release);
        std::fs::remove_dir_all(release).unwrap();
    }

    fn end(&mut self) {
        self.gitward.stop_guard();
        self.gitward.stop_reconciler();
    }

    fn follow(&mut self) {
        let chart = gitward_test_cluster::workspace().join("charts/gitward").display().to_string();
        let values = self.gitward.values();
        let args = ["install", "gitward", &chart, "-n", "gitward-system", "--create-namespace"];
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        self.cluster.helm(&[&args[..], &values].concat()).ok();
        self.start();
        self.apply(&json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "GitSync",
            "metadata": {"name": "shop", "namespace": "gitward-system"},
            "spec": {"source": {"url": self.repo.file_url(), "interval": "1s"}}}));
        self.wait_applied();
    }

    /// Somebody sets a field again and again until the document has left it to them.
    fn work_against(&mut self) {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, kubeconfig, home) =
            (stop.clone(), self.cluster.kubeconfig(ControlPlane::FORGER), self.cluster.dir().to_owned());
        let rival = std::thread::spawn(move || {
            let kubectl = gitward_test_cluster::Tools::get().path("kubectl");
            let patch = ["patch", "configmap/settings", "-n", "shop", "--field-manager=acme-controller", "-p"];
            for round in 0_u32.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let mut command = Command::new(&kubectl);
                command.env("KUBECONFIG", &kubeconfig).env("HOME", &home).args(patch);
                Output::of(command.arg(format!(r#"{{"data":{{"color":"{round}"}}}}"#)), None);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        self.rival = Some((stop, rival));
    }

    fn end_rival(&mut self) {
        if let Some((stop, rival)) = self.rival.take() {
            stop.store(true, Ordering::Relaxed);
            rival.join().unwrap();
        }
    }

    fn break_git(&mut self) {
        self.end_rival();
        self.repo
            .write("broken.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name, namespace: shop}\n");
        self.repo.push("A name that no ConfigMap may have");
    }

    fn drop_much(&mut self) {
        self.repo.remove("broken.yaml");
        let file =
            |n: u32| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: many-{n}, namespace: shop}}\n");
        self.repo.write("many.yaml", &(0..30).map(file).collect::<String>());
        self.repo.push("Many");
        self.wait_applied();
        self.repo.remove("many.yaml");
        self.repo.push("None of them");
    }

    fn be_no_installer(&mut self) {
        let binding = ["create", "clusterrolebinding", "ops", "--clusterrole=cluster-admin", "--group=operators"];
        self.kubectl(&binding).ok();
        self.user = "ops";
    }

    /// Older objects with other uids, as a backup tool makes them.
    fn restore(&mut self) {
        let ids = |stage: &Stage<'_>| {
            let web = stage.cluster.get(&["deployment/web", "-n", "shop"]).unwrap_or_default();
            (web["metadata"]["uid"].clone(), web)
        };
        let (before, mut web) = ids(self);
        web["spec"]["replicas"] = json!(1);
        web["metadata"]
            .as_object_mut()
            .unwrap()
            .retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&key.as_str()));
        eventually("what is restored is made before git comes", PATIENCE, || {
            self.kubectl(&["delete", "deployment/web", "-n", "shop", "--ignore-not-found"]);
            let made = self.cluster.kubectl_in("admin", &["create", "-f", "-"], Some(&web.to_string()));
            if made.status == 0 { Ok(()) } else { Err(made.stderr) }
        });
        assert_ne!(ids(self).0, before);
    }

    fn lose_inventory(&mut self) {
        let forgotten = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: forgotten, namespace: shop}\n";
        self.repo.write("forgotten.yaml", forgotten);
        self.repo.push("One more");
        self.wait_applied();
        self.gitward.stop_reconciler();
        self.kubectl(&["delete", "configmaps", "-n", "gitward-system", "-l", "gitward.dev/inventory"]).ok();
        self.repo.remove("forgotten.yaml");
        self.repo.push("One less");
        self.gitward.start_reconciler();
        self.wait_applied();
    }

    /// An authority of one's own, and the files that it gives away.
    fn sign(&self) {
        let typed = self.cluster.dir().join("work");
        let made = typed.join("signed");
        let folder = made.display().to_string();
        // The API server calls the guard by an address here.
        self.gitward.command(self.user, &["certs", &folder, "--name", "127.0.0.1"]).ok();
        for (from, to) in [("tls.crt", "chain.pem"), ("tls.key", "key.pem"), ("ca.crt", "ca.pem")] {
            std::fs::rename(made.join(from), typed.join(to)).unwrap();
        }
    }

    fn begin_with_flux(&mut self) {
        let flux = Flux::start(self.cluster, &self.git);
        flux.apply("apps", &self.repo, &json!({}));
        self.flux = Some(flux);
    }

    fn install_release(&mut self) {
        let chart = self.cluster.dir().join("cache");
        std::fs::create_dir_all(chart.join("templates")).unwrap();
        std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: cache\nversion: 1.0.0\n").unwrap();
        let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cache}\n";
        std::fs::write(chart.join("templates/cache.yaml"), object).unwrap();
        self.cluster.helm(&["install", "cache", &chart.display().to_string(), "-n", "shop"]).ok();
    }

    /// Argo CD's Application stands for itself: nothing serves it here.
    fn begin_with_argo(&mut self) {
        self.kubectl(&["delete", "gitsync/shop", "-n", "gitward-system"]).ok();
        eventually("the objects are nobody's", PATIENCE, || {
            let web = self.cluster.get(&["deployment/web", "-n", "shop"]).unwrap_or_default();
            if web["metadata"]["labels"]["gitward.dev/sync-name"].is_null() { Ok(()) } else { Err(web.to_string()) }
        });
        let group = "argoproj.io";
        self.apply(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("applications.{group}")}, "spec": {"group": group, "scope": "Namespaced",
                "names": {"kind": "Application", "plural": "applications", "singular": "application", "listKind": "ApplicationList"},
                "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}));
        let argo = operator(self.cluster, "argocd", "argocd-application-controller");
        let mut web: Value = serde_saphyr::from_str(&self.repo.read("apps/web/deployment.yaml")).unwrap();
        web["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = "shop:apps/Deployment:shop/web".into();
        let apply = ["apply", "--field-manager=argocd-controller", "-f", "-"];
        self.cluster.kubectl_in(&argo, &apply, Some(&web.to_string())).ok();
        let application = json!({"apiVersion": format!("{group}/v1alpha1"), "kind": "Application",
            "metadata": {"name": "shop", "namespace": "argocd", "finalizers": ["resources-finalizer.argocd.argoproj.io"]},
            "spec": {"syncPolicy": {"automated": {"prune": true}}}});
        eventually("Applications are served", PATIENCE, || {
            let made = self.cluster.kubectl_in("admin", &["apply", "-f", "-"], Some(&application.to_string()));
            if made.status == 0 { Ok(()) } else { Err(made.stderr) }
        });
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if let Some((stop, _)) = &self.rival {
            stop.store(true, Ordering::Relaxed);
        }
    }
}
