//! One test's node: a state directory, an image, a master, and an agent that can be ended
//! and started again. Dropping it removes every container, mount and cgroup of it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};
use sutler_agent::{Agent, AgentConfig, AgentHandle, MasterAddress, StartError};
use sutler_api::definition::PluginDefinition;
use sutler_api::plugin::DesiredPlugin;
use sutler_api::task::TaskSpec;
use sutler_host::remove::remove_tree;
use sutler_ids::Bytes;
use sutler_ids::{AgentName, PluginName, TaskId, TaskInstance};
use sutler_images::{ImageBuilder, ImageConfig, Rootfs};
use sutler_runtime::{
    ContainerId, Containers, ContainersConfig, Runc, remove_cgroup_parent, remove_shared_mount,
};
use sutler_testkit::host;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::master::Master;

/// Commands of busybox that the tests use.
const APPLETS: [&str; 8] = ["sh", "sleep", "echo", "cat", "kill", "true", "mkdir", "ls"];

/// Time for a dropped agent's threads to end.
const END_WITHIN: Duration = Duration::from_secs(10);

pub struct World {
    pub master: Master,
    pub dir: PathBuf,
    /// Runs the test itself and the master.
    outer: Option<Runtime>,
    /// Runs the agent, so that it can die at once like a killed process.
    inner: Option<Runtime>,
    handle: Option<AgentHandle>,
    state_dir: PathBuf,
    /// Unmounted after all else, before the folder goes.
    disk: Option<SmallDisk>,
    _temp: TempDir,
}

/// A small file system, gone with its guard.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&at).expect("a folder");
        let options = CString::new(format!("size={size}")).expect("no NUL");
        let flags = MountFlags::empty();
        rustix::mount::mount("tmpfs", &at, "tmpfs", flags, options.as_c_str()).expect("a mount");
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failing test may leave something open, and the folder must go.
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

impl World {
    /// Makes a node with a running agent.
    pub fn new() -> Self {
        let mut world = Self::without_agent();
        world.start().expect("the agent starts");
        world
    }

    /// Makes a node whose agent is still to be started.
    pub fn without_agent() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root: run them as root"
        );
        let temp = tempfile::Builder::new()
            .prefix("sa-")
            .tempdir_in("/tmp")
            .expect("a folder");
        let dir = temp.path().canonicalize().expect("it is there");
        sutler_testkit::world::own(&dir).expect("it is ours");
        build_image(&dir.join("image"));
        let outer = Runtime::new().expect("a runtime");
        let master = outer.block_on(Master::start());
        let state_dir = dir.join("state");
        Self {
            master,
            dir,
            outer: Some(outer),
            inner: None,
            handle: None,
            state_dir,
            disk: None,
            _temp: temp,
        }
    }

    /// Puts the state directory on a small file system, before the agent is started; gives where
    /// that is.
    pub fn on_small_disk(&mut self, size: &str) -> PathBuf {
        let disk = SmallDisk::mount(self.dir.join("disk"), size);
        let at = disk.0.clone();
        self.state_dir = at.join("state");
        self.disk = Some(disk);
        at
    }

    pub fn config(&self) -> AgentConfig {
        let name = AgentName::new("a").expect("a name");
        let master = MasterAddress {
            url: self.master.url.clone(),
            ca_pem: Some(self.master.ca_pem.clone()),
            token: "token".to_owned().into(),
        };
        let mut config = AgentConfig::new(&self.state_dir, name, master, vec![shim()]);
        config.run_dir = self.dir.join("run");
        config
    }

    /// Starts the agent, in a runtime of its own.
    pub fn start(&mut self) -> Result<(), StartError> {
        let inner = Runtime::new().expect("a runtime");
        let handle = inner.block_on(Agent::start(self.config()));
        self.inner = Some(inner);
        self.handle = Some(handle?);
        Ok(())
    }

    /// Ends the agent in good order.
    pub fn shut_down(&mut self) {
        let handle = self.handle.take().expect("it runs");
        let inner = self.inner.take().expect("it runs");
        inner.block_on(handle.shutdown());
        inner.shutdown_timeout(END_WITHIN);
    }

    /// Ends the agent in the middle of whatever it does.
    pub fn crash(&mut self) {
        self.handle = None;
        self.inner
            .take()
            .expect("it runs")
            .shutdown_timeout(END_WITHIN);
    }

    /// Runs the test's own side.
    pub fn run<T>(&self, test: impl Future<Output = T>) -> T {
        self.outer
            .as_ref()
            .expect("there until the drop")
            .block_on(test)
    }

    pub fn handle(&mut self) -> &mut AgentHandle {
        self.handle.as_mut().expect("it runs")
    }

    pub fn agent_dir(&self) -> PathBuf {
        self.state_dir.join("agent")
    }

    pub fn image(&self) -> String {
        format!("oci:{}", self.dir.join("image").display())
    }

    /// A task that runs a shell script.
    pub fn task(&self, id: &str, script: &str) -> TaskSpec {
        TaskSpec {
            task_id: TaskId::new(id).expect("a name"),
            instance: TaskInstance::new(Uuid::new_v4()),
            image: self.image(),
            command: vec!["sh".into(), "-c".into(), script.into()],
            env: BTreeMap::new(),
            volumes: Vec::new(),
            cpus: None,
            memory: Some(Bytes::mib(64)),
            stop_grace_ms: 10_000,
            pull_always: false,
        }
    }

    /// A plugin that runs a shell script and gets one second to come up.
    pub fn plugin(&self, name: &str, script: &str) -> DesiredPlugin {
        let mut definition = PluginDefinition::of_image(self.image());
        definition.name = Some(PluginName::new(name).expect("a name"));
        definition.args =
            sutler_api::definition::Args::All(vec!["sh".into(), "-c".into(), script.into()]);
        definition.startup_timeout = "1s".to_owned();
        definition.stop_timeout = "1s".to_owned();
        // The fake makes folders.
        definition.mounts_volumes = false;
        let definition = definition.checked(&BTreeMap::new()).expect("a definition");
        let name = definition.checked_name().clone();
        DesiredPlugin {
            name,
            generation: 1,
            definition,
            set: BTreeMap::new(),
            restart: 0,
        }
    }

    /// The folder where a plugin's socket is expected.
    pub fn sockets_of(&self, plugin: &PluginName) -> PathBuf {
        let runs = fs::read_dir(self.dir.join("run")).expect("made by the agent");
        let run = runs.flatten().next().expect("one agent").path();
        run.join("plugins").join(plugin.as_str())
    }

    /// The agent's folder of sockets; gone after an end with nothing running.
    pub fn run_folder(&self) -> Option<PathBuf> {
        let mut runs = fs::read_dir(self.dir.join("run")).ok()?;
        Some(runs.next()?.expect("readable").path())
    }

    /// The agent's cgroup in every hierarchy that has it.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let run = self.run_folder();
        let folders = run.map(|run| host::cgroup_folders(&cgroup_of(&run)));
        folders.unwrap_or_default()
    }

    fn clean(&self) {
        if let Some(run) = self.run_folder() {
            self.clean_containers(&run);
        }
        let volumes = self.agent_dir().join("volumes");
        if volumes.exists() {
            report("unmount the volumes", remove_shared_mount(&volumes));
        }
        report("remove the state", remove_tree(&self.state_dir));
    }

    fn clean_containers(&self, run: &Path) {
        let agent = self.agent_dir();
        let containers = Containers::new(ContainersConfig {
            containers_dir: agent.join("containers"),
            shim_command: vec![shim()],
            runtime: Runc {
                binary: "runc".into(),
                root: run.join("runc"),
            },
        });
        let runtime = Runtime::new().expect("a runtime");
        for id in names(&agent.join("containers")) {
            let id = ContainerId::new(id).expect("made by the agent");
            report(
                "remove a container",
                runtime.block_on(containers.remove(&id)),
            );
        }
        for id in names(&agent.join("rootfs")) {
            report("unmount", Rootfs::unmount(&agent.join("rootfs").join(id)));
        }
        report("remove the cgroup", remove_cgroup_parent(&cgroup_of(run)));
    }
}

/// The agent's cgroup, named as its folder of sockets is.
fn cgroup_of(run: &Path) -> String {
    let tag = run.file_name().expect("a name").to_string_lossy();
    format!("/sutler-{tag}")
}

impl Drop for World {
    fn drop(&mut self) {
        self.handle = None;
        if let Some(inner) = self.inner.take() {
            inner.shutdown_timeout(END_WITHIN);
        }
        self.clean();
        if let Some(outer) = self.outer.take() {
            outer.shutdown_timeout(END_WITHIN);
        }
    }
}

/// A failed clean-up fails the test, unless it is failing already.
fn report<E: std::fmt::Debug>(what: &str, result: Result<impl Sized, E>) {
    if let Err(error) = result {
        assert!(std::thread::panicking(), "cannot {what}: {error:?}");
        eprintln!("cannot {what}: {error:?}");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Our example program, which cargo builds with the tests.
fn shim() -> OsString {
    let test = std::env::current_exe().expect("our own path is known");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps/test");
    let shim = profile.join("examples/agent_shim");
    assert!(
        shim.exists(),
        "{} is not built: cargo build --examples",
        shim.display()
    );
    shim.into_os_string()
}

fn build_image(dir: &Path) {
    let busybox = Path::new("/bin/busybox");
    assert!(
        busybox.exists(),
        "these tests need busybox: apt-get install busybox-static"
    );
    let mut image = ImageBuilder::new()
        .config(ImageConfig {
            env: vec!["PATH=/bin".into()],
            ..ImageConfig::default()
        })
        .file("bin/busybox", busybox, 0o755)
        .and_then(|image| image.folder("tmp", 0o777))
        .expect("names are good");
    for applet in APPLETS {
        image = image
            .link(&format!("bin/{applet}"), "busybox")
            .expect("a name");
    }
    image.write_layout(dir, "latest").expect("it is written");
}
