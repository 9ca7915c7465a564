//! A team's GitSync may do what its service account may, and nothing else, though the reconciler writes for it.

use gitward_test_cluster::{ControlPlane, GitServer, Repo, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, condition, config_map, deployment, sync};

/// What the account of a team may in its namespace: enough to make each attempt worth it.
fn rules() -> Value {
    json!([
        {"apiGroups": [""], "resources": ["configmaps", "serviceaccounts"], "verbs": ["get", "create", "patch", "delete"]},
        {"apiGroups": ["", "apps"], "resources": ["deployments", "services"], "verbs": ["get", "create", "patch", "delete"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "patch"]},
        {"apiGroups": ["gitward.dev"], "resources": ["gitsyncs"], "verbs": ["create", "patch"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["ca"], "verbs": ["get"]},
    ])
}

/// A namespace of a team, with the account `deployer` and the Secrets `ca` and `private`.
fn team(namespace: &str, rules: &Value) -> &'static World {
    let world = World::shared();
    world.namespace(namespace);
    let apply = |kind: &str, group: &str, name: &str, more: Value| {
        let mut object = json!({"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.apply("admin", &object);
    };
    let rbac = "rbac.authorization.k8s.io/v1";
    apply("ServiceAccount", "v1", "deployer", json!({}));
    apply("Role", rbac, "deployer", json!({"rules": rules}));
    let subjects = json!([{"kind": "ServiceAccount", "name": "deployer", "namespace": namespace}]);
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"});
    apply("RoleBinding", rbac, "deployer", json!({"roleRef": role, "subjects": subjects}));
    apply("Secret", "v1", "ca", json!({"stringData": {"ca.crt": world.git.ca()}}));
    apply("Secret", "v1", "private", json!({"stringData": {"values.yaml": "a: 1", "ca.crt": world.git.ca()}}));
    world
}

/// A GitSync of a team, with more fields of its spec.
fn team_sync(namespace: &str, name: &str, url: &str, more: Value) -> Value {
    let mut object = sync(name, url, json!({"serviceAccountName": "deployer"}));
    object["metadata"]["namespace"] = json!(namespace);
    if url.starts_with("https://") {
        object["spec"]["source"]["secretRef"] = json!({"name": "ca"});
    }
    object["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

fn follow(world: &World, namespace: &str, repo: &Repo) {
    world.apply("admin", &team_sync(namespace, namespace, repo.url(), json!({})));
}

/// Waits until a GitSync of a team is not Ready for this reason; returns what its status says of it.
fn refused(world: &World, namespace: &str, name: &str, reason: &str) -> String {
    eventually(&format!("GitSync {namespace}/{name} is {reason}"), PATIENCE, || {
        let status = world.field(&format!("gitsync/{name}"), namespace, "/status");
        let ready = condition(&status, "Ready");
        let is = ready["status"] == "False" && ready["reason"] == reason;
        if is { Ok(format!("{} {}", ready["message"], status["failed"])) } else { Err(status.to_string()) }
    })
}

fn applied(world: &World, namespace: &str, commit: &str) {
    eventually(&format!("{namespace} applies {commit}"), PATIENCE, || {
        let status = world.field(&format!("gitsync/{namespace}"), namespace, "/status");
        let is = status["lastAppliedRevision"].as_str().is_some_and(|revision| revision.ends_with(commit));
        if is && condition(&status, "Ready")["status"] == "True" { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn a_team_deploys_with_the_rights_of_its_account() {
    let ns = "team-works";
    let world = team(ns, &rules());
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    repo.write("web.yaml", &deployment(ns, "web", 2));
    // Of its own rights it may give away as it likes.
    repo.write("role.yaml", &role(ns, "reader", r#"{apiGroups: [""], resources: [configmaps], verbs: [get]}"#));
    repo.write("binding.yaml", &binding("RoleBinding", ns, "reader", "Role", "reader"));
    let commit = repo.push("Ours");
    follow(world, ns, &repo);
    applied(world, ns, &commit);
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "green");
    assert_eq!(world.field("rolebinding/reader", ns, "/roleRef/name"), "reader");
    repo.remove("settings.yaml");
    applied(world, ns, &repo.push("Without settings"));
    assert!(world.cluster.get(&["configmap/settings", "-n", ns]).is_none());
}

#[test]
fn without_an_account_it_is_stalled_with_what_to_do() {
    let ns = "team-nameless";
    let world = team(ns, &rules());
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    repo.push("Ours");
    let mut nameless = team_sync(ns, ns, repo.url(), json!({}));
    nameless["spec"].as_object_mut().unwrap().remove("serviceAccountName");
    world.apply("admin", &nameless);
    assert!(refused(world, ns, ns, "NotAllowed").contains("name it in spec.serviceAccountName"));
    assert_eq!(condition(&world.field(&format!("gitsync/{ns}"), ns, "/status"), "Stalled")["status"], "True");
    world.apply("admin", &team_sync(ns, ns, repo.url(), json!({"serviceAccountName": "nobody"})));
    eventually("the missing account is named", PATIENCE, || {
        let text = refused(world, ns, ns, "NotAllowed");
        if text.contains("there is no service account team-nameless/nobody") { Ok(()) } else { Err(text) }
    });
    assert!(world.cluster.get(&["configmap/settings", "-n", ns]).is_none());
}

fn role(namespace: &str, name: &str, rule: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {name}, namespace: {namespace}}}\nrules: \
         [{rule}]\n"
    )
}

fn binding(kind: &str, namespace: &str, name: &str, role_kind: &str, role: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: \
         {namespace}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {role_kind}, name: {role}}}\nsubjects: \
         [{{kind: ServiceAccount, name: deployer, namespace: {namespace}}}]\n"
    )
}

fn object(api_version: &str, kind: &str, metadata: &str, rest: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{{metadata}}}\n{rest}\n")
}

fn declared_sync(namespace: &str, account: &str) -> String {
    let spec = format!("spec: {{source: {{url: 'https://git.example.com/x/y'}}, serviceAccountName: {account}}}");
    object("gitward.dev/v1alpha1", "GitSync", &format!("name: declared, namespace: {namespace}"), &spec)
}

/// An attempt: its name, what git declares, what kubectl would find if it came through, and what the refusal says.
type Attempt = (&'static str, String, &'static str, &'static str);

fn attempts(ns: &str, other: &str) -> Vec<Attempt> {
    let all = r#"{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}"#;
    let token = format!("name: t, namespace: {ns}, annotations: {{kubernetes.io/service-account.name: deployer}}");
    let aggregate = "name: greedy-role, labels: {rbac.authorization.k8s.io/aggregate-to-view: 'true'}";
    let csr = "spec: {request: eA==, signerName: kubernetes.io/kube-apiserver-client-kubelet, usages: [client auth]}";
    // A definition that claims that ClusterRoles live in namespaces, and one of them.
    let forged = object(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "name: clusterroles.rbac.authorization.k8s.io",
        "spec: {group: rbac.authorization.k8s.io, scope: Namespaced, names: {kind: ClusterRole, plural: clusterroles}, \
         versions: []}",
    );
    let forged = forged
        + "---\n"
        + &object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            &format!("name: forged, namespace: {ns}"),
            "rules: []",
        );
    vec![
        (
            "elsewhere",
            config_map(other, "x", "red"),
            "configmap/x -n greedy-other",
            "may not create configmaps in namespace",
        ),
        (
            "cluster",
            object("v1", "Namespace", "name: greedy-made", ""),
            "namespace/greedy-made",
            "may not create namespaces in the cluster",
        ),
        ("forged-scope", forged, "clusterrole/forged", "may not"),
        (
            "admin-of-all",
            binding("ClusterRoleBinding", ns, "greedy", "ClusterRole", "cluster-admin"),
            "clusterrolebinding/greedy",
            "may not create clusterrolebindings",
        ),
        ("more-rights", role(ns, "all", all), "role/all -n greedy", "may not * *.* in namespace greedy"),
        (
            "admin",
            binding("RoleBinding", ns, "admin", "ClusterRole", "admin"),
            "rolebinding/admin -n greedy",
            "in namespace greedy",
        ),
        (
            "no-such-role",
            binding("RoleBinding", ns, "later", "ClusterRole", "made-later"),
            "rolebinding/later -n greedy",
            "may not bind clusterroles.rbac.authorization.k8s.io made-later",
        ),
        (
            "aggregate",
            object("rbac.authorization.k8s.io/v1", "ClusterRole", aggregate, "rules: []"),
            "clusterrole/greedy-role",
            "may not create clusterroles",
        ),
        (
            "own-namespace",
            declared_sync("gitward-system", "deployer"),
            "gitsync/declared -n gitward-system",
            "is gitward's own",
        ),
        (
            "anothers-account",
            declared_sync(ns, "default"),
            "gitsync/declared -n greedy",
            "may not impersonate serviceaccounts default",
        ),
        ("accountless", declared_sync(ns, "''"), "gitsync/declared -n greedy", "spec.serviceAccountName"),
        (
            "guard-policy",
            object("gitward.dev/v1alpha1", "GuardPolicy", "name: greedy", "spec: {mode: Audit}"),
            "guardpolicy/greedy",
            "is a part of gitward",
        ),
        (
            "token",
            object("v1", "Secret", &token, "type: kubernetes.io/service-account-token"),
            "secret/t -n greedy",
            "may not create secrets",
        ),
        (
            "kubelet",
            object("certificates.k8s.io/v1", "CertificateSigningRequest", "name: greedy", csr),
            "csr/greedy",
            "a wish of whoever makes it",
        ),
        (
            "mark",
            object(
                "v1",
                "ConfigMap",
                &format!("name: m, namespace: {ns}, labels: {{gitward.dev/exclusive: 'true'}}"),
                "",
            ),
            "configmap/m -n greedy",
            "only gitward sets gitward.dev/exclusive",
        ),
        (
            "owner",
            object(
                "v1",
                "ConfigMap",
                &format!("name: o, namespace: {ns}, ownerReferences: [{{apiVersion: v1, kind: Pod, name: p, uid: u}}]"),
                "",
            ),
            "configmap/o -n greedy",
            "metadata.ownerReferences",
        ),
    ]
}

#[test]
fn a_team_gets_nothing_that_its_account_may_not() {
    let (ns, other) = ("greedy", "greedy-other");
    let world = team(ns, &rules());
    world.namespace(other);
    let attempts = attempts(ns, other);
    for (name, yaml, ..) in &attempts {
        let repo = world.git.repo(&format!("greedy-{name}"));
        repo.write("attempt.yaml", yaml);
        repo.push("More than we may");
        world.apply("admin", &team_sync(ns, name, repo.url(), json!({})));
    }
    for (name, _, found, expected) in &attempts {
        let said = refused(world, ns, name, "NotAllowed");
        assert!(said.contains(expected), "{name}: {said}");
        let there = world.cluster.get(&found.split(' ').collect::<Vec<_>>());
        assert!(there.is_none(), "{name}: {there:?}");
    }
    // Not even a mark is left where the account may do nothing.
    assert_eq!(world.field(&format!("namespace/{other}"), "", "/metadata/labels/gitward.dev~1guarded"), Value::Null);
}

#[test]
fn a_team_cannot_make_the_reconciler_read_for_it() {
    let ns = "nosy";
    let world = team(ns, &rules());
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    repo.push("Ours");
    let url = repo.url();
    let values = json!({"render": {"helm": {"valuesFrom": [{"kind": "Secret", "name": "private"}]}}});
    let optional =
        json!({"render": {"helm": {"valuesFrom": [{"kind": "Secret", "name": "private", "optional": true}]}}});
    let login = json!({"source": {"url": url, "interval": "1s", "secretRef": {"name": "private"}}});
    let signers = json!({"source": {"url": url, "interval": "1s", "secretRef": {"name": "ca"}, "verify": {"secretRef": {"name": "private"}}}});
    let reads = "may not get secrets private in namespace nosy";
    for (name, url, more, expected) in [
        ("values", url, values, reads),
        ("optional-values", url, optional, reads),
        ("login", url, login, reads),
        ("signers", url, signers, reads),
        ("file", &repo.file_url(), json!({}), "https:// and ssh:// repositories only"),
    ] {
        world.apply("admin", &team_sync(ns, name, url, more));
        let said = refused(world, ns, name, "NotAllowed");
        assert!(said.contains(expected), "{name}: {said}");
    }
    assert!(world.cluster.get(&["configmap/settings", "-n", ns]).is_none());
}

#[test]
fn a_private_repository_that_others_follow_stays_private() {
    let ns = "uninvited";
    let world = team(ns, &rules());
    let git = GitServer::start();
    let ssh = git.ssh();
    let repo = git.repo("private");
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let commit = repo.push("Private");
    let secret = |namespace: &str, name: &str, identity: &str| {
        let data = json!({"identity": identity, "known_hosts": ssh.known_hosts});
        world.apply("admin", &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": data}));
    };
    let foreign = std::fs::read_to_string(git.ssh_key("uninvited-user")).unwrap();
    secret("gitward-system", "invited", &ssh.identity);
    secret(ns, "ca", &foreign);
    let url = ssh.url("private");
    world.apply("admin", &sync("invited", &url, json!({})));
    world.wait_applied("invited", &commit);
    for (name, reference) in [("by-branch", json!({"branch": "main"})), ("by-commit", json!({"commit": commit}))] {
        let source = json!({"url": url, "ref": reference, "interval": "1s", "secretRef": {"name": "ca"}});
        world.apply("admin", &team_sync(ns, name, &url, json!({"source": source})));
        let said = refused(world, ns, name, "ArtifactFailed");
        assert!(said.contains("refused the credentials"), "{name}: {said}");
    }
}

#[test]
fn what_another_gitsync_declares_stays_with_it() {
    let ns = "neighbours";
    let world = team(ns, &rules());
    let (theirs, ours) = (world.git.repo("neighbours-theirs"), world.git.repo(ns));
    theirs.write("settings.yaml", &config_map(ns, "settings", "green"));
    let commit = theirs.push("Theirs");
    world.follow("neighbours-theirs", &theirs);
    world.wait_applied("neighbours-theirs", &commit);
    ours.write("settings.yaml", &config_map(ns, "settings", "red"));
    ours.push("Ours");
    follow(world, ns, &ours);
    let said = eventually("the other GitSync is named", PATIENCE, || {
        let status = world.field(&format!("gitsync/{ns}"), ns, "/status").to_string();
        if status.contains("declares it already") { Ok(status) } else { Err(status) }
    });
    assert!(said.contains("neighbours-theirs"), "{said}");
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "green");
}

#[test]
fn what_the_account_may_not_delete_is_not_pruned() {
    let ns = "keeper";
    let world = team(
        ns,
        &json!([
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "patch"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["ca"], "verbs": ["get"]},
        ]),
    );
    let repo = world.git.repo(ns);
    repo.write("stays.yaml", &config_map(ns, "stays", "green"));
    repo.write("goes.yaml", &config_map(ns, "goes", "green"));
    let commit = repo.push("Both");
    follow(world, ns, &repo);
    applied(world, ns, &commit);
    repo.remove("goes.yaml");
    repo.push("One");
    let said = refused(world, ns, ns, "NotAllowed");
    assert!(said.contains("may not delete configmaps in namespace keeper"), "{said}");
    assert_eq!(world.field("configmap/goes", ns, "/data/color"), "green");
    // The right comes, and what was kept back happens.
    let rules =
        json!([{"op": "replace", "path": "/rules/0/verbs", "value": ["get", "create", "patch", "delete"]}]).to_string();
    world.cluster.kubectl("admin", &["patch", "role", "deployer", "-n", ns, "--type=json", "-p", &rules]).ok();
    eventually("it is pruned", PATIENCE, || {
        let there = world.cluster.get(&["configmap/goes", "-n", ns]);
        there.map_or(Ok(()), |object| Err(object.to_string()))
    });
}

#[test]
fn a_gitsync_changes_hands_only_among_those_who_may_act_as_both_accounts() {
    let ns = "handover";
    let world = team(ns, &rules());
    let rules = json!([
        {"apiGroups": ["gitward.dev"], "resources": ["gitsyncs"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["deployer"], "verbs": ["impersonate"]},
    ]);
    let metadata = json!({"name": "ci", "namespace": ns});
    world.apply(
        "admin",
        &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}),
    );
    world.cluster.kubectl("admin", &["create", "rolebinding", "ci", "--role=ci", "--user=ci", "-n", ns]).ok();
    let url = "https://git.example.com/x/y";
    let of =
        |name: &str, account: &str| team_sync(ns, name, url, json!({"serviceAccountName": account, "suspend": true}));
    eventually("ci may write a GitSync of the account", PATIENCE, || {
        let output = world.try_apply("ci", &of("mine", "deployer"));
        if output.status == 0 { Ok(()) } else { Err(output.stderr) }
    });
    world.apply("admin", &of("theirs", "default"));
    let ci = |args: &[&str]| world.cluster.kubectl("ci", &[args, &["-n", ns]].concat());
    let unnamed = r#"[{"op": "remove", "path": "/spec/serviceAccountName"}]"#;
    assert!(
        ci(&["patch", "gitsync", "mine", "--type=json", "-p", unnamed])
            .refused()
            .contains("set spec.serviceAccountName")
    );
    for output in [
        world.try_apply("ci", &of("new", "default")),
        world.try_apply("ci", &of("mine", "default")),
        world.try_apply("ci", &of("theirs", "deployer")),
        ci(&["label", "gitsync", "theirs", "x=y"]),
        ci(&["delete", "gitsync", "theirs"]),
        ci(&["delete", "gitsyncs", "--all"]),
    ] {
        let said = output.refused();
        assert!(said.contains("takes the right to impersonate that account"), "{}: {said}", output.command);
    }
}

#[test]
fn a_right_that_was_taken_away_is_not_given_back_by_healing() {
    let ns = "team-revoked";
    let world = team(ns, &rules());
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let commit = repo.push("Ours");
    let mut follows = team_sync(ns, ns, repo.url(), json!({}));
    follows["spec"]["source"]["interval"] = json!("1h");
    world.apply("admin", &follows);
    applied(world, ns, &commit);
    world.cluster.kubectl("admin", &["delete", "rolebinding", "deployer", "-n", ns]).ok();
    // Answers count for some seconds: until the first that is not put back.
    let mut color = 0;
    eventually("it is not put back any more", PATIENCE, || {
        color += 1;
        let patch = format!(r#"{{"data":{{"color":"red-{color}"}}}}"#);
        let edit = ["patch", "configmap/settings", "-n", ns, "-p", &patch];
        world.cluster.kubectl(ControlPlane::FORGER, &edit).ok();
        std::thread::sleep(std::time::Duration::from_secs(1));
        let live = world.field("configmap/settings", ns, "/data/color");
        if live == json!(format!("red-{color}")) { Ok(()) } else { Err(live.to_string()) }
    });
    refused(world, ns, ns, "NotAllowed");
}
