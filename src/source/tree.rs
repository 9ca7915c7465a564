//! The files of a commit.

use git2::{ObjectType, Oid, Repository, Tree as GitTree};

use super::SourceError;

/// Largest manifest that is read.
const MAX_FILE: usize = 16 << 20;
/// Most bytes that are read from one commit.
const MAX_TOTAL: usize = 512 << 20;
/// The file mode of a symbolic link in git.
const LINK: i32 = 0o120_000;

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
        let root = self.repository.find_commit(self.commit)?.tree()?;
        let folder = folder.trim_start_matches("./").trim_matches('/');
        let mut reader = Reader { repository: &self.repository, files: Vec::new(), total: 0 };
        if folder.is_empty() || folder == "." {
            reader.read(&root, "")?;
        } else {
            let entry = root.get_path(folder.as_ref()).map_err(|_| SourceError::NoFolder(folder.to_owned()))?;
            let object = entry.to_object(&self.repository)?;
            let tree = object.as_tree().ok_or_else(|| SourceError::NoFolder(folder.to_owned()))?;
            reader.read(tree, folder)?;
        }
        Ok(reader.files)
    }
}

struct Reader<'a> {
    repository: &'a Repository,
    files: Vec<File>,
    total: usize,
}

impl Reader<'_> {
    fn read(&mut self, tree: &GitTree<'_>, folder: &str) -> Result<(), SourceError> {
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
                        self.read(below, &path)?;
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
