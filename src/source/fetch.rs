//! Fetching a branch into the cache.

use std::path::{Path, PathBuf};

use git2::{
    AutotagOption, CertificateCheckStatus, Cred, CredentialType, Direction, FetchOptions, RemoteCallbacks,
    RemoteRedirect, Repository,
};

use super::trust::Trust;
use super::{SourceError, Tree};

/// A branch of a repository, and how to get at it.
#[derive(Clone)]
pub struct Remote {
    /// `https://…` or `file://…`, without credentials.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// Who we are, and whom we trust.
    pub credentials: Credentials,
}

/// What a GitSync's Secret holds; everything is optional.
#[derive(Clone, Default)]
pub struct Credentials {
    /// User name and password or token.
    pub login: Option<(String, String)>,
    /// The authority of the server's certificate, as PEM; without it the system's authorities are trusted.
    pub ca: Option<Vec<u8>>,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The branch.
    pub branch: String,
    /// The full hash.
    pub commit: String,
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@sha1:{}", self.branch, self.commit)
    }
}

/// Makes sure that the branch's newest commit is in the cache. Blocks: call it where blocking is allowed. Asks the
/// server once; where it has nothing new, nothing is transferred.
///
/// # Errors
/// Where the server, the branch or the cache is not as it should be.
pub fn fetch(cache: &Path, remote: &Remote) -> Result<(Revision, Tree), SourceError> {
    if !remote.url.starts_with("https://") && !remote.url.starts_with("file://") {
        return Err(SourceError::Scheme(remote.url.clone()));
    }
    let repository = open(cache, &remote.url)?;
    let fetched = from_remote(&repository, remote);
    let oid = fetched.map_err(|failure| failure.explain(remote))?;
    let revision = Revision { branch: remote.branch.clone(), commit: oid.to_string() };
    Ok((revision, Tree::new(repository, oid)))
}

fn open(cache: &Path, url: &str) -> Result<Repository, SourceError> {
    let path = cache.join("git").join(&blake3::hash(url.as_bytes()).to_hex()[..16]);
    Repository::open_bare(&path).or_else(|_| make(&path)).map_err(|message| SourceError::Cache { path, message })
}

/// A new cache in place of one that is missing or damaged.
fn make(path: &PathBuf) -> Result<Repository, String> {
    if path.exists() {
        std::fs::remove_dir_all(path).map_err(|error| error.to_string())?;
    }
    std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
    Repository::init_bare(path).map_err(|error| error.message().to_owned())
}

enum Failure {
    NoBranch(Vec<String>),
    Git(git2::Error, Option<String>),
}

impl Failure {
    fn explain(self, remote: &Remote) -> SourceError {
        let url = remote.url.clone();
        match self {
            Failure::NoBranch(found) => {
                let found = if found.is_empty() { "no branches at all".to_owned() } else { found.join(", ") };
                SourceError::NoBranch { url, branch: remote.branch.clone(), found }
            }
            Failure::Git(error, distrust) => {
                SourceError::Fetch { url, message: distrust.unwrap_or_else(|| error.message().trim().to_owned()) }
            }
        }
    }
}

/// How many branch names an error lists.
const MOST_BRANCHES: usize = 10;

fn from_remote(repository: &Repository, remote: &Remote) -> Result<git2::Oid, Failure> {
    let trust = Trust::new(&remote.credentials, &remote.url);
    let failed = |error| Failure::Git(error, trust.distrust());
    let mut git_remote = repository.remote_anonymous(&remote.url).map_err(failed)?;
    let name = format!("refs/heads/{}", remote.branch);
    let oid = {
        let connection = git_remote
            .connect_auth(Direction::Fetch, Some(callbacks(&remote.credentials, &trust)), None)
            .map_err(failed)?;
        let heads = connection.list().map_err(failed)?;
        let Some(head) = heads.iter().find(|head| head.name() == name) else {
            let branches = heads.iter().filter_map(|head| head.name().strip_prefix("refs/heads/"));
            return Err(Failure::NoBranch(branches.take(MOST_BRANCHES).map(str::to_owned).collect()));
        };
        head.oid()
    };
    let kept = format!("refs/gitward/{}", remote.branch);
    if repository.find_reference(&kept).ok().and_then(|kept| kept.target()) != Some(oid) {
        let mut options = FetchOptions::new();
        options.download_tags(AutotagOption::None).follow_redirects(RemoteRedirect::Initial);
        options.remote_callbacks(callbacks(&remote.credentials, &trust));
        if remote.url.starts_with("https://") {
            // The local transport has no depth.
            options.depth(1);
        }
        git_remote.fetch(&[format!("+{name}:{kept}")], Some(&mut options), None).map_err(failed)?;
    }
    // A push between the two requests is fetched by now: what is kept is the newest.
    repository.refname_to_id(&kept).map_err(failed)
}

fn callbacks<'a>(credentials: &'a Credentials, trust: &'a Trust) -> RemoteCallbacks<'a> {
    let mut callbacks = RemoteCallbacks::new();
    let mut tried = false;
    callbacks.credentials(move |_, _, allowed| match &credentials.login {
        // libgit2 asks again and again where the server refuses.
        Some((user, password)) if allowed.contains(CredentialType::USER_PASS_PLAINTEXT) && !tried => {
            tried = true;
            Cred::userpass_plaintext(user, password)
        }
        Some(_) => Err(git2::Error::from_str("the server refused the user name and password of secretRef")),
        None => Err(git2::Error::from_str(
            "the server wants a login: name a Secret with username and password in secretRef",
        )),
    });
    callbacks.certificate_check(|certificate, _| match trust.check(certificate) {
        None => Ok(CertificateCheckStatus::CertificatePassthrough),
        Some(Ok(())) => Ok(CertificateCheckStatus::CertificateOk),
        Some(Err(message)) => Err(git2::Error::from_str(&message)),
    });
    callbacks
}
