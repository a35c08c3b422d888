//! The node's work on the back end's volumes: stage, publish, grow, count.
//!
//! Owns nothing beyond `world.rs`; touches files only at target paths, and only if told to.

use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType};
use sutler_csi::proto;
use sutler_csi::proto::volume_capability::AccessType;
use sutler_csi::proto::volume_capability::access_mode::Mode;
use tonic::Status;

use super::config::{FakeConfig, Makes};
use super::world::{World, attachment, given, is_single_node, mode, signed};

impl World {
    pub(super) fn stage(
        &mut self,
        config: &FakeConfig,
        args: &proto::NodeStageVolumeRequest,
    ) -> Result<proto::NodeStageVolumeResponse, Status> {
        let (id, node) = (&args.volume_id, &config.node_id);
        given("staging path", &args.staging_target_path)?;
        mode(args.volume_capability.as_ref())?;
        self.check_reach(config, id, "staged")?;
        self.check_contexts(config, id, &args.volume_context, &args.publish_context)?;
        if config.touches_files && !Path::new(&args.staging_target_path).is_dir() {
            return Err(Status::failed_precondition(
                "the staging path is no directory",
            ));
        }
        if let Some(earlier) = self.find(id)?.staged.get(node) {
            if earlier.staging_target_path != args.staging_target_path {
                self.violate(format!("volume {id} staged on {node} at a second path"));
                return Err(Status::failed_precondition("staged at another path"));
            }
            return match earlier.volume_capability == args.volume_capability {
                true => Ok(proto::NodeStageVolumeResponse {}),
                false => Err(Status::already_exists("staged there in another way")),
            };
        }
        self.find_mut(id)?.staged.insert(node.clone(), args.clone());
        Ok(proto::NodeStageVolumeResponse {})
    }

    pub(super) fn unstage(
        &mut self,
        config: &FakeConfig,
        args: &proto::NodeUnstageVolumeRequest,
    ) -> Result<proto::NodeUnstageVolumeResponse, Status> {
        let (id, node) = (&args.volume_id, &config.node_id);
        given("staging path", &args.staging_target_path)?;
        let volume = self.find_mut(id)?;
        if volume.published.keys().any(|(on, _)| on == node) {
            self.violate(format!("volume {id} unstaged while published on {node}"));
            return Err(Status::failed_precondition("the volume is published"));
        }
        volume.staged.remove(node);
        Ok(proto::NodeUnstageVolumeResponse {})
    }

    pub(super) fn publish(
        &mut self,
        config: &FakeConfig,
        args: &proto::NodePublishVolumeRequest,
    ) -> Result<proto::NodePublishVolumeResponse, Status> {
        let (id, node) = (&args.volume_id, &config.node_id);
        given("target path", &args.target_path)?;
        let mode = mode(args.volume_capability.as_ref())?;
        self.check_reach(config, id, "published")?;
        self.check_contexts(config, id, &args.volume_context, &args.publish_context)?;
        self.check_staged(config, args)?;
        let volume = self.find(id)?;
        let key = (node.clone(), args.target_path.clone());
        if let Some(earlier) = volume.published.get(&key) {
            return match same_use(earlier, args) {
                true => Ok(proto::NodePublishVolumeResponse {}),
                false => Err(Status::already_exists("published there in another way")),
            };
        }
        if is_single_node(mode) && volume.published.keys().any(|(on, _)| on != node) {
            self.violate(format!(
                "single-node volume {id} published on a second node {node}"
            ));
            return Err(Status::failed_precondition("published on another node"));
        }
        let several = !is_single_node(mode) || mode == Mode::SingleNodeMultiWriter;
        if !several && volume.published.keys().any(|(on, _)| on == node) {
            return Err(Status::failed_precondition("published at another path"));
        }
        if config.touches_files {
            make_target(args, &config.makes)?;
        }
        self.find_mut(id)?.published.insert(key, args.clone());
        Ok(proto::NodePublishVolumeResponse {})
    }

    pub(super) fn unpublish(
        &mut self,
        config: &FakeConfig,
        args: &proto::NodeUnpublishVolumeRequest,
    ) -> Result<proto::NodeUnpublishVolumeResponse, Status> {
        given("target path", &args.target_path)?;
        let volume = self.find_mut(&args.volume_id)?;
        volume
            .published
            .remove(&(config.node_id.clone(), args.target_path.clone()));
        if config.touches_files {
            remove_target(Path::new(&args.target_path))?;
        }
        Ok(proto::NodeUnpublishVolumeResponse {})
    }

    pub(super) fn stats(
        &self,
        config: &FakeConfig,
        args: &proto::NodeGetVolumeStatsRequest,
    ) -> Result<proto::NodeGetVolumeStatsResponse, Status> {
        given("volume path", &args.volume_path)?;
        self.check_path(config, &args.volume_id, &args.volume_path)?;
        let total = signed(self.find(&args.volume_id)?.capacity_bytes);
        let used = total / 4;
        let unit = proto::volume_usage::Unit::Bytes.into();
        let usage = proto::VolumeUsage {
            available: total - used,
            total,
            used,
            unit,
        };
        Ok(proto::NodeGetVolumeStatsResponse { usage: vec![usage] })
    }

    pub(super) fn expand_node(
        &self,
        config: &FakeConfig,
        args: &proto::NodeExpandVolumeRequest,
    ) -> Result<proto::NodeExpandVolumeResponse, Status> {
        given("volume path", &args.volume_path)?;
        self.check_path(config, &args.volume_id, &args.volume_path)?;
        let bytes = self.find(&args.volume_id)?.capacity_bytes;
        Ok(proto::NodeExpandVolumeResponse {
            capacity_bytes: signed(bytes),
        })
    }

    /// Attached here, if that is needed, and in a place that the volume reaches.
    fn check_reach(&mut self, config: &FakeConfig, id: &str, what: &str) -> Result<(), Status> {
        let node = &config.node_id;
        let volume = self.find(id)?;
        let attached = volume.attached.contains_key(node);
        let reaches = volume.topology.is_empty()
            || volume
                .topology
                .iter()
                .any(|place| place.segments == config.topology);
        if config.attach && !attached {
            self.violate(format!(
                "volume {id} {what} on {node} before it was attached"
            ));
            return Err(Status::failed_precondition("not attached to this node"));
        }
        if !reaches {
            self.violate(format!(
                "volume {id} {what} on {node}, from where it is not reachable"
            ));
            return Err(Status::failed_precondition("not reachable from this node"));
        }
        Ok(())
    }

    /// What the plugin gave out comes back as it was.
    fn check_contexts(
        &mut self,
        config: &FakeConfig,
        id: &str,
        volume_context: &std::collections::BTreeMap<String, String>,
        publish_context: &std::collections::BTreeMap<String, String>,
    ) -> Result<(), Status> {
        if &self.find(id)?.context != volume_context {
            self.violate(format!("volume {id} came with another volume context"));
        }
        let given = match config.attach {
            true => attachment(id, &config.node_id).publish_context,
            false => Default::default(),
        };
        if &given != publish_context {
            self.violate(format!("volume {id} came with another publish context"));
        }
        Ok(())
    }

    fn check_staged(
        &mut self,
        config: &FakeConfig,
        args: &proto::NodePublishVolumeRequest,
    ) -> Result<(), Status> {
        let (id, node) = (&args.volume_id, &config.node_id);
        let staged = self
            .find(id)?
            .staged
            .get(node)
            .map(|args| args.staging_target_path.clone());
        let fault = match (config.stage, staged) {
            (true, None) => "before it was staged",
            (true, Some(path)) if path != args.staging_target_path => "from another staging path",
            (true, Some(_)) => return Ok(()),
            (false, _) if args.staging_target_path.is_empty() => return Ok(()),
            (false, _) => "with a staging path, though it does not stage",
        };
        self.violate(format!("volume {id} published on {node} {fault}"));
        Err(Status::failed_precondition(format!("published {fault}")))
    }

    fn check_path(&self, config: &FakeConfig, id: &str, path: &str) -> Result<(), Status> {
        let volume = self.find(id)?;
        let staged = volume.staged.get(&config.node_id);
        let published = (config.node_id.clone(), path.to_owned());
        let there = staged.is_some_and(|args| args.staging_target_path == path)
            || volume.published.contains_key(&published);
        match there {
            true => Ok(()),
            false => Err(Status::not_found(format!("volume {id} is not at {path}"))),
        }
    }
}

fn same_use(
    one: &proto::NodePublishVolumeRequest,
    other: &proto::NodePublishVolumeRequest,
) -> bool {
    one.volume_capability == other.volume_capability && one.readonly == other.readonly
}

/// A plugin makes the target itself, but never its parent.
fn make_target(args: &proto::NodePublishVolumeRequest, makes: &Makes) -> Result<(), Status> {
    let target = Path::new(&args.target_path);
    let made = match makes {
        Makes::Asked => make_as_asked(args),
        Makes::LinkTo(to) => symlink(to, target),
        Makes::FolderLinkTo(to) => {
            let folder = target.parent().unwrap_or(target);
            // The caller has made the folder, and only the target is to lie in it.
            std::fs::remove_dir_all(folder).and_then(|()| symlink(to, folder))
        }
        Makes::BlockNode { major, minor } => {
            let device = rustix::fs::makedev(*major, *minor);
            make_node(target, FileType::BlockDevice, device)
        }
        Makes::Fifo => make_node(target, FileType::Fifo, 0),
    };
    made.map_err(|error| Status::internal(format!("make {}: {error}", args.target_path)))
}

fn make_as_asked(args: &proto::NodePublishVolumeRequest) -> io::Result<()> {
    let capability = args.volume_capability.as_ref();
    let target = Path::new(&args.target_path);
    match capability.and_then(|capability| capability.access_type.as_ref()) {
        Some(AccessType::Block(_)) => std::fs::File::create(target).map(drop),
        Some(AccessType::Mount(_)) | None => match target.is_dir() {
            true => Ok(()),
            false => std::fs::create_dir(target),
        },
    }
}

fn make_node(path: &Path, kind: FileType, device: u64) -> io::Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    Ok(rustix::fs::mknodat(CWD, path, kind, mode, device)?)
}

/// The folder stands for a mount, so what was written there does not outlive it.
fn remove_target(target: &Path) -> Result<(), Status> {
    let is_folder = std::fs::symlink_metadata(target).is_ok_and(|found| found.is_dir());
    let removed = match is_folder {
        true => std::fs::remove_dir_all(target),
        false => std::fs::remove_file(target),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Status::internal(
            format!("remove {}: {error}", target.display()),
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}
