//! Where the binaries are.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::{Output, workspace};

/// The binaries of the test cluster, as `tools/get.sh` keeps them.
#[derive(Clone, Debug)]
pub struct Tools(PathBuf);

impl Tools {
    /// Finds them, and gets those that are missing.
    ///
    /// # Panics
    /// Where one cannot be had, with what to do.
    pub fn get() -> Tools {
        static FOUND: OnceLock<PathBuf> = OnceLock::new();
        let dir = FOUND.get_or_init(|| {
            let script = workspace().join("tests/cluster/tools/get.sh");
            let output = Output::of(&mut std::process::Command::new(script), None);
            PathBuf::from(output.ok().trim())
        });
        Tools(dir.clone())
    }

    /// The version in which this Kubernetes serves MutatingAdmissionPolicies.
    ///
    /// # Panics
    /// Where `KUBERNETES` is no version.
    pub fn mutating_policies() -> &'static str {
        let version = std::env::var("KUBERNETES").unwrap_or_default();
        let minor = |version: &str| version.split('.').nth(1)?.parse().ok();
        match minor(&version) {
            Some(0..=33) => "v1alpha1",
            Some(34 | 35) => "v1beta1",
            Some(36_u32..) => "v1",
            None if version.is_empty() => "v1",
            None => panic!("KUBERNETES is {version:?}, and no version such as 1.33.13"),
        }
    }

    /// The path of a binary.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
