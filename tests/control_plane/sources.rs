//! Where commits come from, and which of them are followed.

use std::path::PathBuf;
use std::process::Command;

use gitward_test_cluster::{Repo, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, condition, config_map, sync};

fn repo(ns: &str) -> (&'static World, Repo) {
    let world = World::shared();
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    (world, repo)
}

fn secret(world: &World, name: &str, data: Value) {
    let metadata = json!({"name": name, "namespace": "gitward-system"});
    world.apply("admin", &json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}));
}

fn follow(world: &World, name: &str, source: Value) {
    let url = source["url"].as_str().unwrap().to_owned();
    let mut source = source;
    source["interval"] = json!("1s");
    world.apply("admin", &sync(name, &url, json!({"source": source})));
}

fn message(world: &World, name: &str, reason: &str) -> String {
    condition(&world.wait_reason(name, reason), "Ready")["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_repository_is_fetched_over_ssh_from_a_known_host_and_no_other() {
    let (world, repo) = repo("over-ssh");
    let commit = repo.push("Over ssh");
    let ssh = world.git.ssh();
    let source = json!({"url": ssh.url("over-ssh"), "secretRef": {"name": "over-ssh"}});
    secret(world, "over-ssh", json!({"identity": ssh.identity}));
    follow(world, "over-ssh", source);
    assert!(message(world, "over-ssh", "ArtifactFailed").contains("no known_hosts"));
    let foreign = std::fs::read_to_string(world.git.ssh_key("foreign-host").with_extension("pub")).unwrap();
    let host = ssh.known_hosts.split(' ').next().unwrap();
    let known_as = |key: &str| secret(world, "over-ssh", json!({"known_hosts": format!("{host} {key}")}));
    known_as(&foreign);
    eventually("another key is refused", PATIENCE, || {
        let text = condition(&world.status("over-ssh"), "Ready")["message"].to_string();
        if text.contains("has another key for 127.0.0.1") { Ok(()) } else { Err(text) }
    });
    secret(world, "over-ssh", json!({"known_hosts": ssh.known_hosts}));
    world.wait_applied("over-ssh", &commit);

    // Rotated: the key of another is not let in.
    let other = std::fs::read_to_string(world.git.ssh_key("other-user")).unwrap();
    secret(world, "over-ssh", json!({"identity": other}));
    assert!(message(world, "over-ssh", "ArtifactFailed").contains("refused the credentials"));
}

#[test]
fn tags_version_ranges_and_commits_are_followed() {
    let (world, repo) = repo("refs");
    let first = repo.push("One");
    repo.git(&["tag", "-a", "v1.2.0", "-m", "One"]);
    repo.write("settings.yaml", &config_map("refs", "settings", "blue"));
    let second = repo.push("Two");
    repo.git(&["tag", "v1.10.0"]);
    repo.git(&["tag", "v2.0.0-rc.1"]);
    repo.git(&["push", "--quiet", "--tags", "origin"]);
    let url = repo.url();
    secret(world, "refs", json!({"ca.crt": world.git.ca()}));
    let source = |reference: Value| json!({"url": url, "ref": reference, "secretRef": {"name": "refs"}});
    follow(world, "refs", source(json!({"tag": "v1.2.0"})));
    world.wait_applied("refs", &first);
    assert_eq!(world.status("refs")["lastAppliedRevision"], format!("v1.2.0@sha1:{first}"));
    follow(world, "refs", source(json!({"tag": null, "semver": ">=1.2 <2"})));
    world.wait_applied("refs", &second);
    assert_eq!(world.field("configmap/settings", "refs", "/data/color"), "blue");
    // Only the tip was fetched so far: the server is asked for the commit behind it.
    follow(world, "refs", source(json!({"semver": null, "commit": first})));
    world.wait_applied("refs", &first);
    assert_eq!(world.status("refs")["lastAppliedRevision"], format!("sha1:{first}"));
    let both = sync("refs", url, json!({"source": {"url": url, "ref": {"branch": "main", "commit": first}}}));
    assert!(world.try_apply("admin", &both).refused().contains("one of branch, tag, semver and commit"));
}

#[test]
fn only_commits_that_are_signed_by_a_listed_key_are_followed() {
    let (world, repo) = repo("signed");
    let (ours, foreign) = (world.git.ssh_key("ours"), world.git.ssh_key("foreign"));
    let public = std::fs::read_to_string(ours.with_extension("pub")).unwrap();
    secret(world, "signers", json!({"sam": public}));
    repo.git(&["config", "gpg.format", "ssh"]);
    let sign_with = |key: &std::path::Path| repo.git(&["config", "user.signingkey", &key.display().to_string()]);
    repo.push("Unsigned");
    let source = json!({"url": repo.file_url(), "verify": {"secretRef": {"name": "signers"}}});
    follow(world, "signed", source);
    assert!(message(world, "signed", "VerificationFailed").contains("it is not signed"));
    repo.git(&["config", "commit.gpgsign", "true"]);
    sign_with(&ours);
    repo.write("settings.yaml", &config_map("signed", "settings", "blue"));
    let good = repo.push("Ours");
    world.wait_applied("signed", &good);
    sign_with(&foreign);
    repo.write("settings.yaml", &config_map("signed", "settings", "red"));
    repo.push("Foreign");
    assert!(message(world, "signed", "VerificationFailed").contains("none of the keys"));
    assert_eq!(world.field("configmap/settings", "signed", "/data/color"), "blue");
}

/// GnuPG with a home of its own.
struct Gpg(tempfile::TempDir);

impl Gpg {
    fn new() -> Option<Gpg> {
        Command::new("gpg").arg("--version").output().ok()?;
        Some(Gpg(tempfile::tempdir().unwrap()))
    }

    fn run(&self, args: &[&str]) -> String {
        let quiet = ["--quiet", "--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""];
        let out = Command::new("gpg").arg("--homedir").arg(self.0.path()).args(quiet).args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Makes a key. Returns its fingerprint and the public key.
    fn key(&self, name: &str) -> (String, String) {
        self.run(&["--quick-generate-key", name, "ed25519", "sign,cert", "never"]);
        let list = self.run(&["--with-colons", "--list-keys", name]);
        let fingerprint = list.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':');
        (fingerprint.to_owned(), self.run(&["--armor", "--export", name]))
    }

    /// What git calls.
    fn program(&self) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let program = self.0.path().join("gpg");
        std::fs::write(&program, format!("#!/bin/sh\nexec gpg --homedir '{}' \"$@\"\n", self.0.path().display()))
            .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        program
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.0.path()).args(["--kill", "all"]).status();
    }
}

#[test]
fn openpgp_keys_are_listed_beside_ssh_keys() {
    let Some(gpg) = Gpg::new() else {
        eprintln!("NOT RUN: there is no gpg on the PATH, with which git signs");
        return;
    };
    let (world, repo) = repo("openpgp");
    let (ours, public) = gpg.key("ours@example.com");
    let (foreign, _) = gpg.key("foreign@example.com");
    let ssh = world.git.ssh_key("beside-openpgp");
    let line = std::fs::read_to_string(ssh.with_extension("pub")).unwrap();
    secret(world, "openpgp-signers", json!({"team": format!("# the team\n{public}{line}")}));
    let push_signed = |format: &str, key: &str, color: &str| {
        repo.git(&["config", "gpg.format", format]);
        repo.git(&["config", "user.signingkey", key]);
        repo.write("settings.yaml", &config_map("openpgp", "settings", color));
        repo.push(color)
    };
    repo.git(&["config", "gpg.program", &gpg.program().display().to_string()]);
    repo.git(&["config", "commit.gpgsign", "true"]);
    push_signed("openpgp", &foreign, "red");
    follow(world, "openpgp", json!({"url": repo.file_url(), "verify": {"secretRef": {"name": "openpgp-signers"}}}));
    let text = message(world, "openpgp", "VerificationFailed");
    assert!(text.contains(&format!("its signature is by {foreign}")) && text.contains(&ours), "{text}");
    world.wait_applied("openpgp", &push_signed("openpgp", &ours, "blue"));
    world.wait_applied("openpgp", &push_signed("ssh", &ssh.display().to_string(), "green"));

    // Its signature stays good, but another commit wears it.
    let signed = push_signed("openpgp", &ours, "white");
    world.wait_applied("openpgp", &signed);
    let forged = repo.git(&["cat-file", "commit", &signed]).replace("Sam <sam@example.com>", "Eve <eve@example.com>");
    let file = gpg.0.path().join("forged");
    std::fs::write(&file, forged).unwrap();
    let forged = repo.git(&["hash-object", "-t", "commit", "-w", &file.display().to_string()]);
    repo.git(&["push", "--quiet", "--force", "origin", &format!("{}:main", forged.trim())]);
    let text = message(world, "openpgp", "VerificationFailed");
    assert!(text.contains(&format!("names {ours}, but is not that key's signature of this commit")), "{text}");
}

#[test]
fn a_branch_that_was_rewritten_is_followed() {
    let (world, repo) = repo("rewritten");
    repo.push("One");
    repo.write("settings.yaml", &config_map("rewritten", "settings", "blue"));
    let second = repo.push("Two");
    world.follow("rewritten", &repo);
    world.wait_applied("rewritten", &second);
    repo.git(&["reset", "--quiet", "--hard", "HEAD^"]);
    repo.write("settings.yaml", &config_map("rewritten", "settings", "white"));
    repo.git(&["commit", "--quiet", "--all", "--message", "Instead"]);
    repo.git(&["push", "--quiet", "--force", "origin", "HEAD:main"]);
    world.wait_applied("rewritten", repo.git(&["rev-parse", "HEAD"]).trim());
    assert_eq!(world.field("configmap/settings", "rewritten", "/data/color"), "white");
}

#[test]
fn a_submodule_where_objects_are_declared_is_refused_and_elsewhere_passed_over() {
    let (world, repo) = repo("submodule");
    let add = |path: &str| {
        let head = repo.git(&["rev-parse", "HEAD"]);
        repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},{path}", head.trim())]);
        repo.git(&["commit", "--quiet", "--message", "A submodule"]);
        repo.git(&["push", "--quiet", "origin", "HEAD:main"]);
    };
    repo.write("app/kustomization.yaml", "resources: [settings.yaml]\n");
    repo.write("app/settings.yaml", &config_map("submodule", "settings", "green"));
    repo.push("A kustomization");
    add("vendor/other");
    let commit = repo.git(&["rev-parse", "HEAD"]);
    follow(world, "submodule", json!({"url": repo.file_url(), "path": "app"}));
    world.wait_applied("submodule", commit.trim());
    add("app/base");
    assert!(message(world, "submodule", "ArtifactFailed").contains("app/base is a submodule, which is not followed"));
}
