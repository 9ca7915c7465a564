//! Trust in a server whose certificate is from a private authority. It holds for the one GitSync whose Secret names
//! that authority: libgit2 itself could only trust it for the whole process, and so for other teams' repositories.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use git2::cert::Cert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::Credentials;

/// Whom a fetch trusts.
pub(super) struct Trust {
    ca: Option<Vec<u8>>,
    host: String,
    /// Why the server was not trusted: libgit2 keeps the callback's error to itself.
    distrust: Mutex<Option<String>>,
}

impl Trust {
    pub(super) fn new(credentials: &Credentials, url: &str) -> Trust {
        let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        Trust { ca: credentials.ca.clone(), host, distrust: Mutex::default() }
    }

    /// Checks the server's certificate against the authorities of the Secret; `None` where it names none.
    pub(super) fn check(&self, certificate: &Cert<'_>) -> Option<Result<(), String>> {
        let ca = self.ca.as_ref()?;
        let checked = match certificate.as_x509() {
            Some(x509) => verify(ca, x509.data(), &self.host),
            None => Err("the server showed no certificate".to_owned()),
        };
        let checked = checked.map_err(|why| format!("the server's certificate is not trusted: {why}"));
        *self.distrust.lock().unwrap_or_else(PoisonError::into_inner) = checked.clone().err();
        Some(checked)
    }

    /// Why the server was not trusted, if that is why the fetch failed.
    pub(super) fn distrust(&self) -> Option<String> {
        self.distrust.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// libgit2 shows the server's own certificate only: an authority in between has to stand in `ca.crt` as well.
fn verify(ca: &[u8], server: &[u8], host: &str) -> Result<(), String> {
    let authorities: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(ca)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("ca.crt of secretRef is no PEM: {error}"))?;
    let anchors: Vec<_> = authorities
        .iter()
        .map(anchor_from_trusted_cert)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("ca.crt of secretRef holds what is no authority: {error}"))?;
    if anchors.is_empty() {
        return Err("ca.crt of secretRef holds no certificate".to_owned());
    }
    let der = CertificateDer::from(server);
    let certificate = EndEntityCert::try_from(&der).map_err(|error| error.to_string())?;
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let now = UnixTime::since_unix_epoch(since_epoch);
    certificate
        .verify_for_usage(algorithms, &anchors, &[], now, KeyUsage::server_auth(), None, None)
        .map_err(|error| format!("no authority of ca.crt signed it ({error})"))?;
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    certificate.verify_is_valid_for_subject_name(&name).map_err(|_| format!("it is not valid for {host}"))
}
