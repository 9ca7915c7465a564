//! Checks a downloaded release: that its files are those that were released, and who signed them.
//!
//! A release is a folder of plain files, or a tar archive of that folder. `SHA256SUMS` lists every file but itself and the
//! signatures; [`SIGNATURE`] is cosign's bundle over it. Nothing is unpacked: files are read once, in a stream, and whatever
//! unpacking could turn against the reader is refused.

mod contents;
mod signature;

use std::collections::BTreeMap;
use std::path::Path;

pub use contents::ContentsError;
use contents::{Contents, Digest};
pub use signature::{PublicKey, SignatureError};
use thiserror::Error;

/// The file that lists the others, in the format of sha256sum(1).
pub const SUMS: &str = "SHA256SUMS";
/// The signature over [`SUMS`] made with a key: a Sigstore bundle, as `cosign sign-blob --bundle` writes it.
pub const SIGNATURE: &str = "SHA256SUMS.sigstore.json";
/// Files that [`SUMS`] cannot list: itself, and signatures, which no two builds have in common.
const UNLISTED: [&str; 4] = [SUMS, SIGNATURE, "SHA256SUMS.keyless.sigstore.json", "provenance.sigstore.json"];

/// What was checked.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many files were compared with their checksums.
    pub files: usize,
    /// Whether the signature was checked.
    pub signed: bool,
}

/// Why a release cannot be trusted.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The files could not be read, or are not such as a release has.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// There is no list of files.
    #[error("there is no {SUMS}: this is not a release of gitward")]
    NoSums,
    /// The list of files is not one.
    #[error("line {0} of {SUMS} is not a SHA-256 and the name of a file")]
    BadSums(usize),
    /// There is no signature to check.
    #[error("there is no {SIGNATURE}: nobody has signed this release with a key")]
    NoSignature,
    /// The signature was not made with this key, or over another list.
    #[error("the signature over {SUMS} is not valid: {0}")]
    Signature(#[from] SignatureError),
    /// Files differ from the list.
    #[error("the files are not those that {SUMS} lists: {}", .0.join("; "))]
    Differs(Vec<String>),
}

impl VerifyError {
    /// Whether nothing can be said of the release, because it could not be read.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, VerifyError::Contents(ContentsError::Read(..)))
    }
}

/// Checks a release: a folder, or a tar archive. With a key, the signature over the list of files is checked as well.
pub fn verify(release: &Path, key: Option<&PublicKey>) -> Result<Verified, VerifyError> {
    let contents = Contents::read(release, &[SUMS, SIGNATURE])?;
    let sums = contents.kept(SUMS).ok_or(VerifyError::NoSums)?;
    if let Some(key) = key {
        let bundle = contents.kept(SIGNATURE).ok_or(VerifyError::NoSignature)?;
        key.verify(sums, bundle)?;
    }
    let listed = parse(sums)?;
    let problems = compare(&listed, contents.digests());
    if problems.is_empty() {
        Ok(Verified { files: listed.len(), signed: key.is_some() })
    } else {
        Err(VerifyError::Differs(problems))
    }
}

/// The files of a list, each with its checksum.
fn parse(sums: &[u8]) -> Result<BTreeMap<String, Digest>, VerifyError> {
    let mut listed = BTreeMap::new();
    for (index, line) in String::from_utf8_lossy(sums).lines().enumerate() {
        let entry = line.split_once("  ").and_then(|(sum, name)| Some((name.to_owned(), Digest::parse(sum)?)));
        let (name, digest) = entry.ok_or(VerifyError::BadSums(index + 1))?;
        if listed.insert(name, digest).is_some() {
            return Err(VerifyError::BadSums(index + 1));
        }
    }
    if listed.is_empty() { Err(VerifyError::BadSums(1)) } else { Ok(listed) }
}

fn compare(listed: &BTreeMap<String, Digest>, found: &BTreeMap<String, Digest>) -> Vec<String> {
    let differing = listed.iter().filter_map(|(name, digest)| match found.get(name) {
        None => Some(format!("{name} is missing")),
        Some(other) if other != digest => Some(format!("{name} was changed")),
        Some(_) => None,
    });
    let is_unlisted = |name: &&String| !listed.contains_key(*name) && !UNLISTED.contains(&name.as_str());
    let unlisted = found.keys().filter(is_unlisted).map(|name| format!("{name} is not in the list"));
    differing.chain(unlisted).collect()
}
