//! The API server is away, overloaded, broken, restarted, forgets the watches, or does not know the reconciler any more.

use std::collections::HashMap;

use gitward_test_cluster::{Fault, Seen, eventually};
use serde_json::{Value, json};

use crate::lane::{Lane, PATIENCE, move_branch, with_lane};
use crate::story::{Declared, Story, check_declared, commit, config_map, namespace};

/// A GitSync of a few ConfigMaps, which has applied its first commit.
pub(crate) struct Small {
    pub(crate) name: String,
    pub(crate) repo: gitward_test_cluster::Repo,
    pub(crate) declared: Declared,
}

impl Small {
    pub(crate) fn begin(lane: &mut Lane, name: &str) -> Small {
        Small::begin_at(lane, name, gitward_test_cluster::Repo::file_url)
    }

    /// The same, by the URL that `url` gives.
    pub(crate) fn begin_at(lane: &mut Lane, name: &str, url: impl Fn(&gitward_test_cluster::Repo) -> String) -> Small {
        lane.proxy.pass();
        namespace(lane, name);
        let mut small = Small { name: name.to_owned(), repo: lane.git.repo(name), declared: Vec::new() };
        let first = small.commit("one");
        lane.follow(name, &url(&small.repo), &json!({"deletionPolicy": "Delete"}));
        lane.wait_applied(name, &first);
        small
    }

    /// Commits another value for all objects, and lets the branch stand there. Returns the commit.
    pub(crate) fn commit(&mut self, value: &str) -> String {
        let path = |n: usize| format!("/api/v1/namespaces/{}/configmaps/map-{n}", self.name);
        let map = |n: usize| (path(n), config_map(&format!("map-{n}"), json!({"color": value})));
        self.declared = (0..4).map(map).collect();
        let commit = commit(&self.repo, &self.declared);
        move_branch(&self.repo, &commit);
        commit
    }

    /// Waits until a commit is applied and the cluster is as it says.
    pub(crate) fn wait(&self, lane: &mut Lane, commit: &str) {
        lane.wait_applied(&self.name, commit);
        check_declared(lane, &self.declared).unwrap();
    }

    /// An object of it.
    pub(crate) fn path(&self) -> &str {
        &self.declared[0].0
    }

    /// Waits until the cluster is as git declares it, whatever was done to it.
    pub(crate) fn wait_healed(&self, lane: &mut Lane) {
        lane.until(&format!("{} is healed", self.name), |lane| check_declared(lane, &self.declared));
    }

    pub(crate) fn end(self, lane: &mut Lane) {
        lane.proxy.pass();
        lane.delete_sync(&self.name);
        lane.until(&format!("{} is gone", self.name), |lane| lane.is_gone(&self.name));
        lane.api.delete(&format!("/api/v1/namespaces/{}", self.name));
    }
}

fn red() -> Value {
    json!({"data": {"color": "red"}})
}

#[test]
fn an_api_server_that_is_away_in_the_middle_of_a_sync_is_waited_for() {
    with_lane(|lane| {
        for (name, fault) in [("away", Fault::Cut), ("silent", Fault::Hang)] {
            let mut small = Small::begin(lane, name);
            // From the second object on nothing passes.
            let mut writes = 0;
            lane.proxy.set(move |seen| {
                writes += usize::from(seen.write.is_some() && seen.path.contains("/map-"));
                if writes > 1 { fault } else { Fault::None }
            });
            let second = small.commit("two");
            let name = small.name.clone();
            lane.until("the outage has begun", |lane| {
                let tried =
                    lane.proxy.writes().iter().filter(|write| write.contains(&format!("{name}/configmaps"))).count();
                if tried > 1 { Ok(()) } else { Err(format!("{tried} writes")) }
            });
            assert!(lane.has_applied(&name, &second).is_err(), "nothing is said to be applied that is not");
            lane.proxy.pass();
            lane.proxy.cut();
            small.wait(lane, &second);
            small.end(lane);
        }
    });
}

#[test]
fn an_overloaded_or_broken_api_server_slows_a_sync_down_and_nothing_else() {
    with_lane(|lane| {
        for status in [429, 500, 503] {
            let name = format!("every-third-{status}");
            let story = Story::begin(lane, &name);
            // Not the same write for ever: a run whose writes come in the same order each time would never get past it.
            let mut refused: HashMap<String, u32> = HashMap::new();
            let faulty = move |seen: &Seen| match seen.write {
                Some(write) if write % 3 == 0 && *refused.entry(seen.path.clone()).or_default() < 2 => {
                    refused.entry(seen.path.clone()).and_modify(|times| *times += 1);
                    Fault::Answer(status)
                }
                _ => Fault::None,
            };
            lane.proxy.set(faulty);
            story.tell(lane, |_| {});
            assert!(lane.proxy.answered(status) > 5, "only {} were refused", lane.proxy.answered(status));
            lane.proxy.pass();
            story.clean_up(lane);
        }
    });
}

#[test]
fn watches_that_expire_miss_no_drift() {
    with_lane(|lane| {
        let small = Small::begin(lane, "expired");
        for fault in [Fault::Expired, Fault::Answer(410), Fault::Cut] {
            // The next two watches of the kind go wrong, and all that run are cut.
            let mut left = 2;
            lane.proxy.set(move |seen| match seen.watch && seen.path == "/api/v1/configmaps" && left > 0 {
                true => {
                    left -= 1;
                    fault
                }
                false => Fault::None,
            });
            lane.proxy.cut();
            lane.edit(small.path(), &red());
            lane.remove(&small.declared[1].0);
            small.wait_healed(lane);
            // The watch lives again.
            lane.edit(small.path(), &red());
            small.wait_healed(lane);
        }
        small.end(lane);
    });
}

#[test]
fn drift_while_everything_was_down_is_healed() {
    with_lane(|lane| {
        let mut small = Small::begin(lane, "restarted");
        lane.proxy.set(|_| Fault::Cut);
        lane.proxy.cut();
        lane.cluster.restart();
        // The reconciler may have ended meanwhile, and could not lead while nothing passes.
        eventually("the API server answers again", PATIENCE, || lane.try_edit(small.path(), &red()));
        lane.remove(&small.declared[1].0);
        lane.proxy.pass();
        small.wait_healed(lane);
        let next = small.commit("two");
        small.wait(lane, &next);
        small.end(lane);
    });
}

#[test]
fn a_token_that_has_expired_is_no_end() {
    with_lane(|lane| {
        let mut small = Small::begin(lane, "token");
        let file = lane.gitward.reconciler_token();
        let good = std::fs::read_to_string(&file).unwrap();
        lane.proxy.pass();
        // The client reads the file once a minute (kube-client, `TokenFile`); what is in it may be renewed meanwhile.
        let next = small.commit("two");
        lane.until("the API server knows the token no more", |lane| {
            std::fs::write(&file, "garbage").unwrap();
            if lane.proxy.answered(401) > 0 { Ok(()) } else { Err("not refused yet".to_owned()) }
        });
        lane.edit(small.path(), &red());
        std::fs::write(&file, good).unwrap();
        small.wait_healed(lane);
        small.wait(lane, &next);
        small.end(lane);
    });
}
