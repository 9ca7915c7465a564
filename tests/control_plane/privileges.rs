//! What the accounts of gitward and of CI cannot do: tried, by real requests with their real tokens.

use std::collections::BTreeSet;
use std::sync::Once;

use gitward_test_cluster::{Api, Refused, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World};

const GUARD: &str = "system:serviceaccount:gitward-system:gitward-guard";
const RECONCILER: &str = "system:serviceaccount:gitward-system:gitward-reconciler";
/// The API group of a custom kind of these tests' own.
const CUSTOM: &str = "privileges.example.com";

/// A resource that the API server serves.
struct Served {
    group: String,
    version: String,
    /// Plural, with its subresource.
    name: String,
    namespaced: bool,
    verbs: BTreeSet<String>,
}

impl Served {
    /// Everything that the API server serves.
    fn all(admin: &Api) -> Vec<Served> {
        let groups = admin.get("/apis").unwrap().unwrap();
        let versions =
            groups["groups"].as_array().unwrap().iter().flat_map(|group| group["versions"].as_array().unwrap());
        let paths = versions.map(|version| format!("/apis/{}", version["groupVersion"].as_str().unwrap()));
        let mut all = Vec::new();
        for path in std::iter::once("/api/v1".to_owned()).chain(paths) {
            // A definition of another test may just be going.
            let Some(list) = admin.get(&path).unwrap() else { continue };
            all.extend(list["resources"].as_array().unwrap().iter().map(|resource| Served::of(&path, resource)));
        }
        all
    }

    fn of(path: &str, resource: &Value) -> Served {
        let (group, version) = match path.split('/').collect::<Vec<_>>()[..] {
            [_, "apis", group, version] => (group, version),
            _ => ("", "v1"),
        };
        let verbs = resource["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap().to_owned());
        Served {
            group: group.to_owned(),
            version: version.to_owned(),
            name: resource["name"].as_str().unwrap().to_owned(),
            namespaced: resource["namespaced"] == true,
            verbs: verbs.collect(),
        }
    }

    fn is_custom(&self) -> bool {
        self.group.contains('.') && !self.group.ends_with(".k8s.io") && self.group != "gitward.dev"
    }

    /// What it is called here: all custom resources alike.
    fn kind(&self) -> String {
        match self.name.split_once('/') {
            Some((_, sub)) if self.is_custom() => format!("<custom>/{sub}"),
            None if self.is_custom() => "<custom>".to_owned(),
            _ => format!("{}.{}", self.name, self.group).trim_end_matches('.').to_owned(),
        }
    }

    /// The path of all in the namespace `default`, or of the one called `none`.
    fn path(&self, one: bool) -> String {
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        let namespace = if self.namespaced { "/namespaces/default" } else { "" };
        let (plural, sub) = self.name.split_once('/').unwrap_or((&self.name, ""));
        let one = if one || !sub.is_empty() { "/none" } else { "" };
        let sub = if sub.is_empty() { String::new() } else { format!("/{sub}") };
        format!("{root}/{}{namespace}/{plural}{one}{sub}", self.version)
    }

    /// The requests that a resource knows: verb, method, path.
    fn requests(&self) -> Vec<(&'static str, &'static str, String)> {
        let all = [
            ("create", "POST", false),
            ("update", "PUT", true),
            ("patch", "PATCH", true),
            ("delete", "DELETE", true),
            ("deletecollection", "DELETE", false),
            ("get", "GET", true),
            ("list", "GET", false),
        ];
        let known = all.into_iter().filter(|(verb, ..)| self.verbs.contains(*verb));
        known.map(|(verb, method, one)| (verb, method, self.path(one))).collect()
    }
}

/// Defines a kind with a status and a scale, so that custom resources are tried whichever tests ran before. Waits until the guard may
/// look them up.
fn define_a_kind(world: &World) {
    static DEFINED: Once = Once::new();
    DEFINED.call_once(|| {
        let size = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
        let schema = json!({"type": "object", "properties": {"spec": size, "status": size}});
        let scale = json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"});
        let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": scale}});
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("locks.{CUSTOM}")}, "spec": {"group": CUSTOM, "scope": "Namespaced",
            "names": {"plural": "locks", "singular": "lock", "kind": "Lock"}, "versions": [version]}});
        world.apply("admin", &definition);
        let (admin, guard) = (Api::of(world.cluster), Api::with_token(world.cluster, &world.gitward.guard_token()));
        eventually("the guard may look up what is served", PATIENCE, || {
            let served = Served::all(&admin).into_iter().filter(|served| served.group == CUSTOM);
            let served: BTreeSet<String> = served.map(|served| served.name).collect();
            let answer = guard.get(&format!("/apis/{CUSTOM}/v1/namespaces/default/locks/none"));
            if served.len() == 3 && answer == Ok(None) { Ok(()) } else { Err(format!("{served:?}: {answer:?}")) }
        });
    });
}

/// Tries every request that the API server knows; returns what was not forbidden, as `verb resource.group`.
fn tried(world: &World, token: &str) -> BTreeSet<String> {
    define_a_kind(world);
    let (admin, api) = (Api::of(world.cluster), Api::with_token(world.cluster, token));
    let mut allowed = BTreeSet::new();
    let all = Served::all(&admin);
    assert!(all.len() > 100, "{} resources are served", all.len());
    for served in &all {
        for (verb, method, path) in served.requests() {
            let answer = api.send(method, &path, &[], &Value::Null);
            if !matches!(&answer, Err(refused) if refused.code == 403) {
                allowed.insert(format!("{verb} {}", served.kind()));
            }
        }
    }
    allowed
}

/// What everybody may ask of himself (Kubernetes' role `system:basic-user`).
const OF_EVERYBODY: [&str; 3] = [
    "create selfsubjectaccessreviews.authorization.k8s.io",
    "create selfsubjectreviews.authentication.k8s.io",
    "create selfsubjectrulesreviews.authorization.k8s.io",
];

/// What every service account may where Kubernetes serves it, as from 1.37 on (role `system:cluster-trust-bundle-discovery`).
const OF_ACCOUNTS: [&str; 2] =
    ["get clustertrustbundles.certificates.k8s.io", "list clustertrustbundles.certificates.k8s.io"];

fn expected(more: &[&str]) -> BTreeSet<String> {
    OF_EVERYBODY.iter().chain(more).map(|text| (*text).to_owned()).collect()
}

#[test]
fn of_all_that_the_api_server_serves_the_guard_reads_little_and_writes_its_records() {
    let world = World::shared();
    let reads = [
        "get cronjobs.batch",
        "get customresourcedefinitions.apiextensions.k8s.io",
        "get daemonsets.apps",
        "get deployments.apps",
        "get gitsyncs.gitward.dev",
        "get guardpolicies.gitward.dev",
        "get blockedchanges.gitward.dev",
        "get jobs.batch",
        "get pods",
        "get replicasets.apps",
        "get replicationcontrollers",
        "get services",
        "get statefulsets.apps",
        "get <custom>",
        "list clusterroles.rbac.authorization.k8s.io",
        "list daemonsets.apps",
        "list deployments.apps",
        "list gitsyncs.gitward.dev",
        "list guardpolicies.gitward.dev",
        "list blockedchanges.gitward.dev",
        "list jobs.batch",
        "list replicasets.apps",
        "list replicationcontrollers",
        "list services",
        "list statefulsets.apps",
    ];
    let writes =
        ["create blockedchanges.gitward.dev", "update blockedchanges.gitward.dev", "delete blockedchanges.gitward.dev"];
    let mut found = tried(world, &world.gitward.guard_token());
    found.retain(|request| !OF_ACCOUNTS.contains(&request.as_str()));
    assert_eq!(found, expected(&[&reads[..], &writes].concat()));
}

#[test]
fn ci_can_do_nothing_at_all() {
    assert_eq!(tried(World::shared(), "ci-token"), expected(&[]));
}

#[test]
fn the_guard_sees_no_secret_but_its_certificate_and_borrows_no_name() {
    let world = World::shared();
    let api = Api::with_token(world.cluster, &world.gitward.guard_token());
    let secrets = "/api/v1/namespaces/gitward-system/secrets";
    assert!(api.get(&format!("{secrets}/gitward-guard-tls")).unwrap().is_some());
    let forbidden = |answer: Result<Value, Refused>, what: &str| {
        let refused = answer.err().unwrap_or_else(|| panic!("{what} is allowed"));
        assert!(
            refused.code == 403 && refused.message.contains(&format!("User \"{GUARD}\" cannot")),
            "{what}: {refused:?}"
        );
    };
    for (method, path) in [
        ("GET", format!("{secrets}/gitward-guard-ca")),
        ("GET", secrets.to_owned()),
        ("PATCH", format!("{secrets}/gitward-guard-tls")),
        ("DELETE", format!("{secrets}/gitward-guard-tls")),
        ("GET", "/api/v1/namespaces/gitward-system/configmaps/gitward-webhook".to_owned()),
        ("PATCH", "/apis/apps/v1/namespaces/gitward-system/deployments/gitward-guard".to_owned()),
        ("POST", "/api/v1/namespaces/gitward-system/serviceaccounts/gitward-guard/token".to_owned()),
        ("POST", "/api/v1/namespaces/gitward-system/serviceaccounts/gitward-reconciler/token".to_owned()),
        ("PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/gitward-guard".to_owned()),
    ] {
        forbidden(api.send(method, &path, &[], &json!({})), &format!("{method} {path}"));
    }
    for headers in [&[("impersonate-user", "admin")][..], &[("impersonate-user", RECONCILER)]] {
        forbidden(api.send("GET", "/api/v1/pods", headers, &Value::Null), &format!("{headers:?}"));
    }
}

/// Widening a role has to be wished for twice: there, and here.
#[test]
fn every_role_of_the_guard_reads_or_records() {
    let cluster = World::shared().cluster;
    let items = |kind: &str| {
        let list = cluster.get(&[kind, "-A"]).unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    };
    let is_guard = |subject: &Value| {
        let account = subject["kind"] == "ServiceAccount" && subject["namespace"] == "gitward-system";
        (account && subject["name"] == "gitward-guard") || subject["name"] == "system:serviceaccounts:gitward-system"
    };
    let bindings = [items("clusterrolebindings"), items("rolebindings")].concat();
    let of_guard = bindings.iter().filter(|b| b["subjects"].as_array().into_iter().flatten().any(is_guard));
    let mut roles = Vec::new();
    for binding in of_guard {
        let (kind, name) = (binding["roleRef"]["kind"].as_str().unwrap(), binding["roleRef"]["name"].as_str().unwrap());
        let namespace = binding["metadata"]["namespace"].as_str().unwrap_or("default");
        let role = cluster.get(&[&kind.to_lowercase(), name, "-n", namespace]).unwrap();
        roles.push(format!("{kind} {name}"));
        for rule in role["rules"].as_array().into_iter().flatten() {
            let list = |field: &str| -> BTreeSet<String> {
                let items = rule[field].as_array().into_iter().flatten();
                items.map(|item| item.as_str().unwrap().to_owned()).collect()
            };
            let (verbs, resources) = (list("verbs"), list("resources"));
            assert_eq!(rule["nonResourceURLs"], Value::Null, "{name}: {rule}");
            assert!(!resources.iter().chain(&list("apiGroups")).any(|text| text.contains('*')), "{name}: {rule}");
            assert!(!resources.iter().any(|resource| resource.contains('/')), "{name}: {rule}");
            let reads = verbs.iter().all(|verb| ["get", "list", "watch"].contains(&verb.as_str()));
            let records = resources == ["blockedchanges".to_owned()].into() && !verbs.contains("*");
            assert!(reads || records, "{name}: {rule}");
            if resources.contains("secrets") {
                assert_eq!(rule["resourceNames"], json!(["gitward-guard-tls"]), "{name}: {rule}");
            }
        }
    }
    roles.sort();
    assert_eq!(roles, ["ClusterRole gitward-guard", "ClusterRole gitward-guard-lookups", "Role gitward-guard"]);
}

fn mint(world: &World, account: &str, more: &[&str]) -> String {
    let args = [&["create", "token", account, "-n", "gitward-system"][..], more].concat();
    world.cluster.kubectl("admin", &args).ok().trim().to_owned()
}

/// Tries what only the reconciler's own Pod may. Its account may all of it by RBAC.
fn refused_everywhere(api: &Api, headers: &[(&str, &str)], ns: &str) {
    let settings = format!("/api/v1/namespaces/{ns}/configmaps/settings");
    let red = json!({"data": {"color": "red"}});
    let own = "/api/v1/namespaces/gitward-system";
    let registration = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/gitward";
    for (method, path, body, expected) in [
        ("PATCH", settings.clone(), red, "is pinned to git"),
        ("DELETE", settings, Value::Null, "is pinned to git"),
        ("POST", format!("{own}/configmaps"), json!({"metadata": {"name": "mine"}}), "is gitward's own"),
        ("POST", format!("{own}/serviceaccounts/gitward-reconciler/token"), json!({}), "is gitward's own"),
        ("POST", format!("{own}/serviceaccounts/gitward-guard/token"), json!({}), "is gitward's own"),
        ("DELETE", registration.to_owned(), Value::Null, "This is a part of gitward"),
        (
            "POST",
            "/api/v1/namespaces/kube-system/serviceaccounts/namespace-controller/token".to_owned(),
            json!({}),
            "would be taken for a part of Kubernetes",
        ),
        (
            "PATCH",
            "/apis/gitward.dev/v1alpha1/guardpolicies/default".to_owned(),
            json!({"spec": {"mode": "Audit"}}),
            "This is a part of gitward",
        ),
    ] {
        let answer = api.send(method, &path, headers, &body);
        let refused = answer.err().unwrap_or_else(|| panic!("{method} {path} with {headers:?} is allowed"));
        assert!(refused.message.contains(expected), "{method} {path} with {headers:?}: {refused:?}");
    }
}

#[test]
fn without_a_token_of_its_pod_the_reconcilers_account_is_anybody() {
    let (ns, world) = ("unbound", World::shared());
    world.declare_settings(ns);
    world.cluster.kubectl("admin", &["create", "secret", "generic", "bound-to", "-n", "gitward-system"]).ok();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bound-to"}});
    world.apply("admin", &node);
    for more in [
        &[][..],
        &["--bound-object-kind=Secret", "--bound-object-name=bound-to"],
        &["--bound-object-kind=Node", "--bound-object-name=bound-to"],
    ] {
        let api = Api::with_token(world.cluster, &mint(world, "gitward-reconciler", more));
        refused_everywhere(&api, &[], ns);
    }
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "green");
}

#[test]
fn who_may_borrow_the_reconcilers_name_cannot_forge_its_pod() {
    let (ns, world) = ("borrowed-name", World::shared());
    world.declare_settings(ns);
    // As it is given to people who shall look at the cluster with others' eyes.
    let resources = "--resource=users,groups,serviceaccounts";
    world.cluster.kubectl("admin", &["create", "clusterrole", "borrower", "--verb=impersonate", resources]).ok();
    world.cluster.kubectl("admin", &["create", "serviceaccount", "support", "-n", ns]).ok();
    let bind = format!("--serviceaccount={ns}:support");
    world.cluster.kubectl("admin", &["create", "clusterrolebinding", "borrower", "--clusterrole=borrower", &bind]).ok();
    let token = world.cluster.kubectl("admin", &["create", "token", "support", "-n", ns]).ok().trim().to_owned();
    let api = Api::with_token(world.cluster, &token);
    let name = ("impersonate-user", RECONCILER);
    eventually("the name may be borrowed", PATIENCE, || {
        api.send("GET", "/api/v1/pods", &[name], &Value::Null).map(drop).map_err(|refused| format!("{refused:?}"))
    });
    refused_everywhere(&api, &[name], ns);
    let pod = ("impersonate-extra-authentication.kubernetes.io%2fpod-name", "forged");
    let refused = api.send("GET", "/api/v1/pods", &[name, pod], &Value::Null).unwrap_err();
    assert!(refused.message.contains("cannot impersonate resource \"userextras/"), "{refused:?}");
}

#[test]
fn records_take_a_token_of_the_guards_pod() {
    let world = World::shared();
    let records = "/apis/gitward.dev/v1alpha1/namespaces/default/blockedchanges";
    let spec = json!({"user": "dev", "verb": "delete", "object": {"group": "", "kind": "Pod", "namespace": "default", "name": "x"}, "summary": "x",
        "reason": "x", "decision": "deny", "fields": [], "fieldSummary": "", "gitSync": "", "origin": "", "count": 1,
        "firstTime": "2026-01-01T00:00:00Z", "lastTime": "2026-01-01T00:00:00Z"});
    let record = |name: &str| json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "BlockedChange", "metadata": {"name": name}, "spec": spec});
    let unbound = Api::with_token(world.cluster, &mint(world, "gitward-guard", &[]));
    let refused = unbound.send("POST", records, &[], &record("unbound")).unwrap_err();
    assert!(refused.message.contains("only the guard writes them"), "{refused:?}");
    let guard = Api::with_token(world.cluster, &world.gitward.guard_token());
    guard.send("POST", records, &[], &record("by-guard")).unwrap();
    let refused = unbound.send("DELETE", &format!("{records}/by-guard"), &[], &Value::Null).unwrap_err();
    assert!(refused.message.contains("only the guard writes them"), "{refused:?}");
    guard.send("DELETE", &format!("{records}/by-guard"), &[], &Value::Null).unwrap();
}
