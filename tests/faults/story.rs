//! The story of one GitSync, that passes every station: a first sync, a change, drift, the end. And what has to be
//! true in the cluster after each.

use std::collections::BTreeSet;

use gitward_test_cluster::{Proxy, Repo};
use serde_json::{Value, json};

use crate::lane::{Lane, move_branch};

/// What a commit declares: the path of each object in the API, and the object.
pub(crate) type Declared = Vec<(String, Value)>;

/// One GitSync and its repository, with names that no other story uses.
pub(crate) struct Story {
    pub(crate) name: String,
    /// A namespace that was there before, with an object in it that is nobody's business.
    old: String,
    repo: Repo,
    commits: Vec<(String, Declared)>,
    bystander: Value,
}

impl Story {
    /// Writes the commits, and makes what is there before.
    pub(crate) fn begin(lane: &Lane, name: &str) -> Story {
        let repo = lane.git.repo(name);
        let commits = stations(name).into_iter().map(|declared| (commit(&repo, &declared), declared)).collect();
        let old = format!("{name}-old");
        namespace(lane, &old);
        let path = format!("/api/v1/namespaces/{old}/configmaps/bystander");
        let bystander = lane.api.apply(&path, &config_map("bystander", json!({"color": "mine"})));
        Story { name: name.to_owned(), old, repo, commits, bystander }
    }

    /// Tells the story. `killed` says what the proxy does after it has killed the reconciler.
    pub(crate) fn tell(&self, lane: &mut Lane, mut killed: impl FnMut(&Proxy)) {
        let name = &self.name;
        for (number, (commit, declared)) in self.commits.iter().enumerate() {
            move_branch(&self.repo, commit);
            if number == 0 {
                lane.follow(name, &self.repo.file_url(), &json!({"deletionPolicy": "Delete"}));
            }
            lane.until_or(
                &format!("{name} applies commit {}", number + 1),
                |lane| killed(&lane.proxy),
                |lane| lane.has_applied(name, commit),
            );
            // Not sooner or later: who is told that a commit is applied relies on it.
            self.check(lane, declared).unwrap_or_else(|wrong| panic!("after commit {}: {wrong}", number + 1));
            if number == 1 {
                let settings = format!("/api/v1/namespaces/{}/configmaps/settings", self.old);
                // A change, and an addition that is taken over before it goes.
                lane.edit(&settings, &json!({"data": {"color": "red", "mine": "too"}}));
                lane.until_or(
                    &format!("the drift of {name} is healed"),
                    |lane| killed(&lane.proxy),
                    |lane| self.check(lane, declared),
                );
            }
        }
        lane.delete_sync(name);
        lane.until_or(&format!("{name} is gone"), |lane| killed(&lane.proxy), |lane| lane.is_gone(name));
        self.check_end(lane).unwrap_or_else(|wrong| panic!("after the end: {wrong}"));
    }

    /// Removes what was there before.
    pub(crate) fn clean_up(&self, lane: &Lane) {
        lane.api.delete(&format!("/api/v1/namespaces/{}", self.old));
        self.last().iter().for_each(|path| lane.api.delete(path));
    }

    /// Whether the cluster is what a commit declares: each object with all its fields, and no object more.
    pub(crate) fn check(&self, lane: &Lane, declared: &Declared) -> Result<(), String> {
        check_declared(lane, declared)?;
        let wanted: BTreeSet<String> = declared.iter().map(|(path, _)| path.clone()).collect();
        let found = self.marked(lane)?;
        if found != wanted {
            return Err(format!("marked as this GitSync's: {found:?}, declared: {wanted:?}"));
        }
        self.check_bystander(lane)
    }

    /// Whether nothing is left of it.
    fn check_end(&self, lane: &Lane) -> Result<(), String> {
        self.check_bystander(lane)?;
        let found = self.marked(lane)?;
        if !found.is_empty() {
            return Err(format!("left over: {found:?}"));
        }
        let live = self.live(lane)?;
        // A reconciler that is killed before it has noted the deletion leaves everything, as one that never saw it.
        if !live.is_empty() && live != self.last() {
            return Err(format!("a part of it is still there: {live:?}"));
        }
        let own = "/api/v1/namespaces/gitward-system/configmaps";
        let listed = get(lane, own)?.unwrap_or_default()["items"].to_string();
        if listed.contains(&format!("{}\"", self.name)) || listed.contains(&format!("{}-", self.name)) {
            return Err(format!("a record of it is left in {own}: {listed}"));
        }
        let old = get(lane, &format!("/api/v1/namespaces/{}", self.old))?.unwrap_or_default();
        match old["metadata"]["labels"]["gitward.dev/guarded"] {
            Value::Null => Ok(()),
            _ => Err(format!("namespace {} holds nothing that is pinned, and is still guarded", self.old)),
        }
    }

    /// The paths of all objects that it ever declared and that are there.
    fn live(&self, lane: &Lane) -> Result<BTreeSet<&str>, String> {
        let mut live = BTreeSet::new();
        for (path, _) in self.commits.iter().flat_map(|(_, declared)| declared) {
            if get(lane, path)?.is_some_and(|object| object["metadata"]["deletionTimestamp"].is_null()) {
                live.insert(path.as_str());
            }
        }
        Ok(live)
    }

    /// The paths of the objects of the last commit.
    fn last(&self) -> BTreeSet<&str> {
        self.commits.last().into_iter().flat_map(|(_, declared)| declared).map(|(path, _)| path.as_str()).collect()
    }

    fn check_bystander(&self, lane: &Lane) -> Result<(), String> {
        let path = format!("/api/v1/namespaces/{}/configmaps/bystander", self.old);
        let live = get(lane, &path)?.unwrap_or_default();
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        if version(&live) == version(&self.bystander) {
            Ok(())
        } else {
            Err(format!("the bystander was touched: {live}"))
        }
    }

    /// The paths of the objects that bear the marks of this GitSync, of all kinds that it ever declares.
    fn marked(&self, lane: &Lane) -> Result<BTreeSet<String>, String> {
        let kinds: BTreeSet<String> =
            self.commits.iter().flat_map(|(_, declared)| declared).map(|(path, _)| collection(path)).collect();
        let mut found = BTreeSet::new();
        for kind in kinds {
            let selected = format!("{kind}?labelSelector=gitward.dev/sync-name={}", self.name);
            let listed = get(lane, &selected)?.unwrap_or_default();
            for object in listed["items"].as_array().into_iter().flatten() {
                let metadata = &object["metadata"];
                let text = |key: &str| metadata[key].as_str().unwrap_or_default();
                if !metadata["deletionTimestamp"].is_null() {
                    continue;
                }
                let (root, plural) = kind.rsplit_once('/').expect("a path");
                found.insert(match text("namespace") {
                    "" => format!("{kind}/{}", text("name")),
                    namespace => format!("{root}/namespaces/{namespace}/{plural}/{}", text("name")),
                });
            }
        }
        Ok(found)
    }
}

/// What the commits declare, one after the other.
fn stations(name: &str) -> Vec<Declared> {
    let old = format!("/api/v1/namespaces/{name}-old/configmaps");
    let new = format!("/api/v1/namespaces/{name}");
    let group = format!("{name}.example.com");
    let widget = |size: i64| {
        let path = format!("/apis/{group}/v1/namespaces/{name}/widgets/w");
        (
            path,
            json!({"apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": size}}),
        )
    };
    let map = |of: &str, name: &str, data: Value| (format!("{of}/{name}"), config_map(name, data));
    let deployment = |replicas: i64| {
        let pod = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]}});
        let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": pod});
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
        (format!("/apis/apps/v1/namespaces/{name}/deployments/web"), object)
    };
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let annotated = |name: &str, key: &str, value: &str, data: Value| {
        let mut map = config_map(name, data);
        map["metadata"]["annotations"] = json!({key: value});
        map
    };
    let wave =
        |data: Value| (format!("{old}/settings"), annotated("settings", "argocd.argoproj.io/sync-wave", "-1", data));
    let hook = (format!("{old}/hook"), annotated("hook", "argocd.argoproj.io/hook", "PreSync", json!({"a": "b"})));
    let base = vec![
        hook,
        (new.clone(), json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})),
        (format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}"), definition(&group)),
        (format!("{new}/services/web"), service),
    ];
    let maps = format!("{new}/configmaps");
    let with = |more: Vec<(String, Value)>| [base.clone(), more].concat();
    vec![
        with(vec![
            widget(1),
            wave(json!({"color": "green", "old": "yes"})),
            map(&maps, "dropped", json!({"a": "b"})),
            deployment(1),
        ]),
        // A change of objects, the end of a field and of an object, and a new one.
        with(vec![widget(2), wave(json!({"color": "blue"})), map(&maps, "added", json!({"a": "b"})), deployment(2)]),
    ]
}

fn definition(group: &str) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": "Widget", "listKind": "WidgetList", "plural": "widgets", "singular": "widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

pub(crate) fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// Makes a namespace.
pub(crate) fn namespace(lane: &Lane, name: &str) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    lane.api.apply(&format!("/api/v1/namespaces/{name}"), &object);
}

/// Commits exactly these objects, one a file. The branch that is followed stays where it is.
pub(crate) fn commit(repo: &Repo, declared: &Declared) -> String {
    for entry in std::fs::read_dir(repo.work()).unwrap().flatten().filter(|entry| entry.file_name() != ".git") {
        std::fs::remove_file(entry.path()).unwrap();
    }
    for (path, object) in declared {
        let mut object = object.clone();
        if let Some((_, below)) = path.split_once("/namespaces/")
            && let Some((namespace, _)) = below.split_once('/')
        {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let file = format!("{}.yaml", path.trim_matches('/').replace('/', "-"));
        std::fs::write(repo.work().join(file), object.to_string()).unwrap();
    }
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "--allow-empty", "--message", "A change"]);
    let commit = repo.git(&["rev-parse", "HEAD"]).trim().to_owned();
    repo.git(&["push", "--quiet", &repo.bare().display().to_string(), &format!("{commit}:refs/stations/{commit}")]);
    commit
}

/// Whether each object is there with everything that is declared of it. What others may add is theirs.
pub(crate) fn check_declared(lane: &Lane, declared: &Declared) -> Result<(), String> {
    for (path, object) in declared {
        let live = get(lane, path)?.ok_or_else(|| format!("{path} is missing"))?;
        holds(object, &live, "").map_err(|wrong| format!("{path}: {wrong}"))?;
        // ConfigMaps have no defaults: what is there and not declared was dropped by git, or added by somebody.
        if object["kind"] == "ConfigMap" && object["data"] != live["data"] {
            return Err(format!("{path}: more data than declared: {}", live["data"]));
        }
    }
    Ok(())
}

/// Whether `live` has all of `declared`; items of lists are compared by their place.
fn holds(declared: &Value, live: &Value, at: &str) -> Result<(), String> {
    match (declared, live) {
        (Value::Object(declared), Value::Object(live)) => declared
            .iter()
            .try_for_each(|(key, value)| holds(value, live.get(key).unwrap_or(&Value::Null), &format!("{at}/{key}"))),
        (Value::Array(declared), Value::Array(live)) if declared.len() == live.len() => {
            declared.iter().zip(live).try_for_each(|(declared, live)| holds(declared, live, &format!("{at}/…")))
        }
        _ if declared == live => Ok(()),
        _ => Err(format!("{at} is {live}, declared is {declared}")),
    }
}

pub(crate) fn get(lane: &Lane, path: &str) -> Result<Option<Value>, String> {
    lane.api.get(path).map_err(|refused| format!("{path}: {refused:?}"))
}

/// The path of all objects of the kind of an object.
fn collection(path: &str) -> String {
    let (kind, _) = path.rsplit_once('/').expect("a path");
    match kind.split_once("/namespaces/") {
        Some((root, below)) => format!("{root}/{}", below.split_once('/').map_or("namespaces", |(_, plural)| plural)),
        None => kind.to_owned(),
    }
}
