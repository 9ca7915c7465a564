//! A stream of real writes through the webhook, allowed ones and refused ones in turn, from several people at once. Each has a
//! verdict that is known before.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use gitward_test_cluster::{Api, eventually};
use serde_json::json;

use crate::support::{PATIENCE, World, config_map};

/// How many write at the same time.
const PEOPLE: usize = 6;

/// Writes until it is stopped.
pub(crate) struct Load {
    count: Arc<Count>,
    people: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Count {
    stop: AtomicBool,
    allowed: AtomicUsize,
    refused: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Load {
    /// Pins an object for each of them, and lets them begin when the policy allows what they may do.
    pub(crate) fn start(world: &World, namespace: &'static str) -> Load {
        world.namespace(namespace);
        let repo = world.git.repo(namespace);
        for person in 0..PEOPLE {
            repo.write(&format!("{person}.yaml"), &config_map(namespace, &format!("settings-{person}"), "green"));
        }
        let commit = repo.push("Settings");
        world.follow(namespace, &repo);
        world.wait_applied(namespace, &commit);
        let policy = json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "GuardPolicy", "metadata": {"name": "default"},
            "spec": {"mode": "Enforce", "allow": ["/metadata/annotations/note"]}});
        let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        world.cluster.kubectl_in("admin", &args, Some(&policy.to_string())).ok();
        let note = ["annotate", "configmap", "settings-0", "note=first", "-n", namespace];
        eventually("notes are allowed", PATIENCE, || {
            let output = world.cluster.kubectl("admin", &note);
            if output.status == 0 { Ok(()) } else { Err(output.stderr) }
        });
        let (count, cluster) = (Arc::new(Count::default()), world.cluster);
        let people = (0..PEOPLE).map(|person| {
            let (count, api) = (count.clone(), Api::of(cluster));
            let path = format!("/api/v1/namespaces/{namespace}/configmaps/settings-{person}");
            std::thread::spawn(move || {
                for turn in 0.. {
                    if count.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    count.write(&api, &path, turn);
                }
            })
        });
        Load { count: count.clone(), people: people.collect() }
    }

    /// Waits until so many more writes have had the right answer.
    pub(crate) fn wait(&self, writes: usize) {
        let done = || self.count.allowed.load(Ordering::Relaxed) + self.count.refused.load(Ordering::Relaxed);
        let before = done();
        eventually("people go on writing", PATIENCE, || {
            let now = done() - before;
            if now >= writes { Ok(()) } else { Err(format!("{now} right answers; wrong: {:?}", self.wrong())) }
        });
    }

    /// What had another answer than it should.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.count.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops. How many writes were allowed, how many were refused, and what had a wrong answer.
    pub(crate) fn stop(self) -> (usize, usize, Vec<String>) {
        self.count.stop.store(true, Ordering::Relaxed);
        let wrong = self.count.clone();
        self.people.into_iter().for_each(|person| person.join().unwrap());
        let wrong = wrong.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.count.allowed.load(Ordering::Relaxed), self.count.refused.load(Ordering::Relaxed), wrong)
    }
}

impl Count {
    fn write(&self, api: &Api, path: &str, turn: usize) {
        let note = json!({"metadata": {"annotations": {"note": turn.to_string()}}});
        let (is_allowed, body) =
            if turn.is_multiple_of(2) { (true, note) } else { (false, json!({"data": {"color": "red"}})) };
        let answered = api.send("PATCH", path, &[], &body);
        let wrong = match (is_allowed, answered) {
            (true, Ok(_)) => {
                self.allowed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            (false, Err(refused)) if refused.message.contains("is pinned to git") => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return;
            }
            (true, Err(refused)) => format!("an allowed write failed: {refused:?}"),
            // Nobody answered: it is refused all the same, without a reason that helps.
            (false, Err(refused)) => format!("an edit failed otherwise: {refused:?}"),
            (false, Ok(_)) => "AN EDIT WAS LET THROUGH".to_owned(),
        };
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(wrong);
    }
}
