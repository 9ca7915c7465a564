//! Second station: from files to objects, each with the place that declares it.
//!
//! Imports [`crate::source`] for the files, and [`crate::api`] for what a GitSync says about rendering.

mod chart;
mod helm;
mod kustomize;
mod plain;
mod program;
mod spool;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::api::{Helm, Renderer};
use crate::source::{Checkout, File, SourceError, Tree};

pub use helm::Cluster;
pub use program::Programs;
pub use spool::{Slice, Spool, SpoolError};

/// An object as a file declares it.
#[derive(Debug)]
pub struct Declared {
    /// The object; a JSON object with `apiVersion`, `kind` and `metadata.name`.
    pub object: Value,
    /// Where it is declared.
    pub origin: Origin,
}

/// A line in a file of the repository, or the best that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// From the root of the repository.
    pub file: String,
    /// Counted from 1; 0 where it is not known.
    pub line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Why a commit gives no objects. Names the file and line to mend; nothing in the cluster changes because of one.
#[derive(Debug, Error)]
pub enum RenderError {
    /// The file is no YAML.
    #[error("{origin}: {message}")]
    Yaml {
        /// Where the parser stopped.
        origin: String,
        /// What it said.
        message: String,
    },
    /// A document is no Kubernetes object.
    #[error("{origin}: not a Kubernetes object: {why}")]
    NoObject {
        /// Where it begins.
        origin: String,
        /// What it lacks.
        why: String,
    },
    /// The folder declares nothing.
    #[error("the folder {0:?} declares no object; nothing is pruned because of that")]
    Empty(String),
    /// What is named is on another server.
    #[error(
        "{file} names {entry:?}, which is not in the repository: put a copy into git, or set spec.render.allowRemote"
    )]
    Remote {
        /// The file that names it.
        file: String,
        /// What it names.
        entry: String,
    },
    /// A program could not be run, or failed.
    #[error("{program}: {message}")]
    Program {
        /// What was run, such as `helm template`.
        program: String,
        /// What it said.
        message: String,
    },
    /// A chart cannot be had from its server.
    #[error("{chart}: {message}{}{advice}", if advice.is_empty() { "" } else { "; " })]
    Chart {
        /// Its address.
        chart: String,
        /// What Helm said.
        message: String,
        /// What to do, where that is known.
        advice: String,
    },
    /// What the GitSync says about rendering cannot be followed.
    #[error("{0}")]
    Instructions(String),
    /// The cache cannot be written.
    #[error("the cache cannot be written: {0}; check that the disk is not full")]
    Io(#[from] std::io::Error),
}

/// How a GitSync wants its folder rendered.
#[derive(Clone)]
pub struct Instructions {
    /// The folder, from the root of the repository.
    pub folder: String,
    /// Which renderer.
    pub renderer: Renderer,
    /// Whether what is not in the repository may be fetched.
    pub allow_remote: bool,
    /// What Helm is given.
    pub helm: Helm,
    /// The name of the release where `helm` names none.
    pub name: String,
    /// The namespace of the release.
    pub namespace: String,
    /// Values from ConfigMaps and Secrets, as YAML; a later one wins.
    pub values_from: Vec<Vec<u8>>,
    /// Who we are towards the server of the chart.
    pub chart_login: chart::Login,
}

pub use chart::Login as ChartLogin;

/// What is taken from the commit to be rendered.
pub enum Material {
    /// Manifests, read.
    Manifests(Vec<File>),
    /// All files on disk, for kustomize.
    Kustomize(Checkout),
    /// All files on disk, for Helm.
    Helm(Checkout),
}

/// Takes from a commit what its renderer needs. Blocks.
///
/// # Errors
/// Where the commit cannot be read or the cache not be written.
pub fn gather(tree: &Tree, instructions: &Instructions, cache: &Path) -> Result<Material, SourceError> {
    let folder = instructions.folder.as_str();
    let renderer = match instructions.renderer {
        Renderer::Auto if instructions.helm.chart.is_some() => Renderer::Helm,
        Renderer::Auto => {
            let names = tree.names(folder)?;
            let has = |wanted: &[&str]| names.iter().any(|name| wanted.contains(&name.as_str()));
            if has(&["Chart.yaml"]) {
                Renderer::Helm
            } else if has(&kustomize::FILES) {
                Renderer::Kustomize
            } else {
                Renderer::Plain
            }
        }
        given => given,
    };
    Ok(match renderer {
        Renderer::Helm => Material::Helm(tree.check_out(folder, cache)?),
        Renderer::Kustomize => Material::Kustomize(tree.check_out(folder, cache)?),
        Renderer::Plain | Renderer::Auto => Material::Manifests(tree.manifests(folder)?),
    })
}

/// What a commit declares.
pub struct Rendered {
    /// The objects.
    pub objects: Vec<Declared>,
    /// A hash of what they were rendered from beside git; `None` where that cannot be told.
    pub input: Option<String>,
}

/// Renders what was gathered; `None` where it would be rendered from the same `input` as before. Charts that make random values
/// are not rendered anew without need.
///
/// # Errors
/// For the first thing that cannot be rendered, and where there is no object at all.
pub async fn render(
    material: &Material,
    instructions: &Instructions,
    programs: &Programs,
    cluster: &Cluster,
    cache: &Path,
    known: Option<&str>,
) -> Result<Option<Rendered>, RenderError> {
    let (objects, input) = match material {
        Material::Manifests(files) => (plain::render(files)?, Some(String::new())),
        Material::Kustomize(checkout) => {
            // Nobody knows what other servers answer.
            let input = (!instructions.allow_remote).then(String::new);
            (kustomize::render(checkout, instructions, programs).await?, input)
        }
        Material::Helm(checkout) => {
            let chart = helm::chart(checkout, instructions, programs, cache).await?;
            let input = helm::input(&chart, instructions)?;
            if known.is_some() && known == input.as_deref() {
                return Ok(None);
            }
            (helm::render(checkout, &chart, instructions, programs, cluster).await?, input)
        }
    };
    if objects.is_empty() {
        return Err(RenderError::Empty(instructions.folder.clone()));
    }
    Ok(Some(Rendered { objects, input }))
}

/// A folder of the repository on disk. `None` where it leads out of the repository, or is none.
fn folder_of(checkout: &Checkout, folder: &str) -> Option<PathBuf> {
    let stays = Path::new(crate::source::clean(folder))
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    let path = checkout.root().join(crate::source::clean(folder));
    (stays && path.is_dir()).then_some(path)
}
