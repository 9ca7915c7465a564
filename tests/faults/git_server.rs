//! A git server that is down, answers garbage, or has lost the repository: nothing in the cluster changes, drift is healed
//! meanwhile, and when it is back the sync goes on.

use gitward_test_cluster::GitFault;
use serde_json::json;

use crate::api_server::Small;
use crate::lane::{Lane, with_lane};
use crate::story::check_declared;

/// Breaks the server, and looks at what becomes of it.
fn breaks(
    lane: &mut Lane,
    small: &mut Small,
    what: &str,
    fault: impl FnOnce(&mut Lane),
    repair: impl FnOnce(&mut Lane),
) {
    let before = small.declared.clone();
    let next = small.commit(what);
    let wanted = std::mem::replace(&mut small.declared, before);
    fault(lane);
    let message = lane.wait_not_ready(&small.name, &["ArtifactFailed"]);
    println!("{what}: {message}");
    assert!(message.contains("https://127.0.0.1:"), "{what}: the repository is named: {message}");
    lane.edit(small.path(), &json!({"data": {"color": "red"}}));
    small.wait_healed(lane);
    check_declared(lane, &small.declared).unwrap();
    repair(lane);
    small.declared = wanted;
    small.wait(lane, &next);
}

#[test]
fn a_git_server_that_is_down_or_answers_garbage_changes_nothing() {
    with_lane(|lane| {
        let mut small = Small::begin_at(lane, "garbage", |repo| repo.url().to_owned());
        let name = small.name.clone();
        for (what, fault) in [
            ("500", GitFault::Status(500)),
            ("404", GitFault::Status(404)),
            ("403", GitFault::Status(403)),
            ("page", GitFault::Html),
            ("half", GitFault::HalfPack),
        ] {
            let (wrong, right) =
                (|lane: &mut Lane| lane.git.go_wrong(Some(fault)), |lane: &mut Lane| lane.git.go_wrong(None));
            // The commit must not be seen before the server is broken.
            lane.git.go_wrong(Some(fault));
            breaks(lane, &mut small, what, wrong, right);
        }
        lane.git.stop();
        breaks(lane, &mut small, "down", |_| {}, |lane| lane.git.listen());
        assert!(lane.has_applied(&name, "").is_ok());
        small.end(lane);
    });
}

#[test]
fn a_repository_that_is_empty_or_gone_changes_nothing() {
    with_lane(|lane| {
        let mut small = Small::begin_at(lane, "lost", |repo| repo.url().to_owned());
        let bare = small.repo.bare().to_owned();
        let away = bare.with_extension("away");
        for what in ["empty", "gone"] {
            // Moved first: the commit is made in what is away.
            lane.git.go_wrong(Some(GitFault::Status(503)));
            let lose = |lane: &mut Lane| {
                std::fs::rename(&bare, &away).unwrap();
                if what == "empty" {
                    init_bare(&bare);
                }
                lane.git.go_wrong(None);
            };
            let find = |_: &mut Lane| {
                let _ = std::fs::remove_dir_all(&bare);
                std::fs::rename(&away, &bare).unwrap();
            };
            breaks(lane, &mut small, what, lose, find);
        }
        small.end(lane);
    });
}

/// An empty repository.
fn init_bare(bare: &std::path::Path) {
    let made = std::process::Command::new("git").args(["init", "--quiet", "--bare"]).arg(bare).status().unwrap();
    assert!(made.success());
}
