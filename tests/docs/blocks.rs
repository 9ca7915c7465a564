//! What a document says to type. Commands stand in fenced blocks of `console`:
//!
//! ```text
//! $ kubectl get pods -A          a command; it goes on where a line ends with \, or until the end of a here-document
//! web   1/1   Running …          what it prints: a line of its output holds this, … being anything
//! ```
//!
//! What is shown as `Error …` is a command that fails. Comments before a block say more: `<!-- scene: … -->` what has
//! happened in the meantime (scenes.rs), `<!-- exit N -->` the status of its last command, `<!-- retry -->` that the commands are tried
//! until they show that, `<!-- not run: why -->` that a test cannot run them.

/// A step of a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something happens that the document speaks of.
    Scene(String),
    /// Somebody types something.
    Run(Command),
    /// A block that no test can run, and why.
    NotRun(String),
    /// A command that is hidden from this test.
    Stray(usize, String),
}

/// A command of a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its line in the document.
    pub(crate) line: usize,
    /// What is typed.
    pub(crate) text: String,
    /// Lines of what it prints.
    pub(crate) shown: Vec<String>,
    /// The exit status, where the document says it.
    pub(crate) exit: Option<i32>,
    /// Whether it may be tried until it shows that.
    pub(crate) retry: bool,
}

impl Command {
    /// Whether it says that something is printed, and nothing of it: whatever is printed would be right.
    pub(crate) fn shows_nothing(&self) -> bool {
        let is_nothing = |line: &String| line.trim_matches(['…', ' ']).is_empty();
        !self.shown.is_empty() && self.shown.iter().all(is_nothing)
    }
}

/// What commands begin with.
const PROGRAMS: [&str; 13] =
    ["$", "argocd", "az", "curl", "docker", "flux", "git", "gitward", "helm", "kubectl", "make", "openssl", "sudo"];

#[derive(Default)]
struct Said {
    exit: Option<i32>,
    retry: bool,
    not_run: Option<String>,
}

/// The steps of a document.
pub(crate) fn steps(document: &str) -> Vec<Step> {
    let (mut steps, mut said) = (Vec::new(), Said::default());
    let mut fence: Option<(String, Vec<(usize, &str)>)> = None;
    let mut before = "";
    for (line, text) in document.lines().enumerate().map(|(index, text)| (index + 1, text)) {
        match (&mut fence, text.strip_prefix("```")) {
            (None, Some(language)) => fence = Some((language.trim().to_owned(), Vec::new())),
            (Some(_), Some(_)) => {
                let (language, lines) = fence.take().unwrap_or_default();
                add_block(&mut steps, &language, &lines, std::mem::take(&mut said));
            }
            (Some((_, lines)), None) => lines.push((line, text)),
            (None, None) => match text.strip_prefix("<!-- ").and_then(|text| text.strip_suffix(" -->")) {
                Some(comment) => hear(&mut steps, &mut said, comment),
                None if before.is_empty() || before.starts_with("    ") => {
                    steps.extend(text.strip_prefix("    ").and_then(|code| stray(line, code)));
                }
                None => {}
            },
        }
        before = text;
    }
    steps
}

fn hear(steps: &mut Vec<Step>, said: &mut Said, comment: &str) {
    match comment.split_once(": ").unwrap_or((comment, "")) {
        ("scene", scene) => steps.push(Step::Scene(scene.to_owned())),
        ("not run", why) => said.not_run = Some(why.to_owned()),
        ("retry", "") => said.retry = true,
        _ => said.exit = comment.strip_prefix("exit ").and_then(|status| status.parse().ok()),
    }
}

fn add_block(steps: &mut Vec<Step>, language: &str, lines: &[(usize, &str)], said: Said) {
    if language != "console" {
        return steps.extend(lines.iter().filter_map(|(line, text)| stray(*line, text)));
    }
    if let Some(why) = said.not_run {
        return steps.push(Step::NotRun(why));
    }
    let mut commands = commands(lines);
    commands.iter_mut().for_each(|command| command.retry |= said.retry);
    if let Some(last) = commands.last_mut() {
        last.exit = said.exit;
    }
    steps.extend(commands.into_iter().map(Step::Run));
}

fn stray(line: usize, text: &str) -> Option<Step> {
    let mut words = text.split_whitespace();
    let is_program = PROGRAMS.contains(&words.next()?);
    // A drawing or a sentence is none.
    let is_command = words.next().is_some_and(|word| word.starts_with(|c: char| c.is_ascii() && c != '|'));
    (is_program && is_command).then(|| Step::Stray(line, text.trim().to_owned()))
}

fn commands(lines: &[(usize, &str)]) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    let mut is_open = false;
    for (line, text) in lines {
        match (text.strip_prefix("$ "), commands.last_mut()) {
            (_, Some(command)) if is_open => command.text += &format!("\n{text}"),
            (Some(text), _) => {
                // What only reads may be asked until it is so.
                let retry = ["kubectl get ", "kubectl describe ", "gitward access"].iter().any(|r| text.starts_with(r));
                commands.push(Command { line: *line, text: text.to_owned(), retry, ..Command::default() });
            }
            (None, Some(command)) => command.shown.push((*text).to_owned()),
            (None, None) => panic!("line {line}: {text:?} stands before any command"),
        }
        is_open = commands.last().is_some_and(|command| command.shown.is_empty() && goes_on(&command.text));
    }
    commands
}

/// Whether the command goes on behind its last line.
fn goes_on(command: &str) -> bool {
    let last = command.lines().last().unwrap_or_default();
    last.ends_with('\\') || (command.contains("<<EOF") && last != "EOF")
}

/// Whether an output has a line that a document shows.
pub(crate) fn shows(output: &str, shown: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts: Vec<String> = shown.split('…').map(words).filter(|part| !part.is_empty()).collect();
    parts.is_empty()
        || output.lines().map(words).any(|line| {
            let mut rest = line.as_str();
            parts.iter().all(|part| rest.find(part.as_str()).map(|at| rest = &rest[at + part.len()..]).is_some())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_what_they_show_and_what_is_said_of_them() {
        let document = "\
text\n<!-- scene: night -->\n<!-- exit 3 -->\n```console\n$ one \\\n    more\nshown\n$ two <<EOF\na\nEOF\nsaid\n```\n\
             <!-- not run: no moon -->\n```console\n$ three\n```\n\n    kubectl hidden\n\n```text\ndev$ kubectl shown\nhelm hidden\n```\n";
        let command = |line, text: &str, shown: &str, exit| {
            let (text, shown) = (text.to_owned(), vec![shown.to_owned()]);
            Step::Run(Command { line, text, shown, exit, retry: false })
        };
        let expected = [
            Step::Scene("night".into()),
            command(5, "one \\\n    more", "shown", None),
            command(8, "two <<EOF\na\nEOF", "said", Some(3)),
            Step::NotRun("no moon".into()),
            Step::Stray(18, "kubectl hidden".into()),
            Step::Stray(22, "helm hidden".into()),
        ];
        assert_eq!(steps(document), expected);
    }

    #[test]
    fn a_shown_line_is_found_whatever_stands_for_its_dots() {
        let output = "NAME   READY\nweb    True    main@sha1:abc   9\n";
        for (shown, is) in
            [("web True main@…", true), ("web … 9", true), ("…", true), ("web False", false), ("9 … web", false)]
        {
            assert_eq!(shows(output, shown), is, "{shown}");
        }
    }
}
