//! A declared object as the API server takes it: without what nobody can declare.

use serde_json::{Map, Value};

use crate::names;

/// Parts of metadata that the API server keeps by itself: nobody owns them.
const NOT_DECLARED: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// A declared object as the API server takes it.
pub(super) struct Received {
    /// The object, without its status and the server's part of its metadata; a Secret's `stringData` stands in its `data`.
    pub(super) object: Map<String, Value>,
    /// The keys of a Secret's `stringData`. The API server records them as owned under that name, also where they stand in
    /// `data` (tried): such a key stays when git drops it.
    pub(super) texts: Vec<String>,
}

pub(super) fn receive(declared: &Value) -> Received {
    let mut object = declared.as_object().cloned().unwrap_or_default();
    object.remove("status");
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !NOT_DECLARED.contains(&name.as_str()));
    }
    let texts = if is_secret(&object) { move_string_data(&mut object) } else { Vec::new() };
    Received { object, texts }
}

fn is_secret(object: &Map<String, Value>) -> bool {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    names::group_of(text("apiVersion")).is_empty() && text("kind") == "Secret"
}

fn move_string_data(object: &mut Map<String, Value>) -> Vec<String> {
    let Some(Value::Object(texts)) = object.remove("stringData") else { return Vec::new() };
    let data = object.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    let encoded =
        texts.iter().filter_map(|(name, text)| Some((name.clone(), base64(text.as_str()?.as_bytes()).into())));
    data.as_object_mut().into_iter().for_each(|data| data.extend(encoded.clone()));
    texts.into_iter().map(|(name, _)| name).collect()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nobody_can_declare_is_left_out() {
        let declared = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "creationTimestamp": null,
            "uid": "1"}, "status": {}, "data": {"old": "b2xk"}, "stringData": {"a": "f", "b": "fo", "c": "foo", "d": "foob"}});
        let data = json!({"old": "b2xk", "a": "Zg==", "b": "Zm8=", "c": "Zm9v", "d": "Zm9vYg=="});
        let expected = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": data});
        let received = receive(&declared);
        assert_eq!((Value::Object(received.object), received.texts.concat()), (expected, "abcd".to_owned()));
        assert!(receive(&json!([])).object.is_empty());
    }
}
