//! Label selectors (Kubernetes documentation, "Labels and Selectors").

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::json::{Json, Members};

/// What a workload or a Service selects by.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Expression>,
}

#[derive(Debug, Deserialize)]
struct Expression {
    key: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

impl Selector {
    /// Reads a `LabelSelector`. An empty one selects everything. `None` where there is none.
    pub(super) fn read(json: Json<'_>) -> Option<Selector> {
        json.read().filter(|_| json.is_object())
    }

    /// Reads the plain map of a Service or ReplicationController. `None` where it selects nothing: where there is none, and
    /// where it is empty.
    pub(super) fn read_map(json: Json<'_>) -> Option<Selector> {
        let match_labels: BTreeMap<String, String> = json.read()?;
        (!match_labels.is_empty()).then_some(Selector { match_labels, match_expressions: Vec::new() })
    }

    pub(super) fn matches(&self, labels: &Members<'_>) -> bool {
        let value = |key: &str| labels.get(key).and_then(|value| value.as_str());
        self.match_labels.iter().all(|(key, wanted)| value(key).is_some_and(|value| value == *wanted))
            && self.match_expressions.iter().all(|e| e.matches(value(&e.key).as_deref()))
    }

    /// The labels that it asks for.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let expressions = self.match_expressions.iter().map(|expression| expression.key.as_str());
        self.match_labels.keys().map(String::as_str).chain(expressions)
    }
}

impl Expression {
    fn matches(&self, value: Option<&str>) -> bool {
        let is_listed = value.is_some_and(|value| self.values.iter().any(|listed| listed == value));
        match self.operator.as_str() {
            "In" => is_listed,
            "NotIn" => !is_listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use serde_json::value::to_raw_value;

    type Read = fn(Json<'_>) -> Option<Selector>;

    fn matches(read: Read, selector: serde_json::Value, labels: serde_json::Value) -> Option<bool> {
        let (selector, labels) = (to_raw_value(&selector).unwrap(), to_raw_value(&labels).unwrap());
        read(Json::from(&*selector)).map(|s| s.matches(&Json::from(&*labels).members()))
    }

    #[test]
    fn every_part_of_a_selector_has_to_match() {
        let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"},
            {"key": "x", "operator": "NotIn", "values": ["y"]}, {"key": "tier", "operator": "Exists"},
        ]});
        assert_eq!(matches(Selector::read, selector.clone(), json!({"app": "web", "tier": "a"})), Some(true));
        for other in [json!({"app": "web"}), json!({"tier": "a"}), json!({"app": "web", "tier": "a", "old": ""})] {
            assert_eq!(matches(Selector::read, selector.clone(), other), Some(false));
        }
    }

    #[test]
    fn the_plain_map_of_a_service_is_a_selector_too() {
        let read = Selector::read_map;
        assert_eq!(matches(read, json!({"app": "web"}), json!({"app": "web", "x": "y"})), Some(true));
        assert_eq!(matches(read, json!({"app": "web"}), json!({"app": "api"})), Some(false));
        assert_eq!(matches(read, json!({}), json!({"app": "web"})), None);
    }

    #[test]
    fn what_asks_for_no_label_selects_what_has_none() {
        let read = Selector::read;
        let absent = json!({"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]});
        assert_eq!(matches(read, absent.clone(), json!({})), Some(true));
        assert_eq!(matches(read, absent, json!({"skip": ""})), Some(false));
        assert_eq!(matches(read, json!({}), json!({"app": "web"})), Some(true));
        assert_eq!(matches(read, json!(null), json!({"app": "web"})), None);
    }
}
