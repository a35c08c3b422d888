//! Takes away what belongs to nobody any more: of worlds whose process has ended, of agents whose
//! state is gone, of tests that were killed. What may belong to somebody stays, and is told by
//! [`crate::traces::Traces`].

use std::fs;
use std::path::{Path, PathBuf};

use super::cleanup::{clean, kill, remove_cgroup};
use super::runs::Run;
use super::{WORLDS, network};
use crate::traces::OWNER;
use crate::{host, traces};

/// How the folders of worlds begin, and of those that other crates' tests have.
const WORLD_PREFIXES: [&str; 2] = ["st-", "sa-"];

/// How the runtime's tests name their cgroups; the id of their process follows.
const TEST_CGROUPS: &str = "sutler-test-";

/// Cleans up after what has ended without doing so: killed tests, and agents whose state was
/// deleted.
pub fn sweep() {
    for root in dead_worlds() {
        println!("sweeping {}", root.display());
        clean(&root);
        network::sweep(&root);
    }
    for run in Run::of_host().iter().filter(|run| run.is_dead()) {
        println!("sweeping {} of {}", run.tag(), traces::RUN_DIR);
        run.remove();
    }
    for cgroup in traces::cgroups() {
        sweep_cgroup(&cgroup);
    }
    let orphans = host::processes().into_iter();
    let orphans = orphans.filter(|p| named_world(&p.command).is_some_and(|w| !w.exists()));
    kill(&orphans.map(|process| process.pid).collect::<Vec<_>>());
    network::sweep_orphans(Path::new(WORLDS));
    // Fails while an agent has a folder in it.
    let _ = fs::remove_dir(traces::RUN_DIR);
}

fn worlds() -> impl Iterator<Item = PathBuf> {
    let folders = host::subfolders(Path::new(WORLDS)).into_iter();
    folders.filter(|folder| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        WORLD_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

/// Gives the worlds whose process has ended. One that names none may be about to.
fn dead_worlds() -> Vec<PathBuf> {
    let is_dead = |root: &PathBuf| {
        let owner = fs::read_to_string(root.join(OWNER)).ok();
        owner.is_some_and(|owner| !lives(&owner))
    };
    worlds().filter(is_dead).collect()
}

fn lives(pid: &str) -> bool {
    pid.parse().ok().and_then(host::process).is_some()
}

/// Removes one cgroup of ours if nobody can be using it, or what is so below one that earlier
/// versions shared.
fn sweep_cgroup(cgroup: &Path) {
    let name = cgroup.file_name().unwrap_or_default().to_string_lossy();
    if let Some(rest) = name.strip_prefix(TEST_CGROUPS) {
        let pid = rest.split('-').next().unwrap_or_default();
        if !lives(pid) {
            kill(&host::cgroup_processes(cgroup));
            remove_cgroup(cgroup);
        }
    } else if name == "sutler" {
        for child in host::subfolders(cgroup) {
            sweep_agents(
                &child,
                &child.file_name().unwrap_or_default().to_string_lossy(),
            );
        }
        // Not empty means in use.
        let _ = fs::remove_dir(cgroup);
    } else if let Some(tag) = name.strip_prefix("sutler-") {
        sweep_agents(cgroup, tag);
    }
}

/// Removes an agent's cgroup if nothing runs in it and no folder of sockets says that its agent
/// may come back.
fn sweep_agents(cgroup: &Path, tag: &str) {
    let mut runs = Run::of_host();
    runs.extend(worlds().flat_map(|root| Run::of_world(&root)));
    let known = runs.iter().any(|run| run.tag() == tag);
    if !known && host::cgroup_processes(cgroup).is_empty() {
        remove_cgroup(cgroup);
    }
}

/// Finds the world's folder that a command line names.
fn named_world(command: &str) -> Option<PathBuf> {
    let starts = WORLD_PREFIXES.map(|prefix| format!("{WORLDS}/{prefix}"));
    let at = starts
        .iter()
        .find_map(|start| command.find(start.as_str()))?;
    let end = |c: char| c == '/' || c.is_whitespace();
    let name = command[at + WORLDS.len() + 1..].split(end).next()?;
    Some(Path::new(WORLDS).join(name))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::poll;
    use crate::traces::Traces;
    use crate::world::own;

    /// One of each kind of thing that a killed world leaves, and the words that name it.
    fn leave_behind(root: &Path) -> Vec<String> {
        let run = |line: &str| {
            let mut sh = Command::new("sh");
            let status = sh.args(["-ec", line]).current_dir(root).status();
            assert!(status.expect("sh is everywhere").success(), "{line}");
        };
        let name = root.file_name().expect("has one").to_string_lossy();
        let letters = name.trim_start_matches("st-").to_owned();
        run("mkdir m && mount -t tmpfs t m && mkdir m/n && mount -t tmpfs t m/n");
        run("truncate -s 1M file && losetup --find file");
        run(&format!("ip netns add st{letters}0"));
        run(&format!("mkdir -p m/agent /run/sutler/{letters}"));
        run(&format!("ln -s $PWD/m/agent /run/sutler/{letters}/state"));
        let cgroup = format!("sutler-{letters}");
        for hierarchy in host::cgroup_roots() {
            fs::create_dir_all(hierarchy.join(&cgroup).join("shims")).expect("root may");
        }
        fs::copy("/bin/sleep", root.join("sutler-planted")).expect("sleep is everywhere");
        let mut planted = Command::new(root.join("sutler-planted"));
        let child = planted.arg("600").stderr(Stdio::null()).spawn();
        let pid = child.expect("it is a program").id();
        let root = root.display();
        vec![
            format!("mount {root}/m"),
            format!("mount {root}/m/n"),
            format!("of {root}/file"),
            format!("network namespace st{letters}0"),
            format!("/{cgroup}"),
            format!("process {pid} {root}/sutler-planted"),
            format!("folder {root}"),
            "folder /run/sutler".to_owned(),
        ]
    }

    fn is_named(told: &Traces, words: &str) -> bool {
        told.lines().any(|line| line.contains(words))
    }

    fn folder() -> tempfile::TempDir {
        let world = tempfile::Builder::new().prefix("st-").tempdir_in(WORLDS);
        world.expect("a folder")
    }

    #[test]
    fn what_a_killed_world_left_is_named_and_swept_and_a_living_ones_is_not() {
        assert!(rustix::process::geteuid().is_root(), "mounts need root");
        let living = folder();
        own(living.path()).expect("is ours");
        let killed = folder().keep();
        let planted = leave_behind(&killed);
        let mut ended = Command::new("true").spawn().expect("true is everywhere");
        ended.wait().expect("was started here");
        fs::write(killed.join(OWNER), ended.id().to_string()).expect("is ours");

        let told = Traces::ours();
        let unnamed = planted.iter().filter(|words| !is_named(&told, words));
        assert_eq!(unnamed.collect::<Vec<_>>(), [] as [&String; 0], "{told:?}");
        let gone = poll::until("all is swept", super::super::COMMAND_WITHIN, || {
            sweep();
            let told = Traces::ours();
            // The last is shared with others.
            let mine = &planted[..planted.len() - 1];
            let left: Vec<_> = mine.iter().filter(|words| is_named(&told, words)).collect();
            poll::holds(left.is_empty(), || format!("{left:?}"))
        });
        gone.expect("a dead owner's things go");
        let letters = killed.to_string_lossy().replace("/tmp/st-", "");
        assert!(!Path::new(traces::RUN_DIR).join(letters).exists());
        assert!(
            living.path().join(OWNER).exists(),
            "a living world was swept"
        );
    }

    #[test]
    fn cgroups_of_tests_are_swept_when_their_process_has_ended() {
        let mut ended = Command::new("true").spawn().expect("true is everywhere");
        ended.wait().expect("was started here");
        let made = |pid: u32| {
            let roots = host::cgroup_roots().into_iter();
            let folders = roots.map(|root| root.join(format!("{TEST_CGROUPS}{pid}-9999")));
            let folders: Vec<_> = folders.collect();
            for folder in &folders {
                fs::create_dir_all(folder.join("below")).expect("root may");
            }
            folders
        };
        let (dead, living) = (made(ended.id()), made(std::process::id()));
        sweep();
        assert!(dead.iter().all(|folder| !folder.exists()));
        assert!(living.iter().all(|folder| folder.exists()));
        living.iter().for_each(|folder| remove_cgroup(folder));
    }

    #[test]
    fn a_world_is_found_in_a_command_line() {
        let found = named_world("sutler up --state-dir /tmp/st-a/m --listen x");
        assert_eq!(found, Some(PathBuf::from("/tmp/st-a")));
        assert_eq!(
            named_world("tail -F /tmp/sa-b"),
            Some(PathBuf::from("/tmp/sa-b"))
        );
        assert_eq!(named_world("tail -F /tmp/mine"), None);
    }
}
