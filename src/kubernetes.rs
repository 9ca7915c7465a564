//! What every module needs of the Kubernetes client, in one place.

use kube::Client;
use kube::config::{Config, InferConfigError};
use thiserror::Error;

/// The program's name towards the API server, in its audit log and in `managedFields`.
pub const MANAGER: &str = gitward_core::names::MANAGER;

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
    Ok(Client::try_from(Config::infer().await?)?)
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

/// Whether the API server answered with this HTTP status.
pub fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
