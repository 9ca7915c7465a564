//! The recording of the README (docs/images/demo.svg) shows what the demo tells and gitward prints today. `RECORD=docs/images/demo.svg
//! make demo` makes a new one.

use std::time::Duration;

use gitward_test_cluster::{ControlPlane, Output, eventually};

use crate::blocks::shows;
use crate::read;
use crate::stage::Stage;

#[path = "../../examples/demo/tries.rs"]
mod tries;

const FILE: &str = "docs/images/demo.svg";
/// Until what was just done shows. The guard follows its policy, and records follow refusals, a moment later.
const PATIENCE: Duration = Duration::from_secs(60);

/// The lines that the recording shows.
fn lines() -> Vec<String> {
    let svg = read(FILE);
    let (_, text) = svg.split_once("<desc>").expect("the recording has its text");
    unescape(text.split("</desc>").next().unwrap_or_default()).trim().lines().map(str::to_owned).collect()
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// A command of the recording: who types it and what. Commands without a time are tried side by side.
struct Typed<'a> {
    user: &'a str,
    command: &'a str,
    is_timed: bool,
}

impl Typed<'_> {
    fn parse(line: &str) -> Option<Typed<'_>> {
        let (user, command) = line.split_once("$ ").filter(|(user, _)| ["admin", "dev"].contains(user))?;
        let (command, time) =
            command.split_once("   (").map_or((command, None), |(command, time)| (command, Some(time)));
        Some(Typed { user, command, is_timed: time.is_some() })
    }

    /// What kubectl is given. No argument of the recorded commands has a space in it.
    fn args(&self) -> Vec<&str> {
        self.command.split_whitespace().skip(1).collect()
    }
}

/// A line without what differs from run to run: times, ages, hashes, the address of the git server, and which of several webhooks
/// was the first to refuse.
fn steady(line: &str) -> String {
    let line = line.split(": https://127.0.0.1").next().unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_number = |word: &str| word.parse::<f32>().is_ok();
    let steady_word = |(at, word): (usize, &&str)| {
        let is_time = is_number(word) && words.get(at + 1).is_some_and(|unit| unit.starts_with("ms") || *unit == "s");
        if word.ends_with(".gitward.dev\"") {
            return "….gitward.dev\"".to_owned();
        }
        let hash = word.rsplit(['-', '@']).next().unwrap_or_default();
        let hex = hash.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if is_time || word.strip_suffix('s').is_some_and(is_number) {
            return "…".to_owned();
        }
        match [7, 12, 32].contains(&hex.len()) && hex.len() < word.len() && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            true => word.replace(hex, "…"),
            false => (*word).to_owned(),
        }
    };
    words.iter().enumerate().map(steady_word).collect::<Vec<_>>().join(" ")
}

/// Types the commands of the recording again, where gitward follows the shop, and compares what they print.
pub(crate) fn replay(stage: &mut Stage<'_>) {
    let binding = ["create", "rolebinding", "dev", "--clusterrole=admin", "--user=dev", "-n", "shop"];
    stage.kubectl(&binding).ok();
    let lines = lines();
    let mut rest = lines.iter().peekable();
    while let Some(line) = rest.next() {
        if line.starts_with("── The same change by git") {
            push(stage);
        } else if line.starts_with("── Every refused change") {
            tries::TRIES.iter().for_each(|(args, input)| drop(stage.cluster.kubectl_in("dev", args, *input)));
        }
        let Some(typed) = Typed::parse(line) else { continue };
        match typed.is_timed {
            true => {
                let mut shown = Vec::new();
                while let Some(line) = rest.next_if(|line| line.starts_with("    ")) {
                    shown.push(steady(line));
                }
                assert!(!shown.is_empty(), "{line} shows nothing");
                compare(stage.cluster, &typed, &shown);
            }
            false if typed.command.contains(" delete ") => {}
            false => drop(stage.cluster.around_the_guard(&typed.args())),
        }
    }
}

/// As the demo pushes.
fn push(stage: &Stage<'_>) {
    let web = "apps/web/deployment.yaml";
    stage.repo.write(web, &stage.repo.read(web).replace("replicas: 3", "replicas: 5"));
    stage.repo.remove("apps/web/configmap.yaml");
    let commit = stage.repo.push("Five replicas, no settings");
    let ask = format!("reconcile.fluxcd.io/requestedAt={commit}");
    stage.kubectl(&["annotate", "gitsync/shop", "-n", "gitward-system", "--overwrite", &ask]).ok();
    stage.wait_applied();
}

fn compare(cluster: &ControlPlane, typed: &Typed<'_>, shown: &[String]) {
    eventually(&format!("{FILE}: {} prints what it shows", typed.command), PATIENCE, || {
        let Output { stdout, stderr, .. } = cluster.kubectl(typed.user, &typed.args());
        let printed = format!("{stdout}{stderr}");
        let missing: Vec<_> = shown.iter().filter(|line| !shows(&printed, line)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("not printed: {missing:#?}\nprinted:\n{printed}")) }
    });
}

#[test]
fn the_recording_is_of_the_demo_as_it_is() {
    let source = read("examples/demo/story.rs").split_whitespace().collect::<Vec<_>>().join(" ");
    let tries = tries::TRIES.map(|(args, _)| format!("kubectl {}", args.join(" ")));
    let mut parts = 0;
    for line in lines() {
        if let Some(title) = line.strip_prefix("── ").and_then(|line| line.strip_suffix(" ──")) {
            assert!(source.contains(&format!("part(\"{title}\")")), "the demo has no part {title:?}");
            parts += 1;
        } else if let Some(typed) = Typed::parse(&line) {
            let last = typed.args().pop().unwrap_or_default().to_owned();
            let is_told = tries.iter().any(|command| command == typed.command) || source.contains(&last);
            assert!(is_told, "the demo does not type {:?}", typed.command);
        } else if !line.starts_with("    ") {
            let begin = line.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
            let begin = begin.split(" once").next().unwrap_or_default().trim();
            assert!(source.contains(begin), "the demo does not say {line:?}");
        }
    }
    assert!(parts > 2, "the recording has parts");
}

#[test]
fn what_the_recording_shows_is_its_text() {
    let svg = read(FILE);
    let without_spaces = |text: &str| text.split_whitespace().collect::<String>();
    let rows = svg.split("<tspan ").skip(1).filter_map(|row| row.split_once('>')?.1.split("</tspan>").next());
    let shown: String = rows.map(|row| without_spaces(&unescape(row))).collect();
    assert_eq!(shown, without_spaces(&lines().concat()));
}

#[test]
fn what_differs_from_run_to_run_is_left_out() {
    for (line, expected) in [
        ("is pinned to git (GitSync a/b, main@313ea94).", "is pinned to git (GitSync a/b, main@…)."),
        ("  put back after 52 ms", "put back after … ms"),
        ("took 1.1 s of 20", "took … s of 20"),
        ("shop  deployment-web-0552d2fb78f4  26s", "shop deployment-web-… …"),
        ("webhook \"pinned.gitward.dev\" denied", "webhook ….gitward.dev\" denied"),
        ("change it there: https://127.0.0.1:44207/shop", "change it there"),
        ("spec.replicas: 3 -> 5", "spec.replicas: 3 -> 5"),
        ("customresourcedefinition defaced", "customresourcedefinition defaced"),
    ] {
        assert_eq!(steady(line), expected);
    }
}
