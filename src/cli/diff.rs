//! `gitward diff`

use std::path::PathBuf;
use std::process::ExitCode;

use gitward_core::fields::explain;
use json_patch::PatchOperation;
use serde_json::{Value, json};

use super::once;
use crate::api::SyncId;
use crate::render::Programs;
use crate::sync::{DiffError, Difference, Differences, diff};

/// Show what the reconciler would do with the newest commit of a GitSync: what it would create, change and prune. Reads git and
/// the cluster with your own rights, and writes nothing. Exit status 0: nothing, 1: something, 2: it could not be told.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The GitSync.
    name: String,
    /// Its namespace.
    #[arg(long, short, default_value = "gitward-system")]
    namespace: String,
    /// gitward's own namespace, where the inventories are.
    #[arg(long, env = "GITWARD_NAMESPACE", default_value = "gitward-system")]
    gitward_namespace: String,
    /// How to print: for people, or one JSON object a line with the change of each object as an RFC 6902 patch.
    #[arg(long, short, default_value = "text")]
    output: Format,
    /// The program that renders charts.
    #[arg(long, env = "GITWARD_HELM", default_value = "helm")]
    helm: PathBuf,
    /// The program that renders kustomizations.
    #[arg(long, env = "GITWARD_KUSTOMIZE", default_value = "kustomize")]
    kustomize: PathBuf,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Format {
    Text,
    JsonPatch,
}

pub(super) fn run(args: &Args) -> ExitCode {
    once(async |client| {
        let id = SyncId { namespace: args.namespace.clone(), name: args.name.clone() };
        let programs = Programs { helm: args.helm.clone(), kustomize: args.kustomize.clone() };
        let cache = tempfile::tempdir().map_err(DiffError::Cache)?;
        let found = diff(client, &id, &args.gitward_namespace, programs, cache.path().to_owned()).await?;
        match args.output {
            Format::Text => text(&found),
            Format::JsonPatch => json_patches(&found),
        }
        let nothing = found.changed.is_empty() && found.pruned.is_empty() && found.failed.is_empty();
        Ok::<_, DiffError>(ExitCode::from(u8::from(!nothing)))
    })
}

fn text(found: &Differences) {
    println!("{}", found.revision);
    for one in &found.changed {
        let what = if one.live.is_null() { "create" } else { "change" };
        println!("{what} {} ({})", one.key.in_words(), one.origin);
        if !one.live.is_null() {
            explain(&one.live, &one.after).iter().for_each(|line| println!("  {line}"));
        }
    }
    for key in &found.pruned {
        println!("prune {}: this GitSync has created it, and git no longer declares it", key.in_words());
    }
    for (object, origin, why) in &found.failed {
        println!("cannot apply {object} ({origin}): {why}");
    }
    println!(
        "{} to create or change, {} to prune, {} that cannot be applied, {} unchanged",
        found.changed.len(),
        found.pruned.len(),
        found.failed.len(),
        found.unchanged
    );
}

fn json_patches(found: &Differences) {
    for one in &found.changed {
        let action = if one.live.is_null() { "create" } else { "change" };
        println!(
            "{}",
            json!({"object": one.key.to_string(), "origin": one.origin, "action": action, "patch": patch(one)})
        );
    }
    for key in &found.pruned {
        println!("{}", json!({"object": key.to_string(), "action": "prune"}));
    }
    for (object, origin, why) in &found.failed {
        println!("{}", json!({"object": object, "origin": origin, "action": "none", "error": why}));
    }
}

/// The change as an RFC 6902 patch. Who owns what is the API server's to write, and values of Secrets are for nobody's eyes.
fn patch(one: &Difference) -> Value {
    let bare = |value: &Value| {
        let mut value = value.clone();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        value
    };
    let mut patch = json_patch::diff(&bare(&one.live), &bare(&one.after));
    if one.key.group.is_empty() && one.key.kind == "Secret" {
        for operation in &mut patch.0 {
            match operation {
                PatchOperation::Add(add) => add.value = json!("(hidden)"),
                PatchOperation::Replace(replace) => replace.value = json!("(hidden)"),
                _ => {}
            }
        }
    }
    json!(patch)
}
