//! Asking git what it has, and putting what is new under way: the half of a look that ends with something to carry out.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tracing::info;

use super::declared::prepare;
use super::follow::Look;
use super::hooks::Hooks;
use super::revision::{ROLLBACK_TO, Target, target};
use super::rights::Account;
use super::run::Work;
use super::status::{Outcome, note};
use super::times::interval;
use super::{RunError, dependencies, inputs};
use crate::api::{GitSync, RevisionOutcome};
use crate::render::{Cluster, Material, Rendered, gather, render};
use crate::source::{Commit, Follow, Revision, SourceError, Tree, Wanted};

impl Look<'_> {
    /// Asks git, and puts what is new under way.
    pub(super) async fn ask(&mut self, at_once: bool) -> Result<(), Outcome> {
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
    async fn held(&mut self, wanted: &Wanted) -> Result<Option<String>, Outcome> {
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
}

/// A revision of a hold names a branch, the same commit asked for by its hash does not.
fn is_same(known: &str, revision: &Revision) -> bool {
    known == revision.to_string()
        || (revision.name.is_empty() && Revision::parse(known).is_some_and(|known| known.commit == revision.commit))
}
