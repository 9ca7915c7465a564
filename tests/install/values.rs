//! docs/values.md is what the chart's values and their schema say.

use gitward_test_cluster::workspace;
use serde_json::{Map, Value};

/// Helm hands it to every chart.
const HELMS_OWN: &str = "global";

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap()
}

/// A line of the table for each value below: its name, its default, what it means.
fn rows(name: &str, schema: &Value, default: &Value, rows: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        let meaning = schema["description"].as_str().unwrap_or_else(|| panic!("{name} has no description"));
        rows.push(format!("| `{name}` | `{default}` | {meaning} |"));
        return;
    };
    let none = Map::new();
    let defaults = default.as_object().unwrap_or(&none);
    for name_of_default in defaults.keys() {
        assert!(properties.contains_key(name_of_default), "the schema does not know {name}.{name_of_default}");
    }
    for (key, schema) in properties.iter().filter(|(key, _)| *key != HELMS_OWN) {
        let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        let default = defaults.get(key).unwrap_or_else(|| panic!("values.yaml does not have {name}"));
        self::rows(&name, schema, default, rows);
    }
}

#[test]
fn the_documents_have_every_value_with_its_default() {
    let schema: Value = serde_json::from_str(&read("charts/gitward/values.schema.json")).unwrap();
    let defaults: Value = serde_saphyr::from_str(&read("charts/gitward/values.yaml")).unwrap();
    let mut expected = Vec::new();
    rows("", &schema, &defaults, &mut expected);
    let document = read("docs/values.md");
    let documented: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(documented == expected, "docs/values.md must have this table:\n{}", expected.join("\n"));
}
