//! The verdict's view of a GuardPolicy. Pure.

use gitward_core::verdict::{
    Access, Descendants, Exclusive, Installers, Mode, OwnNamespace, Owner, Pattern, Policy, service_account,
};
use thiserror::Error;

use crate::api::{DescendantAccess, GuardMode, GuardPolicySpec, OperatorPreset, OwnerPreset};

/// A GuardPolicy that cannot be followed. Each error names the field and what to write instead.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InvalidPolicy {
    /// No JSON pointer.
    #[error(
        "spec.allow[{index}] {pointer:?} is no JSON pointer: it begins with a slash and names a field, as in /metadata/labels/team"
    )]
    Pointer {
        /// Which.
        index: usize,
        /// As it stands there.
        pointer: String,
    },
    /// A field that nobody may change, whatever the policy says.
    #[error("spec.allow[{index}] {pointer:?}: owners, field ownership, the status and whole objects cannot be allowed")]
    NeverAllowed {
        /// Which.
        index: usize,
        /// As it stands there.
        pointer: String,
    },
    /// No name of a service account.
    #[error("spec.{field}: {account:?} is no service account: write namespace/name")]
    Account {
        /// Which list.
        field: &'static str,
        /// As it stands there.
        account: String,
    },
    /// A service account where a name alone would be believed.
    #[error(
        "spec.callers.system: {0:?} is a service account: list it under spec.callers.operators, where it must show a token of its pod"
    )]
    SystemAccount(String),
    /// No namespace.
    #[error("spec.exclusive.namespaces: {0:?} is no name of a namespace")]
    Namespace(String),
}

/// The verdict's view of a GuardPolicy, for a gitward whose namespace and accounts are known.
///
/// # Errors
/// Where it cannot be followed; the CRD refuses the same before.
pub fn policy(spec: &GuardPolicySpec, own: &OwnNamespace, built_in: &Owner) -> Result<Policy, InvalidPolicy> {
    let owner_namespace = |usual: &'static str| spec.owner.namespace.clone().unwrap_or_else(|| usual.to_owned());
    Ok(Policy {
        mode: match spec.mode {
            GuardMode::Enforce => Mode::Enforce,
            GuardMode::Warn => Mode::Warn,
            GuardMode::Audit => Mode::Audit,
        },
        allow: spec.allow.iter().enumerate().map(pattern).collect::<Result<_, _>>()?,
        owner: match spec.owner.preset {
            OwnerPreset::Gitward => built_in.clone(),
            OwnerPreset::Flux => Owner::flux(&owner_namespace("flux-system")),
            OwnerPreset::ArgoCd => Owner::argo_cd(&owner_namespace("argocd")),
        },
        own: own.clone(),
        system: spec.callers.system.iter().map(system).collect::<Result<_, _>>()?,
        operators: operators(spec)?,
        installers: installers(spec)?,
        exclusive: exclusive(spec)?,
        descendants: descendants(spec),
    })
}

fn pattern((index, pointer): (usize, &String)) -> Result<Pattern, InvalidPolicy> {
    let never = |prefix: &str| pointer == prefix || pointer.starts_with(&format!("{prefix}/"));
    if pointer == "/metadata"
        || ["/metadata/ownerReferences", "/metadata/managedFields", "/status", "/*"].into_iter().any(never)
    {
        return Err(InvalidPolicy::NeverAllowed { index, pointer: pointer.clone() });
    }
    Pattern::parse(pointer).ok_or_else(|| InvalidPolicy::Pointer { index, pointer: pointer.clone() })
}

fn system(name: &String) -> Result<String, InvalidPolicy> {
    if name.starts_with("system:serviceaccount:") || name == "system:anonymous" || name.is_empty() {
        return Err(InvalidPolicy::SystemAccount(name.clone()));
    }
    Ok(name.clone())
}

fn account(field: &'static str, text: &str) -> Result<String, InvalidPolicy> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(service_account(namespace, name))
        }
        _ => Err(InvalidPolicy::Account { field, account: text.to_owned() }),
    }
}

fn operators(spec: &GuardPolicySpec) -> Result<Vec<String>, InvalidPolicy> {
    let known = spec.callers.presets.iter().flat_map(|preset| accounts_of(*preset)).copied();
    let listed = spec.callers.operators.iter().map(String::as_str);
    listed.chain(known).map(|text| account("callers.operators", text)).collect()
}

fn accounts_of(preset: OperatorPreset) -> &'static [&'static str] {
    match preset {
        OperatorPreset::CertManager => &["cert-manager/cert-manager", "cert-manager/cert-manager-cainjector"],
        OperatorPreset::Keda => &["keda/keda-operator"],
        OperatorPreset::ArgoRollouts => &["argo-rollouts/argo-rollouts"],
        OperatorPreset::Flagger => &["flagger-system/flagger", "istio-system/flagger"],
        OperatorPreset::ExternalSecrets => &["external-secrets/external-secrets"],
        OperatorPreset::Istio => &["istio-system/istiod", "istio-system/istiod-service-account"],
        OperatorPreset::VerticalPodAutoscaler => {
            &["kube-system/vpa-updater", "kube-system/vpa-recommender", "kube-system/vpa-admission-controller"]
        }
    }
}

fn installers(spec: &GuardPolicySpec) -> Result<Installers, InvalidPolicy> {
    let mut users = spec.installers.users.clone();
    for text in &spec.installers.service_accounts {
        users.push(account("installers.serviceAccounts", text)?);
    }
    Ok(Installers { users, groups: spec.installers.groups.clone() })
}

fn exclusive(spec: &GuardPolicySpec) -> Result<Exclusive, InvalidPolicy> {
    let is_name = |name: &str| {
        (1..=63).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if let Some(wrong) = spec.exclusive.namespaces.iter().find(|name| !is_name(name)) {
        return Err(InvalidPolicy::Namespace(wrong.clone()));
    }
    let except = spec.exclusive.except.iter().map(|kind| (kind.group.clone(), kind.kind.clone())).collect();
    Ok(Exclusive { namespaces: spec.exclusive.namespaces.clone(), except })
}

fn descendants(spec: &GuardPolicySpec) -> Descendants {
    let access = |access: DescendantAccess| match access {
        DescendantAccess::Allow => Access::Allow,
        DescendantAccess::Record => Access::Record,
        DescendantAccess::Refuse => Access::Refuse,
    };
    let of = &spec.descendants;
    Descendants {
        update: access(of.update),
        delete: access(of.delete),
        evict: access(of.evict),
        exec: access(of.exec),
        port_forward: access(of.port_forward),
        debug: access(of.debug),
        run_job: access(of.run_job),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Policy, String> {
        let spec: GuardPolicySpec = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        let built_in = Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard");
        policy(&spec, &built_in.own, &built_in.owner).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_policy_does_not_say_is_as_if_there_were_none() {
        let (empty, built_in) =
            (read("{}").unwrap(), Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard"));
        let text = |policy: &Policy| format!("{:?} {:?} {:?}", policy.mode, policy.installers, policy.descendants);
        assert_eq!(text(&empty), text(&built_in));
        assert_eq!(empty.owner.identities(), built_in.owner.identities());
    }

    #[test]
    fn an_invalid_policy_is_refused_with_what_is_wrong() {
        for (yaml, expected) in [
            ("allow: [/a, spec]", "spec.allow[1] \"spec\" is no JSON pointer"),
            ("allow: [/metadata/ownerReferences]", "cannot be allowed"),
            ("allow: ['/*']", "cannot be allowed"),
            ("allow: [/status/replicas]", "cannot be allowed"),
            ("callers: {operators: [keda-operator]}", "write namespace/name"),
            ("callers: {system: ['system:serviceaccount:a:b']}", "list it under spec.callers.operators"),
            ("installers: {serviceAccounts: [a/b/c]}", "write namespace/name"),
            ("exclusive: {namespaces: [Shop]}", "is no name of a namespace"),
            ("descendants: {exec: Forbid}", "Forbid"),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }

    #[test]
    fn presets_name_accounts() {
        let policy =
            read("callers: {presets: [CertManager], operators: [a/b]}\nowner: {preset: Flux, namespace: gitops}");
        let policy = policy.unwrap();
        assert!(policy.operators.contains(&"system:serviceaccount:cert-manager:cert-manager".to_owned()));
        assert!(policy.operators.contains(&"system:serviceaccount:a:b".to_owned()));
        assert_eq!(policy.owner.identities()[0], "system:serviceaccount:gitops:kustomize-controller");
    }
}
