//! The archives of the program and of kubectl's plugin.

use std::process::Command;

use gitward_test_cluster::{Output, Tools};
use serde_json::Value;

use crate::{VERSION, files, gitward_command, release, unpack};

/// The commands that the program's help lists.
fn commands() -> Vec<String> {
    let help = gitward_command(&["--help"]);
    let listed = help.ok().split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let words = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = words.map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let commands = commands();
    assert!(commands.len() > 10 && commands.iter().any(|name| name == "verify"), "{commands:?}");
    let name = format!("gitward-{VERSION}-linux-amd64");
    let folder = unpack(&format!("{name}.tar.gz"));
    let read = |path: &str| std::fs::read_to_string(folder.path().join(&name).join(path)).unwrap();
    let scripts = ["gitward.bash", "_gitward", "gitward.fish"].map(|script| read(&format!("completions/{script}")));
    let overview = read("man/man1/gitward.1");
    for command in &commands {
        assert!(scripts.iter().all(|script| script.contains(command.as_str())), "{command}");
        let page = read(&format!("man/man1/gitward-{command}.1"));
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
        assert!(overview.contains(&format!("gitward\\-{command}(1)")), "{overview}");
    }
    let bash = folder.path().join(&name).join("completions/gitward.bash");
    Output::of(Command::new("bash").arg("-n").arg(bash), None).ok();
    assert!(read("LICENSE").contains("Apache License"));
}

#[test]
fn bash_completes_commands_and_options() {
    let script = "source <(\"$0\" completions bash); COMP_WORDS=(gitward \"$@\"); COMP_CWORD=$#; _gitward gitward \"${@: -1}\" \
                  \"\"; echo ${COMPREPLY[@]}";
    let complete = |words: &[&str]| {
        let mut bash = Command::new("bash");
        let output = Output::of(bash.args(["-c", script, env!("CARGO_BIN_EXE_gitward")]).args(words), None);
        output.ok().trim().to_owned()
    };
    assert_eq!(complete(&["ver"]), "verify");
    assert_eq!(complete(&["verify", "--k"]), "--key");
}

#[test]
fn krew_finds_the_plugin_and_kubectl_starts_it() {
    let files = files(release());
    let manifest: Value = serde_saphyr::from_slice(&files["krew.yaml"]).unwrap();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&"Plugin".into(), &"gitward".into()));
    let spec = &manifest["spec"];
    assert_eq!(spec["version"], format!("v{VERSION}"));
    let short = spec["shortDescription"].as_str().unwrap();
    assert!(!short.is_empty() && short.len() <= 50 && !short.ends_with('.'), "krew's rules of naming: {short}");
    let platforms = spec["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for platform in platforms {
        let arch = platform["selector"]["matchLabels"]["arch"].as_str().unwrap();
        let archive = format!("kubectl-gitward-{VERSION}-linux-{arch}.tar.gz");
        let uri = format!("https://github.com/gitward/gitward/releases/download/v{VERSION}/{archive}");
        assert_eq!(platform["uri"], uri);
        let sum = Output::of(Command::new("sha256sum").arg(release().join(&archive)), None);
        assert!(sum.ok().starts_with(platform["sha256"].as_str().unwrap()), "{archive}");
        // krew moves `from` to `to`, and links `bin`.
        let (unpacked, installed) = (unpack(&archive), tempfile::tempdir().unwrap());
        for file in platform["files"].as_array().unwrap() {
            let from = unpacked.path().join(file["from"].as_str().unwrap());
            std::fs::copy(&from, installed.path().join(from.file_name().unwrap())).unwrap();
        }
        assert!(installed.path().join(platform["bin"].as_str().unwrap()).exists());
        let path = format!("{}:{}", installed.path().display(), std::env::var("PATH").unwrap());
        let mut kubectl = Command::new(Tools::get().path("kubectl"));
        let help = Output::of(kubectl.args(["gitward", "verify", "--help"]).env("PATH", path), None);
        assert!(help.ok().contains("Usage: kubectl gitward verify"), "{}", help.stdout);
    }
}
