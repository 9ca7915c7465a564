//! A certificate for the loopback or another address, from an authority of its own, for each server that tests talk to.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};

/// A server's certificate.
pub(crate) struct Issued {
    /// The authority, as PEM.
    pub(crate) ca: String,
    /// The server's.
    pub(crate) certificate: Certificate,
    /// Its key.
    pub(crate) key: KeyPair,
}

/// Makes an authority and a certificate of it for the loopback.
pub(crate) fn issue() -> Issued {
    issue_for(Ipv4Addr::LOCALHOST.into())
}

/// Makes an authority and a certificate of it for an address.
pub(crate) fn issue_for(address: IpAddr) -> Issued {
    let ca_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&ca_key).expect("a certificate").pem();
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(vec![address.to_string(), "localhost".to_owned()]).expect("names");
    let certificate = server.signed_by(&key, &Issuer::from_params(&authority, &ca_key)).expect("a certificate");
    Issued { ca, certificate, key }
}
