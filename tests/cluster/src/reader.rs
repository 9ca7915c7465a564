//! Reads objects as `kubectl get -o json` does, without starting a program for each question: tests that wait ask very often.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::{Api, ControlPlane, Refused};

/// A client with what it knows of the API server's resources.
pub(crate) struct Reader {
    api: Api,
    resources: Mutex<HashMap<String, Resource>>,
}

/// Where the objects of a kind are.
#[derive(Clone)]
struct Resource {
    /// `/api/v1` or `/apis/<group>/<version>`.
    root: String,
    plural: String,
    namespaced: bool,
}

/// What a command line of `kubectl get` asks for, where it is one of the simple ones.
struct Question<'a> {
    kind: &'a str,
    name: Option<&'a str>,
    /// `None` for all namespaces.
    namespace: Option<&'a str>,
    selector: Option<&'a str>,
    managed_fields: bool,
}

impl Reader {
    pub(crate) fn of(cluster: &ControlPlane) -> Reader {
        Reader { api: Api::of(cluster), resources: Mutex::default() }
    }

    /// The answer of `kubectl get -o json --ignore-not-found` with these arguments, `Ok(None)` where there is nothing; `None`
    /// where kubectl has to be asked, because it does more with these arguments.
    pub(crate) fn get(&self, args: &[&str]) -> Option<Result<Option<Value>, Refused>> {
        let question = Question::of(args)?;
        let resource = self.resource(question.kind)?;
        let mut path = resource.root;
        if let (true, Some(namespace)) = (resource.namespaced, question.namespace) {
            path = format!("{path}/namespaces/{namespace}");
        }
        path = format!("{path}/{}", resource.plural);
        path.extend(question.name.map(|name| format!("/{name}")));
        path.extend(question.selector.map(|selector| format!("?labelSelector={}", escaped(selector))));
        // A connection that was open while the API server was restarted says so at its next use.
        let answer = match self.api.get(&path) {
            Err(Refused { code: 0, .. }) => self.api.get(&path),
            answer => answer,
        };
        Some(answer.map(|found| found.and_then(|found| shown(found, question.managed_fields))))
    }

    fn resource(&self, kind: &str) -> Option<Resource> {
        let kind = kind.to_lowercase();
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        if !resources.contains_key(&kind) {
            *resources = discover(&self.api).ok()?;
        }
        resources.get(&kind).cloned()
    }
}

impl<'a> Question<'a> {
    fn of(args: &[&'a str]) -> Option<Question<'a>> {
        let mut question =
            Question { kind: "", name: None, namespace: Some("default"), selector: None, managed_fields: false };
        let mut words = Vec::new();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match *arg {
                "-n" => question.namespace = Some(args.next()?),
                "-l" => question.selector = Some(args.next()?),
                "-A" => question.namespace = None,
                "--show-managed-fields" => question.managed_fields = true,
                flag if flag.starts_with('-') => return None,
                word => words.push(word),
            }
        }
        (question.kind, question.name) = match words[..] {
            [word] => word.split_once('/').map_or((word, None), |(kind, name)| (kind, Some(name))),
            [kind, name] if !kind.contains('/') && !name.contains('/') => (kind, Some(name)),
            _ => return None,
        };
        let simple = |text: &str| !text.contains([',', '/', '?', '%']);
        (simple(question.kind) && question.name.is_none_or(simple)).then_some(question)
    }
}

/// As kubectl prints it: without `managedFields`, each item with its kind; nothing in place of an empty list.
fn shown(mut found: Value, managed_fields: bool) -> Option<Value> {
    let hide = |object: &mut Value| {
        if let (false, Some(metadata)) = (managed_fields, object["metadata"].as_object_mut()) {
            metadata.remove("managedFields");
        }
    };
    let kind = found["kind"].as_str().and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
    let version = found["apiVersion"].clone();
    match (kind, found.get_mut("items").and_then(Value::as_array_mut)) {
        (Some(kind), Some(items)) => {
            for item in items.iter_mut() {
                hide(item);
                item["kind"] = json!(kind);
                item["apiVersion"] = version.clone();
            }
            (!items.is_empty()).then_some(found)
        }
        _ => {
            hide(&mut found);
            Some(found)
        }
    }
}

/// All resources by each of their names, the core ones first (aggregated discovery, KEP-3352).
fn discover(api: &Api) -> Result<HashMap<String, Resource>, Refused> {
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let mut resources = HashMap::new();
    for root in ["/api", "/apis"] {
        let groups = api.send("GET", root, &accept, &Value::Null)?;
        for group in groups["items"].as_array().into_iter().flatten() {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in group["versions"].as_array().into_iter().flatten() {
                let slash = if name.is_empty() { "" } else { "/" };
                let root = format!("{root}{slash}{name}/{}", version["version"].as_str().unwrap_or_default());
                let listed = version["resources"].as_array().into_iter().flatten();
                listed.for_each(|listed| add(&mut resources, name, &root, listed));
            }
        }
    }
    Ok(resources)
}

fn add(resources: &mut HashMap<String, Resource>, group: &str, root: &str, listed: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    let plural = text(&listed["resource"]);
    let resource = Resource {
        root: root.to_owned(),
        plural: plural.clone(),
        namespaced: listed["scope"].as_str() == Some("Namespaced"),
    };
    let mut names = vec![format!("{plural}.{group}"), plural];
    names.extend([text(&listed["singularResource"]), text(&listed["responseKind"]["kind"])]);
    names.extend(listed["shortNames"].as_array().into_iter().flatten().map(text));
    for name in names {
        resources.entry(name).or_insert_with(|| resource.clone());
    }
}

/// A selector as a part of a query.
fn escaped(selector: &str) -> String {
    selector.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
        escaped
    })
}
