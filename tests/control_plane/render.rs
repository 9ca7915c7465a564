//! Kustomizations and charts become objects, each with the place that declares it.

use serde_json::{Value, json};

use crate::support::{World, condition, config_map, sync};

fn origin(world: &World, object: &str, ns: &str) -> Value {
    world.field(object, ns, "/metadata/annotations/gitward.dev~1origin")
}

fn follow(ns: &str, files: &[(&str, String)], render: Value) -> (&'static World, gitward_test_cluster::Repo, String) {
    let world = World::shared();
    world.namespace(ns);
    let repo = world.git.repo(ns);
    files.iter().for_each(|(path, text)| repo.write(path, text));
    let commit = repo.push("First");
    let source = json!({"url": repo.file_url(), "path": "app", "interval": "1s"});
    world.apply(
        "admin",
        &sync(ns, &repo.file_url(), json!({"source": source, "targetNamespace": ns, "render": render})),
    );
    (world, repo, commit)
}

fn failure(world: &World, name: &str) -> String {
    condition(&world.wait_reason(name, "BuildFailed"), "Ready")["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_kustomization_is_built_and_its_objects_know_their_line() {
    let ns = "kustomized";
    let kustomization =
        "namePrefix: big-\nresources: [../base]\nconfigMapGenerator:\n- name: made\n  literals: [color=red]\n";
    let base = format!("# two\n{}---\n{}", config_map(ns, "one", "red"), config_map(ns, "two", "green"));
    let files = [
        ("app/kustomization.yaml", kustomization.to_owned()),
        ("base/kustomization.yaml", "resources: [maps.yaml]\n".to_owned()),
        ("base/maps.yaml", base),
    ];
    let (world, repo, commit) = follow(ns, &files, json!({}));
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("configmap/big-two", ns, "/data/color"), "green");
    assert_eq!(origin(world, "configmap/big-two", ns), "base/maps.yaml:10");
    assert_eq!(world.field("configmap/big-two", ns, "/metadata/annotations/config.kubernetes.io~1origin"), Value::Null);
    let maps = world.cluster.get(&["configmaps", "-n", ns]).unwrap();
    let made = maps["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["metadata"]["name"].as_str().unwrap().starts_with("big-made-"));
    assert_eq!(made.unwrap()["metadata"]["annotations"]["gitward.dev/origin"], "app/kustomization.yaml");

    repo.write("app/kustomization.yaml", "resources: ['https://example.com/ops//base?ref=main']\n");
    repo.push("Far away");
    let text = failure(world, ns);
    assert!(text.starts_with("app/kustomization.yaml names \"https://example.com/ops//base?ref=main\""), "{text}");
    // kustomize reads the names of fields whatever their case, and files of a generator from wherever.
    for (kustomization, named) in [
        ("Resources: ['https://example.com/other?ref=x']\n", "https://example.com/other"),
        (
            "configMapGenerator:\n- name: made\n  files: ['x=http://127.0.0.1:8080/metrics']\n",
            "x=http://127.0.0.1:8080/metrics",
        ),
    ] {
        repo.write("app/kustomization.yaml", kustomization);
        repo.push("Hidden");
        gitward_test_cluster::eventually("what is hidden is named", crate::support::PATIENCE, || {
            let text = failure(world, ns);
            if text.contains(&format!("names \"{named}")) { Ok(()) } else { Err(text) }
        });
    }
    repo.write("app/kustomization.yaml", "resources: [../../../../../git]\n");
    repo.push("Outside");
    assert!(failure(world, ns).contains("is not in the repository"));
}

fn chart(ns: &str, file: &str) -> (&'static str, String) {
    match file {
        "app/Chart.yaml" => ("app/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n".to_owned()),
        "app/values.yaml" => ("app/values.yaml", "color: red\nsize: 1\n".to_owned()),
        "app/crds/gadgets.yaml" => {
            let crd = gitward_test_cluster::workspace().join("examples/shop/crd/widgets.yaml");
            let text = std::fs::read_to_string(crd).unwrap();
            ("app/crds/gadgets.yaml", text.replace("shop.example.com", &format!("{ns}.example.com")))
        }
        _ => (
            "app/templates/settings.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata:\n  color: {{ .Values.color }}\n  \
             size: {{ .Values.size | quote }}\n  release: {{ .Release.Name }}.{{ .Release.Namespace }}\n  \
             served: {{ .Capabilities.APIVersions.Has \"gitward.dev/v1alpha1/GitSync\" | quote }}\n"
                .to_owned(),
        ),
    }
}

#[test]
fn a_chart_is_rendered_with_values_from_everywhere() {
    let ns = "charted";
    let mut files: Vec<_> =
        ["app/Chart.yaml", "app/values.yaml", "app/crds/gadgets.yaml", "app/templates/settings.yaml"]
            .map(|f| chart(ns, f))
            .into();
    files.push(("app/big.yaml", "size: 2\ncolor: blue\n".to_owned()));
    let values = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"values.yaml": "color: green"},
        "metadata": {"name": "charted", "namespace": "gitward-system"}});
    World::shared().apply("admin", &values);
    let from =
        json!([{"kind": "ConfigMap", "name": "charted"}, {"kind": "Secret", "name": "nowhere", "optional": true}]);
    let helm = json!({"valuesFiles": ["big.yaml"], "valuesFrom": from});
    let (world, repo, commit) = follow(ns, &files, json!({"helm": helm}));
    world.wait_applied(ns, &commit);
    let data = world.field("configmap/settings", ns, "/data");
    assert_eq!(data, json!({"color": "green", "size": "2", "release": format!("{ns}.{ns}"), "served": "true"}));
    assert_eq!(origin(world, "configmap/settings", ns), "app/templates/settings.yaml");
    assert!(world.cluster.get(&["crd", "widgets.charted.example.com"]).is_some());

    let mut changed = values.clone();
    changed["data"]["values.yaml"] = json!("color: white");
    world.apply("admin", &changed);
    world.wait_field("configmap/settings", ns, "/data/color", &json!("white"));

    repo.write("app/templates/settings.yaml", "{{ fail \"no size\" }}");
    repo.push("Broken");
    let text = failure(world, ns);
    assert!(text.starts_with("helm template: ") && text.contains("no size"), "{text}");
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "white", "nothing is removed");
}

/// Helm takes a list of files, with commas between them.
#[test]
fn the_name_of_a_file_with_values_does_not_lead_out_of_the_repository() {
    let (ns, dir) = ("comma", World::shared().cluster.dir());
    let elsewhere = dir.join("elsewhere.yaml");
    std::fs::write(&elsewhere, "color: of-another-team\n").unwrap();
    let mut files: Vec<_> = ["app/Chart.yaml", "app/templates/settings.yaml"].map(|file| chart(ns, file)).into();
    let name = format!("x,{}", elsewhere.display());
    let path = format!("app/{name}");
    files.push((&path, "color: ours\n".to_owned()));
    files.push(("app/x", "size: 1\n".to_owned()));
    let (world, _repo, commit) = follow(ns, &files, json!({"helm": {"valuesFiles": [name]}}));
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "ours");
}

#[test]
fn a_chart_whose_dependencies_are_elsewhere_says_so() {
    let ns = "dependent";
    let described = "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n- name: redis\n  version: 1.x\n  repository: https://charts.example.com\n";
    let files = [("app/Chart.yaml", described.to_owned()), chart(ns, "app/templates/settings.yaml")];
    let (world, ..) = follow(ns, &files, json!({}));
    let text = failure(world, ns);
    assert!(text.contains("app/Chart.yaml names \"redis of https://charts.example.com\""), "{text}");
}

#[test]
fn a_chart_of_a_chart_repository_is_followed_by_a_range_of_versions() {
    let (world, ns) = (World::shared(), "pulled");
    let charts = world.git.static_files("charts");
    let from = charts.dir().join("src");
    for (path, text) in ["app/Chart.yaml", "app/values.yaml", "app/templates/settings.yaml"].map(|file| chart(ns, file))
    {
        let path = from.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let package = |version: &str| {
        let (chart, to) = (from.join("app").display().to_string(), charts.dir().display().to_string());
        world.cluster.helm(&["package", &chart, "--version", version, "--destination", &to]).ok();
        world.cluster.helm(&["repo", "index", &to]).ok();
    };
    package("1.0.0");
    package("2.0.0");
    let metadata = json!({"name": "charts", "namespace": "gitward-system"});
    world.apply(
        "admin",
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"ca.crt": world.git.ca()}}),
    );
    let chart = json!({"repository": charts.url(), "name": "shop", "version": "1.x", "secretRef": {"name": "charts"}});
    let helm = json!({"chart": chart, "releaseName": "mine", "values": {"color": "pink"}});
    let (world, _, commit) = follow(ns, &[("app/README.md", "Values of charts".to_owned())], json!({"helm": helm}));
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "pink");
    assert_eq!(world.field("configmap/settings", ns, "/data/release"), format!("mine.{ns}"));
    assert_eq!(origin(world, "configmap/settings", ns), "chart shop 1.x: templates/settings.yaml");
    let template = from.join("app/templates/settings.yaml");
    let text = std::fs::read_to_string(&template).unwrap();
    std::fs::write(&template, text.replace("size: {{ .Values.size | quote }}", "size: many")).unwrap();
    package("1.1.0");
    world.wait_field("configmap/settings", ns, "/data/size", &json!("many"));
}
