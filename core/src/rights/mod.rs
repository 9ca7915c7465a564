//! What a team's GitSync may do: that is one whose service account's rights count, outside of gitward's namespace. Pure:
//! an object in, the rights that its account needs out. The reconciler asks the API server for them, and writes as itself.
//!
//! The API server would refuse more to the account than RBAC says: it keeps people from giving away rights that they do not
//! have, and records who made an object. None of that holds where the reconciler writes, so all of it stands here.
//!
//! May import `access` for the rules of roles, and `names`.

mod never;
mod rbac;

use std::fmt;

use serde_json::Value;

pub use never::{ill_formed, is_name, never, never_take, never_touch};
pub use rbac::rules_of;

use crate::access::RoleRef;

pub(crate) const RBAC: &str = "rbac.authorization.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
/// The type of a Secret that the controller manager fills with a token of the account that an annotation names.
const TOKEN_SECRET: &str = "kubernetes.io/service-account-token";

/// One thing that an account may or may not do, as RBAC sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access {
    /// Such as `patch`; `*` for all.
    pub verb: String,
    /// The API group; empty for the core API.
    pub group: String,
    /// The plural of the kind, such as `deployments`; `*` for all.
    pub resource: String,
    /// Such as `scale`; mostly empty.
    pub subresource: String,
    /// Empty for cluster-scoped objects, and for those of all namespaces.
    pub namespace: String,
    /// Empty: objects of every name.
    pub name: String,
}

/// What an account needs: all of a list of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// One right.
    Has(Access),
    /// One right, or in its place all of the others.
    Either(Access, Vec<Access>),
    /// The right to bind a role, or in its place all rights of that role, which has to be looked up: see [`rules_of`].
    Bind(Access, RoleRef),
}

/// An object, and what the API server says of its kind. What a commit says of a kind does not count: a forged
/// CustomResourceDefinition could declare ClusterRoles to live in namespaces.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The API group; empty for the core API.
    pub group: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// Its plural, as the API server serves it.
    pub resource: &'a str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// The namespace; not looked at for cluster-scoped kinds.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
}

impl Access {
    /// The right to read a Secret (`secrets`) or ConfigMap (`configmaps`) that a spec names.
    pub fn read(resource: &str, namespace: &str, name: &str) -> Access {
        Access {
            verb: "get".into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Access::default()
        }
    }

    /// The right to act as a service account. Whoever writes a GitSync needs it.
    pub fn impersonate(namespace: &str, account: &str) -> Access {
        Access { verb: "impersonate".into(), ..Access::read("serviceaccounts", namespace, account) }
    }
}

impl<'a> Target<'a> {
    /// Where the object really is.
    pub fn place(&self) -> &'a str {
        if self.namespaced { self.namespace } else { "" }
    }

    fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    fn access(&self, verb: &str) -> Access {
        Access {
            verb: verb.to_owned(),
            group: self.group.to_owned(),
            resource: self.resource.to_owned(),
            subresource: String::new(),
            namespace: self.place().to_owned(),
            name: self.name.to_owned(),
        }
    }
}

/// What an account needs to apply an object. `live` is the object as it is in the cluster, if it is there: what a file leaves
/// out stays as it is.
///
/// # Errors
/// Where no right is enough, with the reason.
pub fn to_apply(target: &Target<'_>, object: &Value, live: Option<&Value>) -> Result<Vec<Need>, String> {
    // Server-side apply is a patch that may create.
    let mut needs = vec![Need::Has(target.access("create")), Need::Has(target.access("patch"))];
    match (target.group, target.kind) {
        (RBAC, "Role" | "ClusterRole") => needs.push(rbac::role(target, object)),
        (RBAC, "RoleBinding" | "ClusterRoleBinding") => needs.push(rbac::binding(target, object)?),
        (crate::names::GROUP, "GitSync") => {
            let account = account_of(object).ok_or("a GitSync outside of gitward's namespace acts as a service account of its namespace: set spec.serviceAccountName")?;
            needs.push(Need::Has(Access::impersonate(target.place(), account)));
            needs.extend(live_account(target, live));
        }
        ("", "Secret") => needs.extend(token(target, object, live)),
        // https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#cluster-trust-bundles
        (CERTIFICATES, "ClusterTrustBundle") => needs.extend(attest(object)),
        (ADMISSION, _) => needs.extend(parameters(object)),
        _ => {}
    }
    Ok(needs)
}

/// What an account needs to prune an object, or to delete it so that it can be made anew.
pub fn to_prune(target: &Target<'_>, live: Option<&Value>) -> Vec<Need> {
    let account = target.is(crate::names::GROUP, "GitSync").then(|| live_account(target, live)).flatten();
    [Need::Has(target.access("delete"))].into_iter().chain(account).collect()
}

fn account_of(sync: &Value) -> Option<&str> {
    sync["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty())
}

/// Whoever changes or deletes a GitSync needs the right to act as the account that it had before.
fn live_account(target: &Target<'_>, live: Option<&Value>) -> Option<Need> {
    let account = live.and_then(account_of)?;
    Some(Need::Has(Access::impersonate(target.place(), account)))
}

/// The token that such a Secret is filled with takes a right of its own where it is asked for in the usual way.
fn token(target: &Target<'_>, object: &Value, live: Option<&Value>) -> Option<Need> {
    let is_token = |secret: &Value| secret["type"] == TOKEN_SECRET;
    if !is_token(object) && !live.is_some_and(is_token) {
        return None;
    }
    let account = object["metadata"]["annotations"]["kubernetes.io/service-account.name"].as_str()?;
    let mint = Access::read("serviceaccounts", target.place(), account);
    Some(Need::Has(Access { verb: "create".into(), subresource: "token".into(), ..mint }))
}

/// The API server asks whether the caller may speak for the signer.
fn attest(object: &Value) -> Option<Need> {
    let signer = object["spec"]["signerName"].as_str().filter(|signer| !signer.is_empty())?;
    Some(Need::Has(Access {
        verb: "attest".into(),
        group: CERTIFICATES.into(),
        resource: "signers".into(),
        name: signer.to_owned(),
        ..Access::default()
    }))
}

/// The API server asks whether the author of an admission policy may read its parameters; which those are is not worth
/// finding out.
fn parameters(object: &Value) -> Option<Need> {
    let spec = &object["spec"];
    let has = |field: &str| !spec[field].is_null();
    let all = Access { verb: "get".into(), group: "*".into(), resource: "*".into(), ..Access::default() };
    (has("paramKind") || has("paramRef")).then_some(Need::Has(all))
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slash, dot) =
            (if self.subresource.is_empty() { "" } else { "/" }, if self.group.is_empty() { "" } else { "." });
        write!(f, "{} {}{slash}{}{dot}{}", self.verb, self.resource, self.subresource, self.group)?;
        // RBAC speaks of kinds mostly; these verbs are about one object.
        if ["get", "impersonate", "bind", "escalate", "attest"].contains(&self.verb.as_str()) && !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        match self.namespace.as_str() {
            "" => f.write_str(" in the cluster"),
            namespace => write!(f, " in namespace {namespace}"),
        }
    }
}

#[cfg(test)]
mod tests;
