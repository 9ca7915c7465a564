//! Which commit of a repository is followed. Pure.

use std::collections::BTreeMap;
use std::fmt;

use semver::{Version, VersionReq};

use super::SourceError;

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// A branch.
    Branch(String),
    /// A tag.
    Tag(String),
    /// The newest tag that is a semantic version of a range.
    Semver(String),
    /// A commit, by its full hash.
    Commit(String),
}

impl fmt::Display for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Follow::Branch(name) => write!(f, "branch {name}"),
            Follow::Tag(name) => write!(f, "tag {name}"),
            Follow::Semver(range) => write!(f, "tag of the versions {range}"),
            Follow::Commit(hash) => write!(f, "commit {hash}"),
        }
    }
}

/// A commit, and by which name it was found. Its text is Flux' form: `main@sha1:…`, `v1.2.0@sha1:…`, `sha1:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The branch or tag; empty where the commit itself is followed.
    pub name: String,
    /// The full hash.
    pub commit: String,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.name.is_empty() { "" } else { "@" };
        write!(f, "{}{at}sha1:{}", self.name, self.commit)
    }
}

impl Revision {
    /// Reads the text of a revision.
    pub fn parse(text: &str) -> Option<Revision> {
        let (name, commit) = text.rsplit_once("sha1:")?;
        let is_hash = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
        is_hash.then(|| Revision { name: name.trim_end_matches('@').to_owned(), commit: commit.to_owned() })
    }
}

/// What a server has: the full names of its references, and what they point to.
pub type Heads = BTreeMap<String, String>;

/// A reference that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its full name, such as `refs/heads/main`; empty for a commit that no reference is asked for.
    pub reference: String,
    /// The branch or tag.
    pub name: String,
    /// The hash of the commit.
    pub commit: String,
}

/// How many names an error lists.
const MOST_NAMES: usize = 10;

/// Chooses what is followed.
///
/// # Errors
/// Where the server does not have it, with what it has.
pub fn select(url: &str, follow: &Follow, heads: &Heads) -> Result<Chosen, SourceError> {
    let missing = |prefix: &str, none: &str| {
        let names: Vec<&str> = heads
            .keys()
            .filter_map(|name| name.strip_prefix(prefix))
            .filter(|n| !n.ends_with("^{}"))
            .take(MOST_NAMES)
            .collect();
        let found = if names.is_empty() { none.to_owned() } else { names.join(", ") };
        SourceError::NoReference { url: url.to_owned(), wanted: follow.to_string(), found }
    };
    match follow {
        Follow::Branch(name) => {
            chosen(heads, "refs/heads/", name).ok_or_else(|| missing("refs/heads/", "no branches at all"))
        }
        Follow::Tag(name) => chosen(heads, "refs/tags/", name).ok_or_else(|| missing("refs/tags/", "no tags at all")),
        Follow::Semver(range) => {
            let wanted = parse_range(range)?;
            let tags = heads.keys().filter_map(|name| name.strip_prefix("refs/tags/"));
            let newest = tags
                .filter_map(|tag| Some((Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()?, tag)))
                .filter(|(version, _)| wanted.matches(version))
                .max();
            newest
                .and_then(|(_, tag)| chosen(heads, "refs/tags/", tag))
                .ok_or_else(|| missing("refs/tags/", "no tags at all"))
        }
        Follow::Commit(hash) => Ok(Chosen { reference: String::new(), name: String::new(), commit: hash.clone() }),
    }
}

/// Ranges as people write them: `>=1.2 <2` means the same as `>=1.2, <2`.
fn parse_range(range: &str) -> Result<VersionReq, SourceError> {
    let mut joined = String::new();
    for part in range.split([',', ' ']).filter(|part| !part.is_empty()) {
        // `>= 1.2` is one part.
        let follows_operator = joined.is_empty() || joined.ends_with(['<', '>', '=', '~', '^']);
        joined.push_str(if follows_operator { "" } else { ", " });
        joined.push_str(part);
    }
    VersionReq::parse(&joined).map_err(|error| SourceError::Range(range.to_owned(), error))
}

fn chosen(heads: &Heads, prefix: &str, name: &str) -> Option<Chosen> {
    let reference = format!("{prefix}{name}");
    // An annotated tag is an object of its own; the server tells the commit behind it under this name.
    let commit = heads.get(&format!("{reference}^{{}}")).or_else(|| heads.get(&reference))?;
    Some(Chosen { commit: commit.clone(), name: name.to_owned(), reference })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(names: &[&str]) -> Heads {
        names.iter().map(|name| ((*name).to_owned(), format!("hash of {name}"))).collect()
    }

    #[test]
    fn the_newest_version_of_a_range_is_chosen() {
        let heads = heads(&[
            "refs/tags/v1.9.0",
            "refs/tags/1.10.0",
            "refs/tags/v2.0.0",
            "refs/tags/v1.11.0-rc.1",
            "refs/tags/x",
        ]);
        let of = |range: &str| select("u", &Follow::Semver(range.into()), &heads).unwrap().name;
        assert_eq!(of("1.x"), "1.10.0");
        assert_eq!(of(">=1.2 <2"), "1.10.0");
        assert_eq!(of(">= 1.2, < 1.10"), "v1.9.0");
        assert_eq!(of("*"), "v2.0.0");
        assert!(matches!(select("u", &Follow::Semver("new".into()), &heads), Err(SourceError::Range(..))));
        let error = select("u", &Follow::Semver(">=3".into()), &heads).unwrap_err().to_string();
        assert!(error.starts_with("repository u has no tag of the versions >=3; it has 1.10.0, "), "{error}");
    }

    #[test]
    fn an_annotated_tag_is_the_commit_behind_it() {
        let heads = heads(&["refs/tags/v1", "refs/tags/v1^{}"]);
        assert_eq!(select("u", &Follow::Tag("v1".into()), &heads).unwrap().commit, "hash of refs/tags/v1^{}");
    }

    #[test]
    fn a_missing_branch_is_named_with_what_there_is() {
        let of = |heads: &Heads| select("u", &Follow::Branch("production".into()), heads).unwrap_err().to_string();
        assert_eq!(of(&heads(&["refs/heads/main"])), "repository u has no branch production; it has main");
        assert_eq!(of(&heads(&[])), "repository u has no branch production; it has no branches at all");
    }

    #[test]
    fn a_revision_reads_back() {
        let hash = "4f2c9e14f2c9e14f2c9e14f2c9e14f2c9e1aaaaa";
        for text in [format!("main@sha1:{hash}"), format!("sha1:{hash}"), format!("team/a@sha1:{hash}")] {
            assert_eq!(Revision::parse(&text).unwrap().to_string(), text);
        }
        assert_eq!(Revision::parse("main@sha1:short"), None);
        assert_eq!(Revision::parse(hash), None);
    }
}
