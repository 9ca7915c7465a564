//! Each test that docs/security.md names is there.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

/// The text of all sources below a folder, by the name of the file, or of its folder where it is a `mod.rs`.
fn sources(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let stem = path.file_stem().unwrap();
            let name = if stem == "mod" { folder.file_name().unwrap() } else { stem }.to_string_lossy().into_owned();
            found.entry(name).or_default().push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_tests_that_the_threat_model_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    ["core", "src", "tests"].iter().for_each(|folder| sources(&root.join(folder), &mut found));
    let model = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    // Tests stand there as `file::name`.
    let named = model.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::"));
    let named: Vec<_> = named.collect();
    assert!(named.len() > 20, "{named:?}");
    for (file, name) in named {
        let source = found.get(file).unwrap_or_else(|| panic!("{file}::{name}: there is no {file}.rs"));
        let at = source.find(&format!("fn {name}(")).unwrap_or_else(|| panic!("{file}.rs has no {name}"));
        let before = &source[..at];
        let attribute = before.trim_end().trim_end_matches("async").trim_end();
        assert!(attribute.ends_with("test]"), "{file}::{name} is no test");
    }
}
