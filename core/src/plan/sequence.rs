//! When an object is applied, relative to the others: what its annotations say, in the words of Argo CD, Helm and
//! cli-utils, so that repositories need no change.

use serde_json::Value;
use thiserror::Error;

use super::ObjectKey;

/// Argo CD's waves: a number; lower comes first, and the next wave waits until the one before is healthy.
pub const WAVE: &str = "argocd.argoproj.io/sync-wave";
/// Objects that have to be healthy before this one is applied: `group/namespaces/ns/Kind/name` or `group/Kind/name`,
/// separated by commas (sigs.k8s.io/cli-utils).
pub const DEPENDS_ON: &str = "config.kubernetes.io/depends-on";
const ARGO_HOOK: &str = "argocd.argoproj.io/hook";
const ARGO_DELETE: &str = "argocd.argoproj.io/hook-delete-policy";
const HELM_HOOK: &str = "helm.sh/hook";
const HELM_WEIGHT: &str = "helm.sh/hook-weight";
const HELM_DELETE: &str = "helm.sh/hook-delete-policy";

/// A part of a run. The next one begins when all of the one before is healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Hooks that come before everything.
    Before,
    /// The objects themselves.
    #[default]
    Main,
    /// Hooks that come when everything is healthy.
    After,
}

/// An object that is made anew for every revision, and is done when it is healthy: usually a Job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hook {
    /// Whether it is deleted once it has succeeded.
    pub delete_on_success: bool,
    /// Whether it is deleted once it has failed.
    pub delete_on_failure: bool,
}

/// The place of an object in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Which part of the run.
    pub phase: Phase,
    /// Which wave of it.
    pub wave: i64,
    /// What has to be healthy before.
    pub after: Vec<ObjectKey>,
    /// Whether it is a hook, and what becomes of it.
    pub hook: Option<Hook>,
}

/// An annotation that cannot be followed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SequenceError {
    /// No number.
    #[error("annotation {0}: {1:?} is no whole number")]
    Number(&'static str, String),
    /// No object.
    #[error(
        "annotation {DEPENDS_ON}: {0:?} is not of the form group/namespaces/namespace/Kind/name or group/Kind/name"
    )]
    Dependency(String),
    /// An unknown hook.
    #[error("annotation {ARGO_HOOK}: there is no hook {0:?}; there are PreSync, Sync and PostSync")]
    Hook(String),
}

/// The place of an object in a run; `None` where it has none, such as a test of a chart.
///
/// # Errors
/// Where an annotation cannot be followed.
pub fn sequence(object: &Value) -> Result<Option<Sequence>, SequenceError> {
    let annotation = |key: &str| object["metadata"]["annotations"][key].as_str().filter(|text| !text.trim().is_empty());
    let number = |key: &'static str| match annotation(key) {
        None => Ok(0),
        Some(text) => text.trim().parse().map_err(|_| SequenceError::Number(key, text.to_owned())),
    };
    let after = annotation(DEPENDS_ON).map(dependencies).transpose()?.unwrap_or_default();
    let (phase, wave, policy) = if let Some(hook) = annotation(ARGO_HOOK) {
        let Some(phase) = argo_phase(hook)? else { return Ok(None) };
        (phase, number(WAVE)?, annotation(ARGO_DELETE))
    } else if let Some(hook) = annotation(HELM_HOOK) {
        // Helm 2's way of bringing definitions: they are objects like all others.
        if hook.trim() == "crd-install" {
            return Ok(Some(Sequence { wave: number(WAVE)?, after, ..Sequence::default() }));
        }
        let Some(phase) = helm_phase(hook) else { return Ok(None) };
        (phase, number(HELM_WEIGHT)?, annotation(HELM_DELETE))
    } else {
        return Ok(Some(Sequence { wave: number(WAVE)?, after, ..Sequence::default() }));
    };
    let has =
        |name: &str| policy.is_some_and(|policy| policy.split(',').any(|part| part.trim().eq_ignore_ascii_case(name)));
    let hook = Hook {
        delete_on_success: has("HookSucceeded") || has("hook-succeeded"),
        delete_on_failure: has("HookFailed") || has("hook-failed"),
    };
    Ok(Some(Sequence { phase, wave, after, hook: Some(hook) }))
}

/// What comes at the end of an application, after a failure or never is not part of a run.
fn argo_phase(hook: &str) -> Result<Option<Phase>, SequenceError> {
    let mut found = None;
    for name in hook.split(',').map(str::trim) {
        let phase = match name {
            "PreSync" => Some(Phase::Before),
            "Sync" => Some(Phase::Main),
            "PostSync" => Some(Phase::After),
            "SyncFail" | "PreDelete" | "PostDelete" | "Skip" => None,
            other => return Err(SequenceError::Hook(other.to_owned())),
        };
        found = found.or(phase);
    }
    Ok(found)
}

fn helm_phase(hook: &str) -> Option<Phase> {
    hook.split(',').map(str::trim).find_map(|name| match name {
        "pre-install" | "pre-upgrade" => Some(Phase::Before),
        "post-install" | "post-upgrade" => Some(Phase::After),
        _ => None,
    })
}

fn dependencies(text: &str) -> Result<Vec<ObjectKey>, SequenceError> {
    text.split(',').map(|one| dependency(one.trim()).ok_or_else(|| SequenceError::Dependency(one.to_owned()))).collect()
}

fn dependency(text: &str) -> Option<ObjectKey> {
    let parts: Vec<&str> = text.split('/').collect();
    let (group, namespace, kind, name) = match parts.as_slice() {
        [group, "namespaces", namespace, kind, name] => (group, *namespace, kind, name),
        [group, kind, name] => (group, "", kind, name),
        _ => return None,
    };
    (!kind.is_empty() && !name.is_empty()).then(|| ObjectKey {
        group: (*group).to_owned(),
        kind: (*kind).to_owned(),
        namespace: namespace.to_owned(),
        name: (*name).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(annotations: Value) -> Result<Option<Sequence>, SequenceError> {
        sequence(&json!({"metadata": {"annotations": annotations}}))
    }

    fn place(annotations: Value) -> (Phase, i64, bool) {
        let sequence = of(annotations).unwrap().unwrap();
        (sequence.phase, sequence.wave, sequence.hook.is_some())
    }

    #[test]
    fn waves_and_hooks_are_those_of_argo_cd_and_helm() {
        assert_eq!(place(json!({})), (Phase::Main, 0, false));
        assert_eq!(place(json!({"argocd.argoproj.io/sync-wave": "-3"})), (Phase::Main, -3, false));
        assert_eq!(place(json!({"argocd.argoproj.io/hook": "PreSync"})), (Phase::Before, 0, true));
        assert_eq!(place(json!({"argocd.argoproj.io/hook": "SyncFail, PostSync"})), (Phase::After, 0, true));
        let helm = json!({"helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-weight": "5"});
        assert_eq!(place(helm), (Phase::Before, 5, true));
        assert_eq!(place(json!({"helm.sh/hook": "crd-install"})), (Phase::Main, 0, false));
        for never in [json!({"helm.sh/hook": "test"}), json!({"argocd.argoproj.io/hook": "Skip"})] {
            assert_eq!(of(never).unwrap(), None);
        }
    }

    #[test]
    fn a_hook_is_deleted_as_its_policy_says() {
        let hook = of(
            json!({"helm.sh/hook": "post-install", "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded"}),
        );
        let expected = Hook { delete_on_success: true, delete_on_failure: false };
        assert_eq!(hook.unwrap().unwrap().hook, Some(expected));
    }

    #[test]
    fn dependencies_name_objects() {
        let after =
            of(json!({"config.kubernetes.io/depends-on": "apps/namespaces/shop/Deployment/db, /Namespace/shop"}));
        let after: Vec<String> = after.unwrap().unwrap().after.iter().map(ToString::to_string).collect();
        assert_eq!(after, ["apps/Deployment:shop/db", "/Namespace:/shop"]);
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let error = |annotations| of(annotations).unwrap_err().to_string();
        assert!(error(json!({"argocd.argoproj.io/sync-wave": "first"})).contains("\"first\" is no whole number"));
        assert!(
            error(json!({"config.kubernetes.io/depends-on": "Deployment/db"})).contains("\"Deployment/db\" is not of")
        );
        assert!(error(json!({"argocd.argoproj.io/hook": "Before"})).contains("there is no hook \"Before\""));
    }
}
