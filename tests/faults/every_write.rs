//! The reconciler is killed before and after every write of a whole story. Which writes there are comes from the running program:
//! a round is told for the first, the second, the third, until a story ends before its round's write came. `make test` tries one
//! crash in six, other ones at each commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gitward_test_cluster::{Fault, Proxy, Sample};

use crate::lane::{LANES, Lane, with_lane};
use crate::story::Story;

/// So many rounds may fail until the others are not even tried: each tells for itself what is wrong.
const ENOUGH: usize = 12;
/// Of so many crashes one is tried where only a part runs.
const PARTS: usize = 6;

#[test]
fn a_crash_before_or_after_any_write_loses_nothing() {
    let counted = writes_of_a_whole_story();
    println!("{} writes in a story without a crash:\n  {}", counted.len(), counted.join("\n  "));
    let sample = Sample::one_of(PARTS);
    let (next, end) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let (told, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let rounds = || {
        loop {
            let round = next.fetch_add(1, Ordering::SeqCst);
            let (write, after) = (round / 2 + 1, round % 2 == 1);
            if write > end.load(Ordering::SeqCst) || failed.lock().unwrap().len() >= ENOUGH {
                return;
            }
            if !sample.has(round) {
                continue;
            }
            let point = format!("killed {} write {write}", if after { "after" } else { "before" });
            match catch_unwind(AssertUnwindSafe(|| a_round(write, after))) {
                Ok(Some(what)) => told.lock().unwrap().push(format!("{point}: {what}")),
                Ok(None) => drop(end.fetch_min(write, Ordering::SeqCst)),
                Err(panic) => failed.lock().unwrap().push(format!("{point}: {}", words(&*panic))),
            }
        }
    };
    std::thread::scope(|scope| (0..LANES).for_each(|_| drop(scope.spawn(rounds))));
    let (told, failed) = (told.into_inner().unwrap(), failed.into_inner().unwrap());
    println!("{} crashes survived", told.len());
    assert!(failed.is_empty(), "{} of {} crashes:\n{}", failed.len(), told.len() + failed.len(), failed.join("\n"));
    let least = if sample.is_whole() { counted.len() } else { counted.len() / PARTS };
    assert!(told.len() >= least, "a story has {} writes, and only {} crashes came", counted.len(), told.len());
}

fn writes_of_a_whole_story() -> Vec<String> {
    with_lane(|lane| {
        let story = Story::begin(lane, "whole");
        settle(lane);
        lane.proxy.pass();
        story.tell(lane, Proxy::pass);
        let writes = lane.proxy.writes();
        story.clean_up(lane);
        writes
    })
}

/// A story with a crash at one write; `None` where the story ended before that write.
fn a_round(write: usize, after: bool) -> Option<String> {
    let (name, fault) =
        if after { (format!("after{write}"), Fault::KillAfter) } else { (format!("before{write}"), Fault::KillBefore) };
    with_lane(|lane| {
        let story = Story::begin(lane, &name);
        settle(lane);
        lane.proxy.set(move |seen| if seen.write == Some(write) { fault } else { Fault::None });
        let mut killed = None;
        let told = catch_unwind(AssertUnwindSafe(|| {
            story.tell(lane, |proxy| {
                killed = proxy.writes().get(write - 1).cloned();
                proxy.pass();
            });
        }));
        // The last write ends the GitSync: nobody may have waited for the reconciler any more.
        if lane.proxy.has_killed() {
            killed = lane.proxy.writes().get(write - 1).cloned();
            lane.proxy.pass();
            lane.gitward.revive_reconciler();
        }
        let what = killed.map(|what| what.replace(&name, "*"));
        if let Err(panic) = told {
            panic!("{}: {}", what.unwrap_or_else(|| "never killed".to_owned()), words(&*panic));
        }
        story.clean_up(lane);
        what
    })
}

/// Waits until what a reconciler writes after its start is through: it is not of the story.
fn settle(lane: &mut Lane) {
    lane.until("the reconciler has settled", |lane| match lane.proxy.quiet() {
        quiet if quiet > Duration::from_millis(700) => Ok(()),
        quiet => Err(format!("quiet for {quiet:?}")),
    });
}

/// What a panic says.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
