//! The tables of docs/reconciler.md and docs/guard.md and the program know the same reasons of conditions, Events and verdicts.

use std::collections::BTreeSet;
use std::path::Path;

use gitward_test_cluster::workspace;

use crate::read;

/// All source files of the program below a folder, without their tests.
fn sources(dir: &Path) -> String {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: &Path| {
        if path.is_dir() {
            return sources(path);
        }
        let text = std::fs::read_to_string(path).unwrap();
        text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
    };
    entries.map(|path| text(&path)).collect()
}

fn is_reason(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase()) && word.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The texts in quotes of a piece of source that stand behind one of these.
fn behind(source: &str, openings: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for opening in openings {
        for (at, _) in source.match_indices(opening) {
            let rest = source[at + opening.len()..].trim_start();
            let word = rest.strip_prefix('"').and_then(|rest| rest.split('"').next());
            found.extend(word.filter(|word| is_reason(word)).map(str::to_owned));
        }
    }
    found
}

/// What stands in quotes on the lines that say the reason of an Event.
fn of_events(source: &str) -> BTreeSet<String> {
    let says = |line: &&str| {
        line.contains("publish(&")
            || line.contains("publish(recorder")
            || line.contains("let reason =")
            || (line.contains("reason: \"") && line.contains(".to_owned()"))
    };
    let quoted = source.lines().filter(says).flat_map(|line| line.split('"').skip(1).step_by(2));
    quoted.filter(|word| is_reason(word)).map(str::to_owned).collect()
}

/// The words in backquotes of the cells of a column, in the table with this heading.
fn column(document: &str, heading: &str, index: usize) -> BTreeSet<String> {
    let rows = document.lines().skip_while(|line| !line.starts_with(heading)).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(index));
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    words.filter(|word| is_reason(word)).map(str::to_owned).collect()
}

#[test]
fn every_reason_of_a_condition_is_documented_and_every_documented_one_is_used() {
    let document = read("docs/reconciler.md");
    let source = sources(&workspace().join("src/sync"));
    let mut used = behind(&source, &["Failed(", "Stalled(", "\"True\",", "\"False\",", "\"Unknown\","]);
    used.extend(behind(&of_errors(), &["=>"]));
    let mut documented = column(&document, "| Ready |", 2);
    documented.extend(column(&document, "| condition |", 2));
    assert!(documented.len() > 12, "{documented:?}");
    assert_eq!(used, documented);
}

/// Where errors get their reasons.
fn of_errors() -> String {
    let text = std::fs::read_to_string(workspace().join("src/sync/mod.rs")).unwrap();
    let (_, reason) = text.split_once("fn reason(").expect("errors have reasons");
    reason.to_owned()
}

#[test]
fn every_event_is_documented_and_every_documented_one_is_written() {
    let mut written = of_events(&sources(&workspace().join("src")));
    // What can be wrong with a certificate.
    written.extend(behind(&sources(&workspace().join("src/certs")), &["=>"]));
    let documented = column(&read("docs/reconciler.md"), "| Event |", 1);
    assert!(documented.len() > 3, "{documented:?}");
    assert_eq!(written, documented);
}

#[test]
fn every_reason_of_a_verdict_is_documented_and_every_documented_one_is_given() {
    let source = std::fs::read_to_string(workspace().join("core/src/verdict/mod.rs")).unwrap();
    let (_, words) = source.split_once("impl Reason {").expect("reasons are words");
    let given = behind(words.split("\n}\n").next().unwrap_or_default(), &["=>"]);
    let documented = column(&read("docs/guard.md"), "| reason |", 1);
    assert!(documented.len() > 12, "{documented:?}");
    assert_eq!(given, documented);
}
