//! The cache may be lost at any time, in whole or in part, and may be full.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::api_server::Small;
use crate::lane::{Lane, move_branch, with_lane};
use crate::story::{check_declared, commit, config_map};

#[test]
fn a_full_disk_is_reported_and_loses_nothing() {
    with_lane(|lane| {
        let disk = Disk::small(lane.cluster.dir());
        lane.gitward.set_reconciler_env("GITWARD_CACHE_DIR", &disk.path);
        lane.gitward.start_reconciler();
        let mut small = Small::begin_at(lane, "full", |repo| repo.url().to_owned());
        let before = small.declared.clone();
        // More than fits, and nothing that packs well.
        let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(700_000).collect();
        let map = |n: usize| {
            let name = format!("map-{n}");
            let path = format!("/api/v1/namespaces/full/configmaps/{name}");
            (path, config_map(&name, json!({"color": "two", "noise": noise[n * 1000..].to_owned()})))
        };
        small.declared = (0..4).map(map).collect();
        let next = commit(&small.repo, &small.declared);
        disk.fill();
        move_branch(&small.repo, &next);
        let message = lane.wait_not_ready("full", &["ArtifactFailed", "BuildFailed"]);
        println!("{}: {message}", disk.what);
        assert!(message.contains("disk") && message.contains("full"), "what to do is said: {message}");
        let wanted = std::mem::replace(&mut small.declared, before);
        check_declared(lane, &small.declared).unwrap();
        lane.edit(small.path(), &json!({"data": {"color": "red"}}));
        small.wait_healed(lane);
        disk.make_room();
        small.declared = wanted;
        small.wait(lane, &next);
        small.end(lane);
        lane.gitward.set_reconciler_env("GITWARD_CACHE_DIR", &lane.cluster.dir().join("cache"));
        lane.gitward.start_reconciler();
    });
}

/// A place for the cache that can be full: a small file system in memory where we may mount one, and otherwise a folder that
/// is replaced by a file, so that nothing can be written below it.
struct Disk {
    path: PathBuf,
    what: &'static str,
}

impl Disk {
    fn small(dir: &Path) -> Disk {
        let path = dir.join("small-disk");
        std::fs::create_dir_all(&path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&path).output();
        let mounted = mount.is_ok_and(|output| output.status.success());
        Disk { path, what: if mounted { "a full tmpfs" } else { "a folder that became a file" } }
    }

    fn is_mounted(&self) -> bool {
        self.what == "a full tmpfs"
    }

    fn fill(&self) {
        if !self.is_mounted() {
            std::fs::remove_dir_all(&self.path).unwrap();
            std::fs::write(&self.path, "").unwrap();
        }
    }

    fn make_room(&self) {
        if self.is_mounted() {
            let more = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&self.path).status().unwrap();
            assert!(more.success());
        } else {
            std::fs::remove_file(&self.path).unwrap();
            std::fs::create_dir_all(&self.path).unwrap();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted() {
            let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
        }
    }
}

#[test]
fn a_cache_that_is_damaged_in_any_file_is_mended() {
    with_lane(|lane| {
        let cache = lane.cluster.dir().join("damaged-cache");
        lane.gitward.set_reconciler_env("GITWARD_CACHE_DIR", &cache);
        lane.gitward.start_reconciler();
        let mut small = Small::begin_at(lane, "damaged", |repo| repo.url().to_owned());
        let names: BTreeSet<String> = files(&cache).iter().map(|path| plain(&cache, path)).collect();
        println!("files in the cache: {names:?}");
        assert!(names.iter().any(|name| name.ends_with(".pack")), "{names:?}");
        for name in &names {
            for harm in ["half", "none"] {
                damaged(lane, &mut small, &cache, name, harm);
            }
        }
        small.end(lane);
        lane.gitward.set_reconciler_env("GITWARD_CACHE_DIR", &lane.cluster.dir().join("cache"));
        lane.gitward.start_reconciler();
    });
}

/// A file is damaged while the reconciler is down and an object is edited; then it heals that, and applies the next commit.
fn damaged(lane: &mut Lane, small: &mut Small, cache: &Path, name: &str, harm: &str) {
    let what = format!("{harm} of {name}");
    lane.gitward.crash_reconciler();
    lane.edit(small.path(), &json!({"data": {"color": "red"}}));
    // All that differ in a hash only: each fetch adds some.
    let concerned: Vec<PathBuf> = files(cache).into_iter().filter(|path| plain(cache, path) == *name).collect();
    for path in &concerned {
        if harm == "half" {
            let size = std::fs::metadata(path).unwrap().len();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_len(size / 2).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    lane.gitward.revive_reconciler();
    lane.until(&format!("healed with {what}"), |lane| check_declared(lane, &small.declared));
    let next = small.commit(&what);
    lane.until(&format!("applied with {what}"), |lane| lane.has_applied(&small.name, &next));
    check_declared(lane, &small.declared).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    assert!(!concerned.is_empty() || harm == "none", "{what}: there is such a file");
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The path of a file, with `*` for each hash.
fn plain(cache: &Path, path: &Path) -> String {
    let text = path.strip_prefix(cache).unwrap().display().to_string();
    let part = |part: &str| {
        if part.len() >= 16 && part.bytes().all(|b| b.is_ascii_hexdigit()) { "*".to_owned() } else { part.to_owned() }
    };
    let parts = |text: &str, at: &str| text.split(at).map(part).collect::<Vec<_>>().join(at);
    text.split('/')
        .map(|name| name.split('.').map(|word| parts(word, "-")).collect::<Vec<_>>().join("."))
        .collect::<Vec<_>>()
        .join("/")
}
