//! `gitward verify`

use std::path::PathBuf;
use std::process::ExitCode;

use thiserror::Error;

use crate::release::{PublicKey, SUMS, SignatureError, Verified, verify};

/// Check a downloaded release: the checksums of all its files and, with a key, the signature over them. Nothing is unpacked. Exit
/// status 0: the files are those that were released, 1: they are not, 2: it could not be told.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The air-gapped archive of a release (gitward-VERSION-airgap.tar), or a folder with all files of a release.
    release: PathBuf,
    /// The public key with which the release was signed, as cosign writes it; without it, nobody is known to have signed anything.
    #[arg(long)]
    key: Option<PathBuf>,
}

#[derive(Debug, Error)]
enum Unusable {
    #[error("{}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{}: {error}", path.display())]
    Key { path: PathBuf, error: SignatureError },
}

pub(super) fn run(args: &Args) -> ExitCode {
    let key = match args.key.as_ref().map(read).transpose() {
        Ok(key) => key,
        Err(error) => return super::fail(&error),
    };
    match verify(&args.release, key.as_ref()) {
        Ok(verified) => {
            println!("{}", say(&verified));
            ExitCode::SUCCESS
        }
        Err(error) if error.is_unreadable() => super::fail(&error),
        Err(error) => {
            eprintln!("gitward: do not use this release. {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &PathBuf) -> Result<PublicKey, Unusable> {
    let pem = std::fs::read(path).map_err(|error| Unusable::Read { path: path.clone(), error })?;
    PublicKey::from_pem(&pem).map_err(|error| Unusable::Key { path: path.clone(), error })
}

fn say(verified: &Verified) -> String {
    let who = if verified.signed {
        ", and the key has signed that list."
    } else {
        ". Who made that list was not checked: give the signer's public key with --key."
    };
    format!("All {} files are as {SUMS} lists them{who}", verified.files)
}
