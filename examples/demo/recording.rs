//! Draws the recording that the README shows: an SVG of a terminal with parts of what the demo printed, animated by CSS.
//!
//! `tests/docs/recording.rs` reads the text back from `<desc>`, and compares it with the demo and with what gitward prints today.

use std::fmt::Write as _;

use crate::narrator::Step;

/// The parts that are recorded, by the beginning of their titles, with how many of their commands.
const SCENES: [(&str, usize); 4] = [
    ("dev, who has the role admin", 2),
    ("The same change by git", usize::MAX),
    ("A cluster admin removes", usize::MAX),
    ("Every refused change is on record", usize::MAX),
];

/// Characters of a row.
const COLUMNS: usize = 108;
/// Pixels: the width of the picture, the height of a row, and where the text begins.
const WIDTH: usize = 948;
const ROW: usize = 20;
const LEFT: usize = 20;
const TOP: usize = 62;

/// Seconds until a command has printed something.
const RUNS: f32 = 0.7;
/// Seconds that it takes to read a row.
const READS: f32 = 0.45;
/// Seconds for which a scene stays when all of it is seen.
const PAUSE: f32 = 2.5;

const STYLE: &str = "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre;\
fill:#c9d1d9;opacity:0}.part{fill:#79c0ff;font-weight:bold}.command{fill:#fff;font-weight:bold}.said{fill:#7ee787}\
.error{fill:#ffa198}.first{opacity:1}@media(prefers-reduced-motion:reduce){text{animation:none!important}}";

/// A line of the terminal: what kind it is, and its text.
type Line = (&'static str, String);

/// The SVG.
///
/// # Panics
/// Where the demo has no such part any more.
pub(crate) fn draw(steps: &[Step]) -> String {
    let scenes: Vec<Vec<Line>> = SCENES.iter().map(|(title, commands)| scene(steps, title, *commands)).collect();
    let height = TOP + scenes.iter().map(|lines| place(lines).1).max().unwrap_or(0) * ROW;
    let text = scenes.iter().flatten().map(|(_, text)| escape(text)).collect::<Vec<_>>().join("\n");
    let (texts, frames) = animate(&scenes);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>gitward refuses an edit, applies a commit, and undoes a change around it</title>\n<desc>\n{text}\n</desc>\n\
         <style>{STYLE}\n{frames}</style>\n\
         <rect x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\" fill=\"#0d1117\" stroke=\"#30363d\"/>\n\
         <circle cx=\"22\" cy=\"20\" r=\"6\" fill=\"#ff5f57\"/><circle cx=\"42\" cy=\"20\" r=\"6\" fill=\"#febc2e\"/>\
         <circle cx=\"62\" cy=\"20\" r=\"6\" fill=\"#28c840\"/>\n{texts}</svg>\n",
        WIDTH - 1,
        height - 1,
    )
}

/// The lines of a part.
fn scene(steps: &[Step], title: &str, mut commands: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let begins = |step: &&Step| matches!(step, Step::Part(text) if text.starts_with(title));
    let mut rest = steps.iter().skip_while(|step| !begins(step)).peekable();
    assert!(rest.peek().is_some(), "the demo has no part {title:?}: choose another one in recording.rs");
    for (index, step) in rest.enumerate() {
        match step {
            Step::Part(_) if index > 0 => break,
            Step::Part(text) => lines.push(("part", format!("── {text} ──"))),
            Step::Said(text) => lines.extend(text.lines().map(|line| (kind_of_said(line), line.to_owned()))),
            Step::Shown(..) if commands == 0 => break,
            Step::Shown(command, output) => {
                commands -= 1;
                lines.push(("command", command.clone()));
                lines.extend(output.iter().map(|line| (kind_of_output(line), cut(line))));
            }
        }
    }
    lines
}

fn kind_of_said(line: &str) -> &'static str {
    if line.contains("$ ") { "command" } else { "said" }
}

fn kind_of_output(line: &str) -> &'static str {
    if line.trim_start().to_lowercase().starts_with("error") { "error" } else { "output" }
}

/// Rows of a table are cut where the terminal ends.
fn cut(line: &str) -> String {
    if line.trim_start().contains("   ") && line.chars().count() > COLUMNS {
        return line.chars().take(COLUMNS - 2).collect::<String>().trim_end().to_owned() + " …";
    }
    line.to_owned()
}

/// A line in rows, broken at spaces where there are some.
fn wrap(line: &str) -> Vec<String> {
    const INDENT: &str = "      ";
    let (mut rows, mut rest) = (Vec::new(), line.to_owned());
    while rest.chars().count() > COLUMNS {
        let end = rest.char_indices().nth(COLUMNS).map_or(rest.len(), |(at, _)| at);
        let space = rest[..end].rfind(' ').filter(|at| *at > INDENT.len());
        let tail = rest.split_off(space.map_or(end, |at| at + 1));
        rows.push(std::mem::replace(&mut rest, format!("{INDENT}{tail}")));
    }
    rows.push(rest);
    rows
}

/// The rows in which the lines of a scene begin, and how many there are. A command stands apart from what is above it.
fn place(lines: &[Line]) -> (Vec<usize>, usize) {
    let (mut begins, mut row) = (Vec::new(), 0);
    for (line, (kind, text)) in lines.iter().enumerate() {
        let before = line.checked_sub(1).map(|before| lines[before].0);
        row += usize::from(*kind == "command" && before.is_some_and(|before| before != "command"));
        begins.push(row);
        row += wrap(text).len();
    }
    (begins, row)
}

/// The texts of all scenes, and the rules of CSS that say when each line is seen.
fn animate(scenes: &[Vec<Line>]) -> (String, String) {
    let (mut now, mut seen) = (0.0, Vec::new());
    for (scene, lines) in scenes.iter().enumerate() {
        let first = seen.len();
        for (line, begin) in lines.iter().zip(place(lines).0) {
            seen.push((line, scene == 0, begin, now, 0.0));
            now += if line.0 == "command" { RUNS } else { READS * wrap(&line.1).len() as f32 };
        }
        now += PAUSE;
        seen[first..].iter_mut().for_each(|line| line.4 = now);
    }
    let (mut texts, mut frames) = (String::new(), String::new());
    for (number, ((kind, text), is_first, begin, from, until)) in seen.into_iter().enumerate() {
        let first = if is_first { " first" } else { "" };
        let rows = wrap(text).into_iter().zip(begin..);
        let spans: String = rows.map(|(text, row)| span(&text, TOP + row * ROW)).collect();
        let _ = writeln!(texts, "<text class=\"{kind}{first}\" id=\"l{number}\" xml:space=\"preserve\">{spans}</text>");
        let (from, until) = (from * 100.0 / now, until * 100.0 / now);
        // The very first line is there from the first frame on.
        let hidden = if number == 0 { "" } else { "0%{opacity:0}" };
        let _ = writeln!(
            frames,
            "@keyframes l{number}{{{hidden}{from:.2}%{{opacity:1}}{until:.2}%{{opacity:0}}to{{opacity:0}}}}\
             #l{number}{{animation:l{number} {now:.1}s step-end infinite}}",
        );
    }
    (texts, frames)
}

fn span(text: &str, y: usize) -> String {
    format!("<tspan x=\"{LEFT}\" y=\"{y}\">{}</tspan>", escape(text))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
