//! The files of a commit.

use std::path::Path;

use git2::{ObjectType, Oid, Repository, Tree as GitTree};

use super::{Checkout, SourceError};

/// Largest manifest that is read.
const MAX_FILE: u64 = 16 << 20;
/// Most bytes that are read from one commit.
const MAX_TOTAL: u64 = 512 << 20;
/// Folders in folders. A tree made by hand could be deeper than any stack.
pub(super) const DEEPEST: usize = 64;
/// The file mode of a symbolic link in git.
pub(super) const LINK: i32 = 0o120_000;

/// A file of a commit.
#[derive(Debug)]
pub struct File {
    /// From the root of the repository.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// The tree of one commit in the cache.
pub struct Tree {
    repository: Repository,
    commit: Oid,
}

impl Tree {
    pub(super) fn new(repository: Repository, commit: Oid) -> Tree {
        Tree { repository, commit }
    }

    /// Reads the manifests (`.yaml`, `.yml`, `.json`) below a folder, in the order of their paths. Names that begin
    /// with a dot are passed over, as by other tools.
    ///
    /// # Errors
    /// Where the folder is missing, or something in it is not a plain file.
    pub fn manifests(&self, folder: &str) -> Result<Vec<File>, SourceError> {
        let mut reader = Reader { repository: &self.repository, files: Vec::new(), total: 0 };
        reader.read(&self.folder(folder)?, clean(folder), 0)?;
        Ok(reader.files)
    }

    /// The names of the files that stand directly in a folder.
    ///
    /// # Errors
    /// Where the folder is missing.
    pub fn names(&self, folder: &str) -> Result<Vec<String>, SourceError> {
        let tree = self.folder(folder)?;
        Ok(tree.iter().filter_map(|entry| entry.name().ok().map(str::to_owned)).collect())
    }

    /// Writes all files of the commit to disk, below the cache. Objects are declared in `folder`.
    ///
    /// # Errors
    /// Where the disk is full, the commit too large, or a part of the folder a submodule.
    pub fn check_out(&self, folder: &str, cache: &Path) -> Result<Checkout, SourceError> {
        Checkout::write(&self.repository, &self.folder("")?, clean(folder), cache)
    }

    fn folder(&self, folder: &str) -> Result<GitTree<'_>, SourceError> {
        let root = self.repository.find_commit(self.commit)?.tree()?;
        let folder = clean(folder);
        if folder.is_empty() {
            return Ok(root);
        }
        let missing = |_| SourceError::NoFolder(folder.to_owned());
        root.get_path(folder.as_ref())
            .and_then(|entry| entry.to_object(&self.repository)?.peel_to_tree())
            .map_err(missing)
    }
}

/// A folder as people write it: `./apps/`, `/apps` and `apps` are the same, and `.` is the root.
pub(crate) fn clean(folder: &str) -> &str {
    let folder = folder.trim_start_matches("./").trim_matches('/');
    if folder == "." { "" } else { folder }
}

struct Reader<'a> {
    repository: &'a Repository,
    files: Vec<File>,
    total: u64,
}

impl Reader<'_> {
    fn read(&mut self, tree: &GitTree<'_>, folder: &str, depth: usize) -> Result<(), SourceError> {
        if depth > DEEPEST {
            return Err(SourceError::TooDeep(folder.to_owned(), DEEPEST));
        }
        for entry in tree {
            let Ok(name) = entry.name() else { continue };
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            if name.starts_with('.') {
                continue;
            }
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let object = entry.to_object(self.repository)?;
                    if let Some(below) = object.as_tree() {
                        self.read(below, &path, depth + 1)?;
                    }
                }
                Some(ObjectType::Commit) => return Err(SourceError::NotAFile { path, what: "submodule" }),
                Some(ObjectType::Blob) if is_manifest(name) => {
                    if entry.filemode() == LINK {
                        return Err(SourceError::NotAFile { path, what: "symbolic link" });
                    }
                    self.take(path, entry.id())?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, path: String, id: Oid) -> Result<(), SourceError> {
        let (size, _) = self.repository.odb()?.read_header(id)?;
        let size = size as u64;
        self.total += size;
        if size > MAX_FILE {
            return Err(SourceError::TooLarge(path, MAX_FILE));
        }
        if self.total > MAX_TOTAL {
            return Err(SourceError::TooLarge("the folder of manifests".to_owned(), MAX_TOTAL));
        }
        let content = self.repository.find_blob(id)?.content().to_owned();
        self.files.push(File { path, content });
        Ok(())
    }
}

fn is_manifest(name: &str) -> bool {
    matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml" | "json")))
}
