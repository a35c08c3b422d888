//! One test's world: a root file system of busybox, a folder of containers, a cgroup parent, all
//! its own, and a guard that takes everything away even if the test fails.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use sutler_runtime::{
    ContainerId, ContainerSpec, Containers, ContainersConfig, Ended, ExitRecord, LogQuery,
    LogStart, LogStream, Runc, Started, remove_cgroup_parent, remove_shared_mount,
};

/// Longest that any single wait of a test may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

const APPLETS: [&str; 21] = [
    "sh", "sleep", "cat", "dd", "echo", "mount", "id", "ls", "seq", "grep", "head", "tail", "true",
    "mknod", "test", "hostname", "stat", "env", "ps", "mkdir", "arping",
];

static WORLDS: AtomicU32 = AtomicU32::new(0);

pub struct World {
    pub containers: Containers,
    pub config: ContainersConfig,
    pub cgroup_parent: String,
    shared: Option<PathBuf>,
    mounted: Vec<PathBuf>,
    dir: Option<tempfile::TempDir>,
}

impl World {
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root"
        );
        let dir = tempfile::tempdir().expect("temp dir");
        make_rootfs(&dir.path().join("rootfs"));
        let config = ContainersConfig {
            containers_dir: dir.path().join("containers"),
            shim_command: vec![shim_binary().into(), "shim".into()],
            runtime: Runc {
                binary: "/usr/sbin/runc".into(),
                root: dir.path().join("runc"),
            },
        };
        let number = WORLDS.fetch_add(1, Ordering::SeqCst);
        Self {
            containers: Containers::new(config.clone()),
            config,
            cgroup_parent: format!("/sutler-test-{}-{number}", std::process::id()),
            shared: None,
            mounted: Vec::new(),
            dir: Some(dir),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.as_ref().expect("taken only by drop").path()
    }

    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// A fresh folder to give to containers.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir(&path).expect("made");
        path
    }

    /// Has the guard undo `ensure_shared_mount`.
    pub fn undo_shared(&mut self, path: &Path) {
        self.shared = Some(path.to_owned());
    }

    /// Has the guard unmount it.
    pub fn undo_mount(&mut self, path: &Path) {
        self.mounted.push(path.to_owned());
    }

    pub fn spec(&self, name: &str, args: &[&str]) -> ContainerSpec {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut spec = ContainerSpec::new(id(name), self.rootfs(), args);
        spec.cgroup_parent.clone_from(&self.cgroup_parent);
        spec
    }

    pub fn sh(&self, name: &str, script: &str) -> ContainerSpec {
        self.spec(name, &["sh", "-c", script])
    }

    pub async fn start(&self, spec: &ContainerSpec) -> Started {
        let started = tokio::time::timeout(PATIENCE, self.containers.start(spec)).await;
        started
            .expect("started in time")
            .unwrap_or_else(|e| panic!("{}", chain(&e)))
    }

    pub async fn end(&self, name: &str) -> ExitRecord {
        let ended = tokio::time::timeout(PATIENCE, self.containers.wait(&id(name))).await;
        match ended
            .expect("ended in time")
            .unwrap_or_else(|e| panic!("{}", chain(&e)))
        {
            Ended::Exited(record) => record,
            Ended::Lost => panic!("{name} is lost: {}", self.shim_words(name)),
        }
    }

    pub async fn run(&self, spec: &ContainerSpec) -> ExitRecord {
        self.start(spec).await;
        self.end(spec.id.as_str()).await
    }

    pub async fn log(&self, name: &str, stream: LogStream) -> String {
        let query = LogQuery {
            stream,
            start: LogStart::Oldest,
            follow: false,
        };
        let chunks = self
            .containers
            .read_logs(&id(name), query)
            .await
            .expect("readable");
        let mut chunks = Box::pin(chunks);
        let mut all = Vec::new();
        while let Some(chunk) = chunks.next().await {
            all.extend_from_slice(&chunk.expect("readable").bytes);
        }
        String::from_utf8(all).expect("text")
    }

    pub async fn stdout(&self, name: &str) -> String {
        self.log(name, LogStream::Stdout).await
    }

    pub async fn log_of_errors(&self, name: &str) -> String {
        self.log(name, LogStream::Stderr).await
    }

    /// Returns once the container has written this to its standard output.
    pub async fn wait_for(&self, name: &str, text: &str) {
        let query = LogQuery {
            stream: LogStream::Stdout,
            start: LogStart::Oldest,
            follow: true,
        };
        let chunks = self
            .containers
            .read_logs(&id(name), query)
            .await
            .expect("readable");
        let mut chunks = Box::pin(chunks);
        let mut all = String::new();
        let seen = async {
            while let Some(chunk) = chunks.next().await {
                all += &String::from_utf8_lossy(&chunk.expect("readable").bytes);
                if all.contains(text) {
                    return true;
                }
            }
            false
        };
        let seen = tokio::time::timeout(PATIENCE, seen)
            .await
            .expect("written in time");
        assert!(seen, "{name} ended without writing {text:?}: {all:?}");
    }

    pub async fn remove(&self, name: &str) {
        let removed = tokio::time::timeout(PATIENCE, self.containers.remove(&id(name))).await;
        removed
            .expect("removed in time")
            .unwrap_or_else(|e| panic!("{}", chain(&e)));
    }

    /// Every cgroup folder of a container that still exists.
    pub fn cgroups(&self, name: &str) -> Vec<PathBuf> {
        find_cgroups(&format!("{}/{name}", self.cgroup_parent))
    }

    pub fn shim_words(&self, name: &str) -> String {
        let path = self.containers.folder(&id(name)).join("shim.log");
        fs::read_to_string(path).unwrap_or_default()
    }

    pub fn record(&self, name: &str, file: &str) -> serde_json::Value {
        let path = self.containers.folder(&id(name)).join(file);
        let text = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&text).expect("a record is JSON")
    }

    pub fn shim_pid(&self, name: &str) -> i32 {
        let pid = self.record(name, "shim.json")["shim"]["pid"]
            .as_i64()
            .expect("a number");
        i32::try_from(pid).expect("a pid")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let containers = self.containers.clone();
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("tokio starts");
            runtime.block_on(async {
                let mut failed = Vec::new();
                for found in containers.adopt().await.expect("listed") {
                    if let Err(error) = containers.remove(&found.id).await {
                        failed.push(chain(&error));
                    }
                }
                failed
            })
        });
        let mut left = cleaned.join().expect("the clean-up does not panic");
        for path in self.mounted.iter().rev() {
            let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        }
        if let Some(Err(error)) = self.shared.as_deref().map(remove_shared_mount) {
            left.push(chain(&error));
        }
        if let Err(error) = remove_cgroup_parent(&self.cgroup_parent) {
            left.push(format!("cgroup parent: {error}"));
        }
        left.extend(
            find_cgroups(&self.cgroup_parent)
                .iter()
                .map(|p| p.display().to_string()),
        );
        if let Some(Err(error)) = self.dir.take().map(tempfile::TempDir::close) {
            left.push(format!("folder: {error}"));
        }
        // A second panic would abort and hide the first.
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:#?}");
        } else if !left.is_empty() {
            eprintln!("left behind: {left:#?}");
        }
    }
}

pub fn id(name: &str) -> ContainerId {
    ContainerId::new(name).expect("a good name")
}

pub fn chain(error: &dyn std::error::Error) -> String {
    sutler_telemetry::chain(error)
}

/// Whether a process runs (a zombie does not).
pub fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// The example binary, which `cargo test` builds beside the tests.
pub fn shim_binary() -> PathBuf {
    let test = std::env::current_exe().expect("our own path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps/test");
    let shim = profile.join("examples/shim");
    assert!(
        shim.exists(),
        "{} is not built: cargo build -p sutler-runtime --examples",
        shim.display()
    );
    shim
}

fn find_cgroups(path: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let relative = path.trim_start_matches('/');
    let below = fs::read_dir(root).expect("cgroups are mounted").flatten();
    below
        .map(|entry| entry.path())
        .chain([root.to_owned()])
        .map(|hierarchy| hierarchy.join(relative))
        .filter(|path| path.is_dir())
        .collect()
}

fn make_rootfs(rootfs: &Path) {
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir_all(rootfs.join(folder)).expect("made");
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is installed");
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("linked");
    }
    let passwd = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/srv/app:/bin/sh\n";
    fs::write(rootfs.join("etc/passwd"), passwd).expect("written");
    fs::write(
        rootfs.join("etc/group"),
        "root:x:0:\napp:x:1001:\ndisk:x:6:app\n",
    )
    .expect("written");
}

/// Makes a FIFO.
pub fn fifo(path: &Path) {
    let made = Command::new("mkfifo")
        .arg(path)
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
}
