//! `gitward crds`

use std::process::ExitCode;

use super::fail;

/// Print the CustomResourceDefinitions, as the chart ships them.
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> ExitCode {
    let mut out = String::new();
    for crd in crate::api::crds() {
        match serde_saphyr::to_string(&crd) {
            Ok(yaml) => out.push_str(&format!("---\n{yaml}")),
            Err(error) => return fail(&error),
        }
    }
    super::print(out.as_bytes())
}
