//! Agents that are killed, shims that are killed, and what is found afterwards.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sutler_runtime::{
    Adopted, AdoptedState, ContainerSpec, Containers, Ended, ExitStatus, MountSpec,
};

use crate::world::{World, fifo, id, runs, shim_binary};

/// An agent in its own process group that has started one container.
struct Agent {
    process: Child,
    container: i32,
}

impl Agent {
    fn start(world: &World, spec: &ContainerSpec) -> Self {
        let mut agent = Self::spawn(world, spec, None);
        agent.container = agent.report().expect("the agent reports a pid");
        agent
    }

    /// An agent and its shim, of which the one that passes this place is killed there.
    fn spawn(world: &World, spec: &ContainerSpec, failpoint: Option<&str>) -> Self {
        let config = world.path().join("agent.json");
        let text = serde_json::json!({
            "containers_dir": world.config.containers_dir,
            "runtime": world.config.runtime,
            "spec": spec,
        });
        fs::write(&config, text.to_string()).expect("written");
        let mut command = Command::new(shim_binary());
        command.arg("start").arg(config).stdout(Stdio::piped());
        command.stderr(Stdio::null()).process_group(0);
        if let Some(name) = failpoint {
            command.env("SUTLER_FAILPOINT", name);
        }
        let process = command.spawn().expect("the agent runs");
        Self {
            process,
            container: 0,
        }
    }

    /// Waits until the agent has started its container, or failed to and ended.
    fn report(&mut self) -> Option<i32> {
        let output = self.process.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .expect("the agent has a pipe");
        line.trim().parse().ok()
    }

    /// Kills the agent with its whole process group, as a terminal or supervisor may.
    fn kill(mut self) -> i32 {
        kill_process_group(Pid::from_child(&self.process), Signal::KILL).expect("killed");
        self.process.wait().expect("reaped");
        self.container
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn gated(world: &World, name: &str, code: u8) -> (ContainerSpec, std::path::PathBuf) {
    let gate = world.folder(&format!("gate-{name}"));
    fifo(&gate.join("go"));
    let mut spec = world.sh(
        name,
        &format!("echo up; cat /gate/go; echo down; exit {code}"),
    );
    spec.mounts.push(MountSpec::bind(&gate, "/gate"));
    (spec, gate.join("go"))
}

async fn open(gate: &Path) {
    let gate = gate.to_owned();
    tokio::task::spawn_blocking(move || fs::write(gate, ""))
        .await
        .expect("ran")
        .expect("opened");
}

async fn adopt(containers: &Containers) -> AdoptedState {
    let mut all: Vec<Adopted> = containers.adopt().await.expect("listed");
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_outlives_its_agent_and_is_adopted() {
    let world = World::new();
    let (spec, gate) = gated(&world, "c", 5);
    let pid = Agent::start(&world, &spec).kill();
    assert!(runs(pid), "the container died with its agent");
    let state = adopt(&world.containers).await;
    assert!(
        matches!(&state, AdoptedState::Running(started) if started.pid == pid),
        "{state:?}"
    );
    world.wait_for("c", "up").await;
    let waiting = world.containers.clone();
    let waiter = tokio::spawn(async move { waiting.wait(&id("c")).await });
    open(&gate).await;
    let ended = waiter.await.expect("no panic").expect("ended");
    assert!(matches!(ended, Ended::Exited(r) if r.status == ExitStatus::Code(5)));
    assert_eq!(world.stdout("c").await, "up\ndown\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_without_any_agent_is_kept() {
    let world = World::new();
    let (spec, gate) = gated(&world, "c", 6);
    Agent::start(&world, &spec).kill();
    let shim = world.shim_pid("c");
    let ended = rustix::process::pidfd_open(
        Pid::from_raw(shim).expect("a pid"),
        rustix::process::PidfdFlags::empty(),
    )
    .expect("the shim runs");
    open(&gate).await;
    tokio::task::spawn_blocking(move || {
        use rustix::event::{PollFd, PollFlags, poll};
        poll(&mut [PollFd::new(&ended, PollFlags::IN)], None).expect("polled")
    })
    .await
    .expect("the shim ended");
    let state = adopt(&world.containers).await;
    assert!(matches!(state, AdoptedState::Exited(r) if r.status == ExitStatus::Code(6)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_container_can_be_stopped_and_removed() {
    let world = World::new();
    let pid = Agent::start(&world, &world.spec("c", &["sleep", "1000"])).kill();
    let grace = std::time::Duration::from_millis(10);
    let ended = world
        .containers
        .stop(&id("c"), grace, None)
        .await
        .expect("stopped");
    assert!(matches!(ended, Ended::Exited(r) if r.status == ExitStatus::Signal(9)));
    world.remove("c").await;
    assert!(!runs(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_loses_the_status_and_removal_ends_the_rest() {
    let world = World::new();
    let started = world.start(&world.spec("c", &["sleep", "1000"])).await;
    let waiting = world.containers.clone();
    let waiter = tokio::spawn(async move { waiting.wait(&id("c")).await });
    let shim = Pid::from_raw(world.shim_pid("c")).expect("a pid");
    kill_process(shim, Signal::KILL).expect("killed");
    assert_eq!(waiter.await.expect("no panic").expect("told"), Ended::Lost);
    assert!(matches!(adopt(&world.containers).await, AdoptedState::Lost));
    assert!(
        runs(started.pid),
        "this test is about a container that still runs"
    );
    world.remove("c").await;
    assert!(!runs(started.pid));
    assert!(world.cgroups("c").is_empty());
    assert!(!world.config.runtime.has_state(&id("c")));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_a_container_whose_shim_is_killed_ends() {
    let world = World::new();
    world.start(&world.sh("c", "echo up; sleep 1000")).await;
    world.wait_for("c", "up").await;
    let following = world.containers.clone();
    let follower = tokio::spawn(async move {
        use futures::StreamExt;
        use sutler_runtime::{LogQuery, LogStart, LogStream};
        let query = LogQuery {
            stream: LogStream::Stdout,
            start: LogStart::Oldest,
            follow: true,
        };
        let chunks = following
            .read_logs(&id("c"), query)
            .await
            .expect("readable");
        chunks
            .map(|c| c.expect("readable").bytes)
            .collect::<Vec<_>>()
            .await
            .concat()
    });
    let shim = Pid::from_raw(world.shim_pid("c")).expect("a pid");
    kill_process(shim, Signal::KILL).expect("killed");
    let followed = tokio::time::timeout(crate::world::PATIENCE, follower).await;
    assert_eq!(followed.expect("ended in time").expect("no panic"), b"up\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn torn_folders_are_found_and_removed() {
    let world = World::new();
    for (name, file) in [
        ("empty", None),
        ("torn", Some("shim.json")),
        ("spec", Some("spec.json")),
    ] {
        let folder = world.containers.folder(&id(name));
        fs::create_dir_all(&folder).expect("made");
        if let Some(file) = file {
            fs::write(folder.join(file), "{\"version\":").expect("written");
        }
    }
    let all = world.containers.adopt().await.expect("listed");
    let states: Vec<_> = all.iter().map(|a| (a.id.as_str(), &a.state)).collect();
    assert!(matches!(
        states.as_slice(),
        [
            ("empty", AdoptedState::NeverStarted(None)),
            ("spec", AdoptedState::NeverStarted(None)),
            ("torn", AdoptedState::Lost),
        ]
    ));
    for found in all {
        world.remove(found.id.as_str()).await;
    }
    assert!(world.containers.adopt().await.expect("listed").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_is_detached_and_small() {
    /// What a shim may hold for itself; the program's own pages are shared by all shims.
    const OWN_KIB_MAX: u64 = 2048;
    let world = World::new();
    let started = world
        .start(&world.sh("c", "seq 1 100000; echo up; sleep 1000"))
        .await;
    world.wait_for("c", "up").await;
    let shim = world.shim_pid("c");
    let status = fs::read_to_string(format!("/proc/{shim}/status")).expect("runs");
    let own = status
        .lines()
        .find_map(|l| l.strip_prefix("RssAnon:"))
        .expect("has the line");
    let own: u64 = own
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    assert!(own <= OWN_KIB_MAX, "a shim holds {own} KiB");
    let session = rustix::process::getsid(Pid::from_raw(shim)).expect("runs");
    assert_eq!(session.as_raw_nonzero().get(), shim);
    let root = fs::read_link(format!("/proc/{shim}/cwd")).expect("runs");
    assert_eq!(root, Path::new("/"));
    let stat = fs::read_to_string(format!("/proc/{}/stat", started.pid)).expect("runs");
    let parent = stat
        .rsplit_once(')')
        .expect("a name")
        .1
        .split_whitespace()
        .nth(1);
    assert_eq!(parent, Some(shim.to_string().as_str()));
}

/// What an agent that comes afterwards must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    NeverStarted,
    Lost,
    Exited,
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_at_any_step_the_rest_is_found_and_removed() {
    let places = [
        ("container.start.folder.before", Found::Nothing),
        ("container.start.folder.after", Found::NeverStarted),
        ("container.start.spawn_shim.before", Found::NeverStarted),
        // The shim is on its way and needs nobody.
        ("container.start.spawn_shim.after", Found::Exited),
        ("shim.start.create.before", Found::NeverStarted),
        ("shim.start.create.after", Found::NeverStarted),
        // The command may have run: nobody can tell any more.
        ("shim.start.run.before", Found::Lost),
        ("shim.start.run.after", Found::Lost),
        ("shim.exit.persist.before", Found::Lost),
        ("shim.exit.persist.after", Found::Exited),
        ("shim.exit.delete.before", Found::Exited),
        ("shim.exit.delete.after", Found::Exited),
    ];
    let world = World::new();
    for (place, expected) in places {
        assert_eq!(found_after(&world, place).await, expected, "{place}");
        world.remove("c").await;
        assert!(world.cgroups("c").is_empty(), "{place}: a cgroup is left");
        assert!(
            !world.config.runtime.has_state(&id("c")),
            "{place}: runtime state is left"
        );
        assert!(
            !world.containers.folder(&id("c")).exists(),
            "{place}: its folder is left"
        );
    }
}

async fn found_after(world: &World, place: &str) -> Found {
    let spec = world.sh("c", "exit 0");
    let mut agent = Agent::spawn(world, &spec, Some(place));
    let agent = tokio::task::spawn_blocking(move || {
        agent.report();
        agent
    });
    // Only the agent itself: until the shim has left its process group, it would die as well.
    drop(agent.await.expect("no panic"));
    let mut adopted = world.containers.adopt().await.expect("listed");
    match adopted.pop().map(|found| found.state) {
        None => Found::Nothing,
        Some(AdoptedState::NeverStarted(failure)) => {
            assert_eq!(failure, None);
            Found::NeverStarted
        }
        Some(AdoptedState::Lost) => Found::Lost,
        Some(AdoptedState::Exited(_)) => Found::Exited,
        Some(AdoptedState::Running(_)) => {
            match world.containers.wait(&id("c")).await.expect("it ends") {
                Ended::Lost => Found::Lost,
                Ended::Exited(_) => Found::Exited,
            }
        }
    }
}
