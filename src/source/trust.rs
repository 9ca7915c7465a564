//! Trust in a server: an https server whose certificate is from a private authority, an ssh server by its key. It holds for
//! the one GitSync whose Secret names that authority or key: libgit2 itself could only trust it for the whole process, and so
//! for other teams' repositories.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use git2::cert::Cert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use ssh_key::PublicKey;
use ssh_key::known_hosts::{self, HostPatterns, KnownHosts, Marker};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::Credentials;

/// Whom a fetch trusts.
pub(super) struct Trust {
    ca: Option<Vec<u8>>,
    known_hosts: Option<String>,
    host: String,
    port: u16,
    /// Why the server was not trusted: libgit2 keeps the callback's error to itself.
    distrust: Mutex<Option<String>>,
}

impl Trust {
    pub(super) fn new(credentials: &Credentials, url: &str) -> Trust {
        let url = url::Url::parse(url).ok();
        let host = url.as_ref().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let port = url.and_then(|url| url.port()).unwrap_or(22);
        let (ca, known_hosts) = (credentials.ca.clone(), credentials.known_hosts.clone());
        Trust { ca, known_hosts, host, port, distrust: Mutex::default() }
    }

    /// Checks who the server is; `None` where that is left to libgit2 and the system's authorities.
    pub(super) fn check(&self, certificate: &Cert<'_>) -> Option<Result<(), String>> {
        let checked = match (certificate.as_hostkey(), &self.ca) {
            (Some(key), _) => self.check_host(key.hostkey().unwrap_or_default()),
            (None, Some(ca)) => match certificate.as_x509() {
                Some(x509) => verify(ca, x509.data(), &self.host),
                None => Err("the server showed no certificate".to_owned()),
            }
            .map_err(|why| format!("the server's certificate is not trusted: {why}")),
            (None, None) => return None,
        };
        *self.distrust.lock().unwrap_or_else(PoisonError::into_inner) = checked.clone().err();
        Some(checked)
    }

    /// Checks an ssh server's key.
    fn check_host(&self, key: &[u8]) -> Result<(), String> {
        let known = self.known_hosts.as_deref().ok_or("secretRef has no known_hosts, so no ssh server is trusted")?;
        let shown = PublicKey::from_bytes(key).map_err(|error| format!("the server's key cannot be read: {error}"))?;
        let names = [self.host.clone(), format!("[{}]:{}", self.host, self.port)];
        let of_host = KnownHosts::new(known)
            .filter_map(Result::ok)
            .filter(|entry| names_host(entry.host_patterns(), &names, self.port))
            .collect::<Vec<_>>();
        let is = |entry: &&known_hosts::Entry| entry.public_key().key_data() == shown.key_data();
        match of_host.iter().find(is) {
            Some(entry) if entry.marker() == Some(&Marker::Revoked) => {
                Err("known_hosts revokes the server's key".to_owned())
            }
            Some(entry) if entry.marker().is_none() => Ok(()),
            _ if of_host.is_empty() => Err(format!("known_hosts of secretRef does not name {}", self.host)),
            _ => Err(format!(
                "known_hosts of secretRef has another key for {} than it shows ({})",
                self.host,
                shown.fingerprint(Default::default())
            )),
        }
    }

    /// Why the server was not trusted, if that is why the fetch failed.
    pub(super) fn distrust(&self) -> Option<String> {
        self.distrust.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether a line of known_hosts is about this server (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; patterns with wildcards are
/// not followed).
fn names_host(patterns: &HostPatterns, names: &[String; 2], port: u16) -> bool {
    let names = if port == 22 { &names[..] } else { &names[1..] };
    match patterns {
        HostPatterns::Patterns(patterns) => patterns.iter().any(|pattern| names.contains(pattern)),
        HostPatterns::HashedName { salt, hash } => names.iter().any(|name| {
            let mac = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            ring::hmac::verify(&mac, name.as_bytes(), hash).is_ok()
        }),
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
