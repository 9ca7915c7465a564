//! What a key says about itself: which parts of it may sign, and until when.

use jiff::Timestamp;
use pgp::composed::{Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, Signature, SignatureType, SubpacketData};
use pgp::types::{Duration, KeyDetails, Tag};

/// A key with its subkeys and what it says about itself.
#[derive(Clone, Debug)]
pub(in crate::source) struct Key {
    pub(super) key: SignedPublicKey,
    pub(super) is_revoked: bool,
}

impl Key {
    /// From its packets, where they are a key.
    pub(super) fn of(packets: &[Packet]) -> Option<Key> {
        // Wherever it stands, and whether or not it can be verified: another may have been named to revoke this key.
        let is_revoked = packets.iter().any(|packet| {
            matches!(packet, Packet::Signature(signature) if signature.typ() == Some(SignatureType::KeyRevocation))
        });
        let mut keys = SignedPublicKey::from_packets(packets.iter().cloned().map(Ok).peekable());
        let key = keys.next()?.ok()?;
        Some(Key { key, is_revoked })
    }

    /// As gpg prints it.
    pub(in crate::source) fn fingerprint(&self) -> String {
        format!("{:X}", self.key.fingerprint())
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let subkeys = self.key.public_subkeys.iter().map(Some);
        std::iter::once(None).chain(subkeys).map(|subkey| Part { of: self, subkey })
    }

    /// What the key says about itself today: its newest signature of itself, and its newest of a name that it has not revoked.
    /// Both count, since either may hold the end and the purposes (section 5.2.3.10).
    fn self_signatures(&self) -> Vec<&Signature> {
        let (primary, details) = (&self.key.primary_key, &self.key.details);
        let is_direct = |signature: &&Signature| {
            signature.typ() == Some(SignatureType::Key) && signature.verify_key(primary).is_ok()
        };
        let direct = newest(details.direct_signatures.iter().filter(is_direct));
        let names = details.users.iter().filter_map(|user| {
            // As of keys, a revocation counts even where its hash is too weak to be verified.
            let revokes = |one: &Signature| one.typ() == Some(SignatureType::CertRevocation) && names(one, primary);
            let holds =
                |one: &&Signature| revokes(one) || one.verify_certification(primary, Tag::UserId, &user.id).is_ok();
            newest(user.signatures.iter().filter(holds))
                .filter(|newest| newest.typ() != Some(SignatureType::CertRevocation))
        });
        direct.into_iter().chain(newest(names)).collect()
    }
}

/// What can sign: a key itself, or one of its subkeys.
pub(super) struct Part<'k> {
    of: &'k Key,
    subkey: Option<&'k SignedPublicSubKey>,
}

impl std::fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.subkey {
            Some(subkey) => write!(f, "subkey {:X} of {}", subkey.fingerprint(), self.of.fingerprint()),
            None => write!(f, "{}", self.of.fingerprint()),
        }
    }
}

impl Part<'_> {
    pub(super) fn has_made(&self, signature: &Signature, signed: &[u8]) -> bool {
        match self.subkey {
            Some(subkey) => signature.verify(&subkey.key, signed).is_ok(),
            None => signature.verify(&self.of.key.primary_key, signed).is_ok(),
        }
    }

    pub(super) fn is_named_by(&self, signature: &Signature) -> bool {
        match self.subkey {
            Some(subkey) => names(signature, subkey),
            None => names(signature, &self.of.key),
        }
    }

    /// # Errors
    /// Why not, as the end of the sentence "its signature is by …, …".
    pub(super) fn may_sign(&self, at: u64, now: u64) -> Result<(), String> {
        if self.of.is_revoked {
            return Err("which is revoked".to_owned());
        }
        let said = self.of.self_signatures();
        if said.is_empty() {
            let what = "which vouches for itself with no signature that counts (those with SHA-1 do not)";
            return Err(format!("{what}: renew it and export it anew"));
        }
        let key = &self.of.key;
        match self.subkey {
            None => {
                may(&said, true, key, at, now)?;
            }
            Some(subkey) => {
                may(&said, false, key, at, now).map_err(|why| format!("{why} (the key of the subkey)"))?;
                may(&[binding(key, subkey)?], true, subkey, at, now)?;
            }
        }
        Ok(())
    }
}

/// Whether a signature says that it is by a key.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().contains(&&key.fingerprint())
        || signature.issuer_key_id().contains(&&key.legacy_key_id())
}

/// Whether a key's own signatures allow what was done with it.
fn may(said: &[&Signature], sign: bool, key: &impl KeyDetails, at: u64, now: u64) -> Result<(), String> {
    let created = u64::from(key.created_at().as_secs());
    if at < created {
        return Err(format!("which was made only on {}", day(created)));
    }
    for signature in said {
        if let Some(hash) = weakness(signature) {
            return Err(format!(
                "which is only held together with {hash}, which can be forged: renew it and export it anew"
            ));
        }
        let made = signature.created().map_or(0, |made| u64::from(made.as_secs()));
        if end(made, signature.signature_expiration_time()).is_some_and(|end| end <= now) {
            return Err("whose signatures of its own have ended: renew it and export it anew".to_owned());
        }
        if let Some(end) = end(created, signature.key_expiration_time()).filter(|end| *end <= at) {
            return Err(format!("which ended on {}, before it signed", day(end)));
        }
    }
    let mut flags =
        said.iter().filter(|signature| has_flags(signature)).map(|signature| signature.key_flags()).peekable();
    if sign && (flags.peek().is_none() || !flags.all(|flags| flags.sign())) {
        return Err("which is not for signing".to_owned());
    }
    Ok(())
}

fn has_flags(signature: &Signature) -> bool {
    let is_flags = |data: &SubpacketData| matches!(data, SubpacketData::KeyFlags(_));
    signature.config().is_some_and(|config| config.hashed_subpackets().any(|subpacket| is_flags(&subpacket.data)))
}

/// What binds a subkey to its key, both ways.
fn binding<'k>(key: &SignedPublicKey, subkey: &'k SignedPublicSubKey) -> Result<&'k Signature, String> {
    let of = |kind| subkey.signatures.iter().filter(move |signature| signature.typ() == Some(kind));
    if of(SignatureType::SubkeyRevocation).next().is_some() {
        return Err("which is revoked".to_owned());
    }
    let holds = |signature: &&Signature| signature.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok();
    let binding = newest(of(SignatureType::SubkeyBinding).filter(holds)).ok_or("to which it is not bound")?;
    // Else anybody could bind somebody else's subkey, and pass for the one who signed.
    let agrees = |back: &&Signature| back.verify_primary_key_binding(&subkey.key, &key.primary_key).is_ok();
    match binding.embedded_signature().filter(agrees) {
        Some(back) if weakness(back).is_none() => Ok(binding),
        _ => Err("to which it does not bind itself".to_owned()),
    }
}

/// Of two of the same second the later one, a revocation before all.
fn newest<'k>(signatures: impl Iterator<Item = &'k Signature>) -> Option<&'k Signature> {
    let rank = |signature: &&Signature| (signature.created(), signature.typ() == Some(SignatureType::CertRevocation));
    signatures.max_by_key(rank)
}

/// The hash of a signature, where others can make something else that has the same.
pub(super) fn weakness(signature: &Signature) -> Option<String> {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha224, Sha256, Sha384, Sha512};
    match signature.hash_alg() {
        Some(Sha224 | Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512) => None,
        Some(hash) => Some(hash.to_string()),
        None => Some("an unknown hash".to_owned()),
    }
}

/// When something that began then is over; `None` for never.
pub(super) fn end(begin: u64, after: Option<Duration>) -> Option<u64> {
    after.filter(|after| after.as_secs() > 0).map(|after| begin + u64::from(after.as_secs()))
}

/// In UTC.
pub(super) fn day(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.map_or_else(|| "another day".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}
