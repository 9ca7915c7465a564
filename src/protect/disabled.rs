//! The guard switched off on purpose. The webhook configuration itself says so, in one write with the loss of its
//! webhooks: it holds with a dead guard and a dead reconciler, and whoever reads the configuration sees who did it, when
//! and why.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use thiserror::Error;

use crate::kubernetes::{MANAGER, describe};

/// The annotations: the reason, who, and when.
const REASON: &str = "gitward.dev/disabled";
const BY: &str = "gitward.dev/disabled-by";
const AT: &str = "gitward.dev/disabled-at";
/// How often a write is tried: the reconciler writes the configuration too.
const TRIES: usize = 10;

/// That the guard is disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// Why, in the words of who did it.
    pub reason: String,
    /// Who did it, as the API server knows them; empty where it does not say.
    pub by: String,
    /// When, as text of RFC 3339; empty where the configuration does not say.
    pub at: String,
}

/// Why the guard could not be disabled or enabled.
#[derive(Debug, Error)]
pub enum DisabledError {
    /// There is no webhook configuration.
    #[error("there is no webhook configuration {MANAGER}: gitward is not installed in this cluster")]
    NotInstalled,
    /// A reason that says nothing.
    #[error("--reason must say why")]
    NoReason,
    /// The API server refused or failed.
    #[error("{}", describe(.0))]
    Api(#[source] Box<kube::Error>),
    /// Others write the configuration all the time.
    #[error("the webhook configuration changed {TRIES} times meanwhile; try again")]
    Busy,
}

impl From<kube::Error> for DisabledError {
    fn from(error: kube::Error) -> DisabledError {
        DisabledError::Api(Box::new(error))
    }
}

impl Disabled {
    /// What a configuration says.
    pub fn of(webhook: &ValidatingWebhookConfiguration) -> Option<Disabled> {
        let text = |key| webhook.annotations().get(key).cloned();
        let [by, at] = [BY, AT].map(|key| text(key).unwrap_or_default());
        Some(Disabled { reason: text(REASON)?, by, at })
    }
}

/// Takes the webhooks out of a configuration, where it has any.
pub(super) async fn empty(
    api: &Api<ValidatingWebhookConfiguration>,
    live: &ValidatingWebhookConfiguration,
) -> Result<(), kube::Error> {
    if live.webhooks.as_ref().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    let mut emptied = live.clone();
    emptied.webhooks = None;
    api.replace(&live.name_any(), &params(), &emptied).await.map(|_| ())
}

/// Disables the guard: nothing is refused until it is enabled again. Drift is healed on.
///
/// # Errors
/// Where there is no guard, or the API server refuses.
pub async fn disable(client: Client, reason: &str) -> Result<(), DisabledError> {
    if reason.trim().is_empty() {
        return Err(DisabledError::NoReason);
    }
    let by = caller(&client).await;
    change(client, |webhook| {
        let annotations = webhook.metadata.annotations.get_or_insert_default();
        annotations.insert(REASON.to_owned(), reason.trim().to_owned());
        annotations.insert(BY.to_owned(), by.clone());
        annotations.insert(AT.to_owned(), Timestamp::now().to_string());
        webhook.webhooks = None;
    })
    .await
}

/// Enables the guard: the reconciler puts the webhooks back.
///
/// # Errors
/// Where there is no guard, or the API server refuses.
pub async fn enable(client: Client) -> Result<bool, DisabledError> {
    change(client.clone(), |webhook| {
        let annotations = webhook.metadata.annotations.get_or_insert_default();
        annotations.retain(|key, _| ![REASON, BY, AT].contains(&key.as_str()));
    })
    .await?;
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client);
    for _ in 0..150 {
        if api.get_opt(MANAGER).await?.is_some_and(|webhook| webhook.webhooks.is_some_and(|hooks| !hooks.is_empty())) {
            return Ok(true);
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Ok(false)
}

async fn change(client: Client, change: impl Fn(&mut ValidatingWebhookConfiguration)) -> Result<(), DisabledError> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client);
    for _ in 0..TRIES {
        let mut webhook = api.get_opt(MANAGER).await?.ok_or(DisabledError::NotInstalled)?;
        change(&mut webhook);
        match api.replace(MANAGER, &params(), &webhook).await {
            Err(error) if crate::kubernetes::is_status(&error, 409) => {}
            other => return Ok(other.map(|_| ())?),
        }
    }
    Err(DisabledError::Busy)
}

fn params() -> PostParams {
    PostParams { field_manager: Some("gitward-disable".to_owned()), ..PostParams::default() }
}

/// The caller, as the API server knows them. An old API server does not say; then nobody is named.
async fn caller(client: &Client) -> String {
    use k8s_openapi::api::authentication::v1::SelfSubjectReview;
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let asked = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    asked.ok().and_then(|review| review.status?.user_info?.username).unwrap_or_default()
}
