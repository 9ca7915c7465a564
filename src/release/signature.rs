//! Signatures by cosign with a key: ECDSA with P-256 and SHA-256, in a Sigstore bundle.

use k8s_openapi::ByteString;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use serde::Deserialize;
use thiserror::Error;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Why a key or a signature is not valid.
#[derive(Debug, Error)]
pub enum SignatureError {
    /// There is no public key in PEM.
    #[error("not a public key in PEM: {0}")]
    Pem(PemError),
    /// A key of another kind than cosign makes.
    #[error("not a public key of ECDSA with P-256, as `cosign generate-key-pair` makes them")]
    Key,
    /// The bundle cannot be read.
    #[error("the signature is not a Sigstore bundle over a file: {0}")]
    Bundle(#[from] serde_json::Error),
    /// Another key, or another file.
    #[error("it was not made with this key, or over another file")]
    Mismatch,
}

/// The public half of a key of cosign.
pub struct PublicKey(Vec<u8>);

/// What is needed of a bundle (<https://docs.sigstore.dev/about/bundle/>). With a key, it proves no more than the signature does.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    message_signature: MessageSignature,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: ByteString,
}

impl PublicKey {
    /// Reads a public key from PEM, as `cosign generate-key-pair` and `cosign public-key` write it.
    pub fn from_pem(pem: &[u8]) -> Result<PublicKey, SignatureError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(SignatureError::Pem)?;
        let (rest, info) = SubjectPublicKeyInfo::from_der(der.as_ref()).map_err(|_| SignatureError::Key)?;
        match info.parsed() {
            Ok(Parsed::EC(point)) if rest.is_empty() && is_p256(&info) => Ok(PublicKey(point.data().to_vec())),
            _ => Err(SignatureError::Key),
        }
    }

    /// Checks the signature of a bundle over a file.
    pub(super) fn verify(&self, file: &[u8], bundle: &[u8]) -> Result<(), SignatureError> {
        let bundle: Bundle = serde_json::from_slice(bundle)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0);
        key.verify(file, &bundle.message_signature.signature.0).map_err(|_| SignatureError::Mismatch)
    }
}

/// Whether the parameters of a key name the curve P-256 (RFC 5480, section 2.1.1.1).
fn is_p256(info: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    curve.is_some_and(|curve| curve.to_id_string() == "1.2.840.10045.3.1.7")
}
