//! Archives that were made to harm whoever unpacks or reads them. Each is refused for its own reason.

use gitward_test_cluster::Output;
use tar::{Builder, EntryType, Header};

use crate::gitward_command;

/// A header with exactly these bytes as its name, which a builder would refuse to write.
fn header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// What is said of an archive of these entries.
fn verify(entries: &[(&str, EntryType, &[u8])]) -> Output {
    let mut archive = Builder::new(Vec::new());
    for (name, kind, content) in entries {
        archive.append(&header(name, *kind, content.len() as u64), *content).unwrap();
    }
    verify_bytes(&archive.into_inner().unwrap())
}

fn verify_bytes(archive: &[u8]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("release.tar");
    std::fs::write(&path, archive).unwrap();
    gitward_command(&["verify", &path.display().to_string()])
}

fn assert_refused(output: &Output, why: &str) {
    assert_eq!(output.status, 1, "{why}: {}{}", output.stdout, output.stderr);
    assert!(output.stderr.contains(why), "not {why:?}: {}", output.stderr);
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let names = [
        "../evil",
        "r/../../evil",
        "r/..",
        "/etc/passwd",
        "evil",
        "./r/evil",
        "r/below/evil",
        "r//evil",
        "r/.bashrc",
        "r/-rf",
        "r/a\\..\\b",
        "r/a b",
        "r/a\nb",
        "..",
        ".",
        "/",
    ];
    for name in names {
        assert_refused(&verify(&[(name, EntryType::Regular, b"x")]), "is not a name that a file of a release has");
    }
    let other = [("r/one", EntryType::Regular, &b"x"[..]), ("s/two", EntryType::Regular, b"x")];
    assert_refused(&verify(&other), "\"s/two\" is not a name");
}

#[test]
fn links_devices_and_extensions_of_the_format_are_refused() {
    let kinds = [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Continuous,
        EntryType::GNUSparse,
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::new(b'V'),
    ];
    for kind in kinds {
        assert_refused(&verify(&[("r/file", kind, b"")]), "neither a plain file nor the folder");
    }
    assert_refused(&verify(&[("r/", EntryType::Directory, b"hidden")]), "neither a plain file nor the folder");
    let twice = [("r/file", EntryType::Regular, &b"good"[..]), ("r/file", EntryType::Regular, b"bad")];
    assert_refused(&verify(&twice), "is there twice");
}

#[test]
fn what_is_larger_than_any_release_is_refused_before_it_is_read() {
    let huge = header("r/file", EntryType::Regular, 5 << 30);
    assert_refused(&verify_bytes(huge.as_bytes()), "larger than any release");
    let sums = header("r/SHA256SUMS", EntryType::Regular, 2 << 20);
    assert_refused(&verify_bytes(sums.as_bytes()), "is larger than 1048576 bytes");
    let names: Vec<String> = (0..1001).map(|n| format!("r/{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), EntryType::Regular, &b""[..])).collect();
    assert_refused(&verify(&many), "larger than any release");
}

#[test]
fn damaged_archives_are_refused() {
    let whole = header("r/file", EntryType::Regular, 600);
    assert_refused(&verify_bytes(&[whole.as_bytes(), &[b'x'; 500][..]].concat()), "not a whole tar archive");
    let mut damaged = header("r/file", EntryType::Regular, 0);
    damaged.as_old_mut().name[2] = b'F';
    assert_refused(&verify_bytes(damaged.as_bytes()), "not a whole tar archive");
    assert_refused(&verify_bytes(&[b'x'; 600]), "not a whole tar archive");
    assert_refused(&verify_bytes(b""), "there is no SHA256SUMS");
    let behind = [&[0; 1024][..], header("r/evil", EntryType::Regular, 0).as_bytes()].concat();
    assert_refused(&verify_bytes(&behind), "goes on behind its end");
    assert_refused(&verify_bytes(&vec![0; 3 << 20]), "goes on behind its end");
}

#[test]
fn a_folder_with_links_or_folders_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let check = || gitward_command(&["verify", &dir.path().display().to_string()]);
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("file")).unwrap();
    assert_refused(&check(), "neither a plain file nor the folder");
    std::fs::remove_file(dir.path().join("file")).unwrap();
    std::fs::create_dir(dir.path().join("below")).unwrap();
    assert_refused(&check(), "neither a plain file nor the folder");
    std::fs::remove_dir(dir.path().join("below")).unwrap();
    std::fs::write(dir.path().join(".hidden"), "").unwrap();
    assert_refused(&check(), "is not a name");
}
