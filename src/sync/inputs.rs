//! What a GitSync's spec points to: its Secrets and ConfigMaps, read anew for every look, so that rotated credentials and
//! changed values are picked up.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;

use super::RunError;
use super::controller::Context;
use super::permission::may_read;
use super::rights::{Account, source_allowed};
use crate::api::{GitSync, Reference, SyncId, ValuesFrom, ValuesKind};
use crate::apply::ApplyError;
use crate::kubernetes::describe;
use crate::render::{ChartLogin, Instructions};
use crate::source::{Credentials, Follow, Remote, Signers, Wanted};

/// The data of a Secret or ConfigMap.
type Data = BTreeMap<String, Vec<u8>>;

/// A GitSync, and whose rights it has; no account is gitward's own.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) sync: &'a GitSync,
    pub(super) account: Option<&'a Account>,
}

impl Deref for Of<'_> {
    type Target = GitSync;

    fn deref(&self) -> &GitSync {
        self.sync
    }
}

/// What is wanted of the repository.
pub(super) async fn wanted(ctx: &Context, sync: Of<'_>, max_age: Duration) -> Result<Wanted, RunError> {
    let source = &sync.spec.source;
    if sync.account.is_some() {
        source_allowed(&source.url)?;
    }
    let credentials = match &source.secret_ref {
        Some(reference) => Credentials::of(&secret(ctx, sync, "spec.source.secretRef", &reference.name).await?),
        None => Credentials::default(),
    };
    let signers = match &source.verify {
        Some(verify) => {
            let data = secret(ctx, sync, "spec.source.verify.secretRef", &verify.secret_ref.name).await?;
            Some(Arc::new(Signers::of(&data)?))
        }
        None => None,
    };
    let remote = Remote { url: source.url.clone(), credentials };
    Ok(Wanted { remote, follow: follow(&source.reference), signers, max_age })
}

/// What a `ref` follows. The CRD allows only one.
fn follow(reference: &Reference) -> Follow {
    match reference {
        Reference { commit: Some(commit), .. } => Follow::Commit(commit.clone()),
        Reference { semver: Some(range), .. } => Follow::Semver(range.clone()),
        Reference { tag: Some(tag), .. } => Follow::Tag(tag.clone()),
        Reference { branch, .. } => Follow::Branch(branch.clone().unwrap_or_else(|| "main".to_owned())),
    }
}

/// How the folder is rendered.
pub(super) async fn instructions(ctx: &Context, sync: Of<'_>) -> Result<Instructions, RunError> {
    let (spec, SyncId { namespace, name }) = (&sync.spec, SyncId::of(&sync));
    let helm = spec.render.helm.clone().unwrap_or_default();
    let mut values_from = Vec::new();
    for from in &helm.values_from {
        values_from.extend(values(ctx, sync, from).await?);
    }
    let chart_login = match helm.chart.as_ref().and_then(|chart| chart.secret_ref.as_ref()) {
        Some(reference) => {
            let data = secret(ctx, sync, "spec.render.helm.chart.secretRef", &reference.name).await?;
            let text = |key: &str| data.get(key).and_then(|bytes| String::from_utf8(bytes.clone()).ok());
            ChartLogin { password: text("username").zip(text("password")), ca: data.get("ca.crt").cloned() }
        }
        None => ChartLogin::default(),
    };
    if sync.account.is_some() && spec.render.allow_remote {
        // A kustomization could name a folder of the reconciler's own disk, where the repositories of others are.
        return Err(ApplyError::NotAllowed(
            "spec.render.allowRemote is for GitSyncs of gitward's own namespace: put a copy into git".to_owned(),
        )
        .into());
    }
    Ok(Instructions {
        folder: spec.source.path.clone(),
        renderer: spec.render.renderer,
        allow_remote: spec.render.allow_remote,
        name,
        namespace: spec.target_namespace.clone().unwrap_or(namespace),
        helm,
        values_from,
        chart_login,
    })
}

/// Whether what is declared may change without a change of git or of the GitSync: values and charts of elsewhere.
pub(super) fn depends_on_others(sync: &GitSync) -> bool {
    let render = &sync.spec.render;
    render.allow_remote || render.helm.as_ref().is_some_and(|helm| helm.chart.is_some() || !helm.values_from.is_empty())
}

async fn values(ctx: &Context, sync: Of<'_>, from: &ValuesFrom) -> Result<Option<Vec<u8>>, RunError> {
    let place = "spec.render.helm.valuesFrom";
    let data = match from.kind {
        ValuesKind::Secret => secret(ctx, sync, place, &from.name).await,
        ValuesKind::ConfigMap => config_map(ctx, sync, place, &from.name).await,
    };
    let missing = |message: String| RunError::Input { place, name: from.name.clone(), message };
    match data {
        Ok(mut data) => match data.remove(&from.key) {
            Some(values) => Ok(Some(values)),
            None if from.optional => Ok(None),
            None => Err(missing(format!("it has no key {}", from.key))),
        },
        Err(RunError::Input { .. }) if from.optional => Ok(None),
        Err(error) => Err(error),
    }
}

async fn secret(ctx: &Context, sync: Of<'_>, place: &'static str, name: &str) -> Result<Data, RunError> {
    may_read(ctx, sync.account, "secrets", name).await?;
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), &SyncId::of(&sync).namespace);
    let found = there(secrets.get_opt(name).await, place, name)?;
    Ok(found.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect())
}

async fn config_map(ctx: &Context, sync: Of<'_>, place: &'static str, name: &str) -> Result<Data, RunError> {
    may_read(ctx, sync.account, "configmaps", name).await?;
    let maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &SyncId::of(&sync).namespace);
    let found = there(maps.get_opt(name).await, place, name)?;
    Ok(found.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes())).collect())
}

fn there<K>(found: Result<Option<K>, kube::Error>, place: &'static str, name: &str) -> Result<K, RunError> {
    let error = |message: String| RunError::Input { place, name: name.to_owned(), message };
    found.map_err(|failed| error(describe(&failed)))?.ok_or_else(|| error("there is none".to_owned()))
}
