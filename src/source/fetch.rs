//! Speaking with a git server: what it has, and getting a commit into the cache. Blocks.

use std::path::{Path, PathBuf};

use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, ErrorClass, FetchOptions, Oid, RemoteCallbacks,
    RemoteRedirect, Repository, RepositoryInitOptions,
};
use tempfile::TempDir;

use super::remote::{Login, Remote};
use super::select::{Chosen, Heads, Revision};
use super::trust::Trust;
use super::{Signers, SourceError, Tree};

/// A commit that is in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Which.
    pub revision: Revision,
    /// Who wrote it.
    pub author: String,
    /// The first line of its message.
    pub message: String,
}

/// More packs than this, and the cache is made anew: libgit2 cannot clean it up, and every fetch adds one.
const MOST_PACKS: usize = 64;

/// Asks the server what it has.
///
/// # Errors
/// Where the server or the cache is not as it should be.
pub(super) fn list(cache: &Path, remote: &Remote) -> Result<Heads, SourceError> {
    if !["https://", "ssh://", "file://"].iter().any(|scheme| remote.url.starts_with(scheme)) {
        return Err(SourceError::Scheme(remote.url.clone()));
    }
    let trust = Trust::new(&remote.credentials, &remote.url);
    let ask = || {
        let repository = open(cache, &remote.url)?;
        let mut server = repository.remote_anonymous(&remote.url)?;
        // A fetch of nothing: a mere connection could send no header, and so no token.
        server.fetch(&["+refs/gitward/none:refs/gitward/none"], Some(&mut options(remote, &trust)), None)?;
        let heads = server.list()?;
        Ok(heads.iter().map(|head| (head.name().to_owned(), head.oid().to_string())).collect())
    };
    ask().map_err(|failure| explain(failure, remote, &trust))
}

/// Makes sure that a commit is in the cache, and that it is signed where it has to be. Where it is there already, nothing is
/// transferred, if the server has shown it to us before (`is_shown`). Else somebody else may have brought it: then we get it
/// once ourselves.
///
/// # Errors
/// Where it cannot be had, or is not signed as it has to be.
pub(super) fn get(
    cache: &Path,
    remote: &Remote,
    chosen: &Chosen,
    signers: Option<&Signers>,
    is_shown: bool,
) -> Result<(Commit, Tree), SourceError> {
    let trust = Trust::new(&remote.credentials, &remote.url);
    let fetched = open(cache, &remote.url).and_then(|repository| {
        // Files have no credentials that could be refused.
        let is_ours = is_shown || remote.url.starts_with("file://");
        let wanted = Oid::from_str(&chosen.commit)?;
        if !is_ours && is_whole(&repository, wanted) {
            let (aside, _folder) = aside(cache)?;
            have(&aside, remote, chosen, &trust)?;
        }
        let oid = have(&repository, remote, chosen, &trust)?;
        Ok((repository, oid))
    });
    let (repository, oid) = fetched.map_err(|failure| explain(failure, remote, &trust))?;
    if let Some(signers) = signers {
        signers.check(&repository, oid)?;
    }
    let commit = describe(&repository, oid, chosen)?;
    Ok((commit, Tree::new(repository, oid)))
}

fn describe(repository: &Repository, oid: Oid, chosen: &Chosen) -> Result<Commit, SourceError> {
    let commit = repository.find_commit(oid)?;
    Ok(Commit {
        revision: Revision { name: chosen.name.clone(), commit: oid.to_string() },
        author: String::from_utf8_lossy(commit.author().name_bytes()).into_owned(),
        message: String::from_utf8_lossy(commit.message_bytes()).lines().next().unwrap_or_default().to_owned(),
    })
}

enum Failure {
    Cache(SourceError),
    Git(git2::Error),
    Damaged(String),
    NoCommit(String),
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Failure {
        Failure::Git(error)
    }
}

fn explain(failure: Failure, remote: &Remote, trust: &Trust) -> SourceError {
    let url = remote.url.clone();
    match failure {
        Failure::Cache(error) => error,
        Failure::Damaged(message) => SourceError::Damaged { url, message },
        Failure::Git(error) if is_damage(&error) => {
            SourceError::Damaged { url, message: error.message().trim().to_owned() }
        }
        Failure::Git(error) => {
            let message = trust.distrust().unwrap_or_else(|| error.message().trim().to_owned());
            SourceError::Fetch { url, message }
        }
        Failure::NoCommit(commit) => SourceError::NoReference {
            url,
            wanted: format!("commit {commit}"),
            found: "no branch or tag that leads to it".to_owned(),
        },
    }
}

/// Where the cache of a repository is.
fn place(cache: &Path, url: &str) -> PathBuf {
    // The whole hash: nobody finds a URL that shares its place with another.
    cache.join("git").join(blake3::hash(url.as_bytes()).to_hex().as_str())
}

/// Whether an error is of the cache's own files, and not of the server or the way to it. An error of the operating system may be
/// either, and a full disk is no damage.
fn is_damage(error: &git2::Error) -> bool {
    use ErrorClass::{Config, Indexer, Object, Odb, Reference, Repository, Sha1, Tag, Tree, Zlib};
    matches!(error.class(), Config | Indexer | Object | Odb | Reference | Repository | Sha1 | Tag | Tree | Zlib)
}

/// Removes the cache of a repository, which is damaged: the next look makes it anew.
pub(super) fn forget(cache: &Path, url: &str) {
    // What cannot be removed is reported when it is used again.
    let _ = std::fs::remove_dir_all(place(cache, url));
}

fn open(cache: &Path, url: &str) -> Result<Repository, Failure> {
    let path = place(cache, url);
    let open = || if has_grown(&path) { None } else { Repository::open_bare(&path).ok() };
    let made = open().map_or_else(|| make(&path), Ok);
    made.map_err(|message| Failure::Cache(SourceError::Cache { path, message }))
}

/// How the folders of [`aside`] begin.
const ASIDE: &str = "aside-";

/// Removes what a crash has left beside the caches.
pub(super) fn tidy(cache: &Path) {
    let entries = std::fs::read_dir(cache.join("git")).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(ASIDE)) {
        // What cannot be removed only takes its place.
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// An empty cache that is gone with the folder.
fn aside(cache: &Path) -> Result<(Repository, TempDir), Failure> {
    let below = cache.join("git");
    let unusable = |path: &Path, message: String| Failure::Cache(SourceError::Cache { path: path.to_owned(), message });
    let folder = tempfile::Builder::new().prefix(ASIDE).tempdir_in(&below);
    let folder = folder.map_err(|error| unusable(&below, error.to_string()))?;
    let path = folder.path().join("repository");
    let repository = make(&path).map_err(|message| unusable(&path, message))?;
    Ok((repository, folder))
}

fn has_grown(path: &Path) -> bool {
    std::fs::read_dir(path.join("objects/pack")).is_ok_and(|packs| packs.count() / 2 > MOST_PACKS)
}

/// A new cache in place of one that is missing, damaged or grown.
fn make(path: &PathBuf) -> Result<Repository, String> {
    if path.exists() {
        std::fs::remove_dir_all(path).map_err(|error| error.to_string())?;
    }
    std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
    // The templates of the system's git are for people: none of their hooks and hints is ever needed.
    let mut options = RepositoryInitOptions::new();
    let made = Repository::init_opts(path, options.bare(true).external_template(false));
    made.map_err(|error| error.message().to_owned())
}

/// Has the commit in the cache: it is there, or its reference brings it, or the server gives single commits, or it is found in
/// all that the server has.
fn have(repository: &Repository, remote: &Remote, chosen: &Chosen, trust: &Trust) -> Result<Oid, Failure> {
    let oid = Oid::from_str(&chosen.commit)?;
    if is_whole(repository, oid) {
        return Ok(oid);
    }
    // The server would not send again what we seem to have.
    if repository.odb()?.exists(oid) {
        return Err(Failure::Damaged(format!("commit {oid} cannot be read")));
    }
    if !chosen.reference.is_empty() {
        // By its hash: a branch `a` and a branch `a/b` that came after it would not both find a place as files.
        let kept = format!("refs/gitward/kept/{}", blake3::hash(chosen.reference.as_bytes()).to_hex());
        fetch(repository, remote, trust, &format!("+{}:{kept}", chosen.reference), true)?;
        // A push between the two requests is fetched by now: what is kept is the newest.
        return Ok(repository.find_reference(&kept)?.peel_to_commit()?.id());
    }
    let single = fetch(repository, remote, trust, &format!("+{oid}:refs/gitward/commits/{oid}"), true);
    if single.is_err() || !is_whole(repository, oid) {
        forget_all(repository)?;
        fetch(repository, remote, trust, "+refs/*:refs/gitward/all/*", false)?;
    }
    if is_whole(repository, oid) { Ok(oid) } else { Err(Failure::NoCommit(chosen.commit.clone())) }
}

/// What the server has may be called differently now, and old names stand in the way of new ones.
fn forget_all(repository: &Repository) -> Result<(), git2::Error> {
    for reference in repository.references_glob("refs/gitward/all/*")? {
        reference?.delete()?;
    }
    Ok(())
}

fn is_whole(repository: &Repository, oid: Oid) -> bool {
    repository.find_commit(oid).and_then(|commit| commit.tree()).is_ok()
}

fn fetch(
    repository: &Repository,
    remote: &Remote,
    trust: &Trust,
    refspec: &str,
    shallow: bool,
) -> Result<(), git2::Error> {
    let mut options = options(remote, trust);
    // The local transport has no depth.
    if shallow && !remote.url.starts_with("file://") {
        options.depth(1);
    }
    repository.remote_anonymous(&remote.url)?.fetch(&[refspec], Some(&mut options), None)
}

fn options<'a>(remote: &'a Remote, trust: &'a Trust) -> FetchOptions<'a> {
    let mut options = FetchOptions::new();
    options.download_tags(AutotagOption::None).follow_redirects(RemoteRedirect::Initial).update_fetchhead(false);
    options.remote_callbacks(callbacks(remote, trust));
    if let Login::Bearer(token) = &remote.credentials.login {
        options.custom_headers(&[&format!("Authorization: Bearer {token}")]);
    }
    options
}

fn callbacks<'a>(remote: &'a Remote, trust: &'a Trust) -> RemoteCallbacks<'a> {
    let mut callbacks = RemoteCallbacks::new();
    let mut tried = false;
    callbacks.credentials(move |_, user, allowed| {
        // The server of an ssh repository asks for the user's name first, where the URL has none.
        if allowed == CredentialType::USERNAME {
            return Cred::username("git");
        }
        // libgit2 asks again and again where the server refuses.
        if std::mem::replace(&mut tried, true) {
            return Err(git2::Error::from_str("the server refused the credentials of secretRef"));
        }
        match &remote.credentials.login {
            Login::Password(user, password) if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) => {
                Cred::userpass_plaintext(user, password)
            }
            Login::Key(key, password) if allowed.contains(CredentialType::SSH_MEMORY) => {
                Cred::ssh_key_from_memory(user.unwrap_or("git"), None, key, password.as_deref())
            }
            _ if remote.url.starts_with("ssh://") => Err(git2::Error::from_str(
                "the server wants a key: name a Secret with identity and known_hosts in secretRef",
            )),
            _ => Err(git2::Error::from_str(
                "the server wants a login: name a Secret with username and password, or bearerToken, in secretRef",
            )),
        }
    });
    callbacks.certificate_check(|certificate, _| match trust.check(certificate) {
        None => Ok(CertificateCheckStatus::CertificatePassthrough),
        Some(Ok(())) => Ok(CertificateCheckStatus::CertificateOk),
        Some(Err(message)) => Err(git2::Error::from_str(&message)),
    });
    callbacks
}
