//! First station of the flow `git ─► source ─► render ─► plan ─► apply ─► observe`: gets a commit and reads its files.
//!
//! A bare repository per URL is the cache; files are read from the commit's tree and no hook or filter of a repository is
//! ever run. Imports nothing of gitward's.

mod checkout;
mod fetch;
mod openpgp;
mod remote;
mod repositories;
mod select;
mod tree;
mod trust;
mod verify;

use std::path::PathBuf;

use thiserror::Error;

pub use checkout::Checkout;
pub use fetch::Commit;
pub use remote::{Credentials, Login, Remote};
pub use repositories::{Repositories, Wanted};
pub use select::{Follow, Revision};
pub(crate) use tree::clean;
pub use tree::{File, Tree};
pub use verify::Signers;

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
    /// What is followed is not there.
    #[error("repository {url} has no {wanted}; it has {found}")]
    NoReference {
        /// Which repository.
        url: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The range of versions cannot be read.
    #[error("{0:?} of spec.source.ref.semver is no range of semantic versions: {1}")]
    Range(String, semver::Error),
    /// The URL is of a kind that is not supported.
    #[error("{0}: only https://, ssh:// and file:// repositories are supported")]
    Scheme(String),
    /// The commit is not signed by one of those whose commits count.
    #[error("commit {commit} is not followed: {why}")]
    Unverified {
        /// Its hash.
        commit: String,
        /// What is wrong with its signature.
        why: String,
    },
    /// What should hold public keys does not.
    #[error("spec.source.verify.secretRef: {0}")]
    Signers(String),
    /// The cache cannot be written.
    #[error("the cache {path} cannot be used: {message}; check that the disk is not full")]
    Cache {
        /// Where.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// Files of the cache were changed by something else, or lost.
    #[error("the cache of repository {url} is damaged ({message}); it is made anew")]
    Damaged {
        /// Which repository.
        url: String,
        /// What git said.
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
    /// Deeper than anybody means.
    #[error("{0} is more than {1} folders deep")]
    TooDeep(String, usize),
    /// More than can be held.
    #[error("{0} is too large: at most {1} bytes")]
    TooLarge(String, u64),
    /// The cache is damaged.
    #[error("the commit cannot be read: {0}")]
    Read(#[from] git2::Error),
    /// The server does not answer, or has very much to say.
    #[error("repository {url}: the fetch is not through after {seconds} s; it goes on, and is looked at again")]
    Slow {
        /// Which.
        url: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A task of the program ended.
    #[error("the fetch was interrupted")]
    Interrupted,
}

impl SourceError {
    /// Whether a new cache may mend it.
    fn is_damage(&self) -> bool {
        matches!(self, SourceError::Damaged { .. } | SourceError::Read(_))
    }
}
