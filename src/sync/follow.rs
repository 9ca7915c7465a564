//! One look at a GitSync: what git has, what is under way, how everything is; and what its status says of that.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::controller::Action;
use tracing::info;

use super::controller::{Context, LoopError};
use super::objects::Objects;
use super::progress::{Applied, Progress};
use super::revision::{REQUESTED_AT, ROLLBACK_TO, back};
use super::run::{Ended, Work, carry_out, remember_now};
use super::status::{self, Outcome, note};
use super::times::{DEFAULT_INTERVAL, SHORTEST_INTERVAL, backoff, interval, jitter, suspended, timeout};
use crate::api::{GitSync, GitSyncStatus, OnFailure, RevisionOutcome, SyncId};

/// How soon a GitSync that waits for others is looked at again.
const DEPENDENCIES: Duration = Duration::from_secs(2);
/// How soon hooks are looked at again: no watch tells of them.
const HOOKS: Duration = Duration::from_secs(1);
/// How soon health is looked at again where no watch has told of it.
const HEALTH: Duration = Duration::from_secs(10);

/// One look at a GitSync, and all that follows from it.
pub(super) async fn follow(ctx: &Context, sync: &GitSync) -> Result<Action, LoopError> {
    let id = SyncId::of(sync);
    let progress = ctx.progress.take(&id, sync.metadata.uid.as_deref());
    let mut look = Look { ctx, sync, id: &id, progress, status: GitSyncStatus::default() };
    look.status = look.progress.status.clone().or_else(|| sync.status.clone()).unwrap_or_default();
    let wait = look.look().await;
    let written = look.write().await;
    ctx.progress.put(&id, look.progress);
    written.map(|()| Action::requeue(wait))
}

pub(super) struct Look<'a> {
    pub(super) ctx: &'a Context,
    pub(super) sync: &'a GitSync,
    pub(super) id: &'a SyncId,
    pub(super) progress: Progress,
    pub(super) status: GitSyncStatus,
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

    pub(super) fn annotation(&self, key: &str) -> Option<String> {
        self.sync.metadata.annotations.as_ref()?.get(key).cloned()
    }

    /// The revision that somebody asks to go back to.
    pub(super) fn asked_for(&self) -> Option<String> {
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
        let (uid, status) = (self.progress.uid.take(), self.progress.status.take());
        self.progress = Progress { uid, status, outcome: Some(Outcome::Suspended(message)), ..Progress::default() };
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
    pub(super) async fn write(&mut self) -> Result<(), LoopError> {
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
