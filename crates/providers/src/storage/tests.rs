//! The shell against a fake plugin on a real socket, with a journal on a real file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use sutler_api::agent::{Outcome, VolumeAct, VolumeOperation};
use sutler_api::volume::{AccessType, VolumeSpec, VolumeState};
use sutler_csi::{Rpc, interrogate};
use sutler_ids::{Bytes, Problem};
use sutler_ids::{OperationUuid, TaskId, VolumeId};
use sutler_store::{Schema, Store};
use sutler_testkit::fake_plugin::{FakeConfig, FakePlugin, Fault, When};
use tokio::sync::mpsc;
use tonic::Code;
use uuid::Uuid;

use super::*;

/// A wait that only a hung test reaches.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    dir: tempfile::TempDir,
    /// What the plugin's definition says of it; the fake makes folders.
    mounts_volumes: bool,
    pub(crate) plugin: FakePlugin,
    pub(crate) handle: StorageHandle,
    events: mpsc::UnboundedReceiver<StorageEvent>,
    join: JoinHandle<()>,
}

fn config(dir: &tempfile::TempDir) -> StorageConfig {
    let store = Store::open(
        &dir.path().join("journal.redb"),
        Schema {
            kind: "agent",
            version: 1,
        },
    );
    StorageConfig {
        volumes_dir: dir.path().join("volumes"),
        agent_name: "here".parse().unwrap(),
        boot_id: "boot".to_owned(),
        store: store.unwrap(),
        look_within: Duration::from_millis(200),
    }
}

async fn appears(folder: &Path) {
    let wait = async {
        while !folder.is_dir() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "{} does not appear", folder.display());
}

impl Bench {
    async fn start(fake: FakeConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plugin = FakePlugin::start(dir.path(), fake);
        let (out, events) = mpsc::unbounded_channel();
        let (handle, join) = recover(config(&dir), out).unwrap();
        let bench = Self {
            dir,
            mounts_volumes: false,
            plugin,
            handle,
            events,
            join,
        };
        bench.plugin_up().await;
        bench
    }

    pub(crate) async fn plugin_up(&self) {
        self.plugin_up_with(Duration::from_secs(120)).await;
    }

    async fn plugin_up_with(&self, call_timeout: Duration) {
        let client = PluginClient::connect(self.plugin.socket()).unwrap();
        let facts = interrogate(&client, PATIENCE).await.unwrap();
        self.handle.plugin_up(
            "fake".parse().unwrap(),
            PluginUp {
                client,
                facts,
                lanes: std::num::NonZeroU32::new(4).unwrap(),
                pre_create_target: false,
                mounts_volumes: self.mounts_volumes,
                call_timeout,
                secrets: BTreeMap::new(),
            },
        );
    }

    pub(crate) fn target(&self) -> PathBuf {
        let volume = format!("volumes/fake/{}", volume_id());
        self.dir.path().join(volume).join("target")
    }

    /// Ends the provider without a word, as a kill does, and takes up its journal.
    pub(crate) async fn restart(mut self) -> Self {
        drop(self.handle);
        self.join.abort();
        let _ = (&mut self.join).await;
        let (out, events) = mpsc::unbounded_channel();
        let (handle, join) = recover(config(&self.dir), out).unwrap();
        let bench = Self {
            handle,
            events,
            join,
            dir: self.dir,
            mounts_volumes: self.mounts_volumes,
            plugin: self.plugin,
        };
        bench.plugin_up().await;
        bench
    }

    pub(crate) async fn until<T>(&mut self, mut pick: impl FnMut(StorageEvent) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the provider lives");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("it is told in time")
    }

    pub(crate) async fn outcome(&mut self, n: u128) -> Outcome {
        let wanted = OperationUuid::new(Uuid::from_u128(n));
        self.until(|event| match event {
            StorageEvent::Operation(report) if report.operation_uuid == wanted => {
                Some(report.outcome)
            }
            _ => None,
        })
        .await
    }

    /// Waits until somebody waits for the holders of a dead mount, and gives the reason shown.
    async fn waits_for_a_holder(&mut self) -> String {
        self.until(|event| match event {
            StorageEvent::Volume(report) => {
                let problem = report.problem?;
                problem.hint?.contains("task stop").then_some(problem.what)
            }
            _ => None,
        })
        .await
    }

    /// Waits until it is told that a mount is still there.
    pub(crate) async fn problem_of_unpublish(&mut self) -> String {
        self.until(|event| match event {
            StorageEvent::Volume(report) => {
                let what = report.problem?.what;
                what.contains("is still mounted").then_some(what)
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn acquired(&mut self, name: &str) -> Result<Published, Problem> {
        let wanted = TaskId::new(name).unwrap();
        self.until(|event| match event {
            StorageEvent::Acquired {
                task_id, result, ..
            } if task_id == wanted => Some(result),
            _ => None,
        })
        .await
    }

    async fn state(&mut self, wanted: VolumeState) -> Option<Problem> {
        self.until(|event| match event {
            StorageEvent::Volume(report) if report.state == wanted => Some(report.problem),
            _ => None,
        })
        .await
    }

    pub(crate) async fn created(fake: FakeConfig) -> Self {
        let mut bench = Self::start(fake).await;
        bench.handle.submit(create());
        assert_eq!(bench.outcome(1).await, Outcome::Finished);
        bench
    }
}

pub(crate) fn volume_id() -> VolumeId {
    VolumeId::new(Uuid::from_u128(1))
}

pub(crate) fn operation(n: u128, act: VolumeAct) -> VolumeOperation {
    VolumeOperation {
        operation_uuid: OperationUuid::new(Uuid::from_u128(n)),
        volume_id: volume_id(),
        act,
    }
}

fn create() -> VolumeOperation {
    operation(
        1,
        VolumeAct::Create(VolumeSpec {
            volume_id: volume_id(),
            name: "data".parse().unwrap(),
            class: "fake".parse().unwrap(),
            plugin: "fake".parse().unwrap(),
            capacity: Bytes::mib(8),
            access: AccessType::Mount,
            fs_type: None,
            mount_flags: Vec::new(),
            parameters: BTreeMap::new(),
        }),
    )
}

pub(crate) fn task(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

#[tokio::test]
async fn a_volume_lives_its_whole_life_and_no_rule_of_csi_is_broken() {
    let mut bench = Bench::created(FakeConfig::default()).await;
    bench.handle.acquire(volume_id(), task("a"), false);
    let published = bench.acquired("a").await.unwrap();
    assert_eq!(published.path, bench.target());
    assert_eq!(bench.handle.volumes_of("fake".parse().unwrap()).await, 1);
    bench.handle.submit(operation(
        2,
        VolumeAct::Grow {
            capacity: Bytes::mib(16),
        },
    ));
    assert_eq!(bench.outcome(2).await, Outcome::Finished);
    bench.handle.release(volume_id(), task("a"));
    bench.state(VolumeState::Ready).await;
    bench.handle.submit(operation(3, VolumeAct::Delete));
    assert_eq!(bench.outcome(3).await, Outcome::Finished);
    assert!(bench.plugin.volumes().is_empty());
    assert_eq!(bench.plugin.violations(), Vec::<String>::new());
    bench.handle.forget(volume_id());
    // Answered after the forgetting, which came first, was committed.
    assert!(bench.handle.why(volume_id()).await.is_none());
    bench.handle.volumes_of("fake".parse().unwrap()).await;
    let bench = bench.restart().await;
    assert!(
        bench.handle.why(volume_id()).await.is_none(),
        "the record is gone"
    );
}

#[tokio::test]
async fn a_call_has_the_time_that_the_definition_gives_it() {
    const SLOW: Duration = Duration::from_secs(1);
    let mut bench = Bench::created(FakeConfig::default()).await;
    bench
        .plugin
        .set_fault(Rpc::Stage, When::Always, Fault::Delay(SLOW));
    bench.plugin_up_with(SLOW / 4).await;
    bench.handle.acquire(volume_id(), task("a"), false);
    bench.plugin.wait_calls(Rpc::Stage, 2).await;
    assert_eq!(bench.plugin.count(Rpc::Publish), 0, "each was cut short");
    bench.plugin_up_with(SLOW * 60).await;
    bench.acquired("a").await.unwrap();
    assert_eq!(bench.plugin.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_creation_that_was_done_but_never_answered_is_found_by_its_replay() {
    let mut bench = Bench::start(FakeConfig::default()).await;
    bench
        .plugin
        .set_fault(Rpc::CreateVolume, When::Next, Fault::DoThenDropConnection);
    bench.handle.submit(create());
    assert_eq!(bench.outcome(1).await, Outcome::Finished);
    assert_eq!(bench.plugin.count(Rpc::CreateVolume), 2);
    assert_eq!(
        bench.plugin.volumes().len(),
        1,
        "one volume for one operation"
    );
    assert_eq!(bench.plugin.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn an_outcome_that_is_not_known_is_shown_as_uncertain_with_its_cause() {
    let mut bench = Bench::start(FakeConfig::default()).await;
    let said = Fault::DoThenFail(Code::Internal, "the back end coughed".to_owned());
    bench
        .plugin
        .set_fault(Rpc::CreateVolume, When::Always, said);
    bench.handle.submit(create());
    let problem = bench.state(VolumeState::Uncertain).await.unwrap();
    assert!(problem.raw.unwrap().contains("the back end coughed"));
    bench.plugin.clear_faults();
    assert_eq!(bench.outcome(1).await, Outcome::Finished);
}

#[tokio::test]
async fn a_provider_killed_in_a_call_repeats_it_and_tells_the_outcome() {
    let bench = Bench::start(FakeConfig::default()).await;
    bench
        .plugin
        .set_fault(Rpc::CreateVolume, When::Next, Fault::DoThenHang);
    bench.handle.submit(create());
    bench.plugin.wait_calls(Rpc::CreateVolume, 1).await;
    let mut bench = bench.restart().await;
    assert_eq!(bench.outcome(1).await, Outcome::Finished);
    assert_eq!(bench.plugin.volumes().len(), 1);
}

#[tokio::test]
async fn a_provider_killed_in_a_publish_ends_published_for_its_task() {
    let bench = Bench::created(FakeConfig::default()).await;
    bench
        .plugin
        .set_fault(Rpc::Publish, When::Next, Fault::DoThenHang);
    bench.handle.acquire(volume_id(), task("a"), false);
    bench.plugin.wait_calls(Rpc::Publish, 1).await;
    let mut bench = bench.restart().await;
    bench.handle.retain_holders(vec![(volume_id(), task("a"))]);
    bench.handle.acquire(volume_id(), task("a"), false);
    bench.acquired("a").await.unwrap();
    assert_eq!(bench.plugin.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_holder_that_no_longer_exists_is_released_after_a_restart() {
    let mut bench = Bench::created(FakeConfig::default()).await;
    bench.handle.acquire(volume_id(), task("a"), false);
    bench.acquired("a").await.unwrap();
    let mut bench = bench.restart().await;
    bench.handle.retain_holders(Vec::new());
    bench.state(VolumeState::Ready).await;
    assert_eq!(bench.plugin.count(Rpc::Unstage), 1);
}

#[tokio::test]
async fn a_volume_that_the_plugin_lost_is_missing_and_is_not_made_again() {
    let mut bench = Bench::created(FakeConfig::default()).await;
    bench.handle.plugin_down("fake".parse().unwrap());
    bench.plugin.kill().await;
    bench.plugin.restart(false).await;
    bench.plugin_up().await;
    let problem = bench.state(VolumeState::Missing).await.unwrap();
    assert!(
        problem.what.contains("no longer knows volume data"),
        "{problem}"
    );
    bench.handle.acquire(volume_id(), task("a"), false);
    assert!(bench.acquired("a").await.is_err());
    assert_eq!(bench.plugin.count(Rpc::CreateVolume), 1);
}

#[tokio::test]
async fn an_operation_on_a_volume_without_record_fails_by_name() {
    let mut bench = Bench::start(FakeConfig::default()).await;
    bench.handle.submit(operation(5, VolumeAct::Delete));
    let Outcome::Failed(problem) = bench.outcome(5).await else {
        panic!("must fail")
    };
    assert!(problem.what.contains("no record"), "{problem}");
}

#[tokio::test]
async fn a_deletion_denied_for_a_holder_is_not_carried_out_by_its_repeat() {
    let mut bench = Bench::created(FakeConfig::default()).await;
    bench.handle.acquire(volume_id(), task("a"), false);
    bench.acquired("a").await.unwrap();
    bench.handle.submit(operation(2, VolumeAct::Delete));
    assert!(matches!(bench.outcome(2).await, Outcome::Failed(_)));
    let mut bench = bench.restart().await;
    bench.handle.release(volume_id(), task("a"));
    bench.state(VolumeState::Ready).await;
    bench.handle.submit(operation(2, VolumeAct::Delete));
    assert!(matches!(bench.outcome(2).await, Outcome::Failed(_)));
    assert_eq!(bench.plugin.count(Rpc::DeleteVolume), 0);
}

/// A mount over a target, standing for the plugin's own; gone with its end.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    pub(crate) fn over(target: PathBuf) -> Self {
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", &target, "tmpfs", none, None).expect("run as root");
        Self(target)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let flags = rustix::mount::UnmountFlags::DETACH;
        rustix::mount::unmount(&self.0, flags).expect("it is mounted");
    }
}

#[tokio::test]
async fn a_task_never_gets_the_bare_folder_of_a_volume_whose_mount_is_gone() {
    let fake = FakeConfig {
        touches_files: true,
        ..FakeConfig::default()
    };
    let mut bench = Bench::created(fake).await;
    let target = bench.target();
    bench
        .plugin
        .set_fault(Rpc::Publish, When::Next, Fault::DoThenHold);
    bench.handle.acquire(volume_id(), task("a"), false);
    bench.plugin.wait_calls(Rpc::Publish, 1).await;
    // The folder is there before the answer, so the mount is seen as the plugin's.
    appears(&target).await;
    let mount = Tmpfs::over(target.clone());
    bench.plugin.release();
    bench.acquired("a").await.unwrap();
    bench.handle.acquire(volume_id(), task("b"), true);
    bench.acquired("b").await.unwrap();
    assert_eq!(bench.plugin.count(Rpc::Publish), 1, "it stands");
    drop(mount);
    let mut bench = bench.restart().await;
    bench
        .plugin
        .set_fault(Rpc::Publish, When::Next, Fault::DoThenHold);
    bench.handle.acquire(volume_id(), task("c"), true);
    let what = bench.waits_for_a_holder().await;
    assert!(what.contains(&target.display().to_string()), "{what}");
    assert_eq!(bench.plugin.count(Rpc::Unpublish), 0, "a and b may run");
    bench.handle.release(volume_id(), task("a"));
    bench.handle.release(volume_id(), task("b"));
    bench.plugin.wait_calls(Rpc::Publish, 2).await;
    assert_eq!(bench.plugin.count(Rpc::Unpublish), 1);
    assert_eq!(bench.plugin.count(Rpc::Unstage), 0, "it mounts no staging");
    bench.plugin.release();
    bench.acquired("c").await.unwrap();
    // It mounts nothing this time, so nothing is missed.
    bench.handle.acquire(volume_id(), task("d"), true);
    bench.acquired("d").await.unwrap();
    assert_eq!(bench.plugin.count(Rpc::Publish), 2);
    assert_eq!(bench.plugin.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_late_mount_is_waited_for_and_a_mount_that_stays_is_not_deleted_under() {
    let mut bench = Bench::created(FakeConfig::default()).await;
    bench.mounts_volumes = true;
    bench.plugin_up().await;
    let target = bench.target();
    std::fs::create_dir_all(&target).unwrap();
    bench.handle.acquire(volume_id(), task("a"), false);
    bench.plugin.wait_calls(Rpc::Publish, 1).await;
    // The plugin has answered, or is about to; its mount comes after.
    let mount = Tmpfs::over(target.clone());
    bench.acquired("a").await.unwrap();
    bench.handle.release(volume_id(), task("a"));
    let what = bench.problem_of_unpublish().await;
    assert!(what.contains(&target.display().to_string()), "{what}");
    bench.handle.submit(operation(2, VolumeAct::Delete));
    bench.plugin.wait_calls(Rpc::Unpublish, 2).await;
    assert_eq!(bench.plugin.count(Rpc::DeleteVolume), 0);
    drop(mount);
    assert_eq!(bench.outcome(2).await, Outcome::Finished);
    assert_eq!(bench.plugin.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_volume_that_cannot_be_deleted_is_forgotten_unless_it_is_mounted() {
    let mut bench = Bench::created(FakeConfig::default()).await;
    let target = bench.target();
    std::fs::create_dir_all(&target).unwrap();
    let mount = Tmpfs::over(target.clone());
    bench.handle.submit(operation(2, VolumeAct::Forget));
    let Outcome::Failed(problem) = bench.outcome(2).await else {
        panic!("it is mounted");
    };
    assert!(
        problem.what.contains(&target.display().to_string()),
        "{problem}"
    );
    drop(mount);
    bench.handle.submit(operation(3, VolumeAct::Forget));
    assert_eq!(bench.outcome(3).await, Outcome::Finished);
    assert_eq!(bench.plugin.count(Rpc::DeleteVolume), 0);
    let left = bench.plugin.volumes();
    assert_eq!(left.len(), 1, "nothing was deleted: {left:?}");
}

#[tokio::test]
async fn a_volume_without_a_record_is_told_as_missing_and_can_be_forgotten() {
    let mut bench = Bench::start(FakeConfig::default()).await;
    bench.handle.wanted(vec![volume_id()]);
    let problem = bench.state(VolumeState::Missing).await.unwrap();
    assert!(problem.hint.unwrap().contains("--forget"));
    bench.handle.submit(operation(2, VolumeAct::Forget));
    assert_eq!(bench.outcome(2).await, Outcome::Finished);
}

#[tokio::test]
async fn files_at_the_target_of_a_volume_are_not_hidden_by_a_mount() {
    let mut bench = Bench::created(FakeConfig::default()).await;
    bench.mounts_volumes = true;
    bench.plugin_up().await;
    let target = bench.target();
    std::fs::create_dir_all(&target).unwrap();
    std::fs::write(target.join("kept"), "somebody's").unwrap();
    bench.handle.acquire(volume_id(), task("a"), false);
    let problem = bench.acquired("a").await.unwrap_err();
    assert!(
        problem.what.contains(&target.display().to_string()),
        "{problem}"
    );
    assert_eq!(bench.plugin.count(Rpc::Publish), 0);
    assert!(target.join("kept").exists());
}

/// A file system whose server never says a word: whoever asks it hangs until it is gone.
struct Mute {
    target: std::path::PathBuf,
    // Closed after the unmount at the latest; with it go all who hang.
    server: Option<std::fs::File>,
}

impl Mute {
    pub(crate) fn over(target: std::path::PathBuf) -> Self {
        use std::os::fd::AsRawFd;
        let open = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse");
        let server = open.expect("the kernel has FUSE");
        let data = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            server.as_raw_fd()
        );
        let data = std::ffi::CString::new(data).unwrap();
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("mute", &target, "fuse", none, Some(data.as_c_str()))
            .expect("run as root");
        Self {
            target,
            server: Some(server),
        }
    }

    /// The server dies; its mount stays.
    fn die(&mut self) {
        self.server = None;
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        let flags = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::FORCE;
        rustix::mount::unmount(&self.target, flags).expect("it is mounted");
    }
}

#[tokio::test]
async fn a_mount_that_does_not_answer_is_not_taken_from_whoever_holds_it() {
    let fake = FakeConfig {
        touches_files: true,
        ..FakeConfig::default()
    };
    let mut bench = Bench::created(fake).await;
    let target = bench.target();
    bench
        .plugin
        .set_fault(Rpc::Publish, When::Next, Fault::DoThenHold);
    bench.handle.acquire(volume_id(), task("writer"), false);
    bench.plugin.wait_calls(Rpc::Publish, 1).await;
    appears(&target).await;
    let mount = Mute::over(target);
    bench.plugin.release();
    bench.acquired("writer").await.unwrap();
    bench.handle.acquire(volume_id(), task("reader"), true);
    let waits = |report: &VolumeReport| {
        let problem = report.problem.as_ref()?;
        problem.what.contains("is not known").then_some(())
    };
    bench
        .until(|event| match event {
            StorageEvent::Volume(report) => waits(&report),
            _ => None,
        })
        .await;
    assert_eq!(bench.plugin.count(Rpc::Unpublish), 0);
    assert_eq!(bench.plugin.count(Rpc::Unstage), 0);
    assert_eq!(bench.plugin.violations(), Vec::<String>::new());
    drop(mount);
}

#[tokio::test]
async fn a_mount_whose_server_died_is_not_taken_down_under_a_writer() {
    let fake = FakeConfig {
        touches_files: true,
        ..FakeConfig::default()
    };
    let mut bench = Bench::created(fake).await;
    let target = bench.target();
    bench
        .plugin
        .set_fault(Rpc::Publish, When::Next, Fault::DoThenHold);
    bench.handle.acquire(volume_id(), task("writer"), false);
    bench.plugin.wait_calls(Rpc::Publish, 1).await;
    appears(&target).await;
    let mut mount = Mute::over(target);
    bench.plugin.release();
    bench.acquired("writer").await.unwrap();
    mount.die();
    bench.handle.acquire(volume_id(), task("reader"), true);
    bench.waits_for_a_holder().await;
    assert_eq!(bench.plugin.count(Rpc::Unpublish), 0);
    assert_eq!(bench.plugin.count(Rpc::Unstage), 0);
    bench.handle.release(volume_id(), task("writer"));
    bench.plugin.wait_calls(Rpc::Unpublish, 1).await;
    drop(mount);
    bench.acquired("reader").await.unwrap();
    assert_eq!(bench.plugin.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn tasks_that_come_together_are_told_of_a_mount_that_stands_at_once() {
    let fake = FakeConfig {
        touches_files: true,
        ..FakeConfig::default()
    };
    let mut bench = Bench::created(fake).await;
    let target = bench.target();
    bench
        .plugin
        .set_fault(Rpc::Publish, When::Next, Fault::DoThenHold);
    bench.handle.acquire(volume_id(), task("first"), true);
    bench.plugin.wait_calls(Rpc::Publish, 1).await;
    appears(&target).await;
    let mount = Tmpfs::over(target);
    bench.plugin.release();
    bench.acquired("first").await.unwrap();
    // Each asks for a look of its own, and the looks are under way together.
    let names: Vec<String> = (0..8).map(|n| format!("reader-{n}")).collect();
    for name in &names {
        bench.handle.acquire(volume_id(), task(name), true);
    }
    let mut waiting: BTreeSet<TaskId> = names.iter().map(|name| task(name)).collect();
    while !waiting.is_empty() {
        let told = bench.until(|event| match event {
            StorageEvent::Acquired {
                task_id, result, ..
            } => Some((task_id, result.is_ok())),
            StorageEvent::Volume(report) => {
                assert_eq!(report.problem, None, "it stands");
                None
            }
            _ => None,
        });
        let (task_id, acquired) = told.await;
        assert!(acquired, "{task_id}");
        waiting.remove(&task_id);
    }
    drop(mount);
}

#[tokio::test]
async fn everything_is_told_again_on_demand() {
    let mut bench = Bench::created(FakeConfig::default()).await;
    bench.handle.tell_all();
    assert_eq!(bench.outcome(1).await, Outcome::Finished);
}
