//! Kustomizations, by `kustomize build`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::plain::{line_of, parse, take};
use super::program::{Programs, Run};
use super::{Declared, Instructions, Origin, RenderError, folder_of};
use crate::source::{Checkout, File, SourceError};

/// How the file of a kustomization may be called.
pub(super) const FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// Where kustomize says what an object comes from.
const ORIGIN: &str = "config.kubernetes.io/origin";
/// What a kustomization may read, or build upon.
const NAMES: [&str; 12] = [
    "resources",
    "bases",
    "components",
    "crds",
    "configurations",
    "generators",
    "transformers",
    "validators",
    "patches",
    "patchesStrategicMerge",
    "openapi",
    "replacements",
];

/// What makes objects of files.
const GENERATORS: [&str; 2] = ["configMapGenerator", "secretGenerator"];
/// Fields that name files.
const FILE_FIELDS: [&str; 5] = ["files", "envs", "env", "path", "paths"];

fn is_url(entry: &str) -> bool {
    entry.split_once("://").is_some_and(|(scheme, _)| {
        let scheme = scheme.rsplit('=').next().unwrap_or_default();
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.:".contains(&byte))
    })
}

/// Renders the kustomization of a folder.
pub(super) async fn render(
    checkout: &Checkout,
    instructions: &Instructions,
    programs: &Programs,
) -> Result<Vec<Declared>, RenderError> {
    let missing = || RenderError::Instructions(SourceError::NoFolder(instructions.folder.clone()).to_string());
    let folder = folder_of(checkout, &instructions.folder).ok_or_else(missing)?;
    if !instructions.allow_remote {
        Local { root: checkout.root(), seen: BTreeSet::new() }.check(&folder)?;
    }
    let wrapper = checkout.aside().join("kustomization");
    std::fs::create_dir(&wrapper)?;
    // A kustomization around the one of the repository, so that kustomize says where each object comes from.
    let text = serde_json::json!({"resources": [format!("../tree/{}", crate::source::clean(&instructions.folder))],
        "buildMetadata": ["originAnnotations"]});
    std::fs::write(wrapper.join("kustomization.yaml"), text.to_string())?;
    let run = Run {
        program: &programs.kustomize,
        name: "kustomize build",
        args: vec!["build".to_owned(), wrapper.display().to_string()],
        home: checkout.aside(),
        network: instructions.allow_remote,
    };
    let output = File { path: "kustomize build".to_owned(), content: run.output().await? };
    let mut origins = Origins { root: checkout.root(), folder, files: BTreeMap::new() };
    let mut objects = Vec::new();
    for document in parse(&output)? {
        take(document.value, Origin { file: output.path.clone(), line: document.referenced.line() }, &mut objects)?;
    }
    for declared in &mut objects {
        declared.origin = origins.of(&mut declared.object);
    }
    Ok(objects)
}

/// Checks that a kustomization and all that it builds upon is in the repository.
struct Local {
    root: PathBuf,
    seen: BTreeSet<PathBuf>,
}

impl Local {
    fn check(&mut self, folder: &Path) -> Result<(), RenderError> {
        let Some(file) = FILES.iter().map(|name| folder.join(name)).find(|file| file.is_file()) else { return Ok(()) };
        if !self.seen.insert(folder.to_owned()) {
            return Ok(());
        }
        let shown = file.strip_prefix(&self.root).unwrap_or(&file).display().to_string();
        let content = std::fs::read(&file)?;
        for document in parse(&File { path: shown.clone(), content })? {
            // kustomize reads the names of fields whatever their case.
            for (name, value) in document.value.as_object().into_iter().flatten() {
                let is = |known: &&str| name.eq_ignore_ascii_case(known);
                let mut entries = Vec::new();
                if NAMES.iter().any(is) {
                    strings(value, &mut entries);
                }
                for entry in entries {
                    self.check_entry(folder, &shown, entry)?;
                }
                if GENERATORS.iter().any(is) {
                    self.check_files(&shown, value)?;
                }
            }
        }
        Ok(())
    }

    /// Files of a generator, `key=path` or `path`: they could be of another server, or of this machine.
    fn check_files(&self, file: &str, value: &Value) -> Result<(), RenderError> {
        match value {
            Value::String(entry) if is_url(entry) => {
                Err(RenderError::Remote { file: file.to_owned(), entry: entry.clone() })
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.check_files(file, item)),
            Value::Object(map) => {
                let of_files =
                    map.iter().filter(|(key, _)| FILE_FIELDS.iter().any(|field| key.eq_ignore_ascii_case(field)));
                of_files.map(|(_, value)| value).try_for_each(|value| self.check_files(file, value))
            }
            _ => Ok(()),
        }
    }

    /// What configures a generator or transformer may name files itself.
    fn check_config(&self, path: &Path, shown: &str) -> Result<(), RenderError> {
        let content = std::fs::read(path)?;
        let documents = parse(&File { path: shown.to_owned(), content }).unwrap_or_default();
        documents.iter().try_for_each(|document| self.check_files(shown, &document.value))
    }

    fn check_entry(&mut self, folder: &Path, file: &str, entry: &str) -> Result<(), RenderError> {
        // An object or a patch that stands in the kustomization itself.
        if entry.contains('\n') {
            return Ok(());
        }
        let remote = || RenderError::Remote { file: file.to_owned(), entry: entry.to_owned() };
        match normal(&folder.join(entry)) {
            Some(path) if path.starts_with(&self.root) && path.is_dir() => self.check(&path),
            Some(path) if path.starts_with(&self.root) && path.exists() => self.check_config(&path, entry),
            _ if entry.contains("://")
                || entry.contains('@')
                || entry.contains("?ref=")
                || entry.starts_with("github.com") =>
            {
                Err(remote())
            }
            Some(path) if path.starts_with(&self.root) => Ok(()),
            _ => Err(remote()),
        }
    }
}

fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(map) => ["path"].iter().filter_map(|key| map.get(*key)).for_each(|value| strings(value, found)),
        _ => {}
    }
}

/// A path without `.` and `..`; `None` where it leads above the root of the system.
pub(super) fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => normal.pop().then_some(())?,
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    Some(normal)
}

/// Finds out which line declares an object.
struct Origins {
    root: PathBuf,
    folder: PathBuf,
    /// The objects of the files that were looked into: kind and name, and their lines.
    files: BTreeMap<PathBuf, Vec<(String, String, u64)>>,
}

impl Origins {
    /// Takes kustomize's note off an object, and makes an origin of it.
    fn of(&mut self, object: &mut Value) -> Origin {
        let note = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut).and_then(|annotations| {
            let note = annotations.remove(ORIGIN)?;
            serde_saphyr::from_str::<Value>(note.as_str()?).ok()
        });
        if object.pointer("/metadata/annotations").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
            && let Some(metadata) = object["metadata"].as_object_mut()
        {
            metadata.remove("annotations");
        }
        let note = note.unwrap_or_default();
        if let (Some(repo), Some(path)) = (note["repo"].as_str(), note["path"].as_str()) {
            return Origin { file: format!("{repo}: {path}"), line: 0 };
        }
        // What a generator made was configured in the kustomization itself.
        let path = note["path"].as_str().or_else(|| note["configuredIn"].as_str());
        let path = path.and_then(|path| normal(&self.root.join("../kustomization").join(path)));
        match path.filter(|path| path.starts_with(&self.root)) {
            Some(path) => self.line(path, object),
            None => self.shown(&self.folder, 0),
        }
    }

    fn line(&mut self, path: PathBuf, object: &Value) -> Origin {
        let known = self.files.entry(path.clone()).or_insert_with(|| {
            let content = std::fs::read(&path).unwrap_or_default();
            let documents = parse(&File { path: String::new(), content }).unwrap_or_default();
            let text =
                |value: &Value, at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
            documents.iter().map(|d| (text(&d.value, "/kind"), text(&d.value, "/metadata/name"), line_of(d))).collect()
        });
        let (kind, name) =
            (object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str().unwrap_or_default());
        let of_kind = || known.iter().filter(|(of, ..)| of == kind);
        // kustomize may have put something before or behind the name.
        let found = of_kind()
            .find(|(_, is, _)| is == name)
            .or_else(|| of_kind().find(|(_, is, _)| !is.is_empty() && name.contains(is)));
        let line = found.map_or(0, |(.., line)| *line);
        self.shown(&path, line)
    }

    fn shown(&self, path: &Path, line: u64) -> Origin {
        Origin { file: path.strip_prefix(&self.root).unwrap_or(path).display().to_string(), line }
    }
}
