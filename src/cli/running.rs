//! A running guard, asked as the API server asks it.

use std::path::Path;
use std::time::Duration;

use axum::http::{Request, Uri};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use serde_json::{Value, json};
use thiserror::Error;

/// How long it may be silent; the API server waits for 30 s at most.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub(super) enum RunningError {
    #[error("{0}: {1}")]
    Folder(String, std::io::Error),
    #[error("{0}: no certificates in PEM: {1}")]
    Authority(String, PemError),
    #[error("the guard cannot be asked")]
    Guard(#[from] kube::Error),
    #[error("that is no request: {0}")]
    Request(#[from] axum::http::Error),
    #[error("the guard's answer is no response to an AdmissionReview: {0}")]
    Answer(Value),
}

/// A guard that serves somewhere.
pub(super) struct Running(Client);

impl Running {
    /// A guard at an address. Each file of the folder has authorities of its certificate, as PEM; `name` is the certificate's where
    /// it is not the address'.
    pub(super) fn at(url: Uri, authorities: &Path, name: Option<&str>) -> Result<Running, RunningError> {
        let mut config = Config::new(url);
        config.root_cert = Some(read(authorities)?);
        config.tls_server_name = name.map(str::to_owned);
        (config.connect_timeout, config.read_timeout) = (Some(PATIENCE), Some(PATIENCE));
        Ok(Running(Client::try_from(config)?))
    }

    /// Its verdict on a review: `verdict`, and of a refusal the `reason` and the `message` that people read.
    pub(super) async fn verdict(&self, review: Vec<u8>) -> Result<Value, RunningError> {
        let request = Request::post("/review").header("content-type", "application/json").body(review)?;
        let answer: Value = self.0.request(request).await?;
        let response = &answer["response"];
        let verdict = match (response["allowed"].as_bool(), &response["warnings"]) {
            (Some(false), _) => "deny",
            (Some(true), Value::Array(_)) => "warn",
            (Some(true), _) => "allow",
            (None, _) => return Err(RunningError::Answer(answer)),
        };
        let message = response.pointer("/status/message");
        Ok(json!({"verdict": verdict, "reason": response["auditAnnotations"]["reason"], "message": message}))
    }
}

fn read(folder: &Path) -> Result<Vec<Vec<u8>>, RunningError> {
    let failed = |error| RunningError::Folder(folder.display().to_string(), error);
    let mut authorities = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            let unreadable = |error| RunningError::Authority(path.display().to_string(), error);
            for certificate in CertificateDer::pem_file_iter(&path).map_err(unreadable)? {
                authorities.push(certificate.map_err(unreadable)?.to_vec());
            }
        }
    }
    Ok(authorities)
}
