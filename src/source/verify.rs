//! Whose commits are followed: signatures with SSH keys (`gpg.format = ssh`, PROTOCOL.sshsig of OpenSSH).

use std::collections::BTreeMap;

use git2::{Oid, Repository};
use ssh_key::{PublicKey, SshSig};

use super::SourceError;

/// What git names the purpose of its signatures.
const NAMESPACE: &str = "git";

/// The keys whose commits are followed.
#[derive(Clone, Debug)]
pub struct Signers(Vec<PublicKey>);

impl Signers {
    /// Reads the data of a Secret: each value holds public keys, one a line.
    ///
    /// # Errors
    /// Where a line is no key, or there is no key at all.
    pub fn of(data: &BTreeMap<String, Vec<u8>>) -> Result<Signers, SourceError> {
        let mut keys = Vec::new();
        for (name, value) in data {
            let text = String::from_utf8_lossy(value);
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let key = PublicKey::from_openssh(line);
                keys.push(key.map_err(|error| {
                    SourceError::Signers(format!("a line of {name} is no SSH public key: {error}"))
                })?);
            }
        }
        if keys.is_empty() {
            return Err(SourceError::Signers("the Secret holds no public key".to_owned()));
        }
        Ok(Signers(keys))
    }

    /// Checks a commit.
    ///
    /// # Errors
    /// Where none of the keys has signed it.
    pub(super) fn check(&self, repository: &Repository, commit: Oid) -> Result<(), SourceError> {
        let why = |why: String| SourceError::Unverified { commit: commit.to_string(), why };
        let Ok((signature, signed)) = repository.extract_signature(&commit, None) else {
            return Err(why("it is not signed".to_owned()));
        };
        let Ok(signature) = SshSig::from_pem(&*signature) else {
            return Err(why("it is not signed with an SSH key (OpenPGP and X.509 are not supported)".to_owned()));
        };
        if self.0.iter().any(|key| key.verify(NAMESPACE, &signed, &signature).is_ok()) {
            return Ok(());
        }
        let by = PublicKey::from(signature.public_key().clone()).fingerprint(Default::default());
        Err(why(format!("none of the keys of spec.source.verify has signed it; its signature is by {by}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Signers, SourceError> {
        Signers::of(&[("keys".to_owned(), text.as_bytes().to_vec())].into())
    }

    #[test]
    fn keys_stand_one_a_line() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti sam@example.com";
        assert_eq!(of(&format!("# us\n{key}\n\n")).unwrap().0.len(), 1);
        assert!(of("").unwrap_err().to_string().contains("no public key"));
        assert!(of("not a key").unwrap_err().to_string().contains("a line of keys is no SSH public key"));
    }
}
