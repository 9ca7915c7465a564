//! A repository, and how to get at it.

use std::collections::BTreeMap;

/// A repository, and how to get at it.
#[derive(Clone)]
pub struct Remote {
    /// `https://…`, `ssh://…` or `file://…`, without credentials.
    pub url: String,
    /// Who we are, and whom we trust.
    pub credentials: Credentials,
}

/// What a GitSync's Secret holds; everything is optional. The names are those that Flux uses.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Who we are.
    pub login: Login,
    /// `ca.crt`: the authority of an https server's certificate, as PEM; without it the system's authorities are trusted.
    pub ca: Option<Vec<u8>>,
    /// `known_hosts`: the keys of ssh servers. No other server is spoken to.
    pub known_hosts: Option<String>,
}

/// Who we are towards a server.
#[derive(Clone, Default)]
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

/// Tells credentials apart, and says nothing of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity([u8; 32]);

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
    pub(super) fn identity(&self) -> Identity {
        let (kind, name, secret) = match &self.login {
            Login::Anonymous => (0, None, None),
            Login::Password(user, password) => (1, Some(user.as_bytes()), Some(password.as_bytes())),
            Login::Bearer(token) => (2, None, Some(token.as_bytes())),
            Login::Key(key, password) => (3, Some(key.as_bytes()), password.as_deref().map(str::as_bytes)),
        };
        let parts = [name, secret, self.ca.as_deref(), self.known_hosts.as_deref().map(str::as_bytes)];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]);
        // With its length before each, no two credentials read the same.
        for part in parts {
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hasher.update(&length.to_le_bytes()).update(part.unwrap_or_default());
        }
        Identity(*hasher.finalize().as_bytes())
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
    }
    #[test]
    fn no_two_credentials_are_taken_for_each_other() {
        let all = [
            of(&[]),
            of(&[("password", "a")]),
            of(&[("password", "b")]),
            of(&[("username", "ga"), ("password", "a")]),
            of(&[("username", "g"), ("password", "aa")]),
            of(&[("bearerToken", "a")]),
            of(&[("identity", "a")]),
            of(&[("identity", "a"), ("password", "")]),
            of(&[("ca.crt", "a")]),
            of(&[("known_hosts", "a")]),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(one.identity() == one.clone().identity());
            assert!(all[i + 1..].iter().all(|other| one.identity() != other.identity()), "{i}");
        }
    }
}
