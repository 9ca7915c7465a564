//! Values in messages and records: short, on one line, and never those of a Secret.

use serde_json::Value;

use super::RefusedField;
use crate::fields::Change;
use crate::json::Json;

/// Longest value that is shown, in characters.
const LONGEST: usize = 80;

const HIDDEN: &str = "(hidden)";

/// Whether no value of such an object may be shown. Not even of its metadata: `kubectl apply` keeps a copy of the
/// whole object in an annotation.
pub(super) fn hides_values(group: &str, kind: &str) -> bool {
    group.is_empty() && kind == "Secret"
}

pub(super) fn refused(change: &Change<'_>, secret: bool) -> RefusedField {
    let show = |value: Json<'_>| if secret { HIDDEN.to_owned() } else { show(value) };
    RefusedField { path: change.path.clone(), before: change.before.map(show), after: change.after.map(show) }
}

/// A value of which the beginning is enough is not parsed as a whole: it may be megabytes.
fn show(json: Json<'_>) -> String {
    let text = json.text();
    match text.char_indices().nth(2 * LONGEST) {
        Some((end, _)) if !text.starts_with('"') => cut(&text[..end].replace(char::is_control, " ")),
        _ => json.value().map_or_else(|| cut(text), |value| shorten(&value)),
    }
}

fn shorten(value: &Value) -> String {
    let text = match value {
        Value::String(s) if !s.is_empty() && !s.contains(char::is_control) => s.clone(),
        other => other.to_string(),
    };
    cut(&text)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_stay_on_one_line_and_short() {
        assert_eq!(shorten(&json!("shop/web:1.4.2")), "shop/web:1.4.2");
        assert_eq!(shorten(&json!("a\nb")), r#""a\nb""#);
        assert_eq!(shorten(&json!("")), r#""""#);
        assert_eq!(shorten(&json!("é".repeat(100))).chars().count(), LONGEST + 1);
    }
}
