//! The files of a commit on disk, for renderers that are programs of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Repository, Tree as GitTree};
use tempfile::TempDir;

use super::SourceError;
use super::tree::{DEEPEST, LINK};

/// Most bytes that are written for one commit.
const MAX_TOTAL: u64 = 2 << 30;

/// A folder with the files of a commit. Gone with the value.
///
/// Links are left out: they could lead out of the folder. So are git's own files, and submodules, which are other repositories;
/// one where objects are declared is an error.
pub struct Checkout {
    dir: TempDir,
}

impl Checkout {
    /// The root of the repository.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// A place beside the root, for what renderers need.
    pub fn aside(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn write(
        repository: &Repository,
        tree: &GitTree<'_>,
        folder: &str,
        cache: &Path,
    ) -> Result<Checkout, SourceError> {
        let full = |error: std::io::Error| SourceError::Cache { path: cache.to_owned(), message: error.to_string() };
        let below = cache.join("work");
        fs::create_dir_all(&below).map_err(full)?;
        let only_us = fs::Permissions::from_mode(0o700);
        // A long random name: no path of a repository can guess its way into the files of another.
        let dir = tempfile::Builder::new().rand_bytes(32).permissions(only_us).tempdir_in(&below).map_err(full)?;
        let checkout = Checkout { dir };
        let mut writer = Writer { repository, folder, total: 0 };
        writer.write(tree, &checkout.root(), "", 0).map_err(|failure| match failure {
            Failure::Io(error) => full(error),
            Failure::Git(error) => error.into(),
            Failure::TooDeep(path) => SourceError::TooDeep(path, DEEPEST),
            Failure::Submodule(path) => SourceError::NotAFile { path, what: "submodule" },
            Failure::TooLarge => SourceError::TooLarge("the commit".to_owned(), MAX_TOTAL),
        })?;
        Ok(checkout)
    }
}

enum Failure {
    Io(std::io::Error),
    Git(git2::Error),
    Submodule(String),
    TooDeep(String),
    TooLarge,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Failure {
        Failure::Git(error)
    }
}

struct Writer<'a> {
    repository: &'a Repository,
    /// Where objects are declared.
    folder: &'a str,
    total: u64,
}

impl Writer<'_> {
    fn write(&mut self, tree: &GitTree<'_>, folder: &Path, shown: &str, depth: usize) -> Result<(), Failure> {
        if depth > DEEPEST {
            return Err(Failure::TooDeep(shown.to_owned()));
        }
        fs::create_dir(folder)?;
        for entry in tree {
            // git itself refuses to make entries of these names; an object made by hand may hold them.
            let Ok(name) = entry.name() else { continue };
            if name.is_empty()
                || name.contains(['/', '\0'])
                || [".", ".."].contains(&name)
                || name.eq_ignore_ascii_case(".git")
            {
                continue;
            }
            let path = folder.join(name);
            let shown = if shown.is_empty() { name.to_owned() } else { format!("{shown}/{name}") };
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    if let Some(below) = entry.to_object(self.repository)?.as_tree() {
                        self.write(below, &path, &shown, depth + 1)?;
                    }
                }
                Some(ObjectType::Blob) if entry.filemode() != LINK => {
                    self.total += self.repository.odb()?.read_header(entry.id())?.0 as u64;
                    if self.total > MAX_TOTAL {
                        return Err(Failure::TooLarge);
                    }
                    fs::write(&path, self.repository.find_blob(entry.id())?.content())?;
                }
                Some(ObjectType::Commit) if Path::new(&shown).starts_with(self.folder) => {
                    return Err(Failure::Submodule(shown));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
