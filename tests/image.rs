//! The image: the root file system that the `Dockerfile` describes, and the programs in it, run as the chart runs them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use gitward_test_cluster::{Output, Tools, eventually};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    let path = source(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Puts the root together as the last build stage of the `Dockerfile` does, with the program that these tests are about.
fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        // The tests' program carries its line numbers, the image's none.
        let program = dir.join("gitward");
        Output::of(Command::new("strip").arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_gitward")), None).ok();
        // What stands in a real one, `make e2e` looks at: the tools that write it are not built here.
        let bill = dir.join("gitward.cdx.json");
        std::fs::write(&bill, r#"{"bomFormat": "CycloneDX"}"#).unwrap();
        let (tools, root) = (Tools::get(), dir.join("root"));
        let mut rootfs = Command::new(source("image/rootfs.sh"));
        rootfs.args([&program, &tools.path("helm"), &tools.path("kustomize"), &root, &bill]);
        Output::of(&mut rootfs, None).ok();
        root
    })
}

/// A folder that becomes `/tmp` in the root; everybody may write there.
fn scratch() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::fs::write(dir.path().join("hosts"), "127.0.0.1 localhost guard.test\n").unwrap();
    dir
}

fn in_root(tmp: &TempDir, command: &[&str]) -> Command {
    let mut run = Command::new(source("image/run.sh"));
    run.arg(root()).arg(tmp.path()).args(command);
    run
}

fn run(tmp: &TempDir, command: &[&str]) -> Output {
    Output::of(&mut in_root(tmp, command), None)
}

/// Copies what the guard needs to judge, and returns the review.
fn corpus(tmp: &TempDir) -> PathBuf {
    for (from, to) in [("pinned.json", "pinned.json"), ("reviews/dev-scale.json", "review.json")] {
        std::fs::copy(source("tests/corpus").join(from), tmp.path().join(to)).unwrap();
    }
    tmp.path().join("review.json")
}

#[test]
fn the_programs_run_in_it() {
    let tmp = scratch();
    assert_eq!(run(&tmp, &["gitward", "--version"]).ok().trim(), concat!("gitward ", env!("CARGO_PKG_VERSION")));
    // Its own version is that of the module, which `go version -m` tells: only the first two numbers are in the source.
    let [helm, kustomize] = ["helm", "kustomize"].map(module_version);
    let minor = helm.rsplit_once('.').unwrap().0;
    assert!(run(&tmp, &["helm", "version", "--short"]).ok().starts_with(minor), "{helm}");
    assert_eq!(run(&tmp, &["kustomize", "version"]).ok().trim(), kustomize);
    corpus(&tmp);
    let output = run(&tmp, &["gitward", "check", "--objects", "/tmp/pinned.json", "/tmp/review.json"]);
    assert_eq!(output.status, 1, "the review is denied: {}", output.stderr);
    let verdict: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(verdict["reason"], "PinnedObjectScaled");
}

#[test]
fn only_tmp_and_the_cache_can_be_written() {
    let tmp = scratch();
    run(&tmp, &["helm", "create", "/tmp/chart"]).ok();
    run(&tmp, &["helm", "create", "/var/cache/gitward/chart"]).ok();
    let made = std::fs::metadata(tmp.path().join("chart/Chart.yaml")).unwrap();
    assert!(made.len() > 0, "what was written is there");
    for outside in ["/chart", "/etc/chart", "/usr/local/bin/chart", "/var/chart", "/dev/chart"] {
        let refused = run(&tmp, &["helm", "create", outside]);
        let why = refused.refused();
        assert!(why.contains("read-only file system") || why.contains("permission denied"), "{outside}: {why}");
    }
}

/// Who a process is, as the kernel tells it (proc_pid_status(5)).
#[test]
fn a_process_in_it_has_no_rights() {
    let guard = Guard::start();
    let status = std::fs::read_to_string(format!("/proc/{}/status", guard.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("CapEff"), ["0000000000000000"], "no capabilities");
    assert_eq!(field("CapPrm"), ["0000000000000000"], "and none that it could take");
    assert_eq!(field("NoNewPrivs"), ["1"]);
    // Where these tests are not run by root, the number is that of a namespace, seen from outside.
    if rustix::process::getuid().is_root() {
        assert_eq!(field("Uid"), ["65532"; 4]);
        assert_eq!(field("Gid"), ["65532"; 4]);
        assert_eq!(field("Groups"), ["65532"]);
    }
}

#[test]
fn the_guard_serves_in_it_and_names_are_looked_up() {
    let guard = Guard::start();
    let answer = guard.review();
    assert_eq!(answer["response"]["allowed"], false, "{answer}");

    // The program reaches the guard by a name that stands in /etc/hosts alone, and trusts its certificate: the guard says that there is no such
    // page, as an API server would not.
    let config = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"https://guard.test:{}\", certificate-authority: \
         /tmp/tls.crt}}}}]\nusers: [{{name: u, user: {{token: none}}}}]\ncontexts: [{{name: x, context: {{cluster: c, \
         user: u}}}}]\ncurrent-context: x\n",
        guard.port
    );
    std::fs::write(guard.tmp.path().join("config"), &config).unwrap();
    let ask = || Output::of(in_root(&guard.tmp, &["gitward", "access"]).env("KUBECONFIG", "/tmp/config"), None);
    let found = ask();
    assert!(found.refused().contains("404"), "{}", found.stderr);
    std::fs::write(guard.tmp.path().join("config"), config.replace("guard.test", "another.invalid")).unwrap();
    let unknown = ask();
    assert!(unknown.refused().contains("failed to lookup address"), "{}", unknown.stderr);
}

/// A guard in the root, from files.
struct Guard {
    process: Child,
    tmp: TempDir,
    port: u16,
}

impl Guard {
    fn start() -> Guard {
        let tmp = scratch();
        corpus(&tmp);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "guard.test".to_owned()]).unwrap();
        std::fs::write(tmp.path().join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(tmp.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, observe] = free.map(|listener| listener.local_addr().unwrap().port());
        let files = ["--tls-cert=/tmp/tls.crt", "--tls-key=/tmp/tls.key", "--objects-file=/tmp/pinned.json"];
        let mut command = in_root(&tmp, &[&["gitward", "guard"], files.as_slice()].concat());
        command.arg(format!("--listen=127.0.0.1:{port}")).arg(format!("--observe-listen=127.0.0.1:{observe}"));
        let log = std::fs::File::create(tmp.path().join("log")).unwrap();
        let process = command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null()).spawn().unwrap();
        let guard = Guard { process, tmp, port };
        eventually("the guard is ready", PATIENCE, || {
            let url = format!("http://127.0.0.1:{observe}/readyz");
            let answer = Output::of(Command::new("curl").args(["--silent", "--show-error", "--fail", &url]), None);
            let log = || std::fs::read_to_string(guard.tmp.path().join("log")).unwrap_or_default();
            if answer.status == 0 { Ok(()) } else { Err(answer.stderr + &log()) }
        });
        guard
    }

    fn review(&self) -> Value {
        let file = |name: &str| self.tmp.path().join(name).display().to_string();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert", &file("tls.crt"), "--data-binary"]);
        curl.arg(format!("@{}", file("review.json"))).arg(format!("https://localhost:{}/review", self.port));
        curl.env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE");
        serde_json::from_str(Output::of(&mut curl, None).ok()).unwrap()
    }

    /// The number of the guard's process, below the one that made its namespaces and the first one in them.
    fn pid(&self) -> u32 {
        only_child(only_child(self.process.id()))
    }
}

fn only_child(parent: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    children.trim().parse().unwrap_or_else(|_| panic!("not one child: {children}"))
}

#[test]
fn the_guard_ends_with_whoever_started_it() {
    let guard = Guard::start();
    let pid = guard.pid();
    drop(guard);
    eventually("the guard has ended", PATIENCE, || {
        if Path::new(&format!("/proc/{pid}")).exists() { Err(format!("process {pid} lives")) } else { Ok(()) }
    });
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn it_holds_what_is_needed_and_nothing_else() {
    let root = root();
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kept = std::fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let mode = kept.permissions().mode();
            assert_eq!(mode & 0o6000, 0, "{name} has setuid or setgid");
            let shared = name == "tmp";
            assert_eq!(mode & 0o002, if shared { 0o002 } else { 0 }, "{name}: everybody may write");
            if kept.is_dir() {
                folders.push(path);
            } else {
                found.insert(name);
            }
        }
    }
    let is_library = |name: &str| (name.starts_with("lib/") || name.starts_with("lib64/")) && name.contains(".so.");
    let is_origin = |name: &str| name.starts_with("var/lib/dpkg/status.d/") || name.starts_with("usr/share/doc/");
    let rest: Vec<_> = found.iter().filter(|name| !is_library(name) && !is_origin(name)).map(String::as_str).collect();
    let mut expected = vec![
        "etc/group",
        "etc/nsswitch.conf",
        "etc/os-release",
        "etc/passwd",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/local/bin/gitward",
        "usr/local/bin/helm",
        "usr/local/bin/kustomize",
        "usr/share/sbom/gitward.cdx.json",
    ];
    // Where other tests have run a program in it, run.sh has made a file to mount on.
    if rest.contains(&"etc/hosts") {
        expected.insert(1, "etc/hosts");
    }
    assert_eq!(rest, expected, "no shell, and nothing that nobody needs");
    let libraries: Vec<_> = found.iter().filter(|name| is_library(name)).collect();
    assert!(!libraries.is_empty() && libraries.len() < 8, "{libraries:?}");
    // A scanner knows the libraries by Debian's packages.
    if Path::new("/usr/bin/dpkg-query").exists() {
        let entry = std::fs::read_to_string(root.join("var/lib/dpkg/status.d/libc6")).unwrap();
        assert!(entry.starts_with("Package: libc6\n") && entry.contains("\nVersion: "), "{entry}");
        assert!(found.contains("usr/share/doc/libc6/copyright"));
    }
}

#[test]
fn the_same_root_is_packed_to_the_same_image() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("root");
    std::fs::create_dir_all(small.join("var/cache/gitward")).unwrap();
    std::fs::write(small.join("file"), "one").unwrap();
    let pack = |name: &str| {
        let out = dir.path().join(name);
        let mut pack = Command::new(source("image/pack.sh"));
        Output::of(pack.arg(&small).arg(&out).arg("example.com/gitward:1"), None).ok();
        std::fs::read(out).unwrap()
    };
    let first = pack("first.tar");
    // Other times, other order of making.
    std::fs::write(small.join("file"), "one").unwrap();
    assert!(first == pack("second.tar"), "the same bytes");
    std::fs::write(small.join("file"), "two").unwrap();
    assert!(first != pack("third.tar"), "another file, another image");

    // Each blob has the digest by which the index, the manifest and the configuration name it.
    let layout = dir.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    Output::of(Command::new("tar").arg("-xf").arg(dir.path().join("first.tar")).arg("-C").arg(&layout), None).ok();
    let json = |path: PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = layout.join("blobs/sha256").join(digest);
        assert_eq!(descriptor["size"], std::fs::metadata(&path).unwrap().len());
        let sum = Output::of(Command::new("sha256sum").arg(&path), None);
        assert!(sum.ok().starts_with(digest), "{digest}");
        path
    };
    let manifest = json(blob(&json(layout.join("index.json"))["manifests"][0]));
    let config = json(blob(&manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    let layer = blob(&manifest["layers"][0]);
    let plain = Output::of(Command::new("sh").args(["-c", "gunzip -c \"$1\" | sha256sum", "sh"]).arg(&layer), None);
    let diff = config["rootfs"]["diff_ids"][0].as_str().unwrap().strip_prefix("sha256:").unwrap();
    assert!(plain.ok().starts_with(diff));
    let files = Output::of(Command::new("tar").args(["--numeric-owner", "-tvzf"]).arg(&layer), None);
    let owner = |name: &str| {
        let line = files.stdout.lines().find(|line| line.ends_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!((owner("./file"), owner("./var/cache/gitward/")), ("0/0".to_owned(), "65532/65532".to_owned()));
}

/// The version of the module that a tool is built from, such as `v4.3.1`.
fn module_version(tool: &str) -> String {
    let module = read(&format!("tests/cluster/tools/{tool}/go.mod"));
    let line = module.lines().find(|line| line.starts_with("require ") && !line.ends_with('(')).unwrap();
    line.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn the_dockerfile_says_the_same_as_everything_else() {
    let dockerfile = read("Dockerfile");
    let base = |name: &str| {
        let tag = dockerfile.lines().find_map(|line| line.strip_prefix(&format!("FROM docker.io/library/{name}:")));
        tag.unwrap().split(['-', ' ']).next().unwrap().to_owned()
    };
    assert!(
        base("rust").starts_with(&format!("{}.", env!("CARGO_PKG_RUST_VERSION"))),
        "the Rust that Cargo.toml asks for"
    );
    for tool in ["helm", "kustomize"] {
        let module = read(&format!("tests/cluster/tools/{tool}/go.mod"));
        let go = module.lines().find_map(|line| line.strip_prefix("go ")).unwrap();
        let numbers = |version: &str| version.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
        assert!(numbers(&base("golang")) >= numbers(go), "{tool} asks for Go {go}");
    }
    // The images that build it are of one Debian: the libraries are those that the program was linked with.
    let debian = |line: &str| line.contains("-bookworm AS ");
    assert_eq!(dockerfile.lines().filter(|line| line.starts_with("FROM docker.io") && debian(line)).count(), 2);
    let scratch = dockerfile.split("FROM scratch\n").nth(1).expect("the last stage begins with nothing");
    assert!(!scratch.contains("FROM ") && !scratch.contains("RUN "), "{scratch}");
    assert!(scratch.contains("\nUSER 65532:65532\n"));
    let pod = read("charts/gitward/templates/_helpers.tpl");
    assert!(pod.contains("runAsUser: 65532\n") && pod.contains("runAsGroup: 65532\n"));
    // Where the reconciler looks for the programs, without an option.
    let root = root();
    for tool in ["helm", "kustomize"] {
        let args = read("src/cli/reconcile.rs");
        let path = format!("usr/local/bin/{tool}");
        assert!(args.contains(&format!("default_value = \"/{path}\"")) && root.join(path).exists());
    }
    for script in ["programs.sh", "sbom.sh", "rootfs.sh"] {
        assert!(dockerfile.contains(&format!("image/{script} ")), "{script}");
    }
}

#[test]
fn the_dockerfile_labels_the_image_as_it_is_packed_without_a_builder() {
    let pack = read("image/pack.sh");
    let labels = pack.split("\"Labels\":").nth(1).and_then(|rest| rest.split_inclusive('}').next()).unwrap();
    let labels: BTreeMap<String, String> = serde_json::from_str(labels).unwrap();
    let dockerfile = read("Dockerfile");
    let last = dockerfile.split("FROM scratch\n").nth(1).unwrap();
    for (name, value) in &labels {
        let label = format!("{name}=\"{}\"", value.replace("$revision", "$REVISION"));
        assert!(last.contains(&label), "the Dockerfile has no {label}");
    }
    assert_eq!(last.matches("org.opencontainers.image.").count(), labels.len());
    // The commit is not in what a builder is sent.
    assert!(last.starts_with("ARG REVISION=unknown\n") && read("image/build.sh").contains("--build-arg \"REVISION="));
}
