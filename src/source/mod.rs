//! First station of the flow `git ─► source ─► render ─► plan ─► apply ─► observe`: gets a commit and reads its files.
//!
//! A bare repository per URL is the cache; files are read from the commit's tree and nothing is ever checked out, so
//! no link, hook or filter of a repository can reach outside of it. Imports nothing of gitward's.

mod fetch;
mod tree;
mod trust;

use std::path::PathBuf;

use thiserror::Error;

pub use fetch::{Credentials, Remote, Revision, fetch};
pub use tree::{File, Tree};

/// Why there is no commit, or its files cannot be read. Nothing in the cluster changes because of one.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The repository cannot be reached, or refused us.
    #[error("repository {url} cannot be fetched: {message}")]
    Fetch {
        /// Which.
        url: String,
        /// What git said.
        message: String,
    },
    /// The branch is not there.
    #[error("repository {url} has no branch {branch}; it has {found}")]
    NoBranch {
        /// Which repository.
        url: String,
        /// What was asked for.
        branch: String,
        /// What there is.
        found: String,
    },
    /// The URL is of a kind that is not supported.
    #[error("{0}: only https:// and file:// repositories are supported")]
    Scheme(String),
    /// The cache cannot be written.
    #[error("the cache {path} cannot be used: {message}; check that the disk is not full")]
    Cache {
        /// Where.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The folder is not in the commit.
    #[error("the commit has no folder {0}")]
    NoFolder(String),
    /// A part of the tree that is not followed.
    #[error("{path} is a {what}, which is not followed: declare the objects in a file")]
    NotAFile {
        /// Where.
        path: String,
        /// Symbolic link or submodule.
        what: &'static str,
    },
    /// More than can be held.
    #[error("{0} is too large: at most {1} bytes")]
    TooLarge(String, usize),
    /// The cache is damaged.
    #[error("the commit cannot be read: {0}")]
    Read(#[from] git2::Error),
}
