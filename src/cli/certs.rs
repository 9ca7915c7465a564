//! `gitward certs`

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use thiserror::Error;

use crate::certs::{Authority, BUNDLE, CERTIFICATE, CertificateError, PRIVATE_KEY};

/// Make an authority and a server's certificate for a guard on this machine.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The folder that gets ca.crt, tls.crt and tls.key. The authority's key is not kept.
    #[arg(default_value = "certs/local")]
    folder: PathBuf,
    /// A host name or address by which the guard is called; may be given several times.
    #[arg(long = "name", default_values = ["localhost", "127.0.0.1"])]
    names: Vec<String>,
    /// Write over what is there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Error)]
enum CertsError {
    #[error("{} is there already; --force writes over it, and whoever trusts the old ca.crt has to be given the new one", .0.display())]
    Exists(PathBuf),
    #[error("{}: {error}", path.display())]
    Write { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Make(#[from] CertificateError),
}

pub(super) fn run(args: &Args) -> ExitCode {
    match make(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(&error),
    }
}

fn make(args: &Args) -> Result<(), CertsError> {
    let path = |name: &str| args.folder.join(name);
    let taken = [BUNDLE, CERTIFICATE, PRIVATE_KEY].map(path).into_iter().find(|path| path.exists());
    if let Some(taken) = taken.filter(|_| !args.force) {
        return Err(CertsError::Exists(taken));
    }
    let now = Timestamp::now();
    let authority = Authority::create(now)?;
    let server = Authority::load(&authority)?.issue(&args.names, now)?;
    std::fs::create_dir_all(&args.folder).map_err(|error| CertsError::Write { path: args.folder.clone(), error })?;
    write(&path(BUNDLE), &authority.certificate, 0o644)?;
    write(&path(CERTIFICATE), &server.certificate, 0o644)?;
    write(&path(PRIVATE_KEY), &server.key, 0o600)?;
    let (chain, key, ca) = (path(CERTIFICATE), path(PRIVATE_KEY), path(BUNDLE));
    println!("A certificate for {}, valid for 90 days. Start a guard with it:", args.names.join(", "));
    println!("  gitward guard --tls-cert {} --tls-key {}", chain.display(), key.display());
    println!("and ask it:");
    println!("  curl --cacert {} --data @review.json https://{}:8443/review", ca.display(), args.names[0]);
    Ok(())
}

/// A new file, so that it has its mode from the first byte on.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertsError> {
    let failed = |error| CertsError::Write { path: path.to_owned(), error };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
