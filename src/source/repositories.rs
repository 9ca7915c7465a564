//! All repositories that are followed: one fetch at a time of each, and one answer for all who ask at about the same time with
//! the same credentials.
//!
//! The cache of a repository is shared, what is in it is not: nobody gets a commit that the server did not show to their own
//! credentials.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;
use tracing::warn;

use super::fetch::{Commit, forget, get, list, tidy};
use super::remote::Identity;
use super::select::{Chosen, Follow, Heads, Revision, select};
use super::{Remote, Signers, SourceError, Tree};

/// How long a run waits for a repository. A fetch that takes longer goes on, and the next run finds what it brought;
/// meanwhile other repositories have their turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is wanted of a repository.
#[derive(Clone)]
pub struct Wanted {
    /// The repository.
    pub remote: Remote,
    /// What is followed.
    pub follow: Follow,
    /// Whose commits count; any where it is `None`.
    pub signers: Option<Arc<Signers>>,
    /// How old the server's last answer may be.
    pub max_age: Duration,
}

/// How many identities are known of one repository.
const MOST_IDENTITIES: usize = 256;
/// How many commits are remembered that a server gave to an identity.
const MOST_GIVEN: usize = 256;

/// What a server showed to somebody.
#[derive(Default)]
struct Shown {
    /// When it was asked for what it has, if it answered then.
    at: Option<Instant>,
    /// What it has.
    heads: Heads,
    /// Commits beside its heads that it gave.
    given: HashSet<String>,
}

/// Whom a server has shown something. Whoever holds the lock may write the cache.
type Turn = Arc<AsyncMutex<HashMap<Identity, Shown>>>;

/// The repositories and their caches.
pub struct Repositories {
    cache: PathBuf,
    /// By URL.
    known: Mutex<HashMap<String, Turn>>,
}

impl Repositories {
    /// Keeps its caches below a folder.
    pub fn new(cache: PathBuf) -> Repositories {
        tidy(&cache);
        Repositories { cache, known: Mutex::default() }
    }

    /// The revision that is followed, and what `read` makes of its tree.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub async fn get<T: Send + 'static>(
        &self,
        wanted: Wanted,
        read: impl FnOnce(&Commit, Tree) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<(Commit, T), SourceError> {
        self.blocking(wanted, |cache, wanted, known| {
            let (commit, tree) = mended(&cache, &wanted, || {
                let (chosen, shown) = choose(&cache, &wanted, known)?;
                let is_shown = shown.has(&chosen.commit);
                let (commit, tree) = get(&cache, &wanted.remote, &chosen, wanted.signers.as_deref(), is_shown)?;
                shown.give(&commit.revision.commit);
                Ok((commit, tree))
            })?;
            // Cannot be read a second time at once: the next look begins with a new cache.
            let forget_damaged = |error: &SourceError| {
                if error.is_damage() {
                    forget(&cache, &wanted.remote.url);
                }
            };
            let made = read(&commit, tree).inspect_err(forget_damaged)?;
            Ok((commit, made))
        })
        .await
    }

    /// The revision that is followed, without fetching it.
    ///
    /// # Errors
    /// Where the server cannot be asked, or does not have it.
    pub async fn newest(&self, wanted: Wanted) -> Result<Revision, SourceError> {
        self.blocking(wanted, |cache, wanted, known| {
            let chosen = mended(&cache, &wanted, || choose(&cache, &wanted, known).map(|(chosen, _)| chosen))?;
            Ok(Revision { name: chosen.name, commit: chosen.commit })
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        wanted: Wanted,
        work: impl FnOnce(PathBuf, Wanted, &mut HashMap<Identity, Shown>) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let url = wanted.remote.url.clone();
        let (turn, cache) = (self.turn(&url), self.cache.clone());
        let worked = async {
            let mut alone = turn.lock_owned().await;
            // Held until the fetch ends, not until somebody stops waiting for it: two would write the same cache.
            let work = tokio::task::spawn_blocking(move || work(cache, wanted, &mut alone));
            work.await.map_err(|_| SourceError::Interrupted)?
        };
        let waited = tokio::time::timeout(PATIENCE, worked).await;
        waited.unwrap_or_else(|_| Err(SourceError::Slow { url, seconds: PATIENCE.as_secs() }))
    }

    fn turn(&self, url: &str) -> Turn {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(url.to_owned()).or_default().clone()
    }
}

impl Shown {
    fn has(&self, commit: &str) -> bool {
        self.given.contains(commit) || self.heads.values().any(|head| head == commit)
    }

    fn give(&mut self, commit: &str) {
        if self.given.len() >= MOST_GIVEN {
            self.given.clear();
        }
        self.given.insert(commit.to_owned());
    }
}

/// Does something with the cache of a repository; where that is damaged, once more with a new one.
fn mended<T>(
    cache: &Path,
    wanted: &Wanted,
    mut work: impl FnMut() -> Result<T, SourceError>,
) -> Result<T, SourceError> {
    match work() {
        Err(error) if error.is_damage() => {
            warn!(%error, "a cache is damaged");
            forget(cache, &wanted.remote.url);
            work()
        }
        done => done,
    }
}

/// Asks the server, unless it answered the same person a moment ago. Also where a commit is followed, whose name is known
/// without: whether it may still be seen is not.
fn choose<'k>(
    cache: &Path,
    wanted: &Wanted,
    known: &'k mut HashMap<Identity, Shown>,
) -> Result<(Chosen, &'k mut Shown), SourceError> {
    let remote = &wanted.remote;
    let identity = remote.credentials.identity();
    if known.len() >= MOST_IDENTITIES && !known.contains_key(&identity) {
        let oldest = known.iter().min_by_key(|(_, shown)| shown.at).map(|(identity, _)| *identity);
        oldest.map(|oldest| known.remove(&oldest));
    }
    let shown = known.entry(identity).or_default();
    if shown.at.is_none_or(|at| at.elapsed() >= wanted.max_age) {
        // Who is refused now is shown nothing, also where an older answer would do.
        shown.at = None;
        let now = Instant::now();
        shown.heads = list(cache, remote)?;
        shown.at = Some(now);
    }
    let chosen = select(&remote.url, &wanted.follow, &shown.heads)?;
    Ok((chosen, shown))
}
