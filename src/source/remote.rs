//! A repository, and how to get at it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A repository, and how to get at it.
#[derive(Clone)]
pub struct Remote {
    /// `https://…`, `ssh://…` or `file://…`, without credentials.
    pub url: String,
    /// Who we are, and whom we trust.
    pub credentials: Credentials,
}

/// What a GitSync's Secret holds; everything is optional. The names are those that Flux uses.
#[derive(Clone, Default, Hash)]
pub struct Credentials {
    /// Who we are.
    pub login: Login,
    /// `ca.crt`: the authority of an https server's certificate, as PEM; without it the system's authorities are trusted.
    pub ca: Option<Vec<u8>>,
    /// `known_hosts`: the keys of ssh servers. No other server is spoken to.
    pub known_hosts: Option<String>,
}

/// Who we are towards a server.
#[derive(Clone, Default, Hash)]
pub enum Login {
    /// Nobody.
    #[default]
    Anonymous,
    /// `username` and `password` (or an access token in its place).
    Password(String, String),
    /// `bearerToken`.
    Bearer(String),
    /// `identity`, a private key in OpenSSH's or PEM's form, and its `password` where it has one.
    Key(String, Option<String>),
}

impl Credentials {
    /// Reads the data of a Secret.
    pub fn of(data: &BTreeMap<String, Vec<u8>>) -> Credentials {
        let text = |key: &str| data.get(key).and_then(|bytes| String::from_utf8(bytes.clone()).ok());
        let login = if let Some(identity) = text("identity") {
            Login::Key(identity, text("password"))
        } else if let Some(token) = text("bearerToken").filter(|token| is_header(token)) {
            Login::Bearer(token.trim().to_owned())
        } else if let Some(password) = text("password") {
            Login::Password(text("username").unwrap_or_else(|| "git".to_owned()), password)
        } else {
            Login::Anonymous
        };
        Credentials { login, ca: data.get("ca.crt").cloned(), known_hosts: text("known_hosts") }
    }

    /// Tells credentials apart. What a server showed to one is not shown to another.
    pub(super) fn identity(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Whether a token can stand in a header of HTTP (RFC 6750 section 2.1 allows less).
fn is_header(token: &str) -> bool {
    token.trim().bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &[(&str, &str)]) -> Credentials {
        Credentials::of(&data.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect())
    }

    #[test]
    fn a_secret_is_read_as_flux_reads_it() {
        assert!(matches!(of(&[]).login, Login::Anonymous));
        assert!(matches!(of(&[("password", "p")]).login, Login::Password(user, _) if user == "git"));
        assert!(matches!(of(&[("bearerToken", "t\n")]).login, Login::Bearer(token) if token == "t"));
        assert!(matches!(of(&[("identity", "k"), ("password", "p")]).login, Login::Key(_, Some(_))));
        assert_ne!(of(&[("password", "a")]).identity(), of(&[("password", "b")]).identity());
    }
}
