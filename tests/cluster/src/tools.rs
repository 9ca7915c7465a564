//! Where the binaries are.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::{Output, workspace};

/// The programs of the test cluster, as `tools/get.sh` keeps them.
#[derive(Clone, Debug)]
pub struct Tools(PathBuf);

/// The folder of the programs, once they are there.
static FOUND: OnceLock<PathBuf> = OnceLock::new();

impl Tools {
    /// Finds them, and gets those that are missing.
    ///
    /// # Panics
    /// Where one cannot be had, with what to do.
    pub fn get() -> Tools {
        Tools(FOUND.get_or_init(|| ensure(&[])).clone())
    }

    /// Has this process go without the programs that only tests need. To be called before anything else needs one.
    ///
    /// # Panics
    /// As [`Tools::get`].
    pub fn get_for_demo() -> Tools {
        Tools(FOUND.get_or_init(|| ensure(&["demo"])).clone())
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

    /// The path of a program.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Has `get.sh` make sure of programs. Returns the folder that holds them.
fn ensure(names: &[&str]) -> PathBuf {
    let mut script = Command::new(workspace().join("tests/cluster/tools/get.sh"));
    PathBuf::from(Output::of(script.args(names), None).ok().trim())
}
