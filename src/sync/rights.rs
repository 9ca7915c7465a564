//! Asks the API server what the account of a team's GitSync may do (SubjectAccessReview). What has to be asked is decided in
//! `gitward_core::rights`; the reconciler writes as itself, so whatever is not asked here is allowed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitward_core::plan::ObjectKey;
use gitward_core::rights::{self, Access, Need, Target};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use kube::Client;
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Semaphore;

use crate::api::SyncId;
use crate::apply::Kind;
use crate::kubernetes::describe;

/// How long an answer counts: rights that were taken away count for so long.
const FRESH: Duration = Duration::from_secs(10);
/// How many answers are kept.
const MOST_ANSWERS: usize = 8192;
/// How many questions are asked at a time.
const CONCURRENT: usize = 8;

/// Whose rights a GitSync has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// Namespace of the GitSync, and so of the account.
    pub(super) namespace: String,
    /// `spec.serviceAccountName`.
    pub(super) name: String,
    /// Name of the GitSync.
    pub(super) sync: String,
}

/// Why something is not done.
#[derive(Debug, Error)]
pub(crate) enum RightsError {
    /// It does not name an account.
    #[error(
        "a GitSync outside of {own} acts with the rights of a service account of its namespace: make one, give it a Role \
         with what the GitSync declares, and name it in spec.serviceAccountName"
    )]
    Nameless {
        /// gitward's own namespace.
        own: String,
    },
    /// The account is not there.
    #[error(
        "there is no service account {0}, with whose rights the GitSync acts: make it, or name another in spec.serviceAccountName"
    )]
    NoAccount(String),
    /// The account may not.
    #[error("{user} may not {access}; GitSync {sync} acts with its rights (spec.serviceAccountName)")]
    Denied {
        /// The account.
        user: String,
        /// What it may not do.
        access: Box<Access>,
        /// The GitSync.
        sync: String,
    },
    /// No team may, with whatever rights.
    #[error("GitSync {sync} may not declare this: {why}")]
    Never {
        /// The GitSync.
        sync: String,
        /// Why.
        why: String,
    },
    /// The source is not for teams.
    #[error("a GitSync outside of gitward's namespace follows https:// and ssh:// repositories only, not {0}")]
    Source(String),
    /// The API server did not answer: neither yes nor no.
    #[error("the rights of the service account cannot be asked for: {}", describe(.0))]
    Api(#[source] Box<kube::Error>),
}

impl RightsError {
    /// Whether asking again is of no use until somebody changes something.
    pub(crate) fn is_denial(&self) -> bool {
        !matches!(self, RightsError::Api(_))
    }
}

impl From<kube::Error> for RightsError {
    fn from(error: kube::Error) -> RightsError {
        RightsError::Api(Box::new(error))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl Account {
    fn sync(&self) -> String {
        format!("{}/{}", self.namespace, self.sync)
    }

    fn never(&self, why: String) -> RightsError {
        RightsError::Never { sync: self.sync(), why }
    }

    /// As the API server sees the account's own requests.
    fn review(&self, access: &Access, name: &str) -> SubjectAccessReview {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let attributes = ResourceAttributes {
            verb: some(&access.verb),
            group: Some(access.group.clone()),
            resource: some(&access.resource),
            subresource: some(&access.subresource),
            namespace: some(&access.namespace),
            name: some(name),
            ..ResourceAttributes::default()
        };
        let groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", self.namespace),
            "system:authenticated".to_owned(),
        ];
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(self.to_string()),
                groups: Some(groups),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }
}

/// Whether a team's GitSync may follow this repository. Through a file it could read the reconciler's own disk, where the
/// repositories of other teams are.
///
/// # Errors
/// Where it may not.
pub(super) fn source_allowed(url: &str) -> Result<(), RightsError> {
    let allowed = ["https://", "ssh://"].iter().any(|scheme| url.starts_with(scheme));
    if allowed { Ok(()) } else { Err(RightsError::Source(url.to_owned())) }
}

/// What an object is to the API server. Only discovery says whether a kind lives in namespaces: a commit could say otherwise.
pub(super) fn target<'a>(kind: &'a Kind, key: &'a ObjectKey) -> Target<'a> {
    Target {
        group: &kind.resource.group,
        kind: &kind.resource.kind,
        resource: &kind.resource.plural,
        namespaced: kind.namespaced,
        namespace: &key.namespace,
        name: &key.name,
    }
}

/// The rights of all accounts, asked for when they are needed and known for a moment.
pub(super) struct Rights {
    client: Client,
    /// gitward's own namespace.
    own: String,
    /// A name that no object has and no role lists: who may do something with it may do it with any.
    any_name: String,
    slots: Semaphore,
    answers: Mutex<HashMap<(String, Question), (Instant, bool)>>,
}

/// What is asked about an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Question {
    Exists,
    May(Access),
}

impl Rights {
    /// `own` is gitward's namespace.
    pub(super) fn new(client: Client, own: &str) -> Rights {
        let any_name = format!("any-name-{:032x}", fastrand::u128(..));
        Rights { client, own: own.to_owned(), any_name, slots: Semaphore::new(CONCURRENT), answers: Mutex::default() }
    }

    /// Whose rights a GitSync has; `None` for those of gitward's own namespace, which may do everything.
    ///
    /// # Errors
    /// Where it has to name an account and does not, or the account is not there.
    pub(super) async fn account_of(&self, sync: &crate::api::GitSync) -> Result<Option<Account>, RightsError> {
        self.account_named(&SyncId::of(sync), sync.spec.service_account_name.clone()).await
    }

    /// The same for a GitSync that named this account.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn account_named(
        &self,
        sync: &SyncId,
        name: Option<String>,
    ) -> Result<Option<Account>, RightsError> {
        let SyncId { namespace, name: sync } = sync.clone();
        if namespace == self.own {
            return Ok(None);
        }
        let named = name.filter(|name| rights::is_name(name));
        let name = named.ok_or_else(|| RightsError::Nameless { own: self.own.clone() })?;
        let account = Account { namespace, name, sync };
        self.check_exists(&account).await?;
        Ok(Some(account))
    }

    /// Whether an object may be applied. `live` is the object as it is in the cluster, if it is there.
    ///
    /// # Errors
    /// Where it may not, or the API server cannot be asked.
    pub(super) async fn may_apply(
        &self,
        account: &Account,
        target: &Target<'_>,
        object: &Value,
        live: Option<&Value>,
    ) -> Result<(), RightsError> {
        if let Some(why) = rights::never(target, object, &self.own) {
            return Err(account.never(why));
        }
        let needs = rights::to_apply(target, object, live).map_err(|why| account.never(why))?;
        self.check_needs(account, &needs).await
    }

    /// Whether an object may be pruned, or deleted to be made anew. `live` is the object as it is in the cluster.
    ///
    /// # Errors
    /// Where it may not, or the API server cannot be asked.
    pub(super) async fn may_prune(
        &self,
        account: &Account,
        target: &Target<'_>,
        live: Option<&Value>,
    ) -> Result<(), RightsError> {
        if let Some(why) = rights::never_touch(target, &self.own) {
            return Err(account.never(why));
        }
        self.check_needs(account, &rights::to_prune(target, live)).await
    }

    /// Whether a Secret (`secrets`) or ConfigMap (`configmaps`) of the GitSync's namespace may be read for it.
    ///
    /// # Errors
    /// Where it may not, or the API server cannot be asked.
    pub(super) async fn may_read(&self, account: &Account, resource: &str, name: &str) -> Result<(), RightsError> {
        let access = Access::read(resource, &account.namespace, name);
        if !rights::is_name(name) {
            return Err(denied(account, &access));
        }
        self.check(account, &[access]).await
    }

    /// Whether an account has all of these rights.
    ///
    /// # Errors
    /// Where it does not, or the API server cannot be asked.
    pub(super) async fn check(&self, account: &Account, accesses: &[Access]) -> Result<(), RightsError> {
        self.check_exists(account).await?;
        for access in accesses {
            if !self.may(account, access).await? {
                return Err(denied(account, access));
            }
        }
        Ok(())
    }

    async fn check_needs(&self, account: &Account, needs: &[Need]) -> Result<(), RightsError> {
        self.check_exists(account).await?;
        for need in needs {
            let (first, others) = match need {
                Need::Has(access) => (access, None),
                Need::Either(access, others) => (access, Some(others.clone())),
                Need::Bind(access, _) if self.may(account, access).await? => continue,
                Need::Bind(access, role) => (access, self.rules(role, &access.namespace).await?),
            };
            if self.may(account, first).await? {
                continue;
            }
            // Nobody gives away what they do not have: what is missing says more than the right to give away everything.
            let Some(others) = others else { return Err(denied(account, first)) };
            self.check(account, &others).await?;
        }
        Ok(())
    }

    /// The rights that a role gives; `None` where there is none, or they cannot be asked for one by one.
    async fn rules(
        &self,
        role: &gitward_core::access::RoleRef,
        namespace: &str,
    ) -> Result<Option<Vec<Access>>, RightsError> {
        let found = match role.kind.as_str() {
            "Role" => json(Api::<Role>::namespaced(self.client.clone(), namespace).get_opt(&role.name).await?),
            _ => json(Api::<ClusterRole>::all(self.client.clone()).get_opt(&role.name).await?),
        };
        Ok(found.and_then(|role| rights::rules_of(&role, namespace)))
    }

    async fn check_exists(&self, account: &Account) -> Result<(), RightsError> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &account.namespace);
        let ask = async || Ok(api.get_metadata_opt(&account.name).await?.is_some());
        let exists = self.known_or(account, Question::Exists, ask).await?;
        if exists { Ok(()) } else { Err(RightsError::NoAccount(format!("{}/{}", account.namespace, account.name))) }
    }

    /// Asked for every name first, so that ten thousand objects of a kind take one question.
    async fn may(&self, account: &Account, access: &Access) -> Result<bool, RightsError> {
        let every = Access { name: String::new(), ..access.clone() };
        let ask = async || self.ask(account, &every, &self.any_name).await;
        if self.known_or(account, Question::May(every.clone()), ask).await? {
            return Ok(true);
        }
        if access.name.is_empty() {
            return Ok(false);
        }
        let ask = async || self.ask(account, access, &access.name).await;
        self.known_or(account, Question::May(access.clone()), ask).await
    }

    async fn ask(&self, account: &Account, access: &Access, name: &str) -> Result<bool, RightsError> {
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &account.review(access, name)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
    }

    async fn known_or(
        &self,
        account: &Account,
        question: Question,
        ask: impl AsyncFnOnce() -> Result<bool, RightsError>,
    ) -> Result<bool, RightsError> {
        let key = (account.to_string(), question);
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        // Never closed, so the permit is only missing where nobody could use it.
        let _slot = self.slots.acquire().await;
        // Somebody may have asked the same meanwhile.
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let asked_at = Instant::now();
        let answer = ask().await?;
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST_ANSWERS {
            answers.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if answers.len() >= MOST_ANSWERS {
            answers.clear();
        }
        answers.insert(key, (asked_at, answer));
        Ok(answer)
    }

    fn known(&self, key: &(String, Question)) -> Option<bool> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(key).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, answer)| *answer)
    }
}

fn denied(account: &Account, access: &Access) -> RightsError {
    RightsError::Denied { user: account.to_string(), access: Box::new(access.clone()), sync: account.sync() }
}

fn json(role: Option<impl Serialize>) -> Option<Value> {
    serde_json::to_value(role?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account { namespace: "team-a".into(), name: "deployer".into(), sync: "web".into() }
    }

    #[test]
    fn a_refusal_says_who_may_not_do_what_and_why_it_matters() {
        let create = Access {
            verb: "create".into(),
            group: "apps".into(),
            resource: "deployments".into(),
            namespace: "team-b".into(),
            name: "web".into(),
            ..Access::default()
        };
        assert_eq!(
            denied(&account(), &create).to_string(),
            "system:serviceaccount:team-a:deployer may not create deployments.apps in namespace team-b; GitSync team-a/web \
             acts with its rights (spec.serviceAccountName)"
        );
    }

    #[test]
    fn teams_follow_servers_and_no_files() {
        assert!(source_allowed("https://git.example.com/a").is_ok());
        assert!(source_allowed("ssh://git@git.example.com/a").is_ok());
        for url in ["file:///var/cache/gitward/git/x", "FILE:///x", "/var/cache", "ext::sh -c x"] {
            assert!(source_allowed(url).is_err(), "{url}");
        }
    }

    /// Compiles only where the questions may be asked from any thread.
    #[allow(dead_code)]
    fn futures_change_threads(rights: &Rights, target: &Target<'_>, sync: &crate::api::GitSync) {
        fn is_send(_: impl Send) {}
        let (account, object) = (account(), Value::Null);
        is_send(rights.account_of(sync));
        is_send(rights.may_apply(&account, target, &object, None));
        is_send(rights.may_prune(&account, target, None));
        is_send(rights.may_read(&account, "secrets", "x"));
    }
}
