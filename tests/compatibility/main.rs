//! Charts, kustomizations and manifests that others wrote, on a real control plane: each is applied, found object by
//! object with the file that declares it, left alone by a second look, and removed with its GitSync.
//!
//! Nothing runs, for there are no nodes: this is about what is declared. The table of docs/compatibility.md is what this
//! test prints, and it fails where the two differ.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod inputs;
#[path = "../control_plane/support.rs"]
#[allow(dead_code)]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gitward_test_cluster::{Output, Repo, Sample, Tools, eventually, workspace};
use serde_json::{Value, json};

use inputs::{Input, Package, Renderer, Row};
use support::{World, condition, sync};

/// Longer than elsewhere: three are synced at a time, with dozens of CRDs, and other tests may run beside them.
const PATIENCE: Duration = Duration::from_secs(240);

/// Of so many inputs one is synced where only a part runs.
const PARTS: usize = 4;

/// Whose an object is.
const SYNC_NAME: &str = "gitward.dev/sync-name";

#[test]
fn what_others_wrote_is_applied_left_alone_and_removed() {
    let packages = inputs::packages();
    let world = World::shared();
    let sample = Sample::one_of(PARTS);
    let mut lines: Vec<String> = std::thread::scope(|scope| {
        let rows = inputs::rows().into_iter().filter_map(|row| sampled(row, sample));
        let rows: Vec<_> = rows.map(|row| scope.spawn(|| through(world, row, &packages))).collect();
        rows.into_iter().flat_map(|row| row.join().unwrap()).collect()
    });
    let last = sampled(Row { stays: None, inputs: inputs::last() }, sample);
    lines.extend(last.into_iter().flat_map(|row| through(world, row, &packages)));
    let documented = std::fs::read_to_string(workspace().join("docs/compatibility.md")).unwrap();
    let table = lines.join("\n");
    println!("{table}");
    let is_documented = match sample.is_whole() {
        true => documented.contains(&table),
        false => lines.iter().all(|line| documented.lines().any(|documented| documented == line)),
    };
    assert!(is_documented, "the table of docs/compatibility.md is not what was seen here:\n{table}");
}

/// The inputs of a row that run this time. `None` when no input of the row does.
fn sampled(mut row: Row, sample: Sample) -> Option<Row> {
    let mut number = 0;
    row.inputs.retain(|_| {
        number += 1;
        sample.has(number - 1)
    });
    (!row.inputs.is_empty()).then_some(row)
}

/// Takes a row through everything. Returns its lines of the table.
fn through(world: &World, row: Row, packages: &BTreeMap<String, Package>) -> Vec<String> {
    let mut lines = Vec::new();
    let stays = row.stays.as_ref().map(|input| Synced::new(world, input, &packages[input.package]));
    lines.extend(stays.as_ref().map(|synced| synced.line.clone()));
    for input in &row.inputs {
        if let Some(message) = input.refused {
            lines.push(refused(world, input, &packages[input.package], message));
            continue;
        }
        let synced = Synced::new(world, input, &packages[input.package]);
        synced.remove();
        lines.push(synced.line);
    }
    if let Some(stays) = stays {
        stays.remove();
    }
    lines
}

/// An input that cannot be synced, and the reason that its GitSync gives.
fn refused(world: &World, input: &Input, package: &Package, why: &str) -> String {
    follow(world, input, package);
    eventually(&format!("{} says why it is not synced", input.name), PATIENCE, || {
        let ready = condition(&world.status(input.name), "Ready");
        let says = ready["status"] == "False" && ready["message"].as_str().is_some_and(|message| message.contains(why));
        if says { Ok(()) } else { Err(ready.to_string()) }
    });
    world.cluster.kubectl("admin", &["delete", "gitsync", input.name, "-n", "gitward-system"]).ok();
    line(input, package, "-", "refused")
}

/// Commits an input and makes its GitSync. Returns the repository and the commit.
fn follow(world: &World, input: &Input, package: &Package) -> (Repo, String) {
    let name = input.name;
    world.cluster.kubectl("admin", &["create", "namespace", name]).ok();
    let repo = world.git.repo(name);
    input.copy(package, repo.work());
    let commit = repo.push("As it came");
    let source = json!({"url": repo.file_url(), "path": input.folder(), "interval": "1s"});
    let spec = json!({"source": source, "targetNamespace": name, "deletionPolicy": "Delete",
        "render": {"helm": {"values": input.values}}});
    world.apply("admin", &sync(name, &repo.file_url(), spec));
    (repo, commit)
}

fn wait_applied(world: &World, name: &str, commit: &str) {
    eventually(&format!("{name} applies {commit}"), PATIENCE, || {
        let status = world.status(name);
        let applied = status["lastAppliedRevision"].as_str().is_some_and(|revision| revision.ends_with(commit));
        if applied && condition(&status, "Ready")["status"] == "True" { Ok(()) } else { Err(status.to_string()) }
    });
}

/// A line of the table.
fn line(input: &Input, package: &Package, objects: &str, result: &str) -> String {
    let Input { what, package: from, renderer, remarks, .. } = input;
    let version = input.version(package);
    format!("| {what} | {version} | {from} | {renderer:?} | {objects} | {result} | {remarks} |").replace("|  |", "| |")
}

/// An input whose GitSync has been seen to do what it should.
struct Synced<'a> {
    world: &'a World,
    input: &'a Input,
    line: String,
    declared: Vec<Value>,
}

impl Synced<'_> {
    fn new<'a>(world: &'a World, input: &'a Input, package: &Package) -> Synced<'a> {
        let name = input.name;
        let (repo, commit) = follow(world, input, package);
        wait_applied(world, name, &commit);
        let declared = declared(input, repo.work());
        let line = line(input, package, &declared.len().to_string(), "synced");
        let synced = Synced { world, input, line, declared };
        assert_eq!(world.status(name)["objects"], synced.declared.len(), "{name}: declared and pinned objects");
        let before = synced.settled();
        before.iter().for_each(|object| synced.check_origin(object, &repo));

        // Another commit, so that everything is rendered and applied once more.
        repo.write("README.md", "Nothing that is applied\n");
        wait_applied(world, name, &repo.push("Nothing new"));
        assert_eq!(synced.live(), before, "{name}: a second look changes something");
        eprintln!("{}", synced.line);
        synced
    }

    /// The live objects, without what controllers do to them by and by.
    fn live(&self) -> Vec<Value> {
        let mut live = self.find(&self.declared);
        for object in &mut live {
            object.as_object_mut().unwrap().remove("status");
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.remove("resourceVersion");
            if let Some(Value::Array(entries)) = metadata.get_mut("managedFields") {
                entries.retain(|entry| entry["subresource"].is_null());
            }
        }
        live
    }

    /// Waits until controllers have done what they do with new objects.
    fn settled(&self) -> Vec<Value> {
        let mut last = Vec::new();
        eventually(&format!("{} is there and rests", self.input.name), PATIENCE, || {
            let now = self.live();
            let rests = now == last && now.len() == self.declared.len();
            last = now;
            if rests { Ok(()) } else { Err(format!("{} of {} objects", last.len(), self.declared.len())) }
        });
        last
    }

    /// Those of some objects that are live.
    fn find(&self, objects: &[Value]) -> Vec<Value> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let get = ["get", "--ignore-not-found", "--show-managed-fields", "-o", "json", "-f", "-"];
        let found = self.world.cluster.kubectl_in("admin", &get, Some(&list));
        match found.ok() {
            "" => Vec::new(),
            text => match serde_json::from_str(text).expect("kubectl prints JSON") {
                Value::Object(mut list) if list.contains_key("items") => {
                    list["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
                }
                one => vec![one],
            },
        }
    }

    /// The origin names a file of the repository that is there, and its line where that can be known.
    fn check_origin(&self, object: &Value, repo: &Repo) {
        let origin = object["metadata"]["annotations"]["gitward.dev/origin"].as_str().unwrap_or_default();
        let what = format!("{}: {} {}: {origin:?}", self.input.name, object["kind"], object["metadata"]["name"]);
        let (file, line) = match origin.rsplit_once(':') {
            Some((file, line)) => (file, line.parse::<usize>().unwrap()),
            None => (origin, 0),
        };
        let text = std::fs::read_to_string(repo.work().join(file)).unwrap_or_else(|error| panic!("{what}: {error}"));
        let generated = file.ends_with("kustomization.yaml");
        assert!(self.input.renderer == Renderer::Helm || generated || line > 0, "{what}: the line is not known");
        if line > 0 {
            let document = text.lines().skip(line - 1).take_while(|line| *line != "---").collect::<Vec<_>>().join("\n");
            assert!(document.contains(object["kind"].as_str().unwrap()), "{what} begins another object:\n{document}");
        }
    }

    /// Deletes the GitSync, and sees everything go.
    fn remove(&self) {
        let name = self.input.name;
        self.world.cluster.kubectl("admin", &["delete", "gitsync", name, "-n", "gitward-system"]).ok();
        // With its definition a kind is gone, and with it all of its objects.
        let definitions: BTreeSet<&str> = self.declared.iter().filter_map(|o| o["spec"]["group"].as_str()).collect();
        let group =
            |o: &Value| o["apiVersion"].as_str().and_then(|v| v.split_once('/')).map(|(group, _)| group.to_owned());
        let left = self.declared.iter().filter(|o| !group(o).is_some_and(|group| definitions.contains(group.as_str())));
        let left: Vec<Value> = left.cloned().collect();
        eventually(&format!("everything of {name} is removed"), PATIENCE, || {
            // Kubernetes makes some objects anew, which are nobody's then.
            let found = self.find(&left).into_iter().filter(|o| !o["metadata"]["labels"][SYNC_NAME].is_null());
            let found: Vec<_> = found.map(|o| format!("{} {}", o["kind"], o["metadata"]["name"])).collect();
            if found.is_empty() { Ok(()) } else { Err(found.join(", ")) }
        });
    }
}

/// What the input declares, by the tool alone.
fn declared(input: &Input, work: &Path) -> Vec<Value> {
    let folder = work.join(input.folder());
    let shown = folder.display().to_string();
    let text = match input.renderer {
        Renderer::Plain => {
            let mut texts = Output::of(Command::new("find").args([&shown, "-name", "*.yaml"]), None).ok().to_owned();
            texts = texts.lines().map(|file| std::fs::read_to_string(file).unwrap() + "\n---\n").collect();
            texts
        }
        Renderer::Kustomize => {
            let mut kustomize = Command::new(Tools::get().path("kustomize"));
            Output::of(kustomize.args(["build", &shown]), None).ok().to_owned()
        }
        Renderer::Helm => {
            let values = work.with_extension("values");
            std::fs::write(&values, input.values.to_string()).unwrap();
            let mut helm = Command::new(Tools::get().path("helm"));
            helm.args(["template", input.name, &shown, "--namespace", input.name, "--include-crds", "--skip-tests"]);
            Output::of(helm.arg("--values").arg(&values), None).ok().to_owned()
        }
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let mut objects: Vec<Value> = documents.into_iter().filter(|document| document["kind"].is_string()).collect();
    for object in &mut objects {
        // What kubectl does with an object that names no namespace; for the others it passes it over.
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.entry("namespace").or_insert_with(|| json!(input.name));
    }
    objects
}
