//! Plain manifests: YAML and JSON files, one or more documents each.

use k8s_openapi::ByteString;
use serde_json::{Map, Value, json};
use serde_saphyr::{Spanned, from_slice_multiple_with_options};

use super::{Declared, Origin, RenderError};
use crate::source::File;

/// What only a server sets: stripped, so that a manifest made with `kubectl get -o yaml` can be applied.
const SERVER_SET: [&str; 6] =
    ["managedFields", "uid", "resourceVersion", "creationTimestamp", "generation", "selfLink"];

/// Renders manifests.
pub(super) fn render(files: &[File]) -> Result<Vec<Declared>, RenderError> {
    let mut objects = Vec::new();
    for file in files {
        for document in parse(file)? {
            let origin = Origin { file: file.path.clone(), line: line_of(&document) };
            take(document.value, origin, &mut objects)?;
        }
    }
    Ok(objects)
}

/// The line in which a document begins.
pub(super) fn line_of(document: &Spanned<Value>) -> u64 {
    document.referenced.line().max(1)
}

/// Reads the documents of a file.
pub(super) fn parse(file: &File) -> Result<Vec<Spanned<Value>>, RenderError> {
    // `0644` is octal and `yes` a boolean for every Kubernetes tool (YAML 1.1, through sigs.k8s.io/yaml).
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    from_slice_multiple_with_options(&file.content, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        RenderError::Yaml { origin: format!("{}:{line}", file.path), message: first_line(&error.to_string()) }
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Takes an object, or the items of a List.
pub(super) fn take(mut value: Value, origin: Origin, objects: &mut Vec<Declared>) -> Result<(), RenderError> {
    let no_object = |why: &str| RenderError::NoObject { origin: origin.to_string(), why: why.to_owned() };
    if value.is_null() {
        return Ok(());
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).filter(|s| !s.is_empty());
    let kind = text("/kind").ok_or_else(|| no_object("it has no kind"))?;
    text("/apiVersion").ok_or_else(|| no_object("it has no apiVersion"))?;
    if kind.ends_with("List") && value.get("items").is_some_and(Value::is_array) {
        if let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
            return items.into_iter().try_for_each(|item| take(item, origin.clone(), objects));
        }
        return Ok(());
    }
    text("/metadata/name").ok_or_else(|| no_object("it has no metadata.name"))?;
    if let Some(key) = untold(&value) {
        return Err(no_object(&format!("{key} of a Secret is no text: put its value in quotes")));
    }
    strip(&mut value);
    encode_string_data(&mut value);
    objects.push(Declared { object: value, origin });
    Ok(())
}

/// The key of a Secret whose value is no text. The API server's refusal would repeat the value.
fn untold(object: &Value) -> Option<String> {
    let is_secret = object["apiVersion"] == "v1" && object["kind"] == "Secret";
    ["data", "stringData"].iter().filter(|_| is_secret).find_map(|field| {
        let mut entries = object[*field].as_object()?.iter();
        entries.find(|(_, value)| !value.is_string() && !value.is_null()).map(|(key, _)| format!("{field}.{key}"))
    })
}

fn strip(object: &mut Value) {
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        SERVER_SET.iter().for_each(|key| drop(metadata.remove(*key)));
    }
}

/// Writes a Secret's `stringData` as `data`, as the API server does. Left to it, the ownership of an applied object names
/// fields that are never stored, and a change of the stored ones would be nobody's loss.
fn encode_string_data(object: &mut Value) {
    if object["apiVersion"] != "v1" || object["kind"] != "Secret" {
        return;
    }
    let Some(Value::Object(texts)) = object.as_object_mut().and_then(|secret| secret.remove("stringData")) else {
        return;
    };
    let encode = |text: &Value| text.as_str().map(|text| json!(ByteString(text.as_bytes().to_vec())));
    // What is no text goes as it is: the API server's refusal names it.
    let data: Map<String, Value> =
        texts.iter().map(|(key, text)| (key.clone(), encode(text).unwrap_or_else(|| text.clone()))).collect();
    json_patch::merge(object, &json!({"data": data}));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(content: &str) -> Result<Vec<Declared>, RenderError> {
        render(&[File { path: "a/b.yaml".into(), content: content.into() }])
    }

    #[test]
    fn each_document_has_the_line_where_it_begins() {
        let yaml = "# a comment\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n\napiVersion: v1\nkind: \
                    ConfigMap\nmetadata:\n  name: b\n---\n# nothing\n";
        let origins: Vec<_> = rendered(yaml).unwrap().iter().map(|d| d.origin.to_string()).collect();
        assert_eq!(origins, ["a/b.yaml:2", "a/b.yaml:7"]);
    }

    #[test]
    fn broken_yaml_is_named_with_its_line() {
        let error = rendered("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a\ndata: }\n").unwrap_err().to_string();
        assert!(error.starts_with("a/b.yaml:"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn a_document_that_is_no_object_is_an_error() {
        let error = rendered("a: 1\n---\napiVersion: v1\nkind: ConfigMap\n").unwrap_err();
        assert_eq!(error.to_string(), "a/b.yaml:1: not a Kubernetes object: it has no kind");
        let error = rendered("apiVersion: v1\nkind: ConfigMap\n").unwrap_err();
        assert_eq!(error.to_string(), "a/b.yaml:1: not a Kubernetes object: it has no metadata.name");
        assert!(rendered("# only a comment\n").unwrap().is_empty());
    }

    #[test]
    fn scalars_mean_what_they_mean_to_kubectl() {
        let yaml = "apiVersion: v1\nkind: X\nmetadata: {name: a}\nmode: 0644\non: yes\nport: 80\ntext: '80'\n";
        let object = rendered(yaml).unwrap().remove(0).object;
        assert_eq!(object["mode"], 420);
        assert_eq!(object["on"], true);
        assert_eq!(object["port"], 80);
        assert_eq!(object["text"], "80");
    }

    #[test]
    fn the_texts_of_a_secret_are_encoded_and_win_over_its_data() {
        let yaml =
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: eA==, b: eA==}\nstringData: {b: yellow}\n";
        let object = rendered(yaml).unwrap().remove(0).object;
        assert_eq!(object["data"], json!({"a": "eA==", "b": "eWVsbG93"}));
        assert_eq!(object["stringData"], Value::Null);
    }

    #[test]
    fn a_value_of_a_secret_that_is_no_text_is_named_and_not_told() {
        let yaml = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: 12345678}\n";
        let text = rendered(yaml).unwrap_err().to_string();
        assert!(text.contains("stringData.password of a Secret is no text") && !text.contains("1234"), "{text}");
    }

    #[test]
    fn lists_are_taken_apart_and_server_set_fields_left_out() {
        let yaml = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a, \
                    uid: x, resourceVersion: '1'}\n  status: {}\n";
        let objects = rendered(yaml).unwrap();
        assert_eq!(
            objects[0].object,
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
        );
    }
}
