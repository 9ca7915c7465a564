//! Requests of the same kinds as those of the corpus: written here, not recorded, so that a whole family stands side by side.

#![allow(clippy::unwrap_used)]

use gitward_core::verdict::{Listed, Policy, Request};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

const NS: &str = "shop";

/// An object that git declares, with everything below `spec`.
fn pinned(api_version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    json!({"apiVersion": api_version, "kind": kind, "spec": spec, "metadata": {"name": name, "namespace": NS, "uid": name,
        "labels": {"gitward.dev/sync-name": "shop", "gitward.dev/sync-namespace": "gitward-system"},
        "annotations": {"gitward.dev/pinned-id": format!("{group}/{kind}:{NS}/{name}")},
        "managedFields": [{"manager": "gitward", "operation": "Apply", "apiVersion": api_version,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:declared": {}}}}]}})
}

fn plain(api_version: &str, kind: &str, name: &str, owner: Option<(&str, &str, &str)>) -> Value {
    let mut object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": NS}, "spec": {}});
    if let Some((api_version, kind, name)) = owner {
        object["metadata"]["ownerReferences"] =
            json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": "u", "controller": true}]);
    }
    object
}

const WIDGET: (&str, &str, &str) = ("example.com/v1", "Widget", "w1");

fn live() -> Vec<Value> {
    vec![
        pinned(
            "apps/v1",
            "StatefulSet",
            "my-db",
            &json!({"serviceName": "db-hs", "selector": {"matchLabels": {"app": "db"}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            "template": {"spec": {"volumes": [{"name": "scratch", "ephemeral": {}}, {"name": "conf"}]}}}),
        ),
        pinned(
            "apps/v1",
            "StatefulSet",
            "shard-0",
            &json!({"selector": {"matchLabels": {"app": "shard"}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}),
        ),
        pinned("apps/v1", "DaemonSet", "agent", &json!({"selector": {"matchLabels": {"app": "agent"}}})),
        pinned("apps/v1", "Deployment", "web", &json!({"selector": {"matchLabels": {"app": "web"}}})),
        pinned("v1", "Service", "web", &json!({"selector": {"app": "web"}})),
        pinned("batch/v1", "CronJob", "report", &json!({})),
        pinned("example.com/v1", "Widget", "w1", &json!({})),
        plain("apps/v1", "ReplicaSet", "web-1", Some(("apps/v1", "Deployment", "web"))),
        plain("apps/v1", "StatefulSet", "child", Some(WIDGET)),
        plain("apps/v1", "Deployment", "free", None),
        plain("v1", "Service", "child", Some(WIDGET)),
    ]
}

/// A request of a user about an object, by whose type the resource is named.
fn request(user: &Value, operation: &str, sub_resource: &str, old: Option<&Value>, new: Option<&Value>) -> Value {
    let object = new.or(old).unwrap();
    let api_version = object["apiVersion"].as_str().unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = object["kind"].as_str().unwrap();
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1", "userInfo": user,
        "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": group, "version": version, "resource": format!("{}s", kind.to_lowercase())},
        "subResource": sub_resource, "name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"].as_str().unwrap_or_default(),
        "operation": operation, "oldObject": old, "object": new}})
}

fn reason_under(policy: &Policy, live: &[Value], review: &Value) -> &'static str {
    let live = Listed::new(live.iter().map(|item| to_raw_value(item).unwrap()), &policy.owner);
    let body = serde_json::to_vec(review).unwrap();
    live.judge(&Request::parse(&body).unwrap(), policy).reason.as_str()
}

fn policy() -> Policy {
    let mut policy = Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard");
    policy.operators.push("system:serviceaccount:ops:op".to_owned());
    policy.installers.users.push("system:serviceaccount:ci:installer".to_owned());
    policy
}

fn reason(review: &Value) -> &'static str {
    reason_under(&policy(), &live(), review)
}

fn dev() -> Value {
    json!({"username": "dev"})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"username": format!("system:serviceaccount:{namespace}:{name}"), "uid": "1", "extra": {
        "authentication.kubernetes.io/credential-id": ["JTI=1"], "authentication.kubernetes.io/pod-name": ["p"],
        "authentication.kubernetes.io/pod-uid": ["u"]}})
}

fn create(object: &Value) -> &'static str {
    reason(&request(&dev(), "CREATE", "", None, Some(object)))
}

fn update(old: &Value, new: &Value) -> &'static str {
    reason(&request(&dev(), "UPDATE", "", Some(old), Some(new)))
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let mut at = &mut object;
    for step in parent.split('/').skip(1) {
        at = &mut at[step];
    }
    at[key.replace("~1", "/")] = value;
    object
}

#[test]
fn names_that_a_declared_workload_will_use_are_refused() {
    let set = |name: &str, template: &str| {
        with(
            plain("apps/v1", "StatefulSet", name, None),
            "/spec/volumeClaimTemplates",
            json!([{"metadata": {"name": template}}]),
        )
    };
    let volumes = |name: &str| json!([{"name": name, "ephemeral": {}}]);
    let pod = |name: &str| plain("v1", "Pod", name, None);
    for taken in [
        pod("my-db-7"),
        with(pod("my-db"), "/spec/volumes", volumes("0-scratch")),
        with(pod("data-my-db"), "/spec/volumes", volumes("3")),
        plain("v1", "PersistentVolumeClaim", "data-my-db-4", None),
        plain("v1", "PersistentVolumeClaim", "my-db-0-scratch", None),
        set("db", "data-my"),
        with(plain("apps/v1", "StatefulSet", "data-shard", None), "/spec/template/spec/volumes", volumes("0")),
        plain("v1", "Service", "db-hs", None),
        plain("batch/v1", "Job", "report-29600000", None),
    ] {
        assert_eq!(create(&taken), "BesidePinned", "{taken}");
    }
    for free in [
        pod("my-db-x"),
        pod("db-0"),
        with(pod("my-db"), "/spec/volumes", volumes("scratch")),
        plain("v1", "PersistentVolumeClaim", "data-my-db", None),
        plain("v1", "PersistentVolumeClaim", "my-db-0-conf", None),
        set("db", "data"),
        plain("v1", "Service", "other", None),
        plain("batch/v1", "Job", "report-2", None),
        plain("batch/v1", "Job", "free-29600000", None),
    ] {
        assert_eq!(create(&free), "NotPinned", "{free}");
    }
    let before = plain("apps/v1", "StatefulSet", "data-shard", None);
    let after = with(before.clone(), "/spec/template/spec/volumes", volumes("0"));
    assert_eq!(update(&before, &after), "BesidePinned");
    assert_eq!(update(&after, &with(after.clone(), "/spec/replicas", json!(2))), "NotPinned", "it was so before");
}

#[test]
fn what_a_declared_set_would_adopt_is_refused() {
    let revision =
        |app: &str| with(plain("apps/v1", "ControllerRevision", "r", None), "/metadata/labels", json!({"app": app}));
    assert_eq!(create(&revision("db")), "BesidePinned");
    assert_eq!(create(&revision("agent")), "BesidePinned");
    assert_eq!(create(&revision("web")), "NotPinned", "Deployments have no ControllerRevisions");
    let template = with(
        plain("apps/v1", "ControllerRevision", "r", None),
        "/data/spec/template/metadata/labels",
        json!({"app": "web"}),
    );
    assert_eq!(create(&template), "BesidePinned", "its Pods would get a Service's traffic");
    assert_eq!(update(&revision("x"), &revision("db")), "BesidePinned");
}

#[test]
fn autoscalers_reach_no_declared_workload_in_any_way() {
    let hpa = |api_version: &str, kind: &str, name: &str| {
        with(
            plain("autoscaling/v2", "HorizontalPodAutoscaler", "h", None),
            "/spec/scaleTargetRef",
            json!({"apiVersion": api_version, "kind": kind, "name": name}),
        )
    };
    assert_eq!(create(&hpa("apps/v1beta9", "Deployment", "web")), "BesidePinned");
    assert_eq!(create(&hpa("apps/v1", "ReplicaSet", "web-1")), "BesidePinned");
    assert_eq!(create(&hpa("apps/v1", "StatefulSet", "child")), "BesidePinned", "it belongs to a custom resource");
    assert_eq!(create(&hpa("example.com/v7", "Widget", "w1")), "BesidePinned");
    assert_eq!(create(&hpa("apps/v1", "Deployment", "later")), "LookupFailed", "git may declare it");
    assert_eq!(create(&hpa("apps/v1", "Deployment", "free")), "NotPinned");
    let gone = hpa("apps/v1", "Deployment", "later");
    assert_eq!(update(&gone, &with(gone.clone(), "/spec/maxReplicas", json!(3))), "NotPinned");
    assert_eq!(update(&hpa("apps/v1", "Deployment", "free"), &gone), "LookupFailed");
    let object =
        with(plain("keda.sh/v1alpha1", "ScaledObject", "s", None), "/spec/scaleTargetRef", json!({"name": "web"}));
    assert_eq!(create(&object), "BesidePinned");
}

#[test]
fn whatever_a_declared_custom_resource_makes_is_git_s() {
    let kinds = [
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "Deployment"),
        ("v1", "Service"),
        ("v1", "ConfigMap"),
        ("v1", "Secret"),
        ("v1", "PersistentVolumeClaim"),
        ("other.example.com/v1", "Gadget"),
    ];
    for (api_version, kind) in kinds {
        for owner in [WIDGET, ("example.com/v9", "Widget", "w1"), ("apps/v1", "StatefulSet", "child")] {
            let before = plain(api_version, kind, "made", Some(owner));
            let after = with(before.clone(), "/spec/color", json!("red"));
            assert_eq!(update(&before, &after), "DescendantChanged", "{before}");
            let delete = request(&dev(), "DELETE", "", Some(&before), None);
            assert_eq!(reason(&delete), "DescendantDeleted", "{before}");
            let operator = request(&account("ops", "op"), "UPDATE", "", Some(&before), Some(&after));
            assert_eq!(reason(&operator), "NotPinned", "{before}");
        }
        let other = plain(api_version, kind, "made", Some(("example.com/v1", "Widget", "w2")));
        assert_eq!(update(&other, &with(other.clone(), "/spec/color", json!("red"))), "NotPinned");
    }
    // Its maker writes the status, and takes its finalizer off in the end.
    let before = plain("other.example.com/v1", "Gadget", "made", Some(WIDGET));
    let status = with(before.clone(), "/status/ready", json!(true));
    assert_eq!(reason(&request(&dev(), "UPDATE", "status", Some(&before), Some(&status))), "NotPinned");
    let dying = with(before, "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let done = with(dying.clone(), "/metadata/finalizers", json!([]));
    assert_eq!(update(&dying, &done), "NotPinned");
    // Nobody asks about the owners that make nothing.
    let configured = plain("v1", "Pod", "p", Some(("v1", "ConfigMap", "x")));
    assert_eq!(create(&configured), "NotPinned");
}

#[test]
fn a_job_made_by_hand_may_be_deleted_by_hand() {
    let job = |mark: &str| {
        with(
            plain("batch/v1", "Job", "j", Some(("batch/v1", "CronJob", "report"))),
            "/metadata/annotations/cronjob.kubernetes.io~1instantiate",
            json!(mark),
        )
    };
    let delete = |job: &Value| request(&dev(), "DELETE", "", Some(job), None);
    assert_eq!(reason(&delete(&job("manual"))), "DescendantAccessed");
    assert_eq!(reason(&delete(&job("other"))), "DescendantDeleted", "the CronJob made it");
    assert_eq!(update(&job("other"), &job("manual")), "DescendantChanged");
    let mut refuse = policy();
    refuse.descendants.run_job = gitward_core::verdict::Access::Refuse;
    assert_eq!(reason_under(&refuse, &live(), &delete(&job("manual"))), "DescendantDeleted");
    let mut owned = job("manual");
    owned["metadata"]["ownerReferences"]
        .as_array_mut()
        .unwrap()
        .push(json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u"}));
    assert_eq!(reason(&delete(&owned)), "DescendantDeleted", "it belongs to more than the CronJob");
}

#[test]
fn holders_keep_what_their_objects_depend_on() {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com", "labels": {"gitward.dev/guarded": "true"}},
        "spec": {"group": "example.com", "names": {"kind": "Widget"}, "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true}]}});
    let changed = |pointer: &str, value: Value| with(definition.clone(), pointer, value);
    for other in [
        changed("/spec/versions", json!([])),
        changed("/spec/conversion", json!({"strategy": "Webhook"})),
        changed("/spec/conversion/webhook/clientConfig/service", json!({"name": "x"})),
        changed("/spec/preserveUnknownFields", json!(true)),
        changed("/metadata/labels", json!({})),
    ] {
        assert_eq!(update(&definition, &other), "HolderChanged", "{other}");
    }
    let webhook = changed("/spec/conversion/webhook/clientConfig", json!({"caBundle": "YQ=="}));
    let rotated = with(webhook.clone(), "/spec/conversion/webhook/clientConfig/caBundle", json!("Yg=="));
    assert_eq!(update(&webhook, &rotated), "NotPinned", "an injector of authorities");
    let mut installer = policy();
    installer.installers.users.push("dev".to_owned());
    let own = with(definition.clone(), "/metadata/name", json!("gitsyncs.gitward.dev"));
    let upgraded = request(&dev(), "UPDATE", "", Some(&own), Some(&with(own.clone(), "/spec/versions", json!([]))));
    assert_eq!(reason(&upgraded), "GitwardProtected");
    assert_eq!(reason_under(&installer, &live(), &upgraded), "NotPinned", "an installer upgrades gitward");
    let operator = |new: &Value| request(&account("ops", "op"), "UPDATE", "", Some(&definition), Some(new));
    assert_eq!(reason(&operator(&changed("/spec/versions", json!([])))), "NotPinned");
    assert_eq!(reason(&operator(&changed("/metadata/labels", json!({})))), "HolderChanged");

    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NS, "labels":
        {"gitward.dev/guarded": "true"}, "annotations": {"note": "x"}}});
    let labelled =
        |key: &str| with(namespace.clone(), &format!("/metadata/labels/{}", key.replace('/', "~1")), json!("x"));
    for key in ["pod-security.kubernetes.io/enforce", "istio-injection", "istio.io/rev", "linkerd.io/inject"] {
        assert_eq!(update(&namespace, &labelled(key)), "HolderChanged", "{key}");
    }
    assert_eq!(update(&namespace, &labelled("team")), "NotPinned");
    let annotated =
        with(namespace.clone(), "/metadata/annotations/scheduler.alpha.kubernetes.io~1node-selector", json!("a=b"));
    assert_eq!(update(&namespace, &annotated), "HolderChanged");

    let owned = with(
        namespace.clone(),
        "/metadata/ownerReferences",
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "uid": "u"}]),
    );
    let delete = |user: &Value, object: &Value| reason(&request(user, "DELETE", "", Some(object), None));
    let collector = account("kube-system", "generic-garbage-collector");
    assert_eq!(delete(&collector, &owned), "HolderChanged");
    assert_eq!(delete(&json!({"username": "system:kube-controller-manager"}), &owned), "HolderChanged");
    let free = with(with(owned, "/metadata/labels", json!({})), "/metadata/name", json!("empty"));
    assert_eq!(delete(&collector, &free), "NotPinned", "it holds nothing");
    assert_eq!(delete(&account("kube-system", "namespace-controller"), &namespace), "NotPinned");
    assert_eq!(delete(&account("ops", "op"), &namespace), "HolderChanged");
}

#[test]
fn only_gitsyncs_and_flux_objects_are_asked_by_annotation() {
    let asked = |api_version: &str, kind: &str, value: &str| {
        let before = pinned(api_version, kind, "a", &json!({}));
        let after = with(before.clone(), "/metadata/annotations/reconcile.fluxcd.io~1requestedAt", json!(value));
        update(&before, &after)
    };
    assert_eq!(asked("gitward.dev/v1alpha1", "GitSync", "now"), "NoRefusedChange");
    assert_eq!(asked("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "now"), "NoRefusedChange");
    assert_eq!(asked("gitward.dev/v1alpha1", "GitSync", &"x".repeat(256)), "PinnedFieldChanged");
    for (api_version, kind) in [("apps/v1", "Deployment"), ("v1", "ConfigMap"), ("example.com/v1", "GitSync")] {
        assert_eq!(asked(api_version, kind, "now"), "PinnedFieldChanged", "{kind}");
    }
}

#[test]
fn a_person_does_not_crowd_out_the_declaration() {
    let before = pinned("gitward.dev/v1alpha1", "GitSync", "a", &json!({}));
    let managed = |mut object: Value, names: &[String]| {
        let entries = object["metadata"]["managedFields"].as_array_mut().unwrap();
        entries.extend(names.iter().map(|name| {
            json!({"manager": name, "operation": "Apply",
            "apiVersion": "gitward.dev/v1alpha1", "fieldsV1": {"f:metadata": {"f:annotations": {"f:x": {}}}}})
        }));
        object
    };
    let asks = |object: Value| with(object, "/metadata/annotations/reconcile.fluxcd.io~1requestedAt", json!("now"));
    let names = |n: usize| (0..n).map(|n| format!("m{n}")).collect::<Vec<_>>();
    assert_eq!(update(&before, &managed(asks(before.clone()), &names(1))), "NoRefusedChange", "one for its change");
    assert_eq!(update(&before, &managed(asks(before.clone()), &names(2))), "OwnershipChanged");
    assert_eq!(update(&before, &managed(before.clone(), &names(1))), "OwnershipChanged", "for nothing");
    let merged = ["m0".to_owned(), "ancient-changes".to_owned()];
    assert_eq!(
        update(&before, &managed(asks(before.clone()), &merged)),
        "NoRefusedChange",
        "the API server merges the oldest"
    );
    let crowded = managed(before, &names(40));
    assert_eq!(update(&crowded, &asks(crowded.clone())), "NoRefusedChange", "it is one of them already");
    let more = managed(asks(crowded.clone()), &["one more".to_owned()]);
    assert_eq!(update(&crowded, &more), "OwnershipChanged");
}

#[test]
fn another_version_than_the_declared_one_is_not_for_people() {
    let before = pinned("example.com/v1", "Widget", "w1", &json!({"declared": 1}));
    let mut old = with(before.clone(), "/apiVersion", json!("example.com/v1beta1"));
    assert_eq!(update(&old, &old), "OwnershipChanged");
    assert_eq!(update(&before, &before), "NoRefusedChange");
    old["metadata"]["managedFields"] = json!([]);
    assert_eq!(update(&old, &old), "NoRefusedChange", "it is not declared");
}

#[test]
fn selectors_that_ask_for_no_label_select_what_has_none() {
    let absent = json!({"selector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}});
    let not_in = json!({"selector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}});
    let everything = json!({"selector": {}});
    let pod = request(&dev(), "CREATE", "", None, Some(&plain("v1", "Pod", "p", None)));
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"] {
        for spec in [&absent, &not_in, &everything] {
            let live = [pinned("apps/v1", kind, "w", spec)];
            assert_eq!(reason_under(&policy(), &live, &pod), "BesidePinned", "{kind} {spec}");
        }
    }
    let service = [pinned("v1", "Service", "w", &everything)];
    assert_eq!(reason_under(&policy(), &service, &pod), "NotPinned", "an empty one of a Service selects nothing");
    let mut aggregate = pinned("rbac.authorization.k8s.io/v1", "ClusterRole", "agg", &json!({}));
    aggregate["metadata"]["namespace"] = json!("");
    aggregate["metadata"]["annotations"]["gitward.dev/pinned-id"] = json!("rbac.authorization.k8s.io/ClusterRole:/agg");
    aggregate["aggregationRule"] = json!({"clusterRoleSelectors": [{}]});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}, "rules": []});
    let review = request(&dev(), "CREATE", "", None, Some(&role));
    assert_eq!(reason_under(&policy(), &[aggregate], &review), "BesidePinned");
}

#[test]
fn proxies_are_judged_by_what_they_lead_to() {
    let mut refuse = policy();
    refuse.descendants.port_forward = gitward_core::verdict::Access::Refuse;
    for (resource, name) in [
        ("services", "web"),
        ("services", "https:web:8443"),
        ("services", "web:80"),
        ("services", "child"),
        ("pods", "p:80"),
    ] {
        let options =
            json!({"apiVersion": "v1", "kind": "ServiceProxyOptions", "metadata": {"name": name, "namespace": NS}});
        let mut review = request(&dev(), "CONNECT", "proxy", None, Some(&options));
        review["request"]["resource"]["resource"] = json!(resource);
        let mut live = live();
        live.push(plain("v1", "Pod", "p", Some(("apps/v1", "ReplicaSet", "web-1"))));
        assert_eq!(reason_under(&refuse, &live, &review), "DescendantChanged", "{resource} {name}");
        assert_eq!(reason_under(&policy(), &live, &review), "DescendantAccessed", "{resource} {name}");
    }
}

#[test]
fn no_tokens_of_accounts_that_the_guard_trusts() {
    for (namespace, name, expected) in [
        ("ops", "op", "GitwardProtected"),
        ("ci", "installer", "GitwardProtected"),
        ("gitward-system", "gitward-reconciler", "GitwardProtected"),
        ("ops", "other", "NotPinned"),
    ] {
        let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"name": name, "namespace": namespace}});
        let mut review = request(&dev(), "CREATE", "token", None, Some(&token));
        review["request"]["resource"] = json!({"group": "", "version": "v1", "resource": "serviceaccounts"});
        assert_eq!(reason(&review), expected, "{namespace}/{name}");
    }
}

#[test]
fn an_exclusive_namespace_takes_questions() {
    let mut exclusive = policy();
    exclusive.exclusive.namespaces.push(NS.to_owned());
    let question = plain("authorization.k8s.io/v1", "LocalSubjectAccessReview", "", None);
    let review = |object: &Value| request(&dev(), "CREATE", "", None, Some(object));
    assert_eq!(reason_under(&exclusive, &live(), &review(&question)), "NotPinned");
    let object = plain("v1", "ConfigMap", "a", None);
    assert_eq!(reason_under(&exclusive, &live(), &review(&object)), "ExclusiveNamespace");
}

#[test]
fn an_owner_hides_nothing_and_more_than_are_looked_up_refuse() {
    let owners = |kinds: &[(&str, &str, String)]| -> Value {
        kinds
            .iter()
            .map(|(api, kind, name)| json!({"apiVersion": api, "kind": kind, "name": name, "uid": "u"}))
            .collect()
    };
    let job = |owners: Value| with(plain("batch/v1", "Job", "j", None), "/metadata/ownerReferences", owners);
    let cron = ("batch/v1", "CronJob", "report".to_owned());
    assert_eq!(create(&job(owners(std::slice::from_ref(&cron)))), "DescendantAccessed");
    let both = [cron.clone(), ("apps/v1", "Deployment", "web".to_owned())];
    assert_eq!(create(&job(owners(&both))), "BesidePinned");
    let many: Vec<_> = (0..17).map(|n| ("apps/v1", "Deployment", format!("none-{n}"))).collect();
    assert_eq!(create(&job(owners(&many))), "LookupFailed");
    let mut exclusive = policy();
    exclusive.exclusive.namespaces.push(NS.to_owned());
    let review = request(&dev(), "CREATE", "", None, Some(&job(owners(&[cron]))));
    assert_eq!(reason_under(&exclusive, &live(), &review), "ExclusiveNamespace");
    // Owners that own each other, and one that is too far away to be found.
    let mut circle = live();
    circle.push(plain("example.com/v1", "Ring", "a", Some(("example.com/v1", "Ring", "b"))));
    circle.push(plain("example.com/v1", "Ring", "b", Some(("example.com/v1", "Ring", "a"))));
    let ring = plain("v1", "Pod", "p", Some(("example.com/v1", "Ring", "a")));
    let pod = request(&dev(), "CREATE", "", None, Some(&ring));
    assert_eq!(reason_under(&policy(), &circle, &pod), "NotPinned");
    circle.extend((0..9).map(|n| {
        plain("example.com/v1", "Link", &format!("{n}"), Some(("example.com/v1", "Link", &format!("{}", n + 1))))
    }));
    let far = plain("v1", "Pod", "p", Some(("example.com/v1", "Link", "0")));
    let pod = request(&dev(), "CREATE", "", None, Some(&far));
    assert_eq!(reason_under(&policy(), &circle, &pod), "LookupFailed");
}
