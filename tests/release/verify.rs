//! `gitward verify` on releases that are as they were made, and on those that are not.

use std::path::{Path, PathBuf};

use gitward_test_cluster::{Output, ReleaseKey, make_release, pack_release, workspace};
use tempfile::TempDir;

use crate::{VERSION, files, gitward, gitward_command};

/// A signed release in a folder of its own, with keys beside it.
struct Signed {
    dir: TempDir,
    key: ReleaseKey,
}

impl Signed {
    fn make() -> Signed {
        let dir = tempfile::tempdir().unwrap();
        let key = ReleaseKey::create(dir.path(), "cosign");
        let signed = Signed { dir, key };
        make_release(gitward(), &signed.folder());
        signed.key.sign(&signed.folder());
        signed
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join(format!("gitward-{VERSION}"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// What is said of the folder, and of the archive of the same files: the same.
    fn verify(&self, key: Option<&Path>) -> Output {
        let archive = pack_release(&self.folder());
        let [folder, archive] = [&self.folder(), &archive].map(|release| verify(release, key));
        assert_eq!((folder.status, &folder.stdout, &folder.stderr), (archive.status, &archive.stdout, &archive.stderr));
        folder
    }

    fn verify_signed(&self) -> Output {
        self.verify(Some(&self.key.public()))
    }
}

fn verify(release: &Path, key: Option<&Path>) -> Output {
    let key = key.map(|key| key.display().to_string());
    let mut args = vec!["verify"];
    let release = release.display().to_string();
    args.push(&release);
    args.extend(key.iter().flat_map(|key| ["--key", key]));
    gitward_command(&args)
}

/// Whether a release was refused, and why.
fn refused(output: &Output) -> &str {
    assert_eq!(output.status, 1, "{}{}", output.stdout, output.stderr);
    assert!(output.stderr.starts_with("gitward: do not use this release. "), "{}", output.stderr);
    &output.stderr
}

#[test]
fn a_release_as_it_was_made_is_whole_and_who_signed_it_is_said() {
    let signed = Signed::make();
    let unsure = signed.verify(None);
    assert!(unsure.ok().contains("Who made that list was not checked"), "{}", unsure.stdout);
    let sure = signed.verify_signed();
    assert!(sure.ok().contains("and the key has signed that list"), "{}", sure.stdout);
}

#[test]
fn whatever_file_was_changed_is_named() {
    let signed = Signed::make();
    for (name, content) in files(&signed.folder()).into_iter().filter(|(name, _)| !name.starts_with("SHA256SUMS")) {
        let mut changed = content.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        std::fs::write(signed.file(&name), changed).unwrap();
        let output = verify(&signed.folder(), None);
        assert!(refused(&output).contains(&format!("{name} was changed")), "{}", output.stderr);
        let output = verify(&pack_release(&signed.folder()), Some(&signed.key.public()));
        assert!(refused(&output).contains(&format!("{name} was changed")), "{}", output.stderr);
        std::fs::write(signed.file(&name), content).unwrap();
    }
    signed.verify_signed().ok();
}

#[test]
fn files_that_are_missing_or_more_are_named() {
    let signed = Signed::make();
    std::fs::remove_file(signed.file("krew.yaml")).unwrap();
    std::fs::write(signed.file("install.sh"), "").unwrap();
    let output = signed.verify_signed();
    let why = refused(&output);
    assert!(why.contains("krew.yaml is missing") && why.contains("install.sh is not in the list"), "{why}");
    std::fs::remove_file(signed.file("SHA256SUMS")).unwrap();
    assert!(refused(&signed.verify(None)).contains("there is no SHA256SUMS"));
}

#[test]
fn a_changed_list_is_seen_by_its_signature_alone() {
    let signed = Signed::make();
    std::fs::remove_file(signed.file("krew.yaml")).unwrap();
    let sums = std::fs::read_to_string(signed.file("SHA256SUMS")).unwrap();
    let without: Vec<&str> = sums.lines().filter(|line| !line.ends_with("krew.yaml")).collect();
    std::fs::write(signed.file("SHA256SUMS"), without.join("\n") + "\n").unwrap();
    signed.verify(None).ok();
    let output = signed.verify_signed();
    assert!(refused(&output).contains("not made with this key, or over another file"), "{}", output.stderr);
}

#[test]
fn a_list_that_cannot_be_read_is_refused() {
    let signed = Signed::make();
    let sums = std::fs::read_to_string(signed.file("SHA256SUMS")).unwrap();
    let (first, _) = sums.split_once('\n').unwrap();
    for bad in ["".to_owned(), "no list\n".to_owned(), sums[1..].to_owned(), format!("{sums}{first}\n")] {
        std::fs::write(signed.file("SHA256SUMS"), bad).unwrap();
        let output = signed.verify(None);
        assert!(refused(&output).contains("is not a SHA-256 and the name of a file"), "{}", output.stderr);
    }
}

#[test]
fn another_key_or_no_signature_is_refused() {
    let signed = Signed::make();
    let other = ReleaseKey::create(signed.dir.path(), "other");
    assert!(refused(&signed.verify(Some(&other.public()))).contains("not made with this key"));
    let bundle = signed.file("SHA256SUMS.sigstore.json");
    for bad in ["", "{}", r#"{"messageSignature": {"signature": "?"}}"#] {
        std::fs::write(&bundle, bad).unwrap();
        assert!(refused(&signed.verify_signed()).contains("is not a Sigstore bundle"));
    }
    std::fs::write(&bundle, r#"{"messageSignature": {"signature": ""}}"#).unwrap();
    assert!(refused(&signed.verify_signed()).contains("not made with this key"));
    std::fs::remove_file(&bundle).unwrap();
    assert!(refused(&signed.verify_signed()).contains("nobody has signed this release with a key"));
}

#[test]
fn what_cosign_signs_is_read() {
    let recorded = workspace().join("tests/release/signed");
    let key = workspace().join("tests/release/signed.pub");
    assert!(verify(&recorded, Some(&key)).ok().starts_with("All 1 files"));
    let dir = tempfile::tempdir().unwrap();
    let other = ReleaseKey::create(dir.path(), "other");
    refused(&verify(&recorded, Some(&other.public())));
}

#[test]
fn what_cannot_be_read_has_another_status() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = workspace().join("tests/release/signed");
    let file = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).unwrap();
        dir.path().join(name)
    };
    // A key of another curve: the same algorithm, and nothing that cosign makes.
    let p384 = dir.path().join("p384.pub");
    let mut openssl = std::process::Command::new("sh");
    openssl.args(["-c", "openssl ecparam -name secp384r1 -genkey -noout | openssl ec -pubout -out \"$0\""]).arg(&p384);
    Output::of(&mut openssl, None).ok();
    for (key, why) in [
        (dir.path().join("missing"), "No such file"),
        (file("empty", ""), "not a public key in PEM"),
        (file("cut", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "not a public key of ECDSA"),
        (p384, "not a public key of ECDSA with P-256"),
    ] {
        let output = verify(&recorded, Some(&key));
        assert_eq!(output.status, 2, "{}", output.stderr);
        assert!(output.stderr.contains(why), "{}", output.stderr);
    }
    assert_eq!(verify(&dir.path().join("missing.tar"), None).status, 2);
}
