//! The workflows: actionlint checks them too, by `make workflows`.

use std::collections::BTreeSet;

use gitward_test_cluster::workspace;
use serde_json::Value;

/// The workflows as text and as data.
fn workflows() -> Vec<(String, Value)> {
    let folder = workspace().join(".github/workflows");
    let texts = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    texts.map(|text| (text.clone(), serde_saphyr::from_str(&text).unwrap())).collect()
}

#[test]
fn actions_are_pinned_by_their_commit_and_jobs_have_the_rights_that_they_need() {
    let mut found = BTreeSet::new();
    for (text, workflow) in workflows() {
        for uses in text.lines().filter_map(|line| line.split_once("uses: ").map(|(_, action)| action)) {
            let (action, tag) = uses.split_once(" # v").expect("the version stands beside it");
            let (name, commit) = action.split_once('@').unwrap();
            assert!(commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{uses}");
            found.insert((name.to_owned(), commit.to_owned(), tag.to_owned()));
        }
        let rights = workflow["permissions"].as_object().expect("nothing is left to the default");
        assert!(rights.is_empty() || workflow["permissions"] == serde_json::json!({"contents": "read"}));
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            let writes = |right: &str| job["permissions"][right] == "write";
            assert_eq!(writes("contents"), name == "publish", "{name}");
            assert_eq!(writes("packages"), name == "publish", "{name}");
            assert_eq!(writes("id-token"), ["sign", "publish"].contains(&name.as_str()), "{name}");
            assert!(job["timeout-minutes"].is_u64(), "{name} ends");
        }
    }
    let names: BTreeSet<_> = found.iter().map(|(name, ..)| name).collect();
    assert_eq!(names.len(), found.len(), "one version of each: {found:?}");
}

#[test]
fn workflows_run_targets_of_the_makefile() {
    let makefile = std::fs::read_to_string(workspace().join("Makefile")).unwrap();
    let mut targets = BTreeSet::new();
    for (text, _) in workflows() {
        let commands = text.lines().filter_map(|line| line.split_once("run: ")).map(|(_, command)| command);
        let made = commands.filter(|command| command.contains("make "));
        targets.extend(made.map(|command| command.split_whitespace().last().unwrap().to_owned()));
    }
    assert!(targets.contains("dist") && targets.contains("test"), "{targets:?}");
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}:")), "the Makefile has no target {target}");
    }
}
