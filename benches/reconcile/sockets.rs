//! The connections of the reconciler, as the kernel tells of them.

use std::collections::HashSet;

use crate::world::World;

/// How many established TCP connections the reconciler has.
pub(crate) fn connections(world: &World<'_>) -> usize {
    let process = world.gitward.reconciler().expect("it runs");
    let pid = std::fs::read_to_string(process.pid_file()).expect("its number");
    let files = std::fs::read_dir(format!("/proc/{}/fd", pid.trim())).expect("its files");
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let sockets: HashSet<String> =
        targets.filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect();
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", pid.trim())).expect("the table");
    // The fourth word is the state, where 01 is ESTABLISHED; the tenth is the socket's number, proc(5).
    let is_open = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(3) == Some(&"01") && words.get(9).is_some_and(|inode| sockets.contains(*inode))
    };
    table.lines().filter(is_open).count()
}
