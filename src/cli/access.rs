//! `gitward access`

use std::process::ExitCode;

use gitward_core::access::{Binding, Finding, Parties, Rbac, Role, Subject, findings};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role as NamespacedRole, RoleBinding};
use kube::Client;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;
use serde_json::json;
use thiserror::Error;

use super::once;
use crate::api::{GuardPolicy, Installers};
use crate::kubernetes::describe;

/// List who could change what git declares around the guard, from the cluster's RBAC. Exit status 0: CI and CD are
/// separated, 1: they are not, 2: it could not be told.
#[derive(clap::Args)]
pub(super) struct Args {
    /// gitward's own namespace.
    #[arg(long, env = "GITWARD_NAMESPACE", default_value = "gitward-system")]
    namespace: String,
    /// The service account that may write what git declares, in that namespace.
    #[arg(long, default_value = "gitward-reconciler")]
    reconciler_account: String,
    /// Who may act for gitward, beside the GuardPolicy's installers: user:NAME, group:NAME or serviceaccount:NAMESPACE/NAME.
    #[arg(long, value_parser = subject)]
    installer: Vec<Subject>,
    /// An identity of CI, which may write nothing to the cluster: user:NAME, group:NAME or serviceaccount:NAMESPACE/NAME.
    #[arg(long, value_parser = subject)]
    ci: Vec<Subject>,
    /// List those too who have such rights by design.
    #[arg(long)]
    all: bool,
    /// How to print.
    #[arg(long, short, default_value = "text")]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Error)]
enum AccessError {
    #[error("the cluster's {kind} cannot be read: {}", describe(source))]
    Read { kind: &'static str, source: Box<kube::Error> },
    #[error("the cluster's roles cannot be understood: {0}")]
    Convert(#[from] serde_json::Error),
}

pub(super) fn run(args: &Args) -> ExitCode {
    once(async |client| {
        let parties = parties(&client, args).await?;
        let found = findings(&rbac(&client).await?, &parties);
        let separated = found.iter().all(|finding| finding.expected);
        match args.output {
            Format::Json => println!("{}", json!({"separated": separated, "findings": found})),
            Format::Text => print(&found, separated, args.all),
        }
        Ok::<_, AccessError>(if separated { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

async fn parties(client: &Client, args: &Args) -> Result<Parties, AccessError> {
    let policies: Api<GuardPolicy> = Api::all(client.clone());
    let policy = policies.get_opt("default").await.map_err(|error| read("GuardPolicy", error))?;
    let installers = policy.map_or_else(Installers::default, |policy| policy.spec.installers);
    let account =
        |text: &String| text.split_once('/').map(|(namespace, name)| Subject::service_account(namespace, name));
    let own =
        [args.reconciler_account.as_str(), "gitward-guard"].map(|name| Subject::service_account(&args.namespace, name));
    let mut trusted = args.installer.clone();
    trusted.extend(own);
    trusted.extend(installers.users.iter().map(|name| Subject::user(name)));
    trusted.extend(installers.groups.iter().map(|name| Subject::group(name)));
    trusted.extend(installers.service_accounts.iter().filter_map(account));
    Ok(Parties { namespace: args.namespace.clone(), trusted, ci: args.ci.clone() })
}

async fn rbac(client: &Client) -> Result<Rbac, AccessError> {
    let mut roles: Vec<Role> = list::<ClusterRole, _>(client, "ClusterRoles").await?;
    roles.extend(list::<NamespacedRole, Role>(client, "Roles").await?);
    let mut bindings: Vec<Binding> = list::<ClusterRoleBinding, _>(client, "ClusterRoleBindings").await?;
    bindings.extend(list::<RoleBinding, Binding>(client, "RoleBindings").await?);
    Ok(Rbac { roles, bindings })
}

async fn list<K, T>(client: &Client, kind: &'static str) -> Result<Vec<T>, AccessError>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::Serialize + DeserializeOwned,
    T: DeserializeOwned,
{
    let listed = Api::<K>::all(client.clone()).list(&ListParams::default()).await.map_err(|error| read(kind, error))?;
    let convert = |item: &K| Ok(serde_json::from_value(serde_json::to_value(item)?)?);
    listed.items.iter().map(convert).collect()
}

fn read(kind: &'static str, source: kube::Error) -> AccessError {
    AccessError::Read { kind, source: Box::new(source) }
}

fn subject(text: &str) -> Result<Subject, String> {
    match text.split_once(':') {
        Some(("user", name)) if !name.is_empty() => Ok(Subject::user(name)),
        Some(("group", name)) if !name.is_empty() => Ok(Subject::group(name)),
        Some(("serviceaccount", name)) => {
            let (namespace, name) = name.split_once('/').ok_or("write serviceaccount:NAMESPACE/NAME")?;
            Ok(Subject::service_account(namespace, name))
        }
        _ => Err("write user:NAME, group:NAME or serviceaccount:NAMESPACE/NAME".to_owned()),
    }
}

fn print(found: &[Finding], separated: bool, all: bool) {
    let (expected, unexpected): (Vec<&Finding>, Vec<&Finding>) = found.iter().partition(|finding| finding.expected);
    print_group("Who could change what git declares around the guard:", &unexpected);
    if all {
        print_group("Who can by design (parts of Kubernetes, gitward's accounts, installers):", &expected);
    }
    println!("The group system:masters may do everything, whatever RBAC says.");
    if separated {
        println!("CI and CD are separated: nobody but gitward's own and its installers has a way around the guard.");
    } else {
        println!(
            "CI and CD are not separated: take these rights away, or make their holders installers (the chart's value `installers`)."
        );
    }
}

fn print_group(title: &str, findings: &[&Finding]) {
    if findings.is_empty() {
        return;
    }
    println!("{title}\n");
    let mut subjects: Vec<&Subject> = Vec::new();
    for finding in findings {
        if !subjects.contains(&&finding.who) {
            subjects.push(&finding.who);
        }
    }
    for who in subjects {
        println!("  {who}");
        for finding in findings.iter().filter(|finding| finding.who == *who) {
            println!("    {finding}");
        }
        println!();
    }
}
