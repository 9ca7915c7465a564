//! Whose commits are followed: signatures with SSH keys (`gpg.format = ssh`, PROTOCOL.sshsig of OpenSSH) and with OpenPGP keys.

use std::collections::BTreeMap;
use std::time::SystemTime;

use git2::{Oid, Repository};
use ssh_key::{PublicKey, SshSig};

use super::SourceError;
use super::openpgp::{self, Refusal};

/// What git names the purpose of its signatures.
const NAMESPACE: &str = "git";

/// How many keys a message lists: it stands in the status.
const LISTED: usize = 16;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The keys whose commits are followed.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    ssh: Vec<PublicKey>,
    openpgp: Vec<openpgp::Key>,
}

impl Signers {
    /// Reads the data of a Secret: each value holds SSH public keys, one a line, and armored OpenPGP public keys.
    ///
    /// # Errors
    /// Where there is something else in it, or no key at all.
    pub fn of(data: &BTreeMap<String, Vec<u8>>) -> Result<Signers, SourceError> {
        let mut signers = Signers::default();
        for (name, value) in data {
            signers.read(&String::from_utf8_lossy(value)).map_err(|what| SourceError::Signers(what.of(name)))?;
        }
        if signers.ssh.is_empty() && signers.openpgp.is_empty() {
            return Err(SourceError::Signers("the Secret holds no public key".to_owned()));
        }
        Ok(signers)
    }

    fn read(&mut self, text: &str) -> Result<(), Unread> {
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line == BEGIN {
                let block = block(&mut lines).ok_or(Unread::Block("has no end"))?;
                self.openpgp.extend(openpgp::keys(&block).map_err(Unread::Block)?);
            } else if line.starts_with("-----BEGIN ") && line.contains("PRIVATE KEY") {
                return Err(Unread::Private);
            } else if !line.is_empty() && !line.starts_with('#') {
                self.ssh.push(PublicKey::from_openssh(line).map_err(Unread::Line)?);
            }
        }
        Ok(())
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
        let verified = if signature.starts_with(b"-----BEGIN PGP ") {
            openpgp::check(&self.openpgp, &signature, &signed, SystemTime::now())
        } else {
            self.check_ssh(&signature, &signed)
        };
        verified.map_err(|refusal| match refusal {
            Refusal::Because(text) => why(text),
            Refusal::Foreign(by) => why(format!(
                "none of the keys of spec.source.verify has signed it; its signature is by {by}, and the keys are {}",
                self.list()
            )),
        })
    }

    fn check_ssh(&self, signature: &[u8], signed: &[u8]) -> Result<(), Refusal> {
        let Ok(signature) = SshSig::from_pem(signature) else {
            let what = "it is not signed with an SSH or OpenPGP key (X.509 is not supported)";
            return Err(Refusal::Because(what.to_owned()));
        };
        if self.ssh.iter().any(|key| key.verify(NAMESPACE, signed, &signature).is_ok()) {
            return Ok(());
        }
        let by = PublicKey::from(signature.public_key().clone());
        Err(Refusal::Foreign(by.fingerprint(Default::default()).to_string()))
    }

    fn list(&self) -> String {
        let ssh = self.ssh.iter().map(|key| key.fingerprint(Default::default()).to_string());
        let mut keys = ssh.chain(self.openpgp.iter().map(openpgp::Key::fingerprint)).collect::<Vec<_>>();
        let more = keys.len().saturating_sub(LISTED);
        keys.truncate(LISTED);
        if more > 0 {
            keys.push(format!("{more} more"));
        }
        keys.join(", ")
    }
}

/// The lines of a block, of which the first is gone already.
fn block<'t>(lines: &mut impl Iterator<Item = &'t str>) -> Option<String> {
    let mut block = format!("{BEGIN}\n");
    for line in lines {
        block.push_str(line);
        block.push('\n');
        if line == END {
            return Some(block);
        }
    }
    None
}

/// What is no public key.
enum Unread {
    Line(ssh_key::Error),
    Block(&'static str),
    Private,
}

impl Unread {
    /// Never with anything of the value itself, which may be what should not have come here.
    fn of(&self, name: &str) -> String {
        match self {
            Unread::Line(error) => format!("a line of {name} is no SSH public key: {error}"),
            Unread::Block(what) => {
                format!(
                    "an OpenPGP block of {name} {what}: export it anew with gpg --armor --export-options export-minimal --export"
                )
            }
            Unread::Private => format!("{name} holds a private key: take it out, and replace it where it is used"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SSH: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti sam@example.com";
    const OPENPGP: &str = include_str!("../../tests/openpgp/team.asc");

    fn of(text: &str) -> Result<Signers, SourceError> {
        Signers::of(&[("keys".to_owned(), text.as_bytes().to_vec())].into())
    }

    fn error(text: &str) -> String {
        of(text).unwrap_err().to_string()
    }

    #[test]
    fn keys_stand_one_a_line() {
        assert_eq!(of(&format!("# us\n{SSH}\n\n")).unwrap().ssh.len(), 1);
        assert!(error("").contains("no public key"));
        assert!(error("not a key").contains("a line of keys is no SSH public key"));
    }

    #[test]
    fn openpgp_blocks_stand_beside_lines() {
        let foreign = include_str!("../../tests/openpgp/foreign.asc");
        let signers = of(&format!("# us\n{OPENPGP}\n{SSH}\n  {}\n", foreign.replace('\n', "\r\n  "))).unwrap();
        assert_eq!((signers.ssh.len(), signers.openpgp.len()), (1, 2));
        let listed = signers.list();
        assert!(listed.starts_with("SHA256:") && listed.contains(&signers.openpgp[1].fingerprint()), "{listed}");
    }

    #[test]
    fn a_broken_block_is_refused_as_a_whole() {
        assert!(error(&OPENPGP[..OPENPGP.len() - 40]).contains("an OpenPGP block of keys has no end"));
        let lines = OPENPGP.lines().collect::<Vec<_>>();
        let shorter = [&lines[..lines.len() - 8], &lines[lines.len() - 1..]].concat().join("\n");
        assert!(error(&shorter).contains("cannot be read"), "{}", error(&shorter));
        // The certificate of a revocation is such a block too, and does nothing alone.
        let signature = include_str!("../../tests/openpgp/team.sig").replace("PGP SIGNATURE", "PGP PUBLIC KEY BLOCK");
        assert!(error(&signature).contains("holds no public key"));
    }

    #[test]
    fn a_private_key_is_named_and_not_shown() {
        for kind in ["PGP PRIVATE KEY BLOCK", "OPENSSH PRIVATE KEY"] {
            let text = error(&format!("-----BEGIN {kind}-----\n\nc2VjcmV0\n-----END {kind}-----\n"));
            assert!(text.contains("keys holds a private key") && !text.contains("c2VjcmV0"), "{text}");
        }
    }
}
