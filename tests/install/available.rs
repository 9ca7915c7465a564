//! What an administrator relies on where the chart is installed as it comes, and where the guard has another port or the node's
//! network. Only what the manifests say is looked at: without nodes nothing is scheduled, evicted or probed here.

use std::process::Command;

use gitward_test_cluster::{Output, Tools};
use serde_json::{Value, json};

use crate::shop::{chart, release};

pub(crate) const GUARD: &str = "gitward-guard";
pub(crate) const RECONCILER: &str = "gitward-reconciler";

/// The objects that the chart renders.
pub(crate) struct Rendered(Vec<Value>);

impl Rendered {
    pub(crate) fn with(values: &[&str]) -> Rendered {
        let chart = chart();
        let values: Vec<String> = values.iter().flat_map(|value| ["--set", value]).map(str::to_owned).collect();
        let mut helm = Command::new(Tools::get().path("helm"));
        let rendered = Output::of(helm.args(release("template", &chart, &values)), None);
        let documents: Vec<Value> = serde_saphyr::from_multiple(rendered.ok()).unwrap();
        Rendered(documents.into_iter().filter(|document| document["kind"].is_string()).collect())
    }

    pub(crate) fn find(&self, kind: &str, name: &str) -> &Value {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        self.0.iter().find(is_it).unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// The Pod of a process, as its Deployment makes it.
    fn pod(&self, process: &str) -> &Value {
        &self.find("Deployment", process)["spec"]["template"]
    }

    fn container(&self, process: &str) -> &Value {
        &self.pod(process)["spec"]["containers"][0]
    }

    pub(crate) fn has_argument(&self, process: &str, argument: &str) -> bool {
        let given = self.container(process)["args"].as_array().unwrap();
        given.iter().any(|given| given.as_str() == Some(argument))
    }

    /// All Pods, each with the name of what makes it.
    fn pods(&self) -> Vec<(&str, &Value)> {
        let pods = self.0.iter().filter_map(|object| match object["kind"].as_str()? {
            "Pod" => Some((object, object)),
            "Deployment" => Some((object, &object["spec"]["template"])),
            _ => None,
        });
        pods.map(|(object, pod)| (object["metadata"]["name"].as_str().unwrap(), pod)).collect()
    }

    /// What makes the Pods that are selected.
    fn selected(&self, selector: &Value) -> Vec<&str> {
        let wanted = selector["matchLabels"].as_object().unwrap();
        assert_eq!(*selector, json!({"matchLabels": wanted}), "other selectors are not understood here");
        let has_all = |pod: &Value| wanted.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value);
        self.pods().into_iter().filter(|&(_, pod)| has_all(pod)).map(|(name, _)| name).collect()
    }
}

/// The number of a container's port, by the name of the port.
fn number(container: &Value, name: &Value) -> u64 {
    let ports = container["ports"].as_array().unwrap();
    let port = ports.iter().find(|port| port["name"] == *name).unwrap_or_else(|| panic!("no port {name}: {container}"));
    port["containerPort"].as_u64().unwrap()
}

#[test]
fn one_of_each_process_may_be_taken_away_at_any_time() {
    let rendered = Rendered::with(&[]);
    for process in [GUARD, RECONCILER] {
        let deployment = &rendered.find("Deployment", process)["spec"];
        assert_eq!(deployment["replicas"], 2, "{process}");
        assert_eq!(deployment["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}), "{process}");
        assert_eq!(rendered.selected(&deployment["selector"]), [process]);
        // A drain goes through, and takes one at a time.
        let budget = &rendered.find("PodDisruptionBudget", process)["spec"];
        assert_eq!(rendered.selected(&budget["selector"]), [process]);
        assert_eq!(budget["maxUnavailable"], 1, "{process}");
        assert_eq!(budget["minAvailable"], Value::Null, "{process}");
    }
}

#[test]
fn the_loss_of_a_node_takes_one_of_each_process_and_a_full_one_makes_room() {
    let rendered = Rendered::with(&[]);
    let spread = |process: &str| {
        let constraints = rendered.pod(process)["spec"]["topologySpreadConstraints"].as_array().unwrap();
        let told = constraints.iter().map(|constraint| {
            assert_eq!(rendered.selected(&constraint["labelSelector"]), [process]);
            let text = |field: &str| constraint[field].as_str().unwrap();
            format!("{} {} {}", text("topologyKey"), constraint["maxSkew"], text("whenUnsatisfiable"))
        });
        told.collect::<Vec<String>>()
    };
    let zones = "topology.kubernetes.io/zone 1 ScheduleAnyway";
    assert_eq!(spread(GUARD), ["kubernetes.io/hostname 1 DoNotSchedule", zones]);
    assert_eq!(spread(RECONCILER), ["kubernetes.io/hostname 1 ScheduleAnyway"]);

    let class = "system-cluster-critical";
    for process in [GUARD, RECONCILER] {
        assert_eq!(rendered.pod(process)["spec"]["priorityClassName"], class, "{process}");
    }
    // Some clusters give the class to nobody without it.
    let quota = rendered.find("ResourceQuota", "gitward-critical-pods");
    assert_eq!(quota["spec"]["scopeSelector"]["matchExpressions"][0]["values"], json!([class]));
}

#[test]
fn each_process_is_probed_where_it_serves_and_says_what_it_needs() {
    let rendered = Rendered::with(&[]);
    for process in [GUARD, RECONCILER] {
        let container = rendered.container(process);
        for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
            let asked = &container[probe]["httpGet"];
            assert_eq!(asked["path"], path, "{process}");
            let port = number(container, &asked["port"]);
            assert!(rendered.has_argument(process, &format!("--observe-listen=[::]:{port}")), "{process}: {port}");
        }
        let resources = &container["resources"];
        for (kind, resource) in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")] {
            assert!(resources[kind][resource].is_string(), "{process} has no {resource} in its {kind}");
        }
        assert_eq!(resources["limits"]["cpu"], Value::Null, "{process}: everybody's changes would wait for it");
    }
}

#[test]
fn no_pod_has_more_rights_on_its_node_than_the_strictest_pod_security_gives() {
    let rendered = Rendered::with(&[]);
    let pods = rendered.pods();
    assert_eq!(pods.len(), 3, "the guard's, the reconciler's and that of `helm test`");
    let least =
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    for (name, pod) in pods {
        let spec = &pod["spec"];
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(spec["securityContext"]["seccompProfile"], json!({"type": "RuntimeDefault"}), "{name}");
        for more in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
            assert_eq!(spec[more], Value::Null, "{name} has {more}");
        }
        let mut volumes = spec["volumes"].as_array().into_iter().flatten();
        assert!(volumes.all(|volume| volume["hostPath"].is_null()), "{name}: {spec}");
        for container in spec["containers"].as_array().unwrap() {
            assert_eq!(container["securityContext"], least, "{name}");
        }
    }
}

/// What runs once would have to be allowed, fetched and waited for, and could fail halfway.
#[test]
fn nothing_runs_once_but_the_test_that_somebody_asks_for() {
    for object in &Rendered::with(&[]).0 {
        let what = format!("{} {}", object["kind"], object["metadata"]["name"]);
        assert!(object["kind"] != "Job" && object["kind"] != "CronJob", "{what}");
        let hook = &object["metadata"]["annotations"]["helm.sh/hook"];
        assert!(hook.is_null() || *hook == "test", "{what} is a hook: {hook}");
    }
}

#[test]
fn what_depends_on_the_guards_port_and_network_follows() {
    for (values, port, network, update) in [
        // The control plane of a private cluster on GKE reaches this port.
        (&["guard.port=10250"][..], 10250, json!([null, null]), json!({"maxUnavailable": 0, "maxSurge": 1})),
        // EKS with another network than Amazon's. A node has room for one guard, so the old one goes first.
        (
            &["guard.hostNetwork=true", "guard.port=9443"],
            9443,
            json!([true, "ClusterFirstWithHostNet"]),
            json!({"maxUnavailable": 1, "maxSurge": 0}),
        ),
    ] {
        let rendered = Rendered::with(&[values, &["networkPolicy.enabled=true"][..]].concat());
        let (pod, container) = (&rendered.pod(GUARD)["spec"], rendered.container(GUARD));
        assert_eq!(json!([pod["hostNetwork"], pod["dnsPolicy"]]), network, "{values:?}");
        assert_eq!(rendered.find("Deployment", GUARD)["spec"]["strategy"]["rollingUpdate"], update, "{values:?}");
        assert!(rendered.has_argument(GUARD, &format!("--listen=[::]:{port}")), "{values:?}");
        let service = &rendered.find("Service", GUARD)["spec"]["ports"][0];
        assert_eq!(service["port"], 443, "{values:?}: the API server asks the Service");
        assert_eq!(number(container, &service["targetPort"]), port, "{values:?}");
        let policy = &rendered.find("NetworkPolicy", GUARD)["spec"]["ingress"][0]["ports"][0];
        assert_eq!(number(container, &policy["port"]), port, "{values:?}");
        assert_eq!(rendered.pod(RECONCILER)["spec"]["hostNetwork"], Value::Null, "{values:?}: nobody calls it");
    }
}
