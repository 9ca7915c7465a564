//! Where the objects of a GitSync are declared.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place in a git repository.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The repository: `https://…`, `ssh://user@host/…` or `file://…`. Credentials belong into `secretRef`.
    #[schemars(
        regex(pattern = r"^(https://[^@/]+/.+|ssh://([A-Za-z0-9._-]+@)?[^@/]+/.+|file:///.+)$"),
        length(max = 2048)
    )]
    pub url: String,
    /// What to follow in it.
    #[serde(default, rename = "ref")]
    pub reference: Reference,
    /// The folder that counts, below the root of the repository.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub path: String,
    /// How often the repository is asked for something new, such as `30s` or `5m`; at least 1s.
    #[serde(default = "one_minute")]
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    pub interval: String,
    /// A Secret of the same namespace. For https `username` and `password`, or `bearerToken`, and `ca.crt` where the
    /// server's certificate is from a private authority; for ssh `identity` (the private key), its `password` where it has
    /// one, and `known_hosts`. These are the names that Flux uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Whose commits count. A commit that is not signed by one of them is never rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

fn one_minute() -> String {
    "1m".to_owned()
}

/// What a GitSync follows in its repository: one of these; without any, the branch `main`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new("[has(self.branch), has(self.tag), has(self.semver), has(self.commit)].filter(is, is).size() <= 1")
    .message("a ref is one of branch, tag, semver and commit"))]
pub struct Reference {
    /// A branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"), length(max = 255))]
    pub branch: Option<String>,
    /// A tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/+-]*$"), length(max = 255))]
    pub tag: Option<String>,
    /// The newest tag that is a semantic version of this range, such as `>=1.2, <2` or `1.x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub semver: Option<String>,
    /// A commit, by its full hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-f]{40}$"))]
    pub commit: Option<String>,
}

/// A Secret of the GitSync's namespace.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct SecretReference {
    /// Its name.
    pub name: String,
}

/// Whose commits are followed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// A Secret of the same namespace: each of its values holds SSH public keys, one a line, as in an `authorized_keys` file
    /// (ed25519 and ECDSA), and OpenPGP public keys as `gpg --armor --export` prints them. An OpenPGP signature counts where
    /// the key, or a subkey of it, is for signing, is not revoked and had not ended when it signed, and where the signature
    /// itself has not ended; signatures with SHA-1 or MD5 never count, of commits or in the key.
    pub secret_ref: SecretReference,
}
