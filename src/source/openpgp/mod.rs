//! OpenPGP keys and the signatures that git makes with them (RFC 9580): which parts of a key may sign, and until when.
//!
//! `verify` asks. The cryptography is rPGP's, which says whether a signature is over some bytes; whether it counts is said here.
//! What is not plain is refused: whoever lists a key can export it anew.

mod key;

use std::time::SystemTime;

use pgp::armor::{BlockType, Dearmor};
use pgp::packet::{Packet, PacketParser, Signature, SignatureType};

use self::key::{day, end, weakness};

pub(super) use self::key::Key;

/// The most that a signature can be: some ten times one of RSA with 16,384 bits. A commit is anybody's.
const LONGEST_SIGNATURE: usize = 32 * 1024;

/// The keys of an armored block.
///
/// # Errors
/// Where it holds none, or anything that cannot be read: a revocation could be behind it.
pub(super) fn keys(block: &str) -> Result<Vec<Key>, &'static str> {
    let packets = packets(block.as_bytes(), BlockType::PublicKey).ok_or("cannot be read")?;
    let first = packets.iter().position(is_key).ok_or("holds no public key")?;
    if first > 0 {
        return Err("begins with something else than a public key");
    }
    packets
        .chunk_by(|_, next| !is_key(next))
        .map(|packets| Key::of(packets).ok_or("holds a key that cannot be read"))
        .collect()
}

fn is_key(packet: &Packet) -> bool {
    matches!(packet, Packet::PublicKey(_))
}

fn packets(armored: &[u8], wanted: BlockType) -> Option<Vec<Packet>> {
    let mut armor = Dearmor::new(armored);
    armor.read_header().ok()?;
    if armor.typ != Some(wanted) {
        return None;
    }
    // As a whole first: the parser takes an armor that breaks off for the end.
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut armor, &mut bytes).ok()?;
    PacketParser::new(bytes.as_slice()).collect::<Result<_, _>>().ok()
}

/// Checks the armored signature of a commit, whose bytes without it are `signed`.
///
/// # Errors
/// What is wrong with it, as the end of the sentence "commit … is not followed: …". `Foreign` where no key has to do with it.
pub(super) fn check(keys: &[Key], signature: &[u8], signed: &[u8], now: SystemTime) -> Result<(), Refusal> {
    let signature = read(signature)?;
    let now = seconds(now);
    let at = u64::from(signature.created().ok_or(Refusal::because("its OpenPGP signature has no time"))?.as_secs());
    let mut refusal = None;
    for key in keys {
        for part in key.parts() {
            if !part.has_made(&signature, signed) {
                continue;
            }
            match part.may_sign(at, now) {
                Ok(()) => return within_its_time(&signature, at, now),
                Err(why) => refusal = Some(Refusal::Because(format!("its signature is by {part}, {why}"))),
            }
        }
    }
    Err(refusal.unwrap_or_else(|| unmatched(keys, &signature)))
}

/// Why a signature does not count.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// By none of the keys, but by this one, where it says so.
    Foreign(String),
    /// Something else.
    Because(String),
}

impl Refusal {
    fn because(why: &str) -> Refusal {
        Refusal::Because(why.to_owned())
    }
}

/// The one signature of an armor, where it is of a kind that counts at all.
fn read(armored: &[u8]) -> Result<Signature, Refusal> {
    let read = if armored.len() > LONGEST_SIGNATURE { None } else { packets(armored, BlockType::Signature) };
    let one = read.and_then(|packets| <[Packet; 1]>::try_from(packets).ok());
    let Some([Packet::Signature(signature)]) = one else {
        return Err(Refusal::because("its OpenPGP signature cannot be read as one signature"));
    };
    // Git makes no other. One over text would leave the ends of the lines open, and one of a key must not pass for one of a commit.
    if signature.typ() != Some(SignatureType::Binary) {
        return Err(Refusal::because("its OpenPGP signature is not one of bytes, as git makes it"));
    }
    if let Some(hash) = weakness(&signature) {
        let advice = "sign with SHA-256 or better (digest-algo SHA256 in gpg.conf)";
        return Err(Refusal::Because(format!("its OpenPGP signature uses {hash}, which can be forged: {advice}")));
    }
    Ok(signature)
}

fn within_its_time(signature: &Signature, at: u64, now: u64) -> Result<(), Refusal> {
    match end(at, signature.signature_expiration_time()) {
        Some(end) if end <= now => Err(Refusal::Because(format!("its OpenPGP signature ended on {}", day(end)))),
        _ => Ok(()),
    }
}

/// No key has made it: somebody else has, or what a key has signed was changed.
fn unmatched(keys: &[Key], signature: &Signature) -> Refusal {
    let named = keys.iter().flat_map(Key::parts).find(|part| part.is_named_by(signature));
    if let Some(part) = named {
        return Refusal::Because(format!("its signature names {part}, but is not that key's signature of this commit"));
    }
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| format!("{fingerprint:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    Refusal::Foreign(fingerprint.or_else(id).unwrap_or_else(|| "a key that it does not name".to_owned()))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use pgp::packet::SubpacketData;

    use super::*;

    macro_rules! file {
        ($name:literal) => {
            include_str!(concat!("../../../tests/openpgp/", $name))
        };
    }

    const COMMIT: &str = file!("commit.txt");

    fn on(day: &str) -> SystemTime {
        let at = format!("{day}T00:00:00Z").parse::<Timestamp>().unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_secs(at.as_second().try_into().unwrap())
    }

    fn listed(blocks: &[&str]) -> Vec<Key> {
        blocks.iter().flat_map(|block| keys(block).unwrap()).collect()
    }

    fn one(block: &str) -> Key {
        listed(&[block]).remove(0)
    }

    fn checked(keys: &[Key], signature: &str) -> Result<(), Refusal> {
        check(keys, signature.as_bytes(), COMMIT.as_bytes(), on("2026-01-01"))
    }

    #[track_caller]
    fn refused(keys: &[Key], signature: &str, why: &str) {
        match checked(keys, signature).unwrap_err() {
            Refusal::Because(text) if text.contains(why) => {}
            other => panic!("not because it {why}: {other:?}"),
        }
    }

    #[test]
    fn a_key_and_its_subkey_for_signing_sign() {
        let ours = listed(&[file!("rsa.asc"), file!("ends.asc"), file!("team.asc"), file!("renamed.asc")]);
        for signature in [
            file!("team.sig"),
            file!("team-subkey.sig"),
            file!("team-subkey-before-its-end.sig"),
            file!("ends.sig"),
            file!("rsa.sig"),
            file!("renamed.sig"),
        ] {
            assert_eq!(checked(&ours, signature), Ok(()));
            let other = check(&ours, signature.as_bytes(), b"tree 0", on("2026-01-01"));
            assert!(matches!(other, Err(Refusal::Because(text)) if text.contains("is not that key's signature")));
        }
    }

    #[test]
    fn a_foreign_key_is_named_by_its_fingerprint() {
        let foreign = one(file!("foreign.asc")).fingerprint();
        assert_eq!(
            checked(&listed(&[file!("team.asc")]), file!("foreign.sig")),
            Err(Refusal::Foreign(foreign.clone()))
        );
        assert_eq!(checked(&[], file!("foreign.sig")), Err(Refusal::Foreign(foreign)));
    }

    #[test]
    fn what_ended_or_was_revoked_signs_no_more() {
        let team = listed(&[file!("team.asc")]);
        refused(&team, file!("team-subkey-after-its-end.sig"), "which ended on 2021-01-01, before it signed");
        refused(&listed(&[file!("ends.asc")]), file!("ends-after.sig"), "which ended on 2021-01-01, before it signed");
        refused(&team, file!("team-before-it-was-made.sig"), "which was made only on 2020-01-01");
        refused(&team, file!("team-revoked-subkey.sig"), "which is revoked");
        refused(&listed(&[file!("revoked.asc")]), file!("revoked.sig"), "which is revoked");
        refused(&team, file!("team-ends.sig"), "ended on 2020-03-01");
        let before = check(&team, file!("team-ends.sig").as_bytes(), COMMIT.as_bytes(), on("2020-02-20"));
        assert_eq!(before, Ok(()));
    }

    #[test]
    fn a_subkey_ends_with_its_key() {
        let mut ends = one(file!("team.asc"));
        ends.is_revoked = true;
        refused(&[ends], file!("team-subkey.sig"), "which is revoked");
        let mut nobodys = one(file!("team.asc"));
        nobodys.key.details.users.clear();
        refused(&[nobodys], file!("team-subkey.sig"), "vouches for itself with no signature that counts");
    }

    #[test]
    fn a_revocation_counts_wherever_it_stands() {
        let mut packets = packets(file!("revoked.asc").as_bytes(), BlockType::PublicKey).unwrap();
        let revocation = packets.remove(1);
        refused(
            &[Key::of(&[packets.as_slice(), &[revocation]].concat()).unwrap()],
            file!("revoked.sig"),
            "which is revoked",
        );
        assert_eq!(checked(&[Key::of(&packets).unwrap()], file!("revoked.sig")), Ok(()));
    }

    #[test]
    fn a_revoked_name_says_nothing_about_its_key() {
        let mut renamed = one(file!("renamed.asc"));
        let users = &mut renamed.key.details.users;
        users.retain(|user| user.signatures.iter().any(|one| one.typ() == Some(SignatureType::CertRevocation)));
        assert!(users.iter().any(|user| user.signatures.len() == 2));
        refused(&[renamed], file!("renamed.sig"), "vouches for itself with no signature that counts");
    }

    #[test]
    fn only_a_key_for_signing_signs() {
        refused(&listed(&[file!("certifies.asc")]), file!("certifies.sig"), "which is not for signing");
    }

    #[test]
    fn what_can_be_forged_does_not_count() {
        refused(&listed(&[file!("team.asc")]), file!("team-sha1.sig"), "uses SHA1, which can be forged");
        refused(&listed(&[file!("weak-rsa.asc")]), file!("weak-rsa.sig"), "only held together with SHA1");
        // rPGP verifies no such signature of this kind at all.
        refused(&listed(&[file!("weak.asc")]), file!("weak.sig"), "those with SHA-1 do not");
    }

    #[test]
    fn a_subkey_signs_for_no_key_but_its_own() {
        let (team, mut thief) = (one(file!("team.asc")), one(file!("foreign.asc")));
        thief.key.public_subkeys = team.key.public_subkeys.clone();
        refused(&[thief.clone()], file!("team-subkey.sig"), "to which it is not bound");
        // Where it counts for one of two keys, it counts.
        assert_eq!(checked(&[thief.clone(), team.clone()], file!("team-subkey.sig")), Ok(()));
        assert_eq!(checked(&[team.clone(), thief], file!("team-subkey.sig")), Ok(()));
        let mut silent = team;
        let binding = &mut silent.key.public_subkeys[0].signatures[0];
        let is_back = |data: &SubpacketData| matches!(data, SubpacketData::EmbeddedSignature(_));
        let back = binding.config().unwrap().unhashed_subpackets().position(|one| is_back(&one.data)).unwrap();
        binding.unhashed_subpacket_remove(back).unwrap();
        refused(&[silent], file!("team-subkey.sig"), "to which it does not bind itself");
    }

    #[test]
    fn only_one_signature_of_bytes_is_read() {
        let team = listed(&[file!("team.asc")]);
        refused(&team, file!("team-text.sig"), "is not one of bytes");
        refused(&team, file!("two.sig"), "cannot be read as one signature");
        refused(&team, &file!("team.sig").replace("PGP SIGNATURE", "PGP MESSAGE"), "cannot be read");
        refused(&team, &file!("team.sig")[..120], "cannot be read");
        refused(&team, &format!("{}{}", file!("team.sig"), "\n".repeat(LONGEST_SIGNATURE)), "cannot be read");
    }
}
