//! The guard's certificate where somebody else issues it: the administrator, or cert-manager.

use std::path::Path;

use gitward_test_cluster::{ControlPlane, Output, Process, Tools, eventually, workspace};
use serde_json::{Value, json};

use crate::pki::{self, FUTURE, GUARD, NOW, PAST, Pair, stored, wait_trusted};
use crate::support::{PATIENCE, World};

const OURS: &str = "our-tls";

fn namespace(cluster: &ControlPlane, name: &str) {
    cluster.kubectl("admin", &["create", "namespace", name]).ok();
}

fn edit(world: &World, ns: &str) -> Output {
    world.cluster.kubectl("dev", &["patch", "configmap", "settings", "-n", ns, "-p", r#"{"data":{"color":"red"}}"#])
}

fn wait_refused(world: &World, ns: &str, after: &str) {
    eventually(&format!("people are refused with a reason, after {after}"), PATIENCE, || {
        let output = edit(world, ns);
        if output.refused().contains("is pinned to git") { Ok(()) } else { Err(output.stderr) }
    });
}

#[test]
fn a_certificate_that_the_administrator_gives_is_shown_and_what_is_wrong_with_it_is_told() {
    let (ns, cluster) = ("provided", ControlPlane::for_tests());
    namespace(cluster, "gitward-system");
    let ca = pki::authority("Our CA", NOW);
    let good = ca.sign(&["127.0.0.1"], NOW);
    pki::store(cluster, "admin", OURS, &good).ok();
    let bundle = format!("certificates.provided.caBundle={}", ca.certificate);
    let secret = format!("certificates.provided.secretName={OURS}");
    let world = World::on(cluster, &["certificates.source=provided", &secret, &bundle]);
    world.declare_settings(ns);
    wait_trusted(&world, "the installation");
    wait_refused(&world, ns, "the installation");
    assert!(stored(&world, GUARD).is_none() && stored(&world, pki::AUTHORITY).is_none(), "it issues nothing");

    let other = pki::authority("Another CA", NOW);
    for (planted, told) in [
        (ca.sign(&["127.0.0.1"], PAST), "it has expired at"),
        (ca.sign(&["127.0.0.1"], FUTURE), "it is not valid before"),
        (
            ca.sign(&["guard.example.com"], NOW),
            "it is not valid for 127.0.0.1, by which the API server calls the guard",
        ),
        (other.sign(&["127.0.0.1"], NOW), "no authority that the API server shall trust has signed it"),
        (
            Pair { key: other.sign(&["127.0.0.1"], NOW).key, ..good.clone() },
            "the key does not belong to the certificate",
        ),
    ] {
        pki::store(cluster, "admin", OURS, &planted).ok();
        wait_told(&world, told);
    }
    cluster.kubectl("admin", &["delete", "secret", OURS, "-n", "gitward-system"]).ok();
    wait_told(&world, "there is no Secret");
    assert!(stored(&world, OURS).is_none(), "it issues nothing");

    let renewed = ca.sign(&["127.0.0.1"], (-3600, 3600));
    pki::store(cluster, "admin", OURS, &renewed).ok();
    eventually("the guard shows the renewed one", PATIENCE, || {
        let metrics = world.gitward.guard_metrics();
        let expected = format!("{{certificate=\"guard\"}} {}", pki::until(&renewed.certificate));
        if metrics.contains(&expected) { Ok(()) } else { Err(metrics) }
    });
    wait_trusted(&world, "a renewal");
    wait_refused(&world, ns, "a renewal");
}

/// Waits until the reconciler tells something in its log, and at the Secret.
fn wait_told(world: &World, told: &str) {
    eventually(&format!("the reconciler tells: {told}"), PATIENCE, || {
        let log = world.gitward.reconciler_log();
        let line = log.lines().find(|line| line.contains("is not as it should be") && line.contains(told));
        let line = line.ok_or_else(|| log.clone())?;
        assert!(line.contains("Put a certificate for 127.0.0.1 and its key into it"), "it says what to do: {line}");
        let events = world.cluster.get(&["events", "-n", "gitward-system"]).unwrap_or_default();
        let is_it = |event: &&Value| {
            event["involvedObject"]["name"] == OURS && event["message"].as_str().is_some_and(|text| text.contains(told))
        };
        events["items"].as_array().into_iter().flatten().find(is_it).map(drop).ok_or(events.to_string())
    });
}

/// The namespace and accounts of cert-manager, each with the token of a Pod of its own.
fn cert_manager(cluster: &ControlPlane) {
    namespace(cluster, "cert-manager");
    for account in ["cert-manager", "cert-manager-cainjector"] {
        let ns = ["-n", "cert-manager"];
        let admin = |args: &[&str]| cluster.kubectl("admin", &[args, &ns].concat()).ok().to_owned();
        admin(&["create", "serviceaccount", account]);
        let of = format!("--serviceaccount=cert-manager:{account}");
        admin(&["create", "clusterrolebinding", account, "--clusterrole=cluster-admin", &of]);
        let spec = json!({"spec": {"serviceAccountName": account}}).to_string();
        admin(&["run", account, "--image=x:1", "--overrides", &spec]);
        let bound = format!("--bound-object-name={account}");
        let token = admin(&["create", "token", account, "--bound-object-kind=Pod", &bound]);
        let file = cluster.dir().join(format!("{account}.token"));
        std::fs::write(&file, token).unwrap();
        cluster.kubeconfig_with_token_file(account, &file);
    }
}

/// What cainjector does: the authority into every webhook.
fn inject(world: &World, user: &str, ca: &str, impersonate: &[&str]) -> Output {
    let webhook = world.cluster.get(&["validatingwebhookconfiguration", "gitward"]).unwrap();
    let count = webhook["webhooks"].as_array().map_or(0, Vec::len);
    let file = world.cluster.dir().join("injected.crt");
    std::fs::write(&file, ca).unwrap();
    let ca = Output::of(std::process::Command::new("base64").arg("-w0").arg(&file), None).ok().to_owned();
    let add = |n| json!({"op": "add", "path": format!("/webhooks/{n}/clientConfig/caBundle"), "value": ca});
    let patch = Value::Array((0..count).map(add).collect()).to_string();
    let args = ["patch", "validatingwebhookconfiguration", "gitward", "--type=json", "-p", &patch];
    world.cluster.kubectl(user, &[&args[..], impersonate].concat())
}

/// cert-manager's writes are made in its name here; `make test-cert-manager` runs the real one.
#[test]
fn what_cert_manager_writes_is_left_to_it_and_everything_else_is_put_back() {
    let (ns, cluster) = ("injected", ControlPlane::for_tests());
    cert_manager(cluster);
    namespace(cluster, "gitward-system");
    let ca = pki::authority("cert-manager's CA", NOW);
    pki::store(cluster, "admin", GUARD, &ca.sign(&["127.0.0.1"], NOW)).ok();
    let world = World::on(cluster, &["certificates.source=cert-manager"]);
    world.declare_settings(ns);
    assert_eq!(pki::trusted(cluster), "", "nothing is trusted before cainjector has said what");
    let as_injector = "--as=system:serviceaccount:cert-manager:cert-manager-cainjector";
    eventually("the admission policies are in force", PATIENCE, || {
        cluster.kubectl("admin", &["create", "clusterrolebinding", "ops", "--clusterrole=cluster-admin", "--user=ops"]);
        let output = inject(&world, "ops", &ca.certificate, &[]);
        if output.status == 0 { Err(output.stdout) } else { Ok(()) }
    });
    let borrowed = inject(&world, "ops", &ca.certificate, &[as_injector]);
    assert!(borrowed.refused().contains("This is a part of gitward"), "a name is not enough: {}", borrowed.stderr);
    inject(&world, "cert-manager-cainjector", &ca.certificate, &[]).ok();
    wait_trusted(&world, "the injection");
    wait_refused(&world, ns, "the injection");
    let injected = pki::trusted(cluster);

    // Its renewal, under the same authority.
    let before = stored(&world, GUARD).unwrap();
    let renewed = ca.sign(&["127.0.0.1"], NOW);
    pki::store(cluster, "cert-manager", GUARD, &renewed).ok();
    wait_trusted(&world, "a renewal");
    assert_ne!(before.certificate, stored(&world, GUARD).unwrap().certificate);
    let foreign = pki::store(cluster, "cert-manager", "mine", &renewed);
    assert!(foreign.refused().contains("is gitward's own"), "it writes its own Secrets only: {}", foreign.stderr);

    // Everything but caBundle is put back, and caBundle stays.
    let weaker = r#"[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]"#;
    let args = ["patch", "validatingwebhookconfiguration", "gitward", "--type=json", "-p", weaker];
    cluster.kubectl("cert-manager-cainjector", &args).ok();
    eventually("the policy is put back", PATIENCE, || {
        let webhook = cluster.get(&["validatingwebhookconfiguration", "gitward"]).unwrap_or_default();
        if webhook["webhooks"][0]["failurePolicy"] == "Fail" { Ok(()) } else { Err(webhook.to_string()) }
    });
    assert_eq!(pki::trusted(cluster), injected);
    wait_refused(&world, ns, "a change of the webhooks");
}

/// Applies cert-manager's own manifests of gitward, made for the address of this place.
fn apply_profile(cluster: &ControlPlane) {
    let profile = std::fs::read_to_string(workspace().join("certs/cert-manager/guard.yaml")).unwrap();
    let names = "dnsNames: [gitward-guard.gitward-system.svc]";
    assert!(profile.contains(names), "{profile}");
    let profile = profile.replace(names, "ipAddresses: [127.0.0.1]");
    cluster.kubectl_in("admin", &["apply", "-f", "-"], Some(&profile)).ok();
}

fn start_cert_manager(cluster: &ControlPlane, tools: &Path) -> Process {
    let mut command = std::process::Command::new(tools.join("certmanager"));
    for (flag, account) in
        [("--controller-kubeconfig", "cert-manager"), ("--cainjector-kubeconfig", "cert-manager-cainjector")]
    {
        command.arg(flag).arg(cluster.kubeconfig(account));
    }
    Process::start(cluster.dir(), "certmanager", &command)
}

#[test]
#[ignore = "make test-cert-manager: it builds cert-manager, which takes minutes"]
fn the_real_cert_manager_issues_renews_and_injects() {
    let (ns, cluster) = ("issued", ControlPlane::for_tests());
    let tools = Tools::get().path("certmanager").parent().unwrap().to_owned();
    cluster.kubectl("admin", &["apply", "--server-side", "-f", tools.join("certmanager.yaml").to_str().unwrap()]).ok();
    cert_manager(cluster);
    namespace(cluster, "gitward-system");
    let certmanager = start_cert_manager(cluster, &tools);
    eventually("the profile is accepted", PATIENCE, || {
        let output = cluster.kubectl("admin", &["get", "certificates.cert-manager.io", "-A"]);
        if output.status == 0 { Ok(()) } else { Err(output.stderr + &certmanager.log_tail()) }
    });
    apply_profile(cluster);
    let world = World::on(cluster, &["certificates.source=cert-manager"]);
    world.declare_settings(ns);
    wait_trusted(&world, "the installation");
    wait_refused(&world, ns, "the installation");

    // The Secret is lost: cert-manager issues another, past the policies that protect gitward's namespace.
    let before = stored(&world, GUARD).unwrap();
    cluster.kubectl("admin", &["delete", "secret", GUARD, "-n", "gitward-system"]).ok();
    eventually("cert-manager has issued another", PATIENCE, || {
        let found = stored(&world, GUARD).ok_or_else(|| certmanager.log_tail())?;
        if found.certificate == before.certificate { Err(certmanager.log_tail()) } else { Ok(()) }
    });
    wait_trusted(&world, "a renewal");
    // The configuration is lost: the reconciler puts it back, and cainjector what to trust.
    cluster.kubectl("admin", &["delete", "validatingwebhookconfiguration", "gitward"]).ok();
    wait_trusted(&world, "a lost configuration");
    wait_refused(&world, ns, "a lost configuration");
}
