//! A release, put together by the project's own scripts around programs that are there, and signed by openssl as cosign signs it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::{Output, Tools, workspace};

/// Makes the files of a release in `out`. Its programs are scripts that start `program`, and the tools of the tests, so that packing them
/// takes no time.
///
/// # Panics
/// Where a script fails.
pub fn make_release(program: &Path, out: &Path) {
    let inputs = tempfile::tempdir().expect("a temporary folder");
    for arch in ["amd64", "arm64"] {
        let folder = inputs.path().join(arch);
        std::fs::create_dir_all(folder.join("sbom")).expect("a folder");
        std::fs::copy(workspace().join("tests/release/gitward.cdx.json"), folder.join("sbom/gitward.cdx.json"))
            .expect("the recorded bill of material");
        let tools = ["helm", "kustomize"].map(|name| (name, Tools::get().path(name)));
        for (name, path) in [("gitward", program.to_owned())].into_iter().chain(tools) {
            let script = format!("#!/bin/bash\n# {arch}\nexec -a \"$0\" {} \"$@\"\n", path.display());
            std::fs::write(folder.join(name), script).expect("a file");
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        }
    }
    let certificates = inputs.path().join("certificates.pem");
    std::fs::write(&certificates, "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n").expect("a file");
    let mut assemble = Command::new(workspace().join("release/assemble.sh"));
    Output::of(assemble.arg(inputs.path()).arg(out).env("CERTIFICATES", certificates), None).ok();
}

/// Packs a release for clusters without a network, and returns the archive.
///
/// # Panics
/// Where the script fails.
pub fn pack_release(release: &Path) -> PathBuf {
    Output::of(Command::new(workspace().join("release/airgap.sh")).arg(release), None).ok();
    PathBuf::from(format!("{}-airgap.tar", release.display()))
}

/// A key that signs releases.
pub struct ReleaseKey(PathBuf);

impl ReleaseKey {
    /// Makes one, of the kind that cosign makes, as the files `NAME.key` and `NAME.pub` of a folder.
    ///
    /// # Panics
    /// Where openssl fails.
    pub fn create(folder: &Path, name: &str) -> ReleaseKey {
        let key = ReleaseKey(folder.join(name));
        let file = |end| key.0.with_extension(end).display().to_string();
        openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &file("key")]);
        openssl(&["ec", "-in", &file("key"), "-pubout", "-out", &file("pub")]);
        key
    }

    /// The public key.
    pub fn public(&self) -> PathBuf {
        self.0.with_extension("pub")
    }

    /// Signs the list of a release's files, as `cosign sign-blob` does.
    ///
    /// # Panics
    /// Where openssl fails.
    pub fn sign(&self, release: &Path) {
        let raw = self.0.with_extension("sig").display().to_string();
        let (sums, key) = (release.join("SHA256SUMS"), self.0.with_extension("key"));
        openssl(&["dgst", "-sha256", "-sign", &key.display().to_string(), "-out", &raw, &sums.display().to_string()]);
        let signature = openssl(&["base64", "-A", "-in", &raw]);
        let bundle = json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "messageSignature": {"signature": signature.trim()}});
        std::fs::write(release.join("SHA256SUMS.sigstore.json"), bundle.to_string()).expect("a file");
    }
}

fn openssl(args: &[&str]) -> String {
    Output::of(Command::new("openssl").args(args), None).ok().to_owned()
}
