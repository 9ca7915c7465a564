//! Moving to gitward from Flux and from Argo CD (docs/migration.md): what the old operator applied is taken over where it is.
//! Nothing is made anew, nothing restarts, and what the old operator added beside git goes.
//!
//! Flux' kustomize-controller is the real one. The objects of helm-controller and Argo CD are made by the real helm and
//! kubectl under the names and accounts of those, as they make them; their own kinds are stand-ins, since nothing serves them here.

use std::collections::BTreeMap;
use std::process::Command;

use gitward_test_cluster::{Flux, Output, Repo, Tools, eventually, operator, workspace};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map, deployment, sync};

/// A Deployment whose Pods become ready on the simulated node.
fn running(ns: &str, name: &str) -> String {
    deployment(ns, name, 2)
        .replace("    spec:\n      containers:", "    spec:\n      nodeName: kwok\n      containers:")
}

fn service(ns: &str, name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {ns}}}\nspec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}\n"
    )
}

/// What must not change: uid, time of creation and spec of what is there, Pods included. The generation of a Deployment counts its
/// annotations, too.
fn identities(world: &World, ns: &str) -> BTreeMap<String, [Value; 3]> {
    let kinds = "deployments,replicasets,pods,configmaps,services,secrets,namespaces";
    let listed = world.cluster.get(&[kinds, "-n", ns]).unwrap_or_default();
    let here = |object: &&Value| object["kind"] != "Namespace" || object["metadata"]["name"] == ns;
    let objects = listed["items"].as_array().into_iter().flatten().filter(here);
    let identity = |object: &Value| {
        let of = |field: &str| object["metadata"][field].clone();
        (format!("{} {}", object["kind"], of("name")), [of("uid"), of("creationTimestamp"), object["spec"].clone()])
    };
    objects.map(identity).collect()
}

/// Another owner of what git declares, or other tools, by `helm upgrade`.
fn upgrade(world: &World, values: &[&str]) {
    let chart = workspace().join("charts/gitward").display().to_string();
    let ours = world.gitward.values();
    let mut args = vec!["upgrade", "gitward", &chart, "-n", "gitward-system"];
    args.extend(ours.iter().map(String::as_str));
    args.extend(values.iter().flat_map(|value| ["--set", value]));
    world.cluster.helm(&args).ok();
}

fn wait_available(world: &World, ns: &str, name: &str) {
    world.wait_field(&format!("deployment/{name}"), ns, "/status/availableReplicas", &json!(2));
}

fn scale_is_refused(world: &World, ns: &str, name: &str, by: &str) {
    let target = format!("deployment/{name}");
    eventually("people are refused", PATIENCE, || {
        let scale = world.cluster.kubectl("dev", &["scale", &target, "--replicas=5", "-n", ns, "--dry-run=server"]);
        let expected = format!("Deployment {ns}/{name} is pinned to git ({by}");
        if scale.status != 0 && scale.stderr.contains(&expected) { Ok(()) } else { Err(scale.stdout + &scale.stderr) }
    });
}

/// Looks at what would be done, does it, and checks that everything is where it was.
fn take_over(world: &World, name: &str, ns: &str, repo: &Repo, more: &Value, before: &BTreeMap<String, [Value; 3]>) {
    let spec = |suspend: bool| {
        let mut spec = more.clone();
        spec["suspend"] = json!(suspend);
        sync(name, &repo.file_url(), spec)
    };
    world.apply("admin", &spec(true));
    world.wait_reason(name, "Suspended");
    let helm = Tools::get().path("helm").display().to_string();
    let told = world.gitward.command("admin", &["diff", name, "--helm", &helm]);
    assert_eq!(told.status, 1, "{}{}", told.stdout, told.stderr);
    let does = |verb: &str| told.stdout.lines().any(|line| line.starts_with(verb));
    assert!(does("change ") && !does("create ") && !does("prune ") && !does("cannot "), "{}", told.stdout);
    world.apply("admin", &spec(false));
    world.wait_applied(name, repo.git(&["rev-parse", "HEAD"]).trim());
    let after = identities(world, ns);
    assert_eq!(&after, before, "nothing is made anew, no spec changed");
}

/// No label or annotation of the old operator, and no manager, is left on an object.
fn is_clean_of(world: &World, ns: &str, object: &str, words: &[&str]) {
    eventually(&format!("{object} bears nothing of {words:?}"), PATIENCE, || {
        let shown = ["get", object, "-n", ns, "-o", "yaml", "--show-managed-fields"];
        let text = world.cluster.kubectl("admin", &shown).ok().to_owned();
        if words.iter().any(|word| text.contains(word)) { Err(text) } else { Ok(()) }
    });
}

/// What leaves git goes; what stays there stays.
fn prunes(world: &World, name: &str, ns: &str, repo: &Repo, file: &str) {
    assert!(world.cluster.get(&["configmap/old", "-n", ns]).is_some());
    repo.remove(file);
    let commit = repo.push("One less");
    world.wait_applied(name, &commit);
    assert!(world.cluster.get(&["configmap/old", "-n", ns]).is_none(), "it is pruned");
    assert!(world.cluster.get(&["deployment/web", "-n", ns]).is_some());
}

#[test]
fn what_flux_applied_is_taken_over_where_it_is() {
    let ns = "moved";
    // The first stage: Flux goes on, and the guard holds people to what it declares.
    let world = World::start_with(&["guardPolicy.owner.preset=Flux"]);
    let _node = world.cluster.simulate_node();
    let flux = Flux::start(world.cluster, &world.git);
    let repo = world.git.repo(ns);
    let namespace = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {ns}, labels: {{gitward.dev/guarded: \"true\"}}}}\n"
    );
    repo.write("namespace.yaml", &namespace);
    repo.write("web.yaml", &format!("{}---\n{}", running(ns, "web"), service(ns, "web")));
    repo.write("settings.yaml", &config_map(ns, "settings", "red"));
    repo.write("old.yaml", &config_map(ns, "old", "green"));
    repo.push("The shop");
    let more = json!({"commonMetadata": {"annotations": {"owner": "team-shop"}}});
    flux.apply("apps", &repo, &more);
    world.make_admin(ns);
    scale_is_refused(&world, ns, "web", "Kustomization flux-system/apps");
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    repo.push("Green");
    flux.apply("apps", &repo, &more);
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "green", "Flux deploys under the guard");
    wait_available(&world, ns, "web");

    // The second: gitward takes over.
    let before = identities(&world, ns);
    let suspend = ["patch", "kustomization", "apps", "-n", "flux-system", "--field-manager=flux", "--type=merge", "-p"];
    let suspend_to = |value: bool| json!({"spec": {"suspend": value}}).to_string();
    world.cluster.kubectl("admin", &[&suspend[..], &[&suspend_to(true)]].concat()).ok();
    upgrade(&world, &["guardPolicy.callers.tools={kustomize-controller}"]);
    take_over(&world, ns, ns, &repo, &json!({}), &before);
    for object in ["deployment/web", "service/web", "configmap/settings", "namespace/moved"] {
        is_clean_of(&world, ns, object, &["kustomize.toolkit.fluxcd.io", "kustomize-controller", "team-shop"]);
    }
    assert_eq!(world.field("namespace/moved", ns, "/metadata/labels/gitward.dev~1guarded"), "true");

    // The way back is open until here: Flux takes over again, and gitward after it.
    world.apply("admin", &sync(ns, &repo.file_url(), json!({"suspend": true})));
    world.wait_reason(ns, "Suspended");
    upgrade(&world, &["guardPolicy.owner.preset=Flux"]);
    repo.write("settings.yaml", &config_map(ns, "settings", "blue"));
    repo.push("Blue");
    world.cluster.kubectl("admin", &[&suspend[..], &[&suspend_to(false)]].concat()).ok();
    flux.apply("apps", &repo, &more);
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "blue");
    world.cluster.kubectl("admin", &[&suspend[..], &[&suspend_to(true)]].concat()).ok();
    upgrade(&world, &["guardPolicy.callers.tools={kustomize-controller}"]);
    take_over(&world, ns, ns, &repo, &json!({}), &before);

    // The Kustomization goes, suspended as it is, and leaves what it applied.
    world.cluster.kubectl("admin", &["delete", "kustomization", "apps", "-n", "flux-system", "--timeout=60s"]).ok();
    assert_eq!(identities(&world, ns), before);
    scale_is_refused(&world, ns, "web", "GitSync gitward-system/moved");
    prunes(&world, ns, ns, &repo, "old.yaml");
}

/// A chart whose selector has the release's name, as those of most charts have.
fn chart(repo: &Repo) {
    repo.write("chart/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n");
    let labels = "{app.kubernetes.io/instance: {{ .Release.Name }}}";
    let web = running("NS", "web").replace("  namespace: NS\n", "").replace("{app: web}", labels);
    repo.write("chart/templates/web.yaml", &web);
    repo.write("chart/templates/old.yaml", &config_map("NS", "old", "green").replace("  namespace: NS\n", ""));
}

#[test]
fn a_helm_release_of_flux_is_taken_over_where_it_is() {
    let ns = "released";
    let world = World::start_with(&["guardPolicy.callers.tools={helm-controller}"]);
    let _node = world.cluster.simulate_node();
    world.namespace(ns);
    let repo = world.git.repo(ns);
    chart(&repo);
    repo.push("The chart");
    // The real helm, in the way of Helm 3, which helm-controller has built in. Helm takes its manager's name from its own.
    let controller = operator(world.cluster, "flux-system", "helm-controller");
    let helm = world.cluster.dir().join("helm-controller");
    std::os::unix::fs::symlink(Tools::get().path("helm"), &helm).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(&helm);
        command.env("KUBECONFIG", world.cluster.kubeconfig(&controller)).env("HOME", world.cluster.dir());
        Output::of(command.args(args).args(["-n", ns]), None)
    };
    let path = repo.work().join("chart").display().to_string();
    run(&["install", "shop", &path, "--server-side=false"]).ok();
    for object in ["deployment/web", "configmap/old"] {
        let labels = ["helm.toolkit.fluxcd.io/name=shop", "helm.toolkit.fluxcd.io/namespace=released"];
        let label = [&["label", object, "-n", ns, "--field-manager=helm-controller"], &labels[..]].concat();
        world.cluster.kubectl(&controller, &label).ok();
    }
    wait_available(&world, ns, "web");

    // Same name, same namespace: the selector and the names stay.
    let before = identities(&world, ns);
    let helm = json!({"source": {"url": repo.file_url(), "interval": "1s", "path": "chart"},
        "render": {"helm": {"releaseName": "shop"}}, "targetNamespace": ns});
    take_over(&world, "shop", ns, &repo, &helm, &before);
    for object in ["deployment/web", "configmap/old"] {
        is_clean_of(&world, ns, object, &["meta.helm.sh", "helm.toolkit.fluxcd.io", "helm-controller"]);
    }
    // The record of the release is left, and of no use to whoever finds it: Helm sees that the objects are not its any more.
    let uninstall = world.cluster.helm(&["uninstall", "shop", "-n", ns]);
    assert!(uninstall.ok().contains("not owned by this release"), "{}", uninstall.stdout);
    assert_eq!(world.field("deployment/web", ns, "/metadata/uid"), before["\"Deployment\" \"web\""][0]);
    scale_is_refused(&world, ns, "web", "GitSync gitward-system/shop");
    prunes(&world, "shop", ns, &repo, "chart/templates/old.yaml");
}

#[test]
fn what_argo_cd_applied_is_taken_over_where_it_is() {
    let ns = "left";
    let world = World::start_with(&["guardPolicy.owner.preset=ArgoCd"]);
    let _node = world.cluster.simulate_node();
    world.namespace(ns);
    world.cluster.kubectl("admin", &["label", "namespace", ns, "gitward.dev/guarded=true"]).ok();
    let argo = operator(world.cluster, "argocd", "argocd-application-controller");
    let repo = world.git.repo(ns);
    // What git declares of the instance label stays, whoever else set it.
    let api =
        running(ns, "api").replacen("  name: api\n", "  name: api\n  labels: {app.kubernetes.io/instance: shop}\n", 1);
    repo.write("web.yaml", &running(ns, "web"));
    repo.write("api.yaml", &api);
    repo.write("old.yaml", &config_map(ns, "old", "green"));
    repo.push("The shop");
    let track = |file: &str, kind: &str, name: &str| {
        let mut object: Value = serde_saphyr::from_str(&repo.read(file)).unwrap();
        object["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = format!("shop:{kind}:{ns}/{name}").into();
        // From a time when git declared it: Argo CD does not take off what it does not know any more.
        object["metadata"]["annotations"]["owner"] = "team-shop".into();
        object
    };
    let manager = "--field-manager=argocd-controller";
    // The default is a client-side apply, with ServerSideApply=true it is one of the server.
    for object in [track("web.yaml", "apps/Deployment", "web"), track("old.yaml", "ConfigMap", "old")] {
        world.cluster.kubectl_in(&argo, &["apply", manager, "-f", "-"], Some(&object.to_string())).ok();
    }
    let mut labelled = track("api.yaml", "apps/Deployment", "api");
    labelled["metadata"]["labels"] = json!({"app.kubernetes.io/instance": "shop"});
    let apply = ["apply", "--server-side", "--force-conflicts", manager, "-f", "-"];
    world.cluster.kubectl_in(&argo, &apply, Some(&labelled.to_string())).ok();
    ["web", "api"].iter().for_each(|name| wait_available(&world, ns, name));
    scale_is_refused(&world, ns, "web", "Application shop");

    let before = identities(&world, ns);
    upgrade(&world, &["guardPolicy.callers.tools={argocd-controller}"]);
    take_over(&world, ns, ns, &repo, &json!({}), &before);
    for object in ["deployment/web", "deployment/api", "configmap/old"] {
        let words = ["argocd.argoproj.io", "argocd-controller", "team-shop", "last-applied-configuration"];
        is_clean_of(&world, ns, object, &words);
    }
    assert_eq!(world.field("deployment/api", ns, "/metadata/labels/app.kubernetes.io~1instance"), "shop");
    scale_is_refused(&world, ns, "web", "GitSync gitward-system/left");
    prunes(&world, ns, ns, &repo, "old.yaml");
}
