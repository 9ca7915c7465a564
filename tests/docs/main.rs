//! What the documents say is so: each command in them is run, on a control plane of the document's own, and does what they show; the
//! tables of metrics, conditions and Events are those of the program.
//!
//! There is no kubelet: Pods become ready on a simulated node, and the processes that would run in gitward's run beside it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod blocks;
mod metrics;
mod reasons;
mod recording;
mod scenes;
mod stage;

use std::collections::BTreeMap;

use blocks::{Step, steps};
use gitward_test_cluster::{ControlPlane, workspace};
use stage::Stage;

/// The documents with commands. Each is a test of its own.
const DOCUMENTS: [&str; 9] = [
    "README.md",
    "docs/install.md",
    "docs/migration.md",
    "docs/runbook.md",
    "docs/upgrade.md",
    "docs/guard.md",
    "docs/reconciler.md",
    "docs/certificates.md",
    "docs/values.md",
];

#[test]
fn readme_and_its_recording() {
    let cluster = ControlPlane::start();
    let mut stage = Stage::new(&cluster);
    play(&mut stage, DOCUMENTS[0]);
    recording::replay(&mut stage);
}

#[test]
fn install() {
    run(DOCUMENTS[1]);
}

#[test]
fn migration() {
    run(DOCUMENTS[2]);
}

#[test]
fn runbook() {
    run(DOCUMENTS[3]);
}

#[test]
fn upgrade() {
    run(DOCUMENTS[4]);
}

#[test]
fn guard_and_reconciler() {
    DOCUMENTS[5..7].iter().for_each(|document| run(document));
}

#[test]
fn certificates_and_values() {
    DOCUMENTS[7..].iter().for_each(|document| run(document));
}

/// Does what a document says, on a control plane of its own.
fn run(document: &str) {
    let cluster = ControlPlane::start();
    play(&mut Stage::new(&cluster), document);
}

/// Does what a document says, in its order.
fn play(stage: &mut Stage<'_>, document: &str) {
    for step in steps(&read(document)) {
        match step {
            Step::Run(command) => stage.run(document, &command),
            Step::Scene(scene) => stage.scene(&scene),
            Step::NotRun(_) | Step::Stray(..) => {}
        }
    }
}

fn read(document: &str) -> String {
    std::fs::read_to_string(workspace().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// All documents for readers, with their steps.
fn documents() -> BTreeMap<String, Vec<Step>> {
    let listed = std::fs::read_dir(workspace().join("docs")).unwrap();
    let names = listed.map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    let names = names.filter(|name| name.ends_with(".md"));
    let root = ["README.md", "CONTRIBUTING.md"].map(str::to_owned);
    names.chain(root).map(|name| (name.clone(), steps(&read(&name)))).collect()
}

#[test]
fn no_command_of_a_document_is_hidden_from_these_tests() {
    let (mut strays, mut with_commands, mut not_run) = (Vec::new(), Vec::new(), Vec::new());
    let mut empty = Vec::new();
    for (document, steps) in documents() {
        if steps.iter().any(|step| matches!(step, Step::Run(_))) {
            with_commands.push(document.clone());
        }
        for step in steps {
            match step {
                Step::Stray(line, text) => strays.push(format!("{document}:{line}: {text}")),
                Step::NotRun(why) => not_run.push(format!("{document}: {why}")),
                Step::Run(command) if command.shows_nothing() => empty.push(format!("{document}:{}", command.line)),
                Step::Run(_) | Step::Scene(_) => {}
            }
        }
    }
    assert!(empty.is_empty(), "show a line of what these print: {empty:?}");
    assert!(strays.is_empty(), "commands belong into blocks of ```console:\n{}", strays.join("\n"));
    let tested: Vec<String> = DOCUMENTS.map(str::to_owned).into();
    assert!(
        with_commands.iter().all(|name| tested.contains(name)),
        "{with_commands:?} have commands; give each a test"
    );
    assert!(not_run.iter().all(|why| why.len() > 40), "say why a block cannot be run:\n{}", not_run.join("\n"));
    // Each of them is a gap: whoever adds one raises this number, and says why.
    assert_eq!(not_run.len(), 19, "blocks that are not run:\n{}", not_run.join("\n"));
}

#[test]
fn a_newcomer_needs_five_commands_to_a_refused_edit() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("## Install it in your own cluster").expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    // Two commands on one line are two.
    let lines = section.replace("\\\n", " ");
    let typed = lines.lines().filter_map(|line| line.strip_prefix("$ ")).flat_map(|line| line.split(['&', ';', '|']));
    assert_eq!(typed.filter(|command| !command.trim().is_empty()).count(), 5, "{section}");
    let Some(Step::Run(last)) = steps(section).pop() else { panic!("the last step is a command") };
    assert!(last.shown.iter().any(|line| line.contains("is pinned to git")), "{last:?}");
}
