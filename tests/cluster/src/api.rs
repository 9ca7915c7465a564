//! The API server as it is asked without starting a program for each question: some tests ask very often.

use std::path::Path;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Body, Bytes};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::ControlPlane;

/// Speaks HTTP with one API server.
pub(crate) type Connection<B> = Client<HttpsConnector<HttpConnector>, B>;

/// What the API server does not do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status; 0 where there was no answer.
    pub code: u16,
    /// What it said.
    pub message: String,
}

/// A client with the rights of one token.
pub struct Api {
    token: String,
    runtime: Runtime,
    connection: Connection<Full<Bytes>>,
    server: String,
}

/// Headers of a request.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

impl Api {
    /// A client of this control plane with the rights of `admin`.
    ///
    /// # Panics
    /// Where there can be no client.
    pub fn of(cluster: &ControlPlane) -> Api {
        Api::with_token(cluster, "admin-token")
    }

    /// A client of this control plane that shows this token.
    ///
    /// # Panics
    /// Where there can be no client.
    pub fn with_token(cluster: &ControlPlane, token: &str) -> Api {
        Api::at(cluster.dir(), cluster.server(), token)
    }

    /// A client of the API server at this URL, whose authority stands in a folder.
    pub(crate) fn at(dir: &Path, server: String, token: &str) -> Api {
        let runtime = Runtime::new().expect("a runtime");
        Api { token: token.to_owned(), runtime, connection: connect(dir), server }
    }

    /// Sends a request. A PATCH is a server-side apply where its path says `force`, and a merge otherwise.
    ///
    /// # Errors
    /// Where the API server refuses or does not answer.
    ///
    /// # Panics
    /// Where the path or a header is none.
    pub fn send(&self, method: &str, path: &str, headers: Headers<'_>, body: &Value) -> Result<Value, Refused> {
        let kind = match method {
            "PATCH" if path.contains("force=true") => "application/apply-patch+yaml",
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.server));
        let bearer = format!("Bearer {}", self.token);
        for (name, value) in [("authorization", bearer.as_str()), ("content-type", kind)].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = request.body(Full::new(body)).expect("a request");
        let no_answer = |error: &dyn std::error::Error| Refused { code: 0, message: format!("{error:?}") };
        self.runtime.block_on(async {
            let (parts, body) = self.connection.request(request).await.map_err(|error| no_answer(&error))?.into_parts();
            let text = body.collect().await.map_err(|error| no_answer(&error))?.to_bytes();
            let read = serde_json::from_slice::<Value>(&text);
            let answer = read.unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(&text)}));
            if parts.status.is_success() {
                return Ok(answer);
            }
            let message = answer["message"].as_str().unwrap_or_default().to_owned();
            Err(Refused { code: parts.status.as_u16(), message })
        })
    }

    /// Reads an object or a list; `None` where there is none.
    ///
    /// # Errors
    /// Where the API server refuses otherwise or does not answer.
    pub fn get(&self, path: &str) -> Result<Option<Value>, Refused> {
        match self.send("GET", path, &[], &Value::Null) {
            Ok(found) => Ok(Some(found)),
            Err(refused) if refused.code == 404 => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    /// Applies an object.
    ///
    /// # Panics
    /// Where the API server refuses.
    pub fn apply(&self, path: &str, object: &Value) -> Value {
        let path = format!("{path}?fieldManager=admin&force=true");
        self.send("PATCH", &path, &[], object).unwrap_or_else(|refused| panic!("{path}: {refused:?}"))
    }

    /// Deletes an object; one that is gone is none.
    ///
    /// # Panics
    /// Where the API server refuses.
    pub fn delete(&self, path: &str) {
        match self.send("DELETE", path, &[], &Value::Null) {
            Err(refused) if refused.code != 404 => panic!("{path}: {refused:?}"),
            _ => {}
        }
    }
}

/// A client that trusts the API server's authority, and says nothing of who it is.
pub(crate) fn connect<B: Body<Data: Send> + Send>(dir: &Path) -> Connection<B> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(dir.join("ca.crt")).expect("the authority can be read");
    roots.add(authority).expect("it is an authority");
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
}
