//! What the chart renders with which values, judged by the API server.

use std::sync::OnceLock;

use gitward_test_cluster::{ControlPlane, Gitward};

use crate::flow::requests_of_gitward_come_first;
use crate::shop::{SYSTEM, Shop, binary, chart, module, release};

/// Every value that makes the chart render something else, away from its default.
const OPTIONS: [&[&str]; 16] = [
    &["image.tag=other", "image.pullPolicy=Always", "imagePullSecrets[0].name=pull"],
    &["logLevel=debug", "webhook.timeoutSeconds=10"],
    &["guardPolicy.exclusive.namespaces={shut}", "guardPolicy.callers.system={acme:controller}"],
    &["guardPolicy.callers.operators={ops/operator}", "guardPolicy.callers.presets={Keda}"],
    &["installers.users={ops}", "installers.serviceAccounts={ci/installer}"],
    &["guard.drainSeconds=0", "guard.resources.limits.cpu=1"],
    &["guard.clientCaConfigMap=client-ca"],
    &["guard.extraLookups[0].apiGroups={a.example.com}", "guard.extraLookups[0].resources={things}"],
    &["guard.priorityClassName=", "reconciler.priorityClassName=system-node-critical"],
    &["guard.nodeSelector.pool=system", "reconciler.nodeSelector.pool=system", "guard.podLabels.team=platform"],
    &[
        "guard.tolerations[0].operator=Exists",
        "reconciler.tolerations[0].operator=Exists",
        "reconciler.podLabels.team=platform",
    ],
    &["guard.podAnnotations.note=a", "reconciler.podAnnotations.note=a", "reconciler.cacheSize=5Gi"],
    &["metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.release=prometheus"],
    &["metrics.rules.enabled=true", "metrics.rules.labels.release=prometheus"],
    &["metrics.dashboard.enabled=true"],
    &["networkPolicy.enabled=true", "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring"],
];
/// Beside the others, these would keep the shared gitward from working.
const APART: [&[&str]; 7] = [
    &["guard.replicas=1"],
    &["guard.hostNetwork=true"],
    &["guardPolicy=null"],
    &["certificates.source=cert-manager"],
    &["certificates.source=provided"],
    &["guardPolicy.owner.preset=Flux"],
    &["guardPolicy.owner.preset=ArgoCd"],
];
const AFFINITY: &str = r#"{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1,"preference":{"matchExpressions":[{"key":"a","operator":"Exists"}]}}]}}"#;

/// One gitward with every optional value on, for the tests that only look.
pub(crate) fn with_everything() -> &'static Shop {
    static SHARED: OnceLock<Shop> = OnceLock::new();
    SHARED.get_or_init(|| {
        let cluster = ControlPlane::for_tests();
        for definition in definitions_of_prometheus() {
            cluster.kubectl("admin", &["apply", "--server-side", "-f", &definition]).ok();
        }
        cluster.kubectl("admin", &["create", "namespace", "shut"]).ok();
        let without = ["guard.clientCaConfigMap=client-ca", "guard.drainSeconds=0", "image.tag=other"];
        let options = OPTIONS.concat();
        let options = options.iter().filter(|option| !without.contains(option));
        let values: Vec<String> = options.flat_map(|option| ["--set".to_owned(), (*option).to_owned()]).collect();
        let gitward = Gitward::install_by(cluster, binary(), |ports| {
            let (chart, all) = (chart(), [ports, &values].concat());
            let mut args = release("install", &chart, &all);
            args.push("--create-namespace");
            cluster.helm(&args).ok();
        });
        Shop::stock(cluster, gitward)
    })
}

/// From the module of the operator.
fn definitions_of_prometheus() -> Vec<String> {
    let module = module("tests/install/prometheus-operator", "github.com/prometheus-operator/prometheus-operator");
    ["servicemonitors", "prometheusrules"]
        .map(|kind| format!("{module}/example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"))
        .into()
}

/// The API server takes what is rendered, with each option alone and with all of them. gitward does not run there: what it is
/// given has to be whole by itself.
#[test]
fn the_api_server_takes_every_rendering() {
    let cluster = ControlPlane::for_tests();
    let kubectl = |args: &[&str], input: Option<&str>| cluster.kubectl_in("admin", args, input);
    for definition in definitions_of_prometheus() {
        kubectl(&["apply", "--server-side", "-f", &definition], None).ok();
    }
    kubectl(&["create", "namespace", SYSTEM], None).ok();
    let definitions = format!("{}/crds", chart());
    kubectl(&["apply", "--server-side", "-f", &definitions], None).ok();
    kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], None).ok();
    let affinity = [format!("guard.affinity={AFFINITY}"), format!("reconciler.affinity={AFFINITY}")];
    let affinity = ["--set-json", &affinity[0], "--set-json", &affinity[1]].map(str::to_owned);
    let all: Vec<&str> = [OPTIONS.concat().as_slice(), APART[1]].concat();
    let of = |options: &[&str]| options.iter().flat_map(|option| ["--set", option]).map(str::to_owned).collect();
    let single = OPTIONS.iter().chain(&APART).copied().chain([&[][..], &all]).map(of);
    let combinations: Vec<Vec<String>> = single.chain([affinity.into()]).collect();
    for values in combinations {
        let (chart, values) = (chart(), values);
        let rendered = cluster.helm(&release("template", &chart, &values));
        let taken = kubectl(&["apply", "--server-side", "--dry-run=server", "-f", "-"], Some(rendered.ok()));
        // A warning is a field that is not known, or is there twice.
        assert!(taken.status == 0 && !taken.stderr.contains("Warning"), "{values:?}: {}", taken.stderr);
    }
}

/// Who bears a token of an account that the values trust is taken for that account.
#[test]
fn no_token_is_given_of_an_account_that_the_values_trust() {
    let cluster = &with_everything().cluster;
    let admin = |args: &[&str]| cluster.kubectl("admin", args).ok().to_owned();
    admin(&["create", "clusterrolebinding", "minter", "--clusterrole=cluster-admin", "--user=minter"]);
    for (namespace, account, trusted) in [
        ("ops", "operator", true),
        ("keda", "keda-operator", true),
        ("ci", "installer", true),
        ("ops", "other", false),
        ("ci", "operator", false),
    ] {
        // Some are there already.
        cluster.kubectl("admin", &["create", "namespace", namespace]);
        admin(&["create", "serviceaccount", account, "-n", namespace]);
        let token = ["create", "token", account, "-n", namespace];
        let minted = cluster.kubectl("admin", &[&token[..], &["--as=minter"]].concat());
        assert_eq!(minted.status != 0, trusted, "{namespace}/{account}: {}", minted.stderr);
        assert_eq!(minted.stderr.contains("The guard trusts this account"), trusted, "{}", minted.stderr);
        admin(&token);
    }
}

#[test]
fn values_that_cannot_work_are_refused_with_their_place() {
    for (value, place) in [
        ("guard.replicas=0", "/guard/replicas"),
        ("guard.port=443", "/guard/port"),
        ("guard.observePort=8443", "guard.port and guard.observePort"),
        ("webhook.timeoutSeconds=31", "/webhook/timeoutSeconds"),
        ("webhook.url=http://guard", "/webhook/url"),
        ("guard.replica=3", "/guard"),
        ("metrics.serviceMonitor.interval=often", "/metrics/serviceMonitor/interval"),
        ("guard.podLabels.app\\.kubernetes\\.io/name=mine", "/guard/podLabels"),
        ("networkPolicy.apiServerPorts={}", "/networkPolicy/apiServerPorts/0"),
        ("installers.serviceAccounts={installer}", "/installers/serviceAccounts"),
    ] {
        let chart = chart();
        let output = with_everything().cluster.helm(&["template", "gitward", &chart, "--set", value]);
        assert!(output.refused().contains(place), "{value}: {}", output.stderr);
    }
}

/// What the running guard has, since the control plane's own admission has judged its Pods.
#[test]
fn the_pods_are_ordered_as_critical_and_hold_nothing_they_do_not_need() {
    let shop = with_everything();
    let pods = shop.cluster.get(&["pods", "-n", SYSTEM]).unwrap();
    let pods = pods["items"].as_array().unwrap();
    assert!(pods.len() >= 2);
    for pod in pods {
        let spec = &pod["spec"];
        let volumes = spec["volumes"].as_array().unwrap();
        let tokens = volumes.iter().filter(|volume| volume["projected"]["sources"].is_array()).count();
        assert_eq!(tokens, 1, "one token, that of the process");
        let container = &spec["containers"][0]["securityContext"];
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["capabilities"]["drop"][0], "ALL");
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    }
    let critical = shop.cluster.get(&["resourcequota/gitward-critical-pods", "-n", SYSTEM]).unwrap();
    let classes = critical.pointer("/spec/scopeSelector/matchExpressions/0/values").unwrap();
    assert_eq!(*classes, serde_json::json!(["system-node-critical"]), "the guard was given none here");
    // A person's Pod under the guard's account gets no token of it, unless it asks.
    for account in ["gitward-guard", "gitward-reconciler"] {
        let account = shop.cluster.get(&["serviceaccount", account, "-n", SYSTEM]).unwrap();
        assert_eq!(account["automountServiceAccountToken"], false);
    }
}

/// Nothing enforces NetworkPolicies on this control plane, which has no network: that they select our Pods and name
/// ports that these have is all that can be seen.
#[test]
fn network_policies_select_the_pods_and_ports_of_gitward() {
    let shop = with_everything();
    for (name, ingress) in [("gitward-guard", &["https", "observe"][..]), ("gitward-reconciler", &["observe"])] {
        let policy = shop.cluster.get(&["networkpolicy", name, "-n", SYSTEM]).unwrap();
        let selected = &policy["spec"]["podSelector"]["matchLabels"];
        let selector: Vec<String> = selected
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()))
            .collect();
        let pods = shop.cluster.get(&["pods", "-n", SYSTEM, "-l", &selector.join(",")]).unwrap();
        let ports = pods.pointer("/items/0/spec/containers/0/ports").unwrap().as_array().unwrap();
        let named: Vec<&str> = policy["spec"]["ingress"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| rule["ports"][0]["port"].as_str().unwrap())
            .collect();
        assert_eq!(named, ingress);
        assert!(named.iter().all(|port| ports.iter().any(|of| of["name"] == **port)), "{ports:?}");
    }
}

/// The same Services that the ServiceMonitor selects lead to the ports of both processes.
#[test]
fn the_service_monitor_finds_both_processes() {
    let shop = with_everything();
    let monitor = shop.cluster.get(&["servicemonitor/gitward", "-n", SYSTEM]).unwrap();
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let labels = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let selector: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect();
    let services = shop.cluster.get(&["services", "-n", SYSTEM, "-l", &selector.join(",")]).unwrap();
    let job = monitor["spec"]["jobLabel"].as_str().unwrap();
    let mut jobs = Vec::new();
    for service in services["items"].as_array().unwrap() {
        assert_eq!(service["spec"]["ports"][0]["name"], monitor["spec"]["endpoints"][0]["port"]);
        let pods = format!(
            "app.kubernetes.io/name={}",
            service["spec"]["selector"]["app.kubernetes.io/name"].as_str().unwrap()
        );
        let pods = shop.cluster.get(&["pods", "-n", SYSTEM, "-l", &pods]).unwrap();
        assert!(!pods["items"].as_array().unwrap().is_empty(), "{service}");
        jobs.push(service["metadata"]["labels"][job].as_str().unwrap().to_owned());
    }
    jobs.sort();
    assert_eq!(jobs, ["gitward-guard", "gitward-reconciler"]);
}

#[test]
fn the_api_server_serves_gitward_before_others() {
    requests_of_gitward_come_first(with_everything());
}

/// AKS would rewrite the selectors; who takes the label off, or changes them, sees them put back.
#[test]
fn the_label_that_keeps_aks_away_is_put_back() {
    let shop = with_everything();
    let label = "admissions.enforcer/disabled";
    let configuration = ["validatingwebhookconfiguration", "gitward"];
    shop.cluster.kubectl("admin", &["label", configuration[0], configuration[1], &format!("{label}-")]).ok();
    gitward_test_cluster::eventually("the label is back", crate::shop::PATIENCE, || {
        let live = shop.cluster.get(&configuration).unwrap_or_default();
        if live["metadata"]["labels"][label] == "true" { Ok(()) } else { Err(live["metadata"].to_string()) }
    });
}
