//! Teams that keep their GitOps operator: the guard holds people to what Flux or Argo CD declares. Their objects are
//! applied as those operators apply them, under their accounts with tokens of their pods.

use gitward_test_cluster::{Output, eventually, operator};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, deployment};

fn refused(output: &Output, expected: &str) {
    assert!(output.refused().contains(expected), "{}: {}", output.command, output.stderr);
}

fn declared(ns: &str, name: &str, labels: Value, annotations: Value) -> String {
    let mut object: Value = serde_saphyr::from_str(&deployment(ns, name, 3)).unwrap();
    object["metadata"]["labels"] = labels;
    object["metadata"]["annotations"] = annotations;
    object.to_string()
}

/// People and CI may change nothing of it, an autoscaler what is left open, the operator everything.
fn held(world: &World, ns: &str, name: &str, by: &str, apply: impl Fn(&str) -> Output) {
    let target = format!("deployment/{name}");
    let dev = |args: &[&str]| world.cluster.kubectl("dev", &[args, &["-n", ns]].concat());
    let pinned = format!("Deployment {ns}/{name} is pinned to git ({by}");
    refused(&dev(&["label", &target, "team=mine"]), &pinned);
    refused(&dev(&["set", "image", &target, &format!("{name}=evil:1")]), &pinned);
    refused(&dev(&["delete", &target]), &pinned);
    refused(&dev(&["scale", &target, "--replicas=5"]), &pinned);
    let kcm = ["--as=system:kube-controller-manager", "--as-group=system:masters"];
    let scale = ["scale", &target, "--replicas=5", "-n", ns];
    refused(&world.cluster.kubectl("admin", &[&scale[..], &kcm].concat()), &pinned);
    let pods = eventually("it has Pods", PATIENCE, || {
        let pods = world.cluster.get(&["pods", "-n", ns, "-l", &format!("app={name}")]).unwrap_or_default();
        pods["items"].get(0).cloned().ok_or_else(|| "none".to_owned())
    });
    let pod = pods["metadata"]["name"].as_str().unwrap();
    refused(&dev(&["delete", "pod", pod, "--wait=false"]), &format!("belongs to Deployment {ns}/{name}"));
    apply("example.com/next:2").ok();
    let image = world.field(&target, ns, "/spec/template/spec/containers/0/image");
    assert_eq!(image, "example.com/next:2", "the operator deploys");
}

fn start(preset: &str, ns: &str) -> World {
    let world = World::start_with(&[&format!("guardPolicy.owner.preset={preset}")]);
    world.namespace(ns);
    // With another operator it is git that says which namespaces are guarded.
    world.cluster.kubectl("admin", &["label", "namespace", ns, "gitward.dev/guarded=true"]).ok();
    world
}

#[test]
fn what_flux_declares_is_changed_by_flux_alone() {
    let ns = "fluxed";
    let world = start("Flux", ns);
    let labels =
        json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    let flux = operator(world.cluster, "flux-system", "kustomize-controller");
    let apply = |image: &str| {
        let object = declared(ns, "web", labels.clone(), json!({})).replace("example.com/web:1", image);
        let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller", "-f", "-"];
        world.cluster.kubectl_in(&flux, &args, Some(&object))
    };
    apply("example.com/web:1").ok();
    held(&world, ns, "web", "Kustomization flux-system/apps", apply);

    // helm-controller with Helm 3 creates and updates.
    let helm = operator(world.cluster, "flux-system", "helm-controller");
    let labels = json!({"helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "apps"});
    let object = declared(ns, "shop", labels, json!({"meta.helm.sh/release-name": "shop"}));
    world.cluster.kubectl_in(&helm, &["create", "--field-manager=helm-controller", "-f", "-"], Some(&object)).ok();
    let label = ["label", "deployment/shop", "team=mine", "-n", ns];
    refused(&world.cluster.kubectl("dev", &label), "is pinned to git (HelmRelease apps/shop");
    let forged = declared(ns, "forged", json!({"kustomize.toolkit.fluxcd.io/name": "apps"}), json!({}));
    refused(&world.cluster.kubectl_in("dev", &["create", "-f", "-"], Some(&forged)), "only the reconciler may mark");
}

#[test]
fn what_argo_cd_declares_is_changed_by_argo_cd_alone() {
    let ns = "argued";
    let world = start("ArgoCd", ns);
    let argo = operator(world.cluster, "argocd", "argocd-application-controller");
    // The default since Argo CD 3: client-side apply, tracked by annotation.
    let tracked = json!({"argocd.argoproj.io/tracking-id": format!("shop:apps/Deployment:{ns}/web")});
    let apply = |image: &str| {
        let object = declared(ns, "web", json!({}), tracked.clone()).replace("example.com/web:1", image);
        world.cluster.kubectl_in(&argo, &["apply", "--field-manager=argocd-controller", "-f", "-"], Some(&object))
    };
    apply("example.com/web:1").ok();
    held(&world, ns, "web", "Application shop", apply);

    // With ServerSideApply=true, tracked by label.
    let object = declared(ns, "api", json!({"app.kubernetes.io/instance": "shop"}), json!({}));
    let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-"];
    world.cluster.kubectl_in(&argo, &args, Some(&object)).ok();
    let label = ["label", "deployment/api", "team=mine", "-n", ns];
    refused(&world.cluster.kubectl("dev", &label), "is pinned to git (Application shop");
    // What only wears the label, as any Helm release does, is nobody's.
    let plain = declared(ns, "plain", json!({"app.kubernetes.io/instance": "mine"}), json!({}));
    world.cluster.kubectl_in("admin", &["create", "-f", "-"], Some(&plain)).ok();
    world.cluster.kubectl("dev", &["label", "deployment/plain", "team=mine", "-n", ns]).ok();
}
