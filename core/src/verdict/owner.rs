//! Whose declarations are enforced: the identity that may write them, and how a live object shows that it is declared.
//! gitward itself is one preset; a team that keeps its GitOps operator names that instead.

use std::borrow::Cow;

use super::review::UserInfo;
use super::who::has_pod_bound_token;
use crate::fields::Entry;
use crate::fields::Object;
use crate::names;

/// A GitOps operator: gitward's reconciler, or another one that the policy names.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Service accounts as user names; each must show a token that is bound to one of its pods.
    identities: Vec<String>,
    marks: &'static [Marks],
}

/// How one kind of declaration marks its objects.
#[derive(Debug)]
pub(super) struct Marks {
    /// What declares, in the words of the operator: `GitSync`.
    pub(super) source: &'static str,
    /// Where the name of the declaring object stands.
    name: Mark,
    /// The label with its namespace, where it has one.
    namespace: Option<&'static str>,
    /// The field manager under which it writes.
    manager: &'static str,
    /// Whether it writes by server-side apply alone.
    applies: bool,
    /// Whether others use the mark too, so that it claims nothing without the manager.
    pub(super) shared: bool,
}

#[derive(Debug)]
enum Mark {
    Label(&'static str),
    /// Argo CD's tracking id: `<application>:<group>/<Kind>:<namespace>/<name>`.
    TrackingId(&'static str),
}

const GITWARD: &[Marks] = &[Marks {
    source: "GitSync",
    name: Mark::Label(names::SYNC_NAME),
    namespace: Some(names::SYNC_NAMESPACE),
    manager: names::MANAGER,
    applies: true,
    shared: false,
}];

/// Flux labels what a Kustomization or HelmRelease declares; helm-controller applies with Helm 4 and updates with 3.
const FLUX: &[Marks] = &[
    Marks {
        source: "Kustomization",
        name: Mark::Label("kustomize.toolkit.fluxcd.io/name"),
        namespace: Some("kustomize.toolkit.fluxcd.io/namespace"),
        manager: "kustomize-controller",
        applies: true,
        shared: false,
    },
    Marks {
        source: "HelmRelease",
        name: Mark::Label("helm.toolkit.fluxcd.io/name"),
        namespace: Some("helm.toolkit.fluxcd.io/namespace"),
        manager: "helm-controller",
        applies: false,
        shared: false,
    },
];

/// Argo CD tracks by annotation (the default since 3.0) or by label, and updates unless told to apply on the server.
const ARGO_CD: &[Marks] = &[
    Marks {
        source: "Application",
        name: Mark::TrackingId("argocd.argoproj.io/tracking-id"),
        namespace: None,
        manager: "argocd-controller",
        applies: false,
        shared: false,
    },
    Marks {
        source: "Application",
        name: Mark::Label("app.kubernetes.io/instance"),
        namespace: None,
        manager: "argocd-controller",
        applies: false,
        shared: true,
    },
];

/// What an object says of the thing that declares it.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) marks: &'static Marks,
    pub(super) namespace: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    /// Whether all the marks are there.
    pub(super) complete: bool,
}

impl Owner {
    /// gitward's reconciler: the service account `name` in `namespace`.
    pub fn reconciler(namespace: &str, name: &str) -> Owner {
        Owner { identities: vec![service_account(namespace, name)], marks: GITWARD }
    }

    /// Flux in its usual namespace, or in another one.
    pub fn flux(namespace: &str) -> Owner {
        let identities = ["kustomize-controller", "helm-controller"].map(|name| service_account(namespace, name));
        Owner { identities: identities.into(), marks: FLUX }
    }

    /// Argo CD in its usual namespace, or in another one.
    pub fn argo_cd(namespace: &str) -> Owner {
        Owner { identities: vec![service_account(namespace, "argocd-application-controller")], marks: ARGO_CD }
    }

    /// Whether the caller is one of its identities.
    pub fn is(&self, user: &UserInfo<'_>) -> bool {
        self.identities.iter().any(|identity| *identity == user.username) && has_pod_bound_token(user)
    }

    /// The user names of its identities.
    pub fn identities(&self) -> &[String] {
        &self.identities
    }

    /// The label that all its objects wear, where there is one such label.
    pub fn label(&self) -> Option<&'static str> {
        match self.marks {
            [Marks { name: Mark::Label(key), .. }] => Some(key),
            _ => None,
        }
    }

    /// What the marks of an object say, where it wears one and no mark that says that it is a copy of another.
    pub(super) fn claim<'a>(&self, object: &Object<'a>, (group, kind): (&str, &str)) -> Option<Claim<'a>> {
        self.marks.iter().find_map(|marks| marks.claim(object, group, kind))
    }

    /// The keys of labels and annotations that are marks.
    pub(super) fn mark_paths(&self) -> Vec<[&'static str; 3]> {
        let mut paths = Vec::new();
        for marks in self.marks {
            paths.extend(marks.namespace.map(|key| ["metadata", "labels", key]));
            paths.push(match marks.name {
                Mark::Label(key) => ["metadata", "labels", key],
                Mark::TrackingId(key) => ["metadata", "annotations", key],
            });
            if marks.manager == names::MANAGER {
                paths.extend([names::PINNED_ID, names::ORIGIN].map(|key| ["metadata", "annotations", key]));
            }
        }
        paths
    }
}

/// The user name of a service account (Kubernetes documentation, "Authenticating").
pub fn service_account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

impl Marks {
    fn claim<'a>(&'static self, object: &Object<'a>, group: &str, kind: &str) -> Option<Claim<'a>> {
        let namespace = self.namespace.and_then(|key| object.label(key));
        let has_namespace = namespace.is_some() || self.namespace.is_none();
        let name = match self.name {
            Mark::Label(key) => object.label(key),
            Mark::TrackingId(key) => match object.annotation(key) {
                Some(id) => Some(Cow::Owned(application_of(&id, object, group, kind)?.to_owned())),
                None => None,
            },
        };
        let copy = object
            .annotation(names::PINNED_ID)
            .filter(|_| self.manager == names::MANAGER)
            .is_some_and(|id| id != names::pinned_id(group, kind, &object.meta.namespace, &object.meta.name));
        if copy || (name.is_none() && (namespace.is_none() || self.namespace.is_none())) {
            return None;
        }
        let complete = name.is_some() && has_namespace;
        Some(Claim { marks: self, namespace: namespace.unwrap_or_default(), name: name.unwrap_or_default(), complete })
    }

    /// Whether an entry is what this operator declared, on the object itself.
    pub(super) fn is_declaration(&self, entry: &Entry<'_>) -> bool {
        self.claims_declaration(entry) && entry.subresource.is_empty()
    }

    /// Whether an entry has the declaration's manager and operation, through whatever subresource.
    pub(super) fn claims_declaration(&self, entry: &Entry<'_>) -> bool {
        entry.manager == self.manager && (!self.applies || entry.operation == "Apply")
    }
}

/// The application that a tracking id names. `None` where it is the id of another object. The namespace of a
/// cluster-scoped object stands for that of the application's destination.
fn application_of<'i>(id: &'i str, object: &Object<'_>, group: &str, kind: &str) -> Option<&'i str> {
    let (application, rest) = id.split_once(':')?;
    let (its_kind, its_name) = rest.split_once(':')?;
    let (its_namespace, its_name) = its_name.split_once('/')?;
    let same = its_kind.split_once('/') == Some((group, kind))
        && its_name == object.meta.name
        && (object.meta.namespace.is_empty() || its_namespace == object.meta.namespace);
    same.then_some(application)
}
