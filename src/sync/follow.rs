//! One look at a GitSync: what git has, what is under way, how everything is; and what its status says of that.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use serde_json::json;
use tracing::info;

use super::controller::{Context, LoopError};
use super::declared::prepare;
use super::hooks::Hooks;
use super::objects::Objects;
use super::progress::{Applied, Progress};
use super::revision::{REQUESTED_AT, ROLLBACK_TO, Target, back, target};
use super::rights::Account;
use super::run::{Ended, Work, carry_out, remember_now};
use super::status::{self, Outcome, note};
use super::{RunError, dependencies, inputs};
use crate::api::{GitSync, GitSyncStatus, OnFailure, RevisionOutcome, SyncId};
use crate::render::{Cluster, Material, Rendered, gather, render};
use crate::source::{Commit, Follow, Revision, SourceError, Tree};

const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// How soon a GitSync that waits for others is looked at again.
const DEPENDENCIES: Duration = Duration::from_secs(2);
/// How soon hooks are looked at again: no watch tells of them.
const HOOKS: Duration = Duration::from_secs(1);
/// How soon health is looked at again where no watch has told of it.
const HEALTH: Duration = Duration::from_secs(10);

/// One look at a GitSync, and all that follows from it.
pub(super) async fn follow(ctx: &Context, sync: &GitSync) -> Result<Action, LoopError> {
    let id = SyncId::of(sync);
    let mut look = Look { ctx, sync, id: &id, progress: ctx.progress.take(&id), status: GitSyncStatus::default() };
    look.status = look.progress.status.clone().or_else(|| sync.status.clone()).unwrap_or_default();
    let wait = look.look().await;
    let written = look.write().await;
    ctx.progress.put(&id, look.progress);
    written.map(|()| Action::requeue(wait))
}

struct Look<'a> {
    ctx: &'a Context,
    sync: &'a GitSync,
    id: &'a SyncId,
    progress: Progress,
    status: GitSyncStatus,
}

impl Look<'_> {
    /// Looks, and says when to look again.
    async fn look(&mut self) -> Duration {
        if let Some(left) = suspended(self.sync, Timestamp::now()) {
            self.suspend();
            return left;
        }
        if self.ctx.pinned.take_done(self.id) {
            // Where that fails, a later run stores it.
            let _ = remember_now(self.ctx, self.id).await;
        }
        let requested = self.annotation(REQUESTED_AT);
        let is_asked = requested.is_some() && requested != self.status.last_handled_reconcile_at;
        let has_changed = self.ctx.progress.take_due(self.id);
        if has_changed {
            self.progress.retry_at = None;
        }
        if is_asked || has_changed || self.is_due() {
            self.status.last_handled_reconcile_at = requested;
            let seen = self.ask(is_asked).await;
            self.progress.next_look = Some(Instant::now() + jitter(interval(self.sync)));
            if let Err(outcome) = seen {
                return self.fail_look(outcome).await;
            }
        }
        let is_time = self.progress.retry_at.is_none_or(|at| at <= Instant::now());
        if self.progress.work.is_some() && is_time {
            return self.work().await;
        }
        self.settle_health();
        self.until_next_look()
    }

    fn annotation(&self, key: &str) -> Option<String> {
        self.sync.metadata.annotations.as_ref()?.get(key).cloned()
    }

    /// The revision that somebody asks to go back to.
    fn asked_for(&self) -> Option<String> {
        let asked = self.annotation(ROLLBACK_TO).map(|text| text.trim().to_owned());
        asked.filter(|text| !text.is_empty() && self.progress.ended_request.as_ref() != Some(text))
    }

    /// Git cannot be had: what it said before goes on.
    async fn fail_look(&mut self, outcome: Outcome) -> Duration {
        let goes_on = self.progress.work.is_some() && matches!(outcome, Outcome::Failed("ArtifactFailed", _));
        let wait = self.fail(outcome.clone());
        if goes_on {
            self.progress.retry_at = None;
            let again = self.work().await;
            if self.progress.work.is_some() {
                self.progress.outcome = Some(outcome);
            }
            return wait.min(again);
        }
        wait
    }

    fn suspend(&mut self) {
        self.ctx.pinned.let_be(self.id);
        let until = self.sync.spec.suspend_until.as_ref().map(|t| format!(" until {}", t.0)).unwrap_or_default();
        let message = format!("spec.suspend is true{until}: nothing is fetched, applied or healed; the guard goes on");
        let status = self.progress.status.take();
        self.progress = Progress { status, outcome: Some(Outcome::Suspended(message)), ..Progress::default() };
    }

    fn is_due(&self) -> bool {
        let progress = &self.progress;
        let wanted = self.asked_for().unwrap_or_default();
        let held = self.status.hold.as_ref().map(|hold| hold.requested.clone()).unwrap_or_default();
        progress.next_look.is_none_or(|next| next <= Instant::now())
            || self.status.observed_generation != self.sync.metadata.generation
            || (wanted != held && !matches!(progress.outcome, Some(Outcome::Failed(..) | Outcome::Stalled(..))))
    }

    fn until_next_look(&self) -> Duration {
        let next = self.progress.next_look.map(|next| next.saturating_duration_since(Instant::now()));
        next.unwrap_or(DEFAULT_INTERVAL).max(Duration::from_millis(10))
    }

    /// Asks git, and puts what is new under way.
    async fn ask(&mut self, at_once: bool) -> Result<(), Outcome> {
        dependencies::check(self.ctx, self.sync).await?;
        let max_age = if at_once { Duration::ZERO } else { interval(self.sync) / 2 };
        let failed = |error: RunError| error.outcome();
        let account = self.account().await?;
        let sync = inputs::Of { sync: self.sync, account: account.as_ref() };
        let mut wanted = inputs::wanted(self.ctx, sync, max_age).await.map_err(failed)?;
        let instructions = inputs::instructions(self.ctx, sync).await.map_err(failed)?;
        if let Some(commit) = self.held(&wanted).await? {
            wanted.follow = Follow::Commit(commit);
        }
        let known = self.known().filter(|_| !inputs::depends_on_others(self.sync));
        let (gathering, cache) = (instructions.clone(), self.ctx.cache.clone());
        let read = move |commit: &Commit, tree: Tree| {
            let is_known = known.is_some_and(|revision| is_same(&revision, &commit.revision));
            if is_known { Ok(None) } else { gather(&tree, &gathering, &cache).map(Some) }
        };
        let fetched = self.ctx.repositories.get(wanted, read).await;
        let (mut commit, material): (Commit, Option<Material>) =
            fetched.map_err(|error: SourceError| failed(error.into()))?;
        let Some(material) = material else {
            self.go_on(account, at_once);
            return Ok(());
        };
        if let Some(held) = self.status.hold.as_ref().and_then(|hold| Revision::parse(&hold.revision)) {
            commit.revision = held;
        }
        let before = self.progress.applied.clone();
        self.begin(&commit).await;
        let cluster = match &material {
            Material::Helm(_) => self.ctx.cluster().await.map_err(|error| failed(error.into()))?,
            _ => Cluster::default(),
        };
        let _slot = self.ctx.rendering.acquire().await;
        let revision = commit.revision.to_string();
        let same = before.as_ref().filter(|applied| {
            applied.generation == self.sync.metadata.generation && applied.revision == revision && !at_once
        });
        let input = same.and_then(|applied| applied.input.as_deref());
        let rendered = render(&material, &instructions, &self.ctx.programs, &cluster, &self.ctx.cache, input).await;
        drop(material);
        let Some(Rendered { objects, input }) = rendered.map_err(|error| failed(error.into()))? else {
            self.progress.applied = before;
            self.go_on(account, at_once);
            return Ok(());
        };
        self.list().await;
        let prepared = prepare(self.ctx, sync, objects).await.map_err(failed)?;
        self.take_up(Work { revision, account, prepared, input, checked: None }, at_once);
        Ok(())
    }

    /// Nothing new is declared: what failed or waits goes on, and what a team was allowed is asked for again.
    fn go_on(&mut self, account: Option<Account>, at_once: bool) {
        let progress = &mut self.progress;
        if let Some(mut kept) = progress.kept.take() {
            (kept.account, kept.checked) = (account, None);
            progress.work = Some(kept);
        }
        if at_once {
            progress.retry_at = None;
            progress.hooks.retry();
        }
    }

    /// Something is to be carried out. Where it is just what was under way, its waits go on.
    fn take_up(&mut self, work: Work, at_once: bool) {
        let token = work.prepared.token();
        let progress = &mut self.progress;
        if progress.hooks.token != token {
            let are_done = self.status.last_hook_run.as_ref() == Some(&token);
            progress.hooks = Hooks::of(token, are_done);
            progress.waits = None;
        }
        if at_once {
            progress.hooks.retry();
        }
        (progress.retry_at, progress.work) = (None, Some(work));
    }

    /// Whose rights the GitSync has. Where it has none any more, nothing of it is healed.
    async fn account(&self) -> Result<Option<Account>, Outcome> {
        self.ctx.rights.account_of(self.sync).await.map_err(|error| {
            if error.is_denial() {
                self.ctx.pinned.let_be(self.id);
            }
            RunError::from(error).outcome()
        })
    }

    /// The commit that is held instead of the newest, where one is.
    async fn held(&mut self, wanted: &crate::source::Wanted) -> Result<Option<String>, Outcome> {
        let asked = self.asked_for();
        if self.annotation(ROLLBACK_TO).is_none() {
            self.progress.ended_request = None;
        }
        if self.status.hold.is_none() && asked.is_none() {
            return Ok(None);
        }
        let newest = self.ctx.repositories.newest(wanted.clone()).await;
        let newest = newest.map_err(|error| RunError::from(error).outcome())?;
        match target(asked.as_deref(), &self.status, &newest) {
            Target::Held(hold) => {
                let commit = Revision::parse(&hold.revision).map(|revision| revision.commit);
                self.status.hold = Some(hold);
                Ok(commit)
            }
            Target::Newest { moved_on } => {
                if moved_on {
                    self.forget_request().await?;
                    self.progress.ended_request = asked;
                }
                self.status.hold = None;
                Ok(None)
            }
            Target::Refused(why) => Err(Outcome::Stalled("RollbackFailed", why)),
        }
    }

    /// Takes the annotation off that asked for a hold: git has moved on.
    async fn forget_request(&self) -> Result<(), Outcome> {
        let api: Api<GitSync> = Api::namespaced(self.ctx.client.clone(), &self.id.namespace);
        let patch = json!({"metadata": {"annotations": {ROLLBACK_TO: null}}});
        let ended = api.patch_metadata(&self.id.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        ended.map(drop).map_err(|error| RunError::Apply(error.into()).outcome())
    }

    /// The revision that needs no rendering, since it is applied or under way as the GitSync is now.
    fn known(&self) -> Option<String> {
        let progress = &self.progress;
        let applied = progress.applied.as_ref().filter(|applied| applied.generation == self.sync.metadata.generation);
        let observed = self.status.observed_generation == self.sync.metadata.generation;
        let under_way = progress.work.as_ref().filter(|_| observed).map(|work| work.revision.clone());
        under_way.or_else(|| applied.map(|applied| applied.revision.clone()))
    }

    /// A revision comes under way: says so where it is a new one.
    async fn begin(&mut self, commit: &Commit) {
        let revision = commit.revision.to_string();
        let is_new = self.status.last_attempted_revision.as_ref() != Some(&revision);
        (self.progress.work, self.progress.applied) = (None, None);
        self.progress.commit = Some(commit.clone());
        self.status.last_attempted_revision = Some(revision.clone());
        note(&mut self.status, commit, RevisionOutcome::Attempted, Timestamp::now());
        if is_new {
            self.progress.kept = None;
            info!(git_sync = %self.id, revision, "applies a revision");
            self.progress.failing_since = None;
            self.progress.outcome = Some(Outcome::Progressing(format!("Applies revision {revision}")));
            // A courtesy to those who watch; the run does not depend on it.
            let _ = self.write().await;
        }
    }

    /// Waits until what is pinned is known, after a restart.
    async fn list(&mut self) {
        if !std::mem::replace(&mut self.progress.listed, true) {
            let mut kinds = Vec::new();
            self.ctx.pinned.each_of(self.id, |_, object| {
                if !kinds.iter().any(|kind| std::sync::Arc::ptr_eq(kind, &object.kind)) {
                    kinds.push(object.kind.clone());
                }
            });
            for kind in &kinds {
                self.ctx.watches.listed(kind).await;
            }
        }
    }

    /// Carries out what is under way.
    async fn work(&mut self) -> Duration {
        let Some(mut work) = self.progress.work.take() else { return self.until_next_look() };
        let ended = carry_out(self.ctx, self.sync, &mut work, &mut self.progress.hooks).await;
        match ended {
            Ok(Ended::Through(failed)) if failed.is_empty() && work.prepared.failed.is_empty() => {
                self.through(work);
                self.settle_health();
                self.until_next_look()
            }
            Ok(Ended::Through(failed)) => {
                let outcome = Outcome::partly(&work.prepared.failed, &failed);
                // What could not even be tried has to be looked at anew; the rest is tried again as it was rendered.
                self.progress.work = Some(work).filter(|work| work.prepared.failed.is_empty());
                self.fail(outcome)
            }
            Ok(Ended::Waits { gate, whom, hopeless, for_hooks }) => {
                let untried = (!work.prepared.failed.is_empty()).then(|| Outcome::partly(&work.prepared.failed, &[]));
                self.progress.work = Some(work);
                let wait = self.wait_for(gate, &whom, hopeless, for_hooks);
                if let Some(untried) = untried {
                    self.progress.outcome = Some(untried);
                }
                wait
            }
            Err(error) => {
                self.progress.work = Some(work).filter(|work| work.prepared.failed.is_empty());
                self.fail(error.outcome())
            }
        }
    }

    /// Everything is applied.
    fn through(&mut self, work: Work) {
        let progress = &mut self.progress;
        let (generation, revision) = (self.sync.metadata.generation, work.revision.clone());
        progress.applied = Some(Applied { generation, revision, input: work.input.clone() });
        (progress.failures, progress.waits, progress.failing_since, progress.retry_at) = (0, None, None, None);
        progress.outcome = Some(Outcome::Applied);
        progress.hooks.are_done = true;
        self.status.last_applied_revision = Some(work.revision.clone());
        self.status.last_hook_run = Some(progress.hooks.token.clone());
        if let Some(commit) = &progress.commit {
            note(&mut self.status, commit, RevisionOutcome::Applied, Timestamp::now());
        }
        progress.kept = Some(work).filter(|work| work.account.is_some());
    }

    /// Notes the applied revision as healthy, once everything is.
    fn settle_health(&mut self) {
        let Some(Applied { revision, .. }) = &self.progress.applied else { return };
        let is_noted = self.status.last_healthy_revision.as_ref() == Some(revision);
        if matches!(self.progress.outcome, Some(Outcome::Applied))
            && !is_noted
            && Objects::of(self.ctx, self.id).are_healthy()
        {
            self.status.last_healthy_revision = Some(revision.clone());
            if let Some(commit) = &self.progress.commit {
                note(&mut self.status, commit, RevisionOutcome::Healthy, Timestamp::now());
            }
        }
    }

    /// Waits for objects to become healthy, as long as the GitSync says.
    fn wait_for(&mut self, gate: usize, whom: &str, hopeless: bool, for_hooks: bool) -> Duration {
        let now = Instant::now();
        let since = match self.progress.waits {
            Some((at, since)) if at == gate => since,
            _ => now,
        };
        (self.progress.waits, self.progress.retry_at) = (Some((gate, since)), None);
        let left = timeout(self.sync).saturating_sub(now.duration_since(since));
        if hopeless || left.is_zero() {
            let how = if hopeless { "has failed" } else { "is not healthy in time" };
            return self.unhealthy(&format!("{whom} ({how})"));
        }
        self.progress.outcome = Some(Outcome::Progressing(format!("Waits for {whom}")));
        let poll = if for_hooks { HOOKS } else { HEALTH };
        left.min(poll).min(self.until_next_look())
    }

    /// A revision does not become healthy: the last healthy one comes back, or it is told.
    fn unhealthy(&mut self, why: &str) -> Duration {
        if self.roll_back(why) {
            return Duration::from_millis(10);
        }
        self.progress.outcome = Some(Outcome::Failed("HealthCheckFailed", why.to_owned()));
        HEALTH.min(self.until_next_look())
    }

    fn roll_back(&mut self, why: &str) -> bool {
        let attempted = self.status.last_attempted_revision.clone().unwrap_or_default();
        // What was healthy once is not left because of what happened later.
        if self.sync.spec.on_failure != OnFailure::Rollback || self.status.hold.is_some() {
            return false;
        }
        let Some(hold) = back(&self.status, &attempted, why) else { return false };
        info!(git_sync = %self.id, from = attempted, to = hold.revision, why, "goes back to the last healthy revision");
        if let Some(commit) = &self.progress.commit {
            note(&mut self.status, commit, RevisionOutcome::RolledBack, Timestamp::now());
        }
        self.status.hold = Some(hold);
        let progress = &mut self.progress;
        (progress.work, progress.waits, progress.next_look, progress.applied) = (None, None, None, None);
        true
    }

    /// Something failed: tries again, later and later.
    fn fail(&mut self, outcome: Outcome) -> Duration {
        let progress = &mut self.progress;
        progress.failures = progress.failures.saturating_add(1);
        progress.applied = None;
        let waits_for_others = matches!(outcome, Outcome::Failed("DependencyNotReady", _));
        let wait = match &outcome {
            _ if waits_for_others => DEPENDENCIES,
            _ => backoff(progress.failures).min(interval(self.sync).max(SHORTEST_INTERVAL)),
        };
        progress.next_look = Some(Instant::now() + jitter(wait));
        progress.retry_at = progress.next_look;
        let since = *progress.failing_since.get_or_insert_with(Instant::now);
        if let Outcome::Partly { message, stalled, .. } = &outcome
            && (*stalled || since.elapsed() >= timeout(self.sync))
            && self.roll_back(&message.clone())
        {
            return Duration::from_millis(10);
        }
        self.progress.outcome = Some(outcome);
        self.until_next_look()
    }

    /// Writes the status where it is another than before.
    async fn write(&mut self) -> Result<(), LoopError> {
        let outcome = self.progress.outcome.clone().unwrap_or_default();
        let is_over = matches!(outcome, Outcome::Suspended(_));
        let objects = (self.progress.listed && !is_over).then(|| Objects::of(self.ctx, self.id));
        let outcome = self.with_health(outcome, objects.as_ref());
        self.status.objects = i64::try_from(self.ctx.inventories.count(self.id).await).unwrap_or(i64::MAX);
        let mut drifts = self.ctx.progress.take_drifts(self.id);
        drifts.extend(std::mem::take(&mut self.status.drifts));
        drifts.truncate(crate::api::MOST_DRIFTS);
        self.status.drifts = drifts.into();
        let next = status::next(self.sync, self.status.clone(), &outcome, objects.as_ref(), Timestamp::now());
        // Also where it cannot be written: what it says is not known from anywhere else.
        let before = self.progress.status.replace(next.clone());
        self.status = next.clone();
        if self.sync.status.as_ref() != Some(&next) || before.is_some_and(|last| last != next) {
            let written = status::write(&self.ctx.client, self.sync, &next).await;
            written.map_err(|error| LoopError::Status(Box::new(error)))?;
        }
        self.ctx.gauges.tell(self.id, &next);
        Ok(())
    }

    /// A GitSync that waits for health is Ready only while everything is healthy.
    fn with_health(&self, outcome: Outcome, objects: Option<&Objects>) -> Outcome {
        match (outcome, objects) {
            (Outcome::Applied, Some(objects)) if self.sync.spec.wait && !objects.are_healthy() => {
                Outcome::Failed("HealthCheckFailed", objects.healthy().2)
            }
            (outcome, _) => outcome,
        }
    }
}

/// How long the GitSync stays suspended; `None` where it is not.
fn suspended(sync: &GitSync, now: Timestamp) -> Option<Duration> {
    if !sync.spec.suspend {
        return None;
    }
    match &sync.spec.suspend_until {
        None => Some(Duration::from_secs(3600)),
        Some(until) => Duration::try_from(until.0.duration_since(now)).ok().filter(|left| !left.is_zero()),
    }
}

/// A revision of a hold names a branch, the same commit asked for by its hash does not.
fn is_same(known: &str, revision: &Revision) -> bool {
    known == revision.to_string()
        || (revision.name.is_empty() && Revision::parse(known).is_some_and(|known| known.commit == revision.commit))
}

/// 1 s, 2 s, 4 s … 5 min.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1_u64 << failures.saturating_sub(1).min(9)).min(Duration::from_secs(300))
}

/// A tenth more or less, so that hundreds of GitSyncs do not ask at the same moment.
fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Nobody means more, and a sum of more can overflow.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// A duration as the CRD allows it.
fn duration(text: &str) -> Option<Duration> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    parsed.and_then(|duration| Duration::try_from(duration).ok()).map(|duration| duration.min(LONGEST))
}

/// The interval of a GitSync.
fn interval(sync: &GitSync) -> Duration {
    duration(&sync.spec.source.interval).map_or(DEFAULT_INTERVAL, |d| d.max(SHORTEST_INTERVAL))
}

fn timeout(sync: &GitSync) -> Duration {
    duration(&sync.spec.timeout).unwrap_or(Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(spec: serde_json::Value) -> GitSync {
        let mut whole = json!({"source": {"url": "https://example.com/a"}});
        json_patch::merge(&mut whole, &spec);
        GitSync::new("a", serde_json::from_value(whole).unwrap())
    }

    #[test]
    fn waits_grow_to_five_minutes() {
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 100].map(|n| backoff(n).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300]);
        (0..100).for_each(|_| assert!((900..=1100).contains(&jitter(Duration::from_secs(1)).as_millis())));
    }

    #[test]
    fn an_interval_is_read_as_people_write_it() {
        let read = |text: &str| interval(&sync(json!({"source": {"interval": text}}))).as_secs();
        assert_eq!([read("30s"), read("1h30m"), read("0s")], [30, 5400, 1]);
        assert_eq!([read("9223372036854775807s"), read("99999999999999999999h")], [LONGEST.as_secs(), 60]);
    }

    #[test]
    fn a_suspension_ends_at_its_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let until = sync(json!({"suspend": true, "suspendUntil": "1970-01-01T00:01:00Z"}));
        assert_eq!(suspended(&until, at(50)), Some(Duration::from_secs(10)));
        assert_eq!(suspended(&until, at(60)), None);
        assert!(suspended(&sync(json!({"suspend": true})), at(0)).is_some());
        assert_eq!(suspended(&sync(json!({})), at(0)), None);
    }
}
