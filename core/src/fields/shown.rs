//! Values as they are shown to people: short, on one line, and never those of a Secret.

use serde_json::Value;

use crate::json::Json;

/// Longest value that is shown, in characters.
const LONGEST: usize = 80;

/// Stands for a value that is not shown.
pub(crate) const HIDDEN: &str = "(hidden)";

/// Whether no value of such an object may be shown. Not even of its metadata: `kubectl apply` keeps a copy of the
/// whole object in an annotation.
pub(crate) fn hides_values(group: &str, kind: &str) -> bool {
    group.is_empty() && kind == "Secret"
}

/// A value of which the beginning is enough is not parsed as a whole: it may be megabytes.
pub(crate) fn show(json: Json<'_>) -> String {
    let text = json.text();
    match text.char_indices().nth(2 * LONGEST) {
        Some((end, _)) if !text.starts_with('"') => cut(&text[..end].replace(char::is_control, " ")),
        _ => json.value().map_or_else(|| cut(text), |value| shorten(&value)),
    }
}

/// Two values that differ, each with the part where they begin to.
pub(crate) fn show_both(before: &Value, after: &Value) -> (String, String) {
    let texts = [before, after].map(text_of);
    let [a, b] = texts.each_ref().map(|text| text.chars());
    let same = a.zip(b).take_while(|(a, b)| a == b).count();
    let [before, after] = if same < LONGEST {
        texts.map(|text| cut(&text))
    } else {
        // A few characters before the difference tell where it is.
        texts.map(|text| format!("…{}", cut(&text.chars().skip(same - LONGEST / 4).collect::<String>())))
    };
    (before, after)
}

/// A value, shortened.
pub(crate) fn shorten(value: &Value) -> String {
    cut(&text_of(value))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(s) if !s.is_empty() && !s.contains(char::is_control) => s.clone(),
        other => other.to_string(),
    }
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

    #[test]
    fn long_values_are_shown_from_where_they_differ() {
        let (a, b) = (format!("{}a", "é".repeat(100)), format!("{}b", "é".repeat(100)));
        let (a, b) = show_both(&json!(a), &json!(b));
        assert_eq!((a, b), (format!("…{}a", "é".repeat(20)), format!("…{}b", "é".repeat(20))));
    }
}
