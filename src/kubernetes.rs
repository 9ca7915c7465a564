//! What every module needs of the Kubernetes client, in one place.

use std::time::Duration;

use axum::http::{Request, Response};
use kube::Client;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, DynBody};
use kube::config::{Config, InferConfigError};
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use tower::util::BoxService;
use tower::{BoxError, Layer, Service};

/// The program's name towards the API server, in its audit log and in `managedFields`.
pub const MANAGER: &str = gitward_core::names::MANAGER;

/// How long the API server may be silent.
const READ: Duration = Duration::from_secs(300);

/// What the client's own service answers.
type Answer = Response<Box<DynBody>>;

/// How many requests may wait to be sent.
const BUFFERED: usize = 1024;

/// Why the API server cannot be asked.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account was found.
    #[error("no way to the API server: run inside of a cluster, or set KUBECONFIG ({0})")]
    Config(#[from] InferConfigError),
    /// The configuration cannot be used.
    #[error("the API server's address or credentials cannot be used: {0}")]
    Client(#[from] kube::Error),
}

/// A client from the kubeconfig or the pod's service account.
///
/// # Errors
/// Where neither can be used.
pub async fn connect() -> Result<Client, ConnectError> {
    Ok(Client::try_from(config().await?)?)
}

/// The same, with every single request, also one that is tried again, behind a layer.
///
/// # Errors
/// Where neither can be used.
pub async fn connect_behind<L>(layer: &L) -> Result<Client, ConnectError>
where
    L: Layer<BoxService<Request<Body>, Answer, BoxError>>,
    L::Service: Service<Request<Body>, Response = Answer, Error = BoxError, Future: Send> + Send + 'static,
{
    let mut config = config().await?;
    config.default_retry = false;
    let client = ClientBuilder::try_from(config)?.with_layer(layer);
    // What is tried again is sent by a copy of the client.
    let client = client.with_layer(&BufferLayer::new(BUFFERED));
    Ok(client.with_layer(&RetryLayer::new(RetryPolicy::server_retry())).build())
}

async fn config() -> Result<Config, ConnectError> {
    let mut config = Config::infer().await?;
    // A watch ends by itself before that; anything else that is silent for so long never answers.
    config.read_timeout = Some(READ);
    Ok(config)
}

/// An error of the client in the words that help: the API server's own message where it answered.
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => chain(other),
    }
}

/// An error with its causes, which libraries leave out of their own text.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Whether a live object has all that an apply by `manager` would give it, so that nothing has to be written. The API server fills
/// maps in, and never lists.
pub fn has_all(live: &impl Serialize, manager: &str, declared: &Value) -> bool {
    let Ok(live) = serde_json::to_value(live) else { return false };
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let applied = |entry: &Value| entry["manager"] == manager && entry["operation"] == "Apply";
    entries.is_some_and(|entries| entries.iter().any(applied)) && holds(&live, declared)
}

fn holds(live: &Value, declared: &Value) -> bool {
    match (live, declared) {
        (Value::Object(live), Value::Object(declared)) => {
            declared.iter().all(|(key, value)| live.get(key).is_some_and(|live| holds(live, value)))
        }
        (Value::Array(live), Value::Array(declared)) => {
            live.len() == declared.len() && live.iter().zip(declared).all(|(live, declared)| holds(live, declared))
        }
        _ => live == declared,
    }
}

/// Whether the API server answered with this HTTP status.
pub fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_adds_makes_no_difference_and_what_is_missing_or_more_does() {
        let declared = json!({"spec": {"list": [{"a": 1}], "text": "x"}});
        assert!(holds(&json!({"spec": {"list": [{"a": 1, "default": true}], "text": "x"}, "status": {}}), &declared));
        for other in [
            json!({"spec": {"list": [{"a": 2}], "text": "x"}}),
            json!({"spec": {"list": [{"a": 1}, {"a": 1}], "text": "x"}}),
            json!({"spec": {"list": [{"a": 1}]}}),
        ] {
            assert!(!holds(&other, &declared), "{other}");
        }
    }
}
