//! The rights that lead around the guard, the worst first.

use super::Rule;

/// A way around the guard.
pub(super) struct Way {
    /// What its holder can do.
    pub(super) what: &'static str,
    /// Why that leads around the guard.
    pub(super) why: &'static str,
    pub(super) within: Within,
    /// Any of these opens it.
    pub(super) needs: &'static [Need],
}

/// Where a right has to hold to open a way. In the whole cluster it always does.
#[derive(Clone, Copy)]
pub(super) enum Within {
    /// Only in the whole cluster.
    Cluster,
    /// In gitward's namespace.
    Own,
    /// In kube-system.
    KubeSystem,
}

/// A right.
pub(super) struct Need {
    verbs: &'static [&'static str],
    group: &'static str,
    resources: &'static [&'static str],
    /// The objects that matter, where only some do; a rule for other names is none.
    names: &'static [&'static str],
}

impl Need {
    pub(super) fn is_met_by(&self, rule: &Rule) -> bool {
        let names = rule.resource_names.is_empty()
            || self.names.is_empty()
            || rule.resource_names.iter().any(|name| self.names.contains(&name.as_str()));
        let resource = |resource: &&'static str| match resource.strip_suffix("/*") {
            // Extras are named by their key; any one may be the reconciler's.
            Some(prefix) => {
                rule.resources.iter().any(|r| r.split('/').next() == Some(prefix))
                    && rule.has_resource_group(self.group)
            }
            None => rule.has_resource(self.group, resource),
        };
        names && self.verbs.iter().any(|verb| rule.has_verb(verb)) && self.resources.iter().any(resource)
    }
}

impl Rule {
    fn has_resource_group(&self, group: &str) -> bool {
        self.api_groups.iter().any(|g| g == "*" || g == group)
    }
}

const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const MAKE: &[&str] = &["create", "update", "patch"];
const READ: &[&str] = &["get", "list", "watch"];

const fn need(
    verbs: &'static [&'static str],
    group: &'static str,
    resources: &'static [&'static str],
    names: &'static [&'static str],
) -> Need {
    Need { verbs, group, resources, names }
}

const MAKES_PODS: &[Need] = &[
    need(MAKE, "", &["pods", "pods/ephemeralcontainers", "replicationcontrollers"], &[]),
    need(MAKE, "apps", &["deployments", "replicasets", "statefulsets", "daemonsets"], &[]),
    need(MAKE, "batch", &["jobs", "cronjobs"], &[]),
    need(&["create", "get"], "", &["pods/exec", "pods/attach", "pods/portforward", "pods/proxy"], &[]),
];

/// All of them. The first is that of administrators, which contains the others.
pub(super) const WAYS: &[Way] = &[
    Way {
        what: "act as administrator",
        why: "may do everything, so also everything below",
        within: Within::Own,
        needs: &[need(&["*"], "*", &["*"], &[])],
    },
    Way {
        what: "impersonate",
        why: "whoever may add extras looks like the reconciler with its token; others act as a controller or an operator",
        within: Within::Cluster,
        needs: &[
            need(&["impersonate"], "", &["users", "groups", "serviceaccounts"], &[]),
            need(&["impersonate"], "authentication.k8s.io", &["userextras", "userextras/*", "uids"], &[]),
        ],
    },
    Way {
        what: "mint tokens of gitward's accounts",
        why: "a token that is bound to the reconciler's pod is the GitOps identity",
        within: Within::Own,
        needs: &[need(&["create"], "", &["serviceaccounts/token"], &[])],
    },
    Way {
        what: "mint tokens of kube-system",
        why: "their bearer is taken for a part of Kubernetes",
        within: Within::KubeSystem,
        needs: &[need(&["create"], "", &["serviceaccounts/token"], &[])],
    },
    Way {
        what: "run or enter pods in gitward's namespace",
        why: "a pod there can wear the reconciler's account",
        within: Within::Own,
        needs: MAKES_PODS,
    },
    Way {
        what: "run or enter pods in kube-system",
        why: "a pod there can wear an account that is taken for a part of Kubernetes",
        within: Within::KubeSystem,
        needs: MAKES_PODS,
    },
    Way {
        what: "read Secrets in gitward's namespace",
        why: "they hold the keys of the guard's certificates and of repositories",
        within: Within::Own,
        needs: &[need(READ, "", &["secrets"], &["gitward-guard-ca", "gitward-guard-tls"])],
    },
    Way {
        what: "write GitSyncs in gitward's namespace",
        why: "a GitSync there may do whatever the reconciler may",
        within: Within::Own,
        needs: &[need(WRITE, "gitward.dev", &["gitsyncs"], &[])],
    },
    Way {
        what: "change webhook configurations",
        why: "without its configuration, or behind a mutating webhook, the guard does not see what is written",
        within: Within::Cluster,
        needs: &[
            need(WRITE, "admissionregistration.k8s.io", &["validatingwebhookconfigurations"], &["gitward"]),
            need(WRITE, "admissionregistration.k8s.io", &["mutatingwebhookconfigurations"], &[]),
        ],
    },
    Way {
        what: "change admission policies",
        why: "a mutating policy changes what the reconciler applies; gitward's own protect it",
        within: Within::Cluster,
        needs: &[need(
            WRITE,
            "admissionregistration.k8s.io",
            &[
                "validatingadmissionpolicies",
                "validatingadmissionpolicybindings",
                "mutatingadmissionpolicies",
                "mutatingadmissionpolicybindings",
            ],
            &[],
        )],
    },
    Way {
        what: "change gitward's policies and records",
        why: "the policy says what is refused, the records what was",
        within: Within::Cluster,
        needs: &[need(WRITE, "gitward.dev", &["guardpolicies", "blockedchanges", "breakglasses"], &[])],
    },
    Way {
        what: "grant rights",
        why: "may give itself any of the others",
        within: Within::Cluster,
        needs: &[
            need(&["escalate", "bind"], "rbac.authorization.k8s.io", &["clusterroles", "roles"], &[]),
            need(MAKE, "rbac.authorization.k8s.io", &["clusterroles", "clusterrolebindings"], &[]),
        ],
    },
    Way {
        what: "grant rights in gitward's namespace",
        why: "may let somebody wear the reconciler's account",
        within: Within::Own,
        needs: &[need(MAKE, "rbac.authorization.k8s.io", &["roles", "rolebindings"], &[])],
    },
    Way {
        what: "change definitions of custom resources",
        why: "an object whose kind is gone is gone, and no webhook is asked about it",
        within: Within::Cluster,
        needs: &[need(
            &["update", "patch", "delete", "deletecollection"],
            "apiextensions.k8s.io",
            &["customresourcedefinitions", "customresourcedefinitions/status"],
            &[],
        )],
    },
    Way {
        what: "take over API groups",
        why: "an APIService sends a group's requests to a server of its own",
        within: Within::Cluster,
        needs: &[need(WRITE, "apiregistration.k8s.io", &["apiservices"], &[])],
    },
    Way {
        what: "starve requests",
        why: "a FlowSchema can keep the reconciler waiting for ever",
        within: Within::Cluster,
        needs: &[need(WRITE, "flowcontrol.apiserver.k8s.io", &["flowschemas", "prioritylevelconfigurations"], &[])],
    },
    Way {
        what: "reach kubelets",
        why: "a kubelet runs commands in any pod, and no webhook sees a direct call",
        within: Within::Cluster,
        needs: &[need(&["get", "create"], "", &["nodes/proxy"], &[])],
    },
    Way {
        what: "approve certificates",
        why: "a client certificate can carry any name, such as a controller's",
        within: Within::Cluster,
        needs: &[
            need(&["update", "patch"], "certificates.k8s.io", &["certificatesigningrequests/approval"], &[]),
            need(&["approve", "sign"], "certificates.k8s.io", &["signers"], &[]),
        ],
    },
];
