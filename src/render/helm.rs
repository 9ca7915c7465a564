//! Charts, by `helm template`.
//!
//! Helm is only the template engine: nothing is a release. `lookup` finds nothing, hooks are objects like all others with
//! their annotations (see the plan for what becomes of them), tests are left out.

use std::path::{Path, PathBuf};

use super::chart::{complete, pull};
use super::plain::{line_of, parse, take};
use super::program::{Programs, Run};
use super::{Declared, Instructions, Origin, RenderError, folder_of};
use crate::source::{Checkout, File, SourceError};

/// What charts ask of the cluster (`.Capabilities`).
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Its version, as `v1.33.2`.
    pub version: String,
    /// What it serves, as `apps/v1` and `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
}

/// The chart of a folder, or the one that the GitSync names.
pub(super) async fn chart(
    checkout: &Checkout,
    instructions: &Instructions,
    programs: &Programs,
    cache: &Path,
) -> Result<PathBuf, RenderError> {
    let home = checkout.aside();
    match &instructions.helm.chart {
        Some(chart) => pull(chart, instructions, programs, home, cache).await,
        None => {
            let folder = folder(checkout, instructions)?;
            complete(checkout, &folder, instructions, programs, home).await?;
            Ok(folder)
        }
    }
}

fn folder(checkout: &Checkout, instructions: &Instructions) -> Result<PathBuf, RenderError> {
    let missing = || RenderError::Instructions(SourceError::NoFolder(instructions.folder.clone()).to_string());
    folder_of(checkout, &instructions.folder).ok_or_else(missing)
}

/// A hash of what a chart is rendered from beside git; `None` where it has dependencies of elsewhere.
pub(super) fn input(chart: &Path, instructions: &Instructions) -> Result<Option<String>, RenderError> {
    let mut hasher = blake3::Hasher::new();
    if instructions.helm.chart.is_some() {
        hasher.update(&std::fs::read(chart)?);
    } else if instructions.allow_remote {
        return Ok(None);
    }
    for values in &instructions.values_from {
        hasher.update(&(values.len() as u64).to_le_bytes()).update(values);
    }
    Ok(Some(hasher.finalize().to_hex().to_string()))
}

/// Renders a chart.
pub(super) async fn render(
    checkout: &Checkout,
    chart: &Path,
    instructions: &Instructions,
    programs: &Programs,
    cluster: &Cluster,
) -> Result<Vec<Declared>, RenderError> {
    let (home, folder) = (checkout.aside(), folder(checkout, instructions)?);
    let release = instructions.helm.release_name.as_ref().unwrap_or(&instructions.name);
    let mut args = vec!["template".to_owned(), release.clone(), chart.display().to_string()];
    args.extend(["--namespace", &instructions.namespace, "--include-crds", "--skip-tests"].map(str::to_owned));
    for file in values(checkout, &folder, instructions)? {
        args.extend(["--values".to_owned(), quoted(&file)]);
    }
    if !cluster.version.is_empty() {
        args.extend(["--kube-version".to_owned(), cluster.version.clone()]);
    }
    args.extend(cluster.api_versions.iter().map(|version| format!("--api-versions={version}")));
    let run = Run { program: &programs.helm, name: "helm template", args, home, network: false };
    objects(run.output().await?, instructions)
}

/// The files with values, in the order in which they win.
fn values(checkout: &Checkout, folder: &Path, instructions: &Instructions) -> Result<Vec<String>, RenderError> {
    let mut files = Vec::new();
    for name in &instructions.helm.values_files {
        let path = folder.join(name);
        let stays = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !stays || !path.is_file() {
            let what = format!("spec.render.helm.valuesFiles: there is no file {name} below the folder of the GitSync");
            return Err(RenderError::Instructions(what));
        }
        files.push(path.display().to_string());
    }
    let spec = serde_json::to_vec(&instructions.helm.values).map_err(std::io::Error::other)?;
    for (n, content) in instructions.values_from.iter().chain([&spec]).enumerate() {
        let path = checkout.aside().join(format!("values-{n}.yaml"));
        std::fs::write(&path, content)?;
        files.push(path.display().to_string());
    }
    Ok(files)
}

/// One path for Helm, which reads a list of them, as a line of CSV: a comma in the name of a file would begin a second path, which
/// could be any file of the reconciler's disk.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('"', "\"\""))
}

fn objects(output: Vec<u8>, instructions: &Instructions) -> Result<Vec<Declared>, RenderError> {
    // Helm says before each document which template made it.
    let text = String::from_utf8_lossy(&output).into_owned();
    let sources: Vec<(u64, &str)> =
        (1..).zip(text.lines()).filter_map(|(n, line)| Some((n, line.strip_prefix("# Source: ")?))).collect();
    let mut objects = Vec::new();
    for document in parse(&File { path: "helm template".to_owned(), content: output })? {
        let before = sources.partition_point(|(n, _)| *n <= line_of(&document));
        let source = before.checked_sub(1).and_then(|at| sources.get(at)).map_or("", |(_, source)| source);
        take(document.value, origin(source, instructions), &mut objects)?;
    }
    Ok(objects)
}

/// Templates are named from the name of the chart on.
fn origin(source: &str, instructions: &Instructions) -> Origin {
    let template = source.split_once('/').map_or(source, |(_, template)| template);
    let file = match (&instructions.helm.chart, crate::source::clean(&instructions.folder)) {
        (Some(chart), _) => format!("chart {} {}: {template}", chart.name, chart.version),
        (None, "") => template.to_owned(),
        (None, folder) => format!("{folder}/{template}"),
    };
    Origin { file, line: 0 }
}
