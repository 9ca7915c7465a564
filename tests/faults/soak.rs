//! `make soak`: crashes at random points without an end, and a large repository. Ignored elsewhere.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use gitward_test_cluster::{Fault, Proxy, Repo};
use serde_json::json;

use crate::lane::{Lane, move_branch, with_lane};
use crate::story::{Declared, Story, check_declared, config_map, namespace};

/// How many stories are told.
fn rounds() -> u64 {
    std::env::var("GITWARD_SOAK").map_or(u64::MAX, |rounds| rounds.parse().expect("GITWARD_SOAK is a number of rounds"))
}

/// The larger repository of issue 6: so many files and bytes.
const FILES: usize = 100_000;
const BYTES: usize = 1 << 30;
/// What the reconciler may have in memory of its own, in KiB, while it follows that.
const MOST_MEMORY: u64 = 256 << 10;

#[test]
#[ignore = "runs until it is stopped, or as often as GITWARD_SOAK says: make soak"]
fn crashes_at_random_points_lose_nothing() {
    let given = std::env::var("GITWARD_SEED").ok().map(|seed| seed.parse().expect("GITWARD_SEED is a number"));
    let seed: u64 = given.unwrap_or_else(|| fastrand::u64(..));
    println!("GITWARD_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    with_lane(|lane| {
        for round in 0..rounds() {
            // Each round has a seed of its own, so that one alone can be told again.
            let mut random = Rng::with_seed(random.u64(..));
            let (begun, mut crashes) = (Instant::now(), 0);
            let story = Story::begin(lane, &format!("soak{round}"));
            crash_at_random(&lane.proxy, &mut random);
            story.tell(lane, |proxy| {
                crashes += 1;
                crash_at_random(proxy, &mut random);
            });
            if lane.proxy.has_killed() {
                lane.gitward.revive_reconciler();
            }
            lane.proxy.pass();
            story.clean_up(lane);
            println!("round {round}: {crashes} crashes, {:?}", begun.elapsed());
        }
    });
}

/// The next crash: sooner or later, before or after a write; or none any more, so that a story comes to its end.
fn crash_at_random(proxy: &Proxy, random: &mut Rng) {
    if random.u8(..6) == 0 {
        return proxy.pass();
    }
    let (write, fault) = (random.usize(1..25), if random.bool() { Fault::KillBefore } else { Fault::KillAfter });
    proxy.set(move |seen| if seen.write == Some(write) { fault } else { Fault::None });
}

#[test]
#[ignore = "writes a repository of 1 GiB: make soak"]
fn a_large_repository_is_followed_within_bounded_memory() {
    with_lane(|lane| {
        lane.proxy.pass();
        namespace(lane, "large");
        let repo = lane.git.repo("large");
        let declared = |color: &str| -> Declared {
            let path = "/api/v1/namespaces/large/configmaps/settings".to_owned();
            vec![(path, config_map("settings", json!({"color": color})))]
        };
        let first = generate(&repo);
        move_branch(&repo, &first);
        println!("{FILES} files, {} MiB: {first}", BYTES >> 20);
        lane.gitward.start_reconciler();
        lane.follow(
            "large",
            repo.url(),
            &json!({"source": {"url": repo.url(), "path": "apps", "interval": "1s", "secretRef": {"name": "large"}}}),
        );
        patiently(lane, &first);
        check_declared(lane, &declared("green")).unwrap();
        let second = change(&repo, &first);
        move_branch(&repo, &second);
        patiently(lane, &second);
        check_declared(lane, &declared("blue")).unwrap();
        let process = lane.gitward.reconciler().expect("it runs");
        let memory = |field| process.kernel_status(field).unwrap_or_default();
        println!("memory: VmHWM {} KiB, of its own at the end (RssAnon) {} KiB", memory("VmHWM"), memory("RssAnon"));
        assert!(memory("VmHWM") < MOST_MEMORY, "VmHWM {} KiB, at most {MOST_MEMORY}", memory("VmHWM"));
    });
}

/// A large repository takes longer than anything else here.
fn patiently(lane: &mut Lane, commit: &str) {
    let begun = Instant::now();
    while lane.has_applied("large", commit).is_err() && begun.elapsed() < Duration::from_secs(900) {
        std::thread::sleep(Duration::from_secs(1));
    }
    lane.has_applied("large", commit).unwrap();
    println!("applied after {:?}", begun.elapsed());
}

/// The manifest of `apps`.
fn settings(color: &str) -> String {
    let mut object = config_map("settings", json!({"color": color}));
    object["metadata"]["namespace"] = json!("large");
    object.to_string()
}

/// Files of noise, which no pack makes smaller, and one manifest. By `git fast-import`, which needs no work tree.
fn generate(repo: &Repo) -> String {
    let mut random = Rng::with_seed(1);
    let mut content = vec![0; BYTES / FILES];
    fast_import(repo, |out| {
        begin(out, "Large", None)?;
        for file in 0..FILES {
            random.fill(&mut content);
            blob(out, &format!("data/{}/{file}", file / 500), &content)?;
        }
        blob(out, "apps/settings.yaml", settings("green").as_bytes())
    })
}

fn change(repo: &Repo, before: &str) -> String {
    fast_import(repo, |out| {
        begin(out, "Small", Some(before))?;
        blob(out, "apps/settings.yaml", settings("blue").as_bytes())
    })
}

fn begin(out: &mut impl Write, message: &str, before: Option<&str>) -> std::io::Result<()> {
    write!(
        out,
        "commit refs/heads/imported\ncommitter Sam <sam@example.com> 1700000000 +0000\ndata {}\n{message}\n",
        message.len()
    )?;
    before.map_or(Ok(()), |before| writeln!(out, "from {before}"))
}

fn blob(out: &mut impl Write, path: &str, content: &[u8]) -> std::io::Result<()> {
    write!(out, "M 100644 inline {path}\ndata {}\n", content.len())?;
    out.write_all(content)?;
    out.write_all(b"\n")
}

fn fast_import(
    repo: &Repo,
    write: impl FnOnce(&mut std::io::BufWriter<std::process::ChildStdin>) -> std::io::Result<()>,
) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(repo.bare()).args(["-c", "core.compression=0", "fast-import", "--quiet", "--force"]);
    let mut git = git.stdin(Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufWriter::new(git.stdin.take().unwrap());
    write(&mut out).unwrap();
    out.flush().unwrap();
    drop(out);
    assert!(git.wait().unwrap().success());
    let bare = format!("--git-dir={}", repo.bare().display());
    repo.git(&[&bare, "rev-parse", "refs/heads/imported"]).trim().to_owned()
}
