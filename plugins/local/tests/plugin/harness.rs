//! A world for one test: a state directory, a plugin on it, and what it leaves behind.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use sutler_csi::proto::controller_client::ControllerClient;
use sutler_csi::proto::identity_client::IdentityClient;
use sutler_csi::proto::node_client::NodeClient;
use sutler_csi::proto::volume_capability::access_mode::Mode;
use sutler_csi::proto::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use sutler_csi::proto::{self as csi, CapacityRange, VolumeCapability};
use sutler_local::steps::Step;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// One mebibyte.
pub const MIB: i64 = 1024 * 1024;

/// What a volume carries in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    Block,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Ext4, Kind::Xfs, Kind::Block];

    /// Enough for the file system.
    pub fn mib(self) -> i64 {
        match self {
            Kind::Ext4 | Kind::Block => 16,
            Kind::Xfs => 300,
        }
    }

    pub fn capability(self, mode: Mode) -> VolumeCapability {
        let mount = |fs: &str| {
            let fs_type = fs.to_owned();
            AccessType::Mount(MountVolume {
                fs_type,
                ..MountVolume::default()
            })
        };
        let access = match self {
            Kind::Ext4 => mount("ext4"),
            Kind::Xfs => mount("xfs"),
            Kind::Block => AccessType::Block(BlockVolume {}),
        };
        let access_mode = Some(AccessMode { mode: mode.into() });
        VolumeCapability {
            access_type: Some(access),
            access_mode,
        }
    }
}

/// Folders of one test; on drop everything mounted or attached below them is taken away.
pub struct World {
    pub root: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "loop devices and mounts need root"
        );
        let root = tempfile::tempdir().expect("temp dir");
        for folder in ["state", "staging", "targets"] {
            std::fs::create_dir(root.path().join(folder)).expect("create");
        }
        Self { root }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name)
            .to_str()
            .expect("a temp dir is text")
            .to_owned()
    }

    /// Makes a folder whose mounts are seen in every namespace.
    pub fn share(&self, name: &str) {
        use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
        let path = self.path(name);
        std::fs::create_dir(&path).expect("create");
        mount_bind(&path, &path).expect("bind");
        mount_change(&path, MountPropagationFlags::SHARED).expect("share");
    }

    /// Names in the folder of volumes.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("state/volumes")).expect("read");
        entries
            .map(|e| e.expect("entry").file_name().into_string().expect("text"))
            .collect()
    }

    /// The mount points below this world, the latest first.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let targets = table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .map(PathBuf::from);
        let mut below: Vec<_> = targets
            .filter(|target| target.starts_with(self.root.path()))
            .collect();
        below.reverse();
        below
    }

    /// The loop devices that carry an image of this world.
    pub fn loops(&self) -> Vec<PathBuf> {
        let devices = std::fs::read_dir("/sys/block").expect("read");
        let backed = devices.filter_map(|entry| {
            let entry = entry.expect("entry");
            let file = std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
            Path::new(file.trim_end())
                .starts_with(self.root.path())
                .then(|| Path::new("/dev").join(entry.file_name()))
        });
        backed.collect()
    }

    /// Nothing is left: no volume, no mount, no device.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_eq!(self.names(), Vec::<String>::new());
        assert_eq!(self.mounts(), Vec::<PathBuf>::new());
        assert_eq!(self.loops(), Vec::<PathBuf>::new());
    }

    pub async fn plugin(&self) -> Plugin {
        Plugin::start(self, None, &[]).await
    }

    pub async fn plugin_dying_at(&self, step: Step) -> Plugin {
        Plugin::start(self, Some(step), &[]).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for target in self.mounts() {
            let _ = rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH);
        }
        for device in self.loops() {
            let _ = Command::new("losetup").arg("-d").arg(device).status();
        }
    }
}

/// The program, running.
pub struct Plugin {
    child: Child,
    log: Arc<Mutex<String>>,
    pub identity: IdentityClient<Channel>,
    pub controller: ControllerClient<Channel>,
    pub node: NodeClient<Channel>,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the plugin's log:\n{}", self.log.lock().expect("log"));
        }
    }
}

impl Plugin {
    pub async fn start(world: &World, dying_at: Option<Step>, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sutler-local"));
        command
            .args(["--state-dir", &world.text("state")])
            .args(more);
        command.env_remove("SUTLER_FAILPOINT");
        if let Some(step) = dying_at {
            command.env("SUTLER_FAILPOINT", step.name());
        }
        Self::spawn(world, command).await
    }

    /// As in a container: a mount namespace of its own, the state directory under another
    /// path, and only shared folders in common with the host.
    pub async fn start_in_namespace(world: &World) -> Self {
        let script = "mount --make-slave \"$(findmnt -no TARGET -T \"$1\")\" \
                      && mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
        let (state, data) = (world.text("state"), world.text("data"));
        std::fs::create_dir_all(&data).expect("create");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "unchanged"])
            .args(["sh", "-c", script, "sh", &state, &data])
            .args([env!("CARGO_BIN_EXE_sutler-local"), "--state-dir", &data]);
        Self::spawn(world, command).await
    }

    async fn spawn(world: &World, mut command: Command) -> Self {
        let endpoint = format!("unix://{}", world.text("csi.sock"));
        command
            .args(["--endpoint", &endpoint, "--node-id", "here"])
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the plugin");
        let log = follow(&mut child);
        let channel = Endpoint::try_from(endpoint).expect("an endpoint");
        let channel = channel.connect().await.expect("connect");
        Self {
            child,
            log,
            identity: IdentityClient::new(channel.clone()),
            controller: ControllerClient::new(channel.clone()),
            node: NodeClient::new(channel),
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("signal the plugin");
    }

    /// Waits for the end that a signal or a failpoint brings.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("wait")
    }

    pub fn kill(self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    pub async fn is_alive(&mut self) -> bool {
        self.identity.probe(csi::ProbeRequest {}).await.is_ok()
    }

    pub async fn ids(&mut self) -> Vec<String> {
        let listed = self
            .controller
            .list_volumes(csi::ListVolumesRequest::default())
            .await;
        let entries = listed.expect("list").into_inner().entries;
        entries
            .into_iter()
            .map(|entry| entry.volume.expect("volume").volume_id)
            .collect()
    }
}

/// Waits until the plugin serves, and keeps its log.
fn follow(child: &mut Child) -> Arc<Mutex<String>> {
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let log = Arc::new(Mutex::new(String::new()));
    for line in lines.by_ref() {
        let line = line.expect("a line");
        log.lock().expect("log").push_str(&format!("{line}\n"));
        if line.contains("serving") {
            let kept = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    kept.lock().expect("log").push_str(&format!("{line}\n"));
                }
            });
            return log;
        }
    }
    panic!(
        "the plugin ended before it served:\n{}",
        log.lock().expect("log")
    );
}

/// One volume and the calls on it, each with the same words every time.
#[derive(Debug, Clone)]
pub struct Volume {
    pub kind: Kind,
    pub id: String,
    pub name: String,
    pub staging: String,
    pub target: String,
    pub mode: Mode,
    pub readonly: bool,
}

impl Volume {
    pub fn new(world: &World, kind: Kind, name: &str) -> Self {
        Self {
            kind,
            id: sutler_local::pool::Pool::id_of(name),
            name: name.to_owned(),
            staging: world.text("staging"),
            target: world.text(&format!("targets/{name}")),
            mode: Mode::SingleNodeWriter,
            readonly: false,
        }
    }

    fn range(&self, mib: i64) -> Option<CapacityRange> {
        Some(CapacityRange {
            required_bytes: mib * MIB,
            limit_bytes: 0,
        })
    }

    fn capability(&self) -> Option<VolumeCapability> {
        Some(self.kind.capability(self.mode))
    }

    pub async fn create(&self, plugin: &mut Plugin) -> Result<csi::Volume, Status> {
        let request = csi::CreateVolumeRequest {
            name: self.name.clone(),
            capacity_range: self.range(self.kind.mib()),
            volume_capabilities: self.capability().into_iter().collect(),
            ..csi::CreateVolumeRequest::default()
        };
        let response = plugin.controller.create_volume(request).await?;
        Ok(response.into_inner().volume.expect("a volume"))
    }

    pub async fn delete(&self, plugin: &mut Plugin) -> Result<(), Status> {
        let volume_id = self.id.clone();
        let request = csi::DeleteVolumeRequest {
            volume_id,
            ..Default::default()
        };
        plugin.controller.delete_volume(request).await.map(drop)
    }

    pub async fn stage(&self, plugin: &mut Plugin) -> Result<(), Status> {
        let request = csi::NodeStageVolumeRequest {
            volume_id: self.id.clone(),
            staging_target_path: self.staging.clone(),
            volume_capability: self.capability(),
            ..Default::default()
        };
        plugin.node.node_stage_volume(request).await.map(drop)
    }

    pub async fn unstage(&self, plugin: &mut Plugin) -> Result<(), Status> {
        let request = csi::NodeUnstageVolumeRequest {
            volume_id: self.id.clone(),
            staging_target_path: self.staging.clone(),
        };
        plugin.node.node_unstage_volume(request).await.map(drop)
    }

    pub async fn publish(&self, plugin: &mut Plugin) -> Result<(), Status> {
        let request = csi::NodePublishVolumeRequest {
            volume_id: self.id.clone(),
            staging_target_path: self.staging.clone(),
            target_path: self.target.clone(),
            volume_capability: self.capability(),
            readonly: self.readonly,
            ..Default::default()
        };
        plugin.node.node_publish_volume(request).await.map(drop)
    }

    pub async fn unpublish(&self, plugin: &mut Plugin) -> Result<(), Status> {
        let request = csi::NodeUnpublishVolumeRequest {
            volume_id: self.id.clone(),
            target_path: self.target.clone(),
        };
        plugin.node.node_unpublish_volume(request).await.map(drop)
    }

    pub async fn grow(&self, plugin: &mut Plugin, mib: i64) -> Result<i64, Status> {
        let request = csi::ControllerExpandVolumeRequest {
            volume_id: self.id.clone(),
            capacity_range: self.range(mib),
            ..Default::default()
        };
        let response = plugin
            .controller
            .controller_expand_volume(request)
            .await?
            .into_inner();
        assert!(response.node_expansion_required);
        Ok(response.capacity_bytes)
    }

    pub async fn expand(&self, plugin: &mut Plugin) -> Result<i64, Status> {
        let request = csi::NodeExpandVolumeRequest {
            volume_id: self.id.clone(),
            volume_path: self.target.clone(),
            staging_target_path: self.staging.clone(),
            ..Default::default()
        };
        Ok(plugin
            .node
            .node_expand_volume(request)
            .await?
            .into_inner()
            .capacity_bytes)
    }

    /// Total bytes as the plugin tells them.
    pub async fn total(&self, plugin: &mut Plugin) -> Result<i64, Status> {
        let request = csi::NodeGetVolumeStatsRequest {
            volume_id: self.id.clone(),
            volume_path: self.target.clone(),
            ..Default::default()
        };
        Ok(plugin
            .node
            .node_get_volume_stats(request)
            .await?
            .into_inner()
            .usage[0]
            .total)
    }

    /// Writes to the published volume, onto the disk.
    pub fn write(&self, text: &str) -> std::io::Result<()> {
        use std::io::Write as _;
        let mut options = std::fs::File::options();
        let mut file = match self.kind {
            Kind::Block => options.write(true).open(&self.target)?,
            Kind::Ext4 | Kind::Xfs => {
                let path = Path::new(&self.target).join("file");
                options.write(true).create(true).truncate(true).open(path)?
            }
        };
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// Reads as much as the text has, and says whether it is the text.
    pub fn holds(&self, text: &str) -> bool {
        use std::io::Read as _;
        let path = match self.kind {
            Kind::Block => PathBuf::from(&self.target),
            Kind::Ext4 | Kind::Xfs => Path::new(&self.target).join("file"),
        };
        let mut read = vec![0; text.len()];
        let mut file = std::fs::File::open(path).expect("open what was written");
        file.read_exact(&mut read).expect("read");
        read == text.as_bytes()
    }
}
