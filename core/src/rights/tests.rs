use super::*;
use crate::names;
use serde_json::json;

fn target<'a>(group: &'a str, kind: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> Target<'a> {
    Target { group, kind, resource, namespaced: !namespace.is_empty(), namespace, name }
}

fn role(namespace: &str) -> Target<'_> {
    let (kind, resource) = if namespace.is_empty() { ("ClusterRole", "clusterroles") } else { ("Role", "roles") };
    target(RBAC, kind, resource, namespace, "r")
}

fn needs(target: &Target<'_>, object: Value) -> Vec<String> {
    let needs = to_apply(target, &object, None).unwrap();
    let text = |need: &Need| match need {
        Need::Has(access) => access.to_string(),
        Need::Either(access, others) => format!("{access} or {} others", others.len()),
        Need::Bind(access, role) => format!("{access} or the rights of {}", role.name),
    };
    needs[2..].iter().map(text).collect()
}

#[test]
fn an_apply_takes_create_and_patch_where_the_object_really_is() {
    let of = |target: &Target<'_>| {
        let texts = to_apply(target, &json!({}), None).unwrap();
        texts
            .iter()
            .map(|need| if let Need::Has(access) = need { access.to_string() } else { String::new() })
            .collect::<Vec<_>>()
    };
    let web = target("apps", "Deployment", "deployments", "team-b", "web");
    assert_eq!(of(&web), ["create deployments.apps in namespace team-b", "patch deployments.apps in namespace team-b"]);
    // A namespace that a file claims for a cluster-scoped kind gives nothing.
    let claimed = Target { namespaced: false, namespace: "team-a", ..target("", "Node", "nodes", "team-a", "n") };
    assert_eq!(of(&claimed), ["create nodes in the cluster", "patch nodes in the cluster"]);
    assert_eq!(to_prune(&web, None), [Need::Has(web.access("delete"))]);
}

#[test]
fn a_role_takes_what_it_gives_or_escalate() {
    let rules = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]);
    assert_eq!(
        needs(&role("a"), json!({"rules": rules})),
        ["escalate roles.rbac.authorization.k8s.io r in namespace a or 4 others"]
    );
    let escalate = "escalate clusterroles.rbac.authorization.k8s.io r in the cluster";
    for object in [
        json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]}),
        json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": [""]}]}),
        json!({"rules": "none"}),
        json!({"aggregationRule": {"clusterRoleSelectors": []}}),
        json!({"rules": rules, "metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-admin": "true"}}}),
    ] {
        assert_eq!(needs(&role(""), object.clone()), [escalate], "{object}");
    }
    let named =
        json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/scale"], "resourceNames": ["a", "b"]}]});
    let all = rules_of(&named, "n").unwrap();
    let scale = Access {
        verb: "*".into(),
        group: "*".into(),
        resource: "*".into(),
        subresource: "scale".into(),
        namespace: "n".into(),
        name: "b".into(),
    };
    assert_eq!((all.len(), &all[1]), (2, &scale));
}

#[test]
fn a_binding_takes_bind_on_the_role_that_it_names_whole() {
    let binding = target(RBAC, "RoleBinding", "rolebindings", "a", "b");
    let reference = |reference: Value| json!({"roleRef": reference, "subjects": []});
    let admin = reference(json!({"kind": "ClusterRole", "name": "admin", "apiGroup": RBAC}));
    let bind = "bind clusterroles.rbac.authorization.k8s.io admin in namespace a or the rights of admin";
    assert_eq!(needs(&binding, admin.clone()), [bind]);
    let whole = Target { kind: "ClusterRoleBinding", namespaced: false, ..binding };
    assert!(needs(&whole, admin)[0].contains("admin in the cluster"));
    for half in [
        json!(null),
        json!({"kind": "ClusterRole"}),
        json!({"kind": "Role", "name": ""}),
        json!({"kind": "X", "name": "y"}),
    ] {
        let refused = to_apply(&binding, &reference(half.clone()), None);
        assert!(refused.unwrap_err().contains("set roleRef.kind"), "{half}");
    }
    assert!(to_apply(&whole, &reference(json!({"kind": "Role", "name": "r"})), None).is_err());
}

#[test]
fn a_gitsync_takes_the_right_to_act_as_its_account_and_the_one_it_had() {
    let sync = target("gitward.dev", "GitSync", "gitsyncs", "a", "web");
    let of = |account: &str| json!({"spec": {"serviceAccountName": account}});
    let impersonate = |account: &str| Need::Has(Access::impersonate("a", account));
    assert_eq!(to_apply(&sync, &of("x"), Some(&of("y"))).unwrap()[2..], [impersonate("x"), impersonate("y")]);
    assert_eq!(to_prune(&sync, Some(&of("y")))[1..], [impersonate("y")]);
    assert!(to_apply(&sync, &json!({"spec": {}}), None).unwrap_err().contains("set spec.serviceAccountName"));
}

#[test]
fn what_the_api_server_asks_beyond_rbac_is_asked() {
    let secret = target("", "Secret", "secrets", "a", "s");
    let annotated = json!({"annotations": {"kubernetes.io/service-account.name": "deployer"}});
    let token = needs(&secret, json!({"type": TOKEN_SECRET, "metadata": annotated}));
    assert_eq!(token, ["create serviceaccounts/token in namespace a"]);
    assert!(needs(&secret, json!({"type": "Opaque", "metadata": annotated})).is_empty());
    let filled = to_apply(&secret, &json!({"metadata": annotated}), Some(&json!({"type": TOKEN_SECRET})));
    assert_eq!(filled.unwrap().len(), 3, "a file without the type, over a Secret that has it");
    let bundle = target(CERTIFICATES, "ClusterTrustBundle", "clustertrustbundles", "", "b");
    assert_eq!(
        needs(&bundle, json!({"spec": {"signerName": "a.b/c"}})),
        ["attest signers.certificates.k8s.io a.b/c in the cluster"]
    );
    let policy = target(ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", "", "p");
    assert_eq!(needs(&policy, json!({"spec": {"paramKind": {"kind": "Secret"}}})), ["get *.* in the cluster"]);
}

#[test]
fn no_team_declares_a_part_of_gitward() {
    let refused = |target: Target<'_>, object: Value| never(&target, &object, "gitward-system");
    for (target, expected) in [
        (target("", "ConfigMap", "configmaps", "gitward-system", "x"), "gitward's own"),
        (target("gitward.dev", "GitSync", "gitsyncs", "gitward-system", "x"), "gitward's own"),
        (target("", "Namespace", "namespaces", "", "gitward-system"), "gitward's own"),
        (target("gitward.dev", "GuardPolicy", "guardpolicies", "", "default"), "part of gitward"),
        (target("gitward.dev", "BlockedChange", "blockedchanges", "a", "x"), "part of gitward"),
        (target(RBAC, "ClusterRoleBinding", "clusterrolebindings", "", "gitward-reconciler"), "part of gitward"),
        (
            target(
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                "customresourcedefinitions",
                "",
                "gitsyncs.gitward.dev",
            ),
            "part of gitward",
        ),
        (
            target(ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "", "gitward"),
            "part of gitward",
        ),
        (target(CERTIFICATES, "CertificateSigningRequest", "certificatesigningrequests", "", "x"), "whoever makes it"),
        (target("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews", "", "x"), "whoever makes it"),
        (Target { namespaced: true, ..target("", "ConfigMap", "configmaps", "", "x") }, "no namespace"),
    ] {
        assert!(refused(target, json!({})).unwrap().contains(expected), "{target:?}");
    }
    assert_eq!(refused(target("gitward.dev", "GitSync", "gitsyncs", "a", "x"), json!({})), None);
    assert_eq!(refused(target(RBAC, "Role", "roles", "a", "gitward-like"), json!({})), None);
}

#[test]
fn no_team_declares_what_gives_more_than_its_maker_has() {
    let pod = |namespace| target("", "Pod", "pods", namespace, "x");
    let refused = |target: Target<'_>, object: Value| never(&target, &object, "gitward-system").is_some();
    let labelled = |key: &str| json!({"metadata": {"labels": {key: "true"}}});
    let namespace = target("", "Namespace", "namespaces", "", "a");
    assert!(refused(namespace, labelled(names::EXCLUSIVE)));
    assert!(!refused(namespace, labelled(names::GUARDED)), "the reconciler sets it there itself");
    assert!(refused(pod("a"), labelled(names::GUARDED)));
    assert!(refused(
        target(ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "", "x"),
        json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "gitward"}}})
    ));
    assert!(refused(pod("a"), json!({"metadata": {"ownerReferences": [{"kind": "ReplicaSet"}]}})));
    let nested = json!({"spec": {"template": {"spec": {"serviceAccountName": "namespace-controller"}}}});
    let workload = |namespace| target("apps", "Deployment", "deployments", namespace, "x");
    assert!(refused(workload("kube-system"), nested.clone()));
    assert!(!refused(workload("a"), nested));
}

#[test]
fn what_is_anothers_is_not_taken() {
    let id = "/ConfigMap:a/x";
    let live = |name: &str, id: &str| {
        json!({"metadata": {
        "labels": {"gitward.dev/sync-namespace": "gitward-system", "gitward.dev/sync-name": name}, "annotations": {"gitward.dev/pinned-id": id}}})
    };
    assert!(
        never_take(&live("shop", id), ("a", "web"), id).unwrap().starts_with("GitSync gitward-system/shop declares it")
    );
    assert_eq!(never_take(&live("shop", id), ("gitward-system", "shop"), id), None);
    assert_eq!(never_take(&live("shop", "/ConfigMap:a/y"), ("a", "web"), id), None, "a copy is nobody's");
    let child = json!({"metadata": {"ownerReferences": [{"kind": "Deployment", "name": "web", "controller": true}]}});
    assert_eq!(never_take(&child, ("a", "web"), id).unwrap(), "it belongs to Deployment web: declare that instead");
}

#[test]
fn a_name_is_no_path() {
    assert_eq!(ill_formed("apps/v1", "Deployment", "shop", "web"), None);
    assert_eq!(ill_formed("rbac.authorization.k8s.io/v1", "ClusterRole", "", "system:node-proxier"), None);
    for (version, kind, namespace, name) in [
        ("v1", "ConfigMap", "a", "web/scale"),
        ("v1", "ConfigMap", "a", ".."),
        ("v1", "ConfigMap", "a", "x?dryRun=All"),
        ("v1", "ConfigMap", "a", "x y"),
        ("v1", "ConfigMap", "a", "%2e%2e"),
        ("v1", "ConfigMap", "a", ""),
        ("v1", "ConfigMap", "../kube-system", "x"),
        ("v1", "ConfigMap", "a/secrets", "x"),
        ("v1", "Config/Map", "a", "x"),
        ("x/../../api/v1", "ConfigMap", "a", "x"),
        ("../x/v1", "ConfigMap", "a", "x"),
        ("apps/", "ConfigMap", "a", "x"),
        ("", "ConfigMap", "a", "x"),
    ] {
        assert!(ill_formed(version, kind, namespace, name).is_some(), "{version} {kind} {namespace} {name}");
    }
}
