//! All repositories that are followed: one fetch at a time of each, and one answer for all who ask at about the same time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;

use super::fetch::{Commit, get, list};
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

/// What a server answered.
struct Answer {
    /// To whom: see [`super::Credentials::identity`].
    asked_as: u64,
    at: Instant,
    heads: Heads,
}

/// The repositories and their caches.
pub struct Repositories {
    cache: PathBuf,
    /// By URL. Whoever holds the lock may write the cache.
    known: Mutex<HashMap<String, Arc<AsyncMutex<Option<Answer>>>>>,
}

impl Repositories {
    /// Keeps its caches below a folder.
    pub fn new(cache: PathBuf) -> Repositories {
        Repositories { cache, known: Mutex::default() }
    }

    /// The revision that is followed, and what `read` makes of its tree.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub async fn get<T: Send + 'static, E: From<SourceError> + Send + 'static>(
        &self,
        wanted: Wanted,
        read: impl FnOnce(&Commit, Tree) -> Result<T, E> + Send + 'static,
    ) -> Result<(Commit, T), E> {
        self.blocking(wanted, |cache, wanted, answer| {
            let chosen = choose(&cache, &wanted, answer)?;
            let (commit, tree) = get(&cache, &wanted.remote, &chosen, wanted.signers.as_deref())?;
            let made = read(&commit, tree)?;
            Ok((commit, made))
        })
        .await
    }

    /// The revision that is followed, without fetching it.
    ///
    /// # Errors
    /// Where the server cannot be asked, or does not have it.
    pub async fn newest(&self, wanted: Wanted) -> Result<Revision, SourceError> {
        self.blocking(wanted, |cache, wanted, answer| {
            let chosen = choose(&cache, &wanted, answer)?;
            Ok(Revision { name: chosen.name, commit: chosen.commit })
        })
        .await
    }

    async fn blocking<T: Send + 'static, E: From<SourceError> + Send + 'static>(
        &self,
        wanted: Wanted,
        work: impl FnOnce(PathBuf, Wanted, &mut Option<Answer>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let url = wanted.remote.url.clone();
        let (turn, cache) = (self.turn(&url), self.cache.clone());
        let worked = async {
            let mut alone = turn.lock_owned().await;
            // Held until the fetch ends, not until somebody stops waiting for it: two would write the same cache.
            let work = tokio::task::spawn_blocking(move || work(cache, wanted, &mut alone));
            work.await.map_err(|_| SourceError::Interrupted)?
        };
        let waited = tokio::time::timeout(PATIENCE, worked).await;
        waited.unwrap_or_else(|_| Err(SourceError::Slow { url, seconds: PATIENCE.as_secs() }.into()))
    }

    fn turn(&self, url: &str) -> Arc<AsyncMutex<Option<Answer>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(url.to_owned()).or_default().clone()
    }
}

/// Asks the server, unless it was asked by the same person a moment ago. A commit needs no asking.
fn choose(cache: &std::path::Path, wanted: &Wanted, answer: &mut Option<Answer>) -> Result<Chosen, SourceError> {
    let remote = &wanted.remote;
    let asked_as = remote.credentials.identity();
    let fits = |answer: &&Answer| answer.asked_as == asked_as && answer.at.elapsed() < wanted.max_age;
    if let Some(known) = answer.as_ref().filter(fits) {
        return select(&remote.url, &wanted.follow, &known.heads);
    }
    *answer = None;
    let heads = list(cache, remote)?;
    let chosen = select(&remote.url, &wanted.follow, &heads);
    *answer = Some(Answer { asked_as, at: Instant::now(), heads });
    chosen
}
