//! Every link of the documents leads somewhere: the file is in this repository, and so is the heading. Links to other servers are
//! checked for their form alone, since tests reach no network.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pulldown_cmark::{BrokenLink, Event, LinkType, Options, Parser, Tag, TagEnd};
use url::Url;

/// A Markdown file.
#[derive(Default)]
struct Document {
    /// The targets of its links and images.
    targets: Vec<String>,
    /// The anchors that GitHub gives its headings.
    anchors: BTreeSet<String>,
    /// What is written like a link and cannot be checked.
    unreadable: Vec<String>,
}

impl Document {
    fn parse(text: &str) -> Document {
        let mut document = Document::default();
        let mut heading: Option<String> = None;
        let mut broken = Vec::new();
        let note_broken = |link: BrokenLink<'_>| {
            if link.link_type == LinkType::Reference {
                broken.push(link.reference.to_string());
            }
            None
        };
        let options = Options::ENABLE_TABLES;
        for event in Parser::new_with_broken_link_callback(text, options, Some(note_broken)) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.targets.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => document.add_anchor(&heading.take().unwrap_or_default()),
                Event::Text(text) | Event::Code(text) => heading.iter_mut().for_each(|heading| *heading += &text),
                // Links in HTML would go unchecked.
                Event::Html(html) | Event::InlineHtml(html) if !html.trim_start().starts_with("<!--") => {
                    document.unreadable.push(html.trim().to_owned());
                }
                _ => {}
            }
        }
        document.unreadable.append(&mut broken);
        document
    }

    /// Headings of the same text are numbered from the second on.
    fn add_anchor(&mut self, heading: &str) {
        let slug = slug(heading);
        let numbered = (1..).map(|number| format!("{slug}-{number}"));
        let free = std::iter::once(slug.clone()).chain(numbered).find(|anchor| !self.anchors.contains(anchor));
        self.anchors.extend(free);
    }
}

/// The anchor that GitHub makes of a heading: lower case, without punctuation, with hyphens in place of spaces.
fn slug(heading: &str) -> String {
    let lower = heading.trim().to_lowercase();
    let kept = lower.chars().filter(|c| c.is_alphanumeric() || ['-', '_', ' '].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// All files of the repository, without what is built.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    const BUILT: [&str; 4] = ["target", "dist", ".git", "local"];
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.is_dir() {
            true if BUILT.contains(&name) => {}
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// The text of each file of the repository that is text, by its path from the root.
fn texts() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(root, &mut found);
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    found.iter().filter_map(|path| Some((name(path), std::fs::read_to_string(path).ok()?))).collect()
}

/// A path from the root, for a target that a file of some folder names; `None` where it leads out of the repository.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// What is wrong with a link, if anything.
fn fault(documents: &BTreeMap<String, Document>, from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        let url = Url::parse(target);
        let is_sound = url.is_ok_and(|url| url.scheme() == "https" && url.host_str().is_some_and(|h| h.contains('.')));
        return (!is_sound).then(|| "is no URL of an https server".to_owned());
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { Some(from.to_owned()) } else { resolve(from, file) };
    let is_there =
        |path: &String| documents.contains_key(path) || Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists();
    let path = path.filter(is_there);
    let Some(path) = path else { return Some("names no file of this repository".to_owned()) };
    let anchor = anchor?;
    match documents.get(&path) {
        Some(document) if document.anchors.contains(anchor) => None,
        Some(document) => Some(format!("names no heading; {path} has {:?}", document.anchors)),
        None => Some("names a heading of a file that has none".to_owned()),
    }
}

/// The documents that a text names from the root, such as `docs/guard.md` or `docs/guard.md#the-guardpolicy`.
fn named(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.', '/', '#'].contains(&c);
    let words = text.split(|c: char| !is_part(c)).map(|word| word.trim_end_matches(['.', '#']));
    words.filter(|word| word.starts_with("docs/") && word.contains(".md")).collect()
}

/// The documents among these texts.
fn documents(texts: &BTreeMap<String, String>) -> BTreeMap<String, Document> {
    let documents = texts.iter().filter(|(name, _)| name.ends_with(".md"));
    documents.map(|(name, text)| (name.clone(), Document::parse(text))).collect()
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let texts = texts();
    let documents = documents(&texts);
    let mut faults = Vec::new();
    for (name, document) in &documents {
        faults.extend(document.unreadable.iter().map(|text| format!("{name}: {text} cannot be checked")));
        for target in &document.targets {
            faults.extend(fault(&documents, name, target).map(|why| format!("{name}: {target} {why}")));
        }
    }
    // Messages, manifests, scripts and comments name documents from the root.
    for (name, text) in &texts {
        for target in named(text) {
            faults.extend(fault(&documents, "", target).map(|why| format!("{name}: {target} {why}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let count = |name: &str| documents[name].targets.len();
    assert!(count("README.md") > 10 && count("docs/runbook.md") > 10, "the links of the documents are found");
}

#[test]
fn the_readme_is_an_index_of_all_pages() {
    let documents = documents(&texts());
    let targets = documents["README.md"].targets.iter().map(|target| target.split('#').next().unwrap_or_default());
    let linked: BTreeSet<&str> = targets.collect();
    let is_page = |name: &&str| name.starts_with("docs/") || !name.contains('/') && *name != "README.md";
    let missing: Vec<&str> =
        documents.keys().map(String::as_str).filter(is_page).filter(|name| !linked.contains(name)).collect();
    assert!(missing.is_empty(), "README.md links no {missing:?}");
}

#[test]
fn anchors_are_those_of_github() {
    let text = "# What it *is*: `a-b`, and c_d\n\n## Twice\n\n## Twice\n";
    let anchors = Document::parse(text).anchors;
    assert_eq!(anchors.iter().collect::<Vec<_>>(), ["twice", "twice-1", "what-it-is-a-b-and-c_d"]);
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let text = "# Here\n\n[a](#here) [b](#there) [c](Cargo.toml) [d](none.md) [e](../x) [f](http://a.example) \
                [g](https://a.example/b) ![h](none.svg) [i](README.md#none) [j][none]\n\n<img src=\"none\">\n";
    let mut documents = BTreeMap::from([("a.md".to_owned(), Document::parse(text))]);
    documents.insert("README.md".to_owned(), Document::parse("# Other\n"));
    let document = &documents["a.md"];
    let faulty = document.targets.iter().filter(|target| fault(&documents, "a.md", target).is_some());
    let expected = ["#there", "none.md", "../x", "http://a.example", "none.svg", "README.md#none"];
    assert_eq!(faulty.collect::<Vec<_>>(), expected);
    assert_eq!(document.unreadable, ["<img src=\"none\">", "none"]);
    let text = "see `docs/guard.md#the-guardpolicy`, /docs/none.md and docs/values.md.";
    assert_eq!(named(text), ["docs/guard.md#the-guardpolicy", "docs/values.md"]);
}
