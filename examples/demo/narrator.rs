//! How the demo speaks.

use std::cell::{Ref, RefCell};
use std::time::{Duration, Instant};

use gitward_test_cluster::Output;
use indicatif::ProgressBar;

/// One thing that the demo printed.
pub(crate) enum Step {
    /// The title of a part.
    Part(String),
    /// A sentence.
    Said(String),
    /// A command with its time, and what it printed.
    Shown(String, Vec<String>),
}

/// Prints headings, commands, outputs and times, and remembers them.
pub(crate) struct Narrator {
    begun: Instant,
    steps: RefCell<Vec<Step>>,
}

impl Narrator {
    pub(crate) fn new() -> Narrator {
        Narrator { begun: Instant::now(), steps: RefCell::default() }
    }

    /// Does something long, with progress where somebody watches.
    pub(crate) fn wait<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let (bar, begun) = (ProgressBar::new_spinner().with_message(what.to_owned()), Instant::now());
        bar.enable_steady_tick(Duration::from_millis(100));
        let result = work();
        bar.finish_and_clear();
        println!("[{:5.1}s] {what} ({})", self.begun.elapsed().as_secs_f32(), time(begun.elapsed()));
        result
    }

    /// Begins a part of the story.
    pub(crate) fn part(&self, title: &str) {
        println!("\n── {title} ──");
        self.steps.borrow_mut().push(Step::Part(title.to_owned()));
    }

    /// Says something.
    pub(crate) fn say(&self, text: &str) {
        println!("{text}");
        self.steps.borrow_mut().push(Step::Said(text.trim().to_owned()));
    }

    /// Shows a command with what it printed.
    pub(crate) fn show(&self, who: &str, output: &Output, took: Duration) {
        let command = format!("{who}$ {}   ({})", output.command, time(took));
        println!("\n{command}");
        let lines = output.stdout.lines().chain(output.stderr.lines()).map(|line| format!("    {line}"));
        let lines: Vec<String> = lines.inspect(|line| println!("{line}")).collect();
        self.steps.borrow_mut().push(Step::Shown(command, lines));
    }

    /// What was printed so far.
    pub(crate) fn steps(&self) -> Ref<'_, Vec<Step>> {
        self.steps.borrow()
    }
}

/// A duration as people say it.
pub(crate) fn time(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms < 1000 => format!("{ms} ms"),
        ms => format!("{:.1} s", ms as f64 / 1000.0),
    }
}

/// Median and worst of some durations.
pub(crate) fn median_and_worst(mut durations: Vec<Duration>) -> String {
    durations.sort();
    let (median, worst) = (durations[durations.len() / 2], durations[durations.len() - 1]);
    format!("median {}, worst {} of {}", time(median), time(worst), durations.len())
}
