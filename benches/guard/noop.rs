//! The webhook that the guard is compared with: the same server with the same settings, which reads every body and
//! always allows.

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};

const ALLOWED: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"00000000-0000-0000-0000-000000000000","allowed":true}}"#;

async fn review(body: Bytes) -> impl IntoResponse {
    std::hint::black_box(body.len());
    ([(header::CONTENT_TYPE, "application/json")], ALLOWED)
}

pub(crate) fn run(args: &[String]) {
    let [certificate, key, listen] = args else { panic!("noop CERTIFICATE KEY LISTEN") };
    rustls::crypto::ring::default_provider().install_default().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let tls = RustlsConfig::from_pem_file(certificate, key).await.unwrap();
        let acceptor = RustlsAcceptor::new(tls).acceptor(NoDelayAcceptor::new());
        let router = Router::new().route("/review", post(review)).layer(axum::extract::DefaultBodyLimit::disable());
        let server = axum_server::bind(listen.parse::<std::net::SocketAddr>().unwrap()).acceptor(acceptor);
        server.serve(router.into_make_service()).await.unwrap();
    });
}
