//! The back end: volumes, who they are attached to, and the controller's work on them.
//!
//! Owns the state that several plugins may share. Pure but for the maps it changes: no
//! waiting, no sockets. The node's work is in `node_world.rs`.
//!
//! ```text
//! absent ─create→ created ─attach→ attached ─stage→ staged ─publish→ published
//! ```
//! Steps the plugin does not have are left out; a step taken out of order is a violation.

use std::collections::{BTreeMap, BTreeSet};

use sutler_csi::proto;
use sutler_csi::proto::volume_capability::access_mode::Mode;
use tonic::Status;

use super::config::FakeConfig;

/// Size of a volume for which none was asked.
const VOLUME_BYTES: u64 = 1 << 30;

/// A volume of the back end, as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeVolume {
    /// Its id.
    pub volume_id: String,
    /// The name it was created with.
    pub name: String,
    /// Its size.
    pub capacity_bytes: u64,
    /// The nodes it is attached to.
    pub attached: BTreeSet<String>,
    /// Where it is staged: node and path.
    pub staged: BTreeSet<(String, String)>,
    /// Where it is published: node and path.
    pub published: BTreeSet<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) capacity_bytes: u64,
    pub(super) context: BTreeMap<String, String>,
    pub(super) request: proto::CreateVolumeRequest,
    pub(super) topology: Vec<proto::Topology>,
    pub(super) attached: BTreeMap<String, proto::ControllerPublishVolumeRequest>,
    pub(super) staged: BTreeMap<String, proto::NodeStageVolumeRequest>,
    pub(super) published: BTreeMap<(String, String), proto::NodePublishVolumeRequest>,
}

impl Volume {
    pub(super) fn in_use_on(&self, node_id: &str) -> bool {
        self.staged.contains_key(node_id) || self.published.keys().any(|(node, _)| node == node_id)
    }

    fn in_use(&self) -> bool {
        !(self.attached.is_empty() && self.staged.is_empty() && self.published.is_empty())
    }

    pub(super) fn describe(&self, volume_id: &str) -> proto::Volume {
        proto::Volume {
            capacity_bytes: signed(self.capacity_bytes),
            volume_id: volume_id.to_owned(),
            volume_context: self.context.clone(),
            content_source: None,
            accessible_topology: self.topology.clone(),
        }
    }
}

/// The back end.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) capacity_bytes: u64,
    pub(super) volumes: BTreeMap<String, Volume>,
    /// By node id, the plugins that share this back end.
    pub(super) nodes: BTreeMap<String, FakeConfig>,
    pub(super) violations: Vec<String>,
    created: u64,
}

impl World {
    pub(super) fn new(capacity_bytes: u64) -> World {
        World {
            capacity_bytes,
            ..World::default()
        }
    }

    pub(super) fn violate(&mut self, text: String) {
        self.violations.push(text);
    }

    /// What a plugin that keeps its volumes in memory does when it dies.
    pub(super) fn forget_volumes(&mut self) {
        self.volumes.clear();
    }

    /// One name for all calls about a volume, whether they give its name or its id.
    pub(super) fn name_of(&self, volume: &str) -> String {
        self.volumes
            .get(volume)
            .map_or_else(|| volume.to_owned(), |found| found.name.clone())
    }

    pub(super) fn find(&self, volume_id: &str) -> Result<&Volume, Status> {
        given("volume id", volume_id)?;
        self.volumes
            .get(volume_id)
            .ok_or_else(|| no_volume(volume_id))
    }

    pub(super) fn find_mut(&mut self, volume_id: &str) -> Result<&mut Volume, Status> {
        given("volume id", volume_id)?;
        self.volumes
            .get_mut(volume_id)
            .ok_or_else(|| no_volume(volume_id))
    }

    pub(super) fn snapshot(&self) -> Vec<FakeVolume> {
        let one = |(id, volume): (&String, &Volume)| FakeVolume {
            volume_id: id.clone(),
            name: volume.name.clone(),
            capacity_bytes: volume.capacity_bytes,
            attached: volume.attached.keys().cloned().collect(),
            staged: volume
                .staged
                .iter()
                .map(|(node, args)| (node.clone(), args.staging_target_path.clone()))
                .collect(),
            published: volume.published.keys().cloned().collect(),
        };
        self.volumes.iter().map(one).collect()
    }

    fn used_bytes(&self) -> u64 {
        self.volumes
            .values()
            .map(|volume| volume.capacity_bytes)
            .sum()
    }

    pub(super) fn create(
        &mut self,
        config: &FakeConfig,
        args: &proto::CreateVolumeRequest,
    ) -> Result<proto::CreateVolumeResponse, Status> {
        given("volume name", &args.name)?;
        if args.volume_capabilities.is_empty() {
            return Err(Status::invalid_argument("no volume capabilities"));
        }
        if args.volume_content_source.is_some() {
            return Err(Status::invalid_argument(
                "the fake has no snapshots and no clones",
            ));
        }
        if let Some((id, volume)) = self.volumes.iter().find(|(_, v)| v.name == args.name) {
            return match fits(volume, args) {
                true => Ok(proto::CreateVolumeResponse {
                    volume: Some(volume.describe(id)),
                }),
                false => Err(Status::already_exists(
                    "the name is taken with other arguments",
                )),
            };
        }
        let capacity_bytes = self.size(args.capacity_range.as_ref(), 0)?;
        let topology = self.place(args)?;
        self.created += 1;
        let id = format!("fake-{}-{}", self.created, config.name);
        let mut context = config.volume_context.clone();
        context.insert("fake/id".to_owned(), id.clone());
        let volume = Volume {
            name: args.name.clone(),
            capacity_bytes,
            context,
            request: proto::CreateVolumeRequest {
                secrets: BTreeMap::new(),
                ..args.clone()
            },
            topology,
            attached: BTreeMap::new(),
            staged: BTreeMap::new(),
            published: BTreeMap::new(),
        };
        let answer = proto::CreateVolumeResponse {
            volume: Some(volume.describe(&id)),
        };
        self.volumes.insert(id, volume);
        Ok(answer)
    }

    /// The size for a range, of which `held` bytes are the volume's already.
    fn size(&self, range: Option<&proto::CapacityRange>, held: u64) -> Result<u64, Status> {
        let range = range.copied().unwrap_or_default();
        let (required, limit) = (range.required_bytes, range.limit_bytes);
        if required < 0 || limit < 0 || (limit > 0 && limit < required) {
            return Err(Status::invalid_argument(format!(
                "size range {required} to {limit}"
            )));
        }
        let default = match limit {
            0 => VOLUME_BYTES,
            limit => VOLUME_BYTES.min(limit.unsigned_abs()),
        };
        let bytes = if required > 0 {
            required.unsigned_abs()
        } else {
            default
        };
        if bytes > self.capacity_bytes {
            let text = format!("{bytes} bytes of a back end of {}", self.capacity_bytes);
            return Err(Status::out_of_range(text));
        }
        let free = self.capacity_bytes - self.used_bytes() + held;
        if bytes > free {
            return Err(Status::resource_exhausted(format!(
                "{bytes} bytes wanted, {free} free"
            )));
        }
        Ok(bytes)
    }

    /// Where a new volume goes: the first place wanted that some node has.
    fn place(&self, args: &proto::CreateVolumeRequest) -> Result<Vec<proto::Topology>, Status> {
        let places: Vec<_> = self
            .nodes
            .values()
            .map(|node| node.topology.clone())
            .collect();
        if places.iter().all(BTreeMap::is_empty) {
            return Ok(Vec::new());
        }
        let wanted = args.accessibility_requirements.clone().unwrap_or_default();
        let anywhere = wanted.preferred.is_empty() && wanted.requisite.is_empty();
        let mut wanted = wanted.preferred.into_iter().chain(wanted.requisite);
        let found = match anywhere {
            true => places.first().map(|place| proto::Topology {
                segments: place.clone(),
            }),
            false => wanted.find(|place| places.contains(&place.segments)),
        };
        match found {
            Some(place) => Ok(vec![place]),
            None => Err(Status::resource_exhausted(
                "no node is in a place asked for",
            )),
        }
    }

    pub(super) fn delete(
        &mut self,
        args: &proto::DeleteVolumeRequest,
    ) -> Result<proto::DeleteVolumeResponse, Status> {
        given("volume id", &args.volume_id)?;
        let Some(volume) = self.volumes.get(&args.volume_id) else {
            return Ok(proto::DeleteVolumeResponse {});
        };
        if volume.in_use() {
            self.violate(format!("volume {} deleted while in use", args.volume_id));
            return Err(Status::failed_precondition("the volume is in use"));
        }
        self.volumes.remove(&args.volume_id);
        Ok(proto::DeleteVolumeResponse {})
    }

    pub(super) fn attach(
        &mut self,
        args: &proto::ControllerPublishVolumeRequest,
    ) -> Result<proto::ControllerPublishVolumeResponse, Status> {
        let (id, node) = (&args.volume_id, &args.node_id);
        let volume = self.find(id)?;
        given("node id", node)?;
        let mode = mode(args.volume_capability.as_ref())?;
        let Some(config) = self.nodes.get(node) else {
            return Err(Status::not_found(format!("node {node:?} is not known")));
        };
        let context_differs = volume.context != args.volume_context;
        if let Some(earlier) = volume.attached.get(node) {
            return match same_use(earlier, args) {
                true => Ok(attachment(id, node)),
                false => Err(Status::already_exists("attached there in another way")),
            };
        }
        let elsewhere = !volume.attached.is_empty();
        let here = self
            .volumes
            .values()
            .filter(|volume| volume.attached.contains_key(node));
        if config.max_volumes > 0 && here.count() >= config.max_volumes as usize {
            return Err(Status::resource_exhausted(format!("node {node:?} is full")));
        }
        if context_differs {
            self.violate(format!("volume {id} attached with another volume context"));
        }
        if elsewhere && is_single_node(mode) {
            self.violate(format!(
                "single-node volume {id} attached to a second node {node}"
            ));
            return Err(Status::failed_precondition("attached to another node"));
        }
        self.find_mut(id)?
            .attached
            .insert(node.clone(), args.clone());
        Ok(attachment(id, node))
    }

    pub(super) fn detach(
        &mut self,
        args: &proto::ControllerUnpublishVolumeRequest,
    ) -> Result<proto::ControllerUnpublishVolumeResponse, Status> {
        let (id, node) = (&args.volume_id, &args.node_id);
        given("volume id", id)?;
        let Some(volume) = self.volumes.get_mut(id) else {
            return Ok(proto::ControllerUnpublishVolumeResponse {});
        };
        if volume.in_use_on(node) {
            self.violate(format!("volume {id} detached while in use on {node}"));
            return Err(Status::failed_precondition(
                "the node still uses the volume",
            ));
        }
        match node.is_empty() {
            true => volume.attached.clear(),
            false => drop(volume.attached.remove(node)),
        }
        Ok(proto::ControllerUnpublishVolumeResponse {})
    }

    pub(super) fn validate(
        &self,
        args: &proto::ValidateVolumeCapabilitiesRequest,
    ) -> Result<proto::ValidateVolumeCapabilitiesResponse, Status> {
        self.find(&args.volume_id)?;
        let confirmed = proto::validate_volume_capabilities_response::Confirmed {
            volume_context: args.volume_context.clone(),
            volume_capabilities: args.volume_capabilities.clone(),
            parameters: args.parameters.clone(),
            mutable_parameters: args.mutable_parameters.clone(),
        };
        let message = String::new();
        Ok(proto::ValidateVolumeCapabilitiesResponse {
            confirmed: Some(confirmed),
            message,
        })
    }

    /// Tokens are positions, so that a page after a removal may leave a gap, as in the field.
    pub(super) fn list(
        &self,
        config: &FakeConfig,
        args: &proto::ListVolumesRequest,
    ) -> Result<proto::ListVolumesResponse, Status> {
        let start = match args.starting_token.as_str() {
            "" => 0,
            token => token
                .parse::<usize>()
                .map_err(|_| Status::aborted("no such token"))?,
        };
        let asked = usize::try_from(args.max_entries).unwrap_or(0);
        let entries = match (config.page_entries, asked) {
            (0, 0) => usize::MAX,
            (0, asked) => asked,
            (page, 0) => page,
            (page, asked) => page.min(asked),
        };
        let first = if config.pages_overlap {
            start.saturating_sub(1)
        } else {
            start
        };
        let end = start.saturating_add(entries).min(self.volumes.len());
        let page = self
            .volumes
            .iter()
            .take(end)
            .skip(first)
            .map(|(id, volume)| {
                let published_node_ids = volume.attached.keys().cloned().collect();
                proto::list_volumes_response::Entry {
                    volume: Some(volume.describe(id)),
                    status: Some(proto::list_volumes_response::VolumeStatus { published_node_ids }),
                }
            });
        let next_token = if end < self.volumes.len() {
            end.to_string()
        } else {
            String::new()
        };
        Ok(proto::ListVolumesResponse {
            entries: page.collect(),
            next_token,
        })
    }

    pub(super) fn capacity(&self) -> proto::GetCapacityResponse {
        proto::GetCapacityResponse {
            available_capacity: signed(self.capacity_bytes - self.used_bytes()),
            maximum_volume_size: Some(signed(self.capacity_bytes)),
            minimum_volume_size: None,
        }
    }

    pub(super) fn expand(
        &mut self,
        config: &FakeConfig,
        args: &proto::ControllerExpandVolumeRequest,
    ) -> Result<proto::ControllerExpandVolumeResponse, Status> {
        let volume = self.find(&args.volume_id)?;
        if args.capacity_range.is_none() {
            return Err(Status::invalid_argument("no capacity range"));
        }
        if volume.in_use() && !config.expand_online {
            return Err(Status::failed_precondition(
                "volumes grow only while attached nowhere",
            ));
        }
        let held = volume.capacity_bytes;
        let bytes = self.size(args.capacity_range.as_ref(), held)?.max(held);
        self.find_mut(&args.volume_id)?.capacity_bytes = bytes;
        Ok(proto::ControllerExpandVolumeResponse {
            capacity_bytes: signed(bytes),
            node_expansion_required: config.expand_node,
        })
    }
}

/// What a node gets to know of its attachment.
pub(super) fn attachment(id: &str, node: &str) -> proto::ControllerPublishVolumeResponse {
    let entries = [
        ("fake/device", format!("/dev/fake/{id}")),
        ("fake/node", node.to_owned()),
    ];
    let publish_context = entries.map(|(key, value)| (key.to_owned(), value)).into();
    proto::ControllerPublishVolumeResponse { publish_context }
}

fn same_use(
    one: &proto::ControllerPublishVolumeRequest,
    other: &proto::ControllerPublishVolumeRequest,
) -> bool {
    one.volume_capability == other.volume_capability && one.readonly == other.readonly
}

/// Whether an existing volume is what a create call of the same name asks for.
fn fits(volume: &Volume, args: &proto::CreateVolumeRequest) -> bool {
    let range = args.capacity_range.unwrap_or_default();
    let bytes = signed(volume.capacity_bytes);
    bytes >= range.required_bytes
        && (range.limit_bytes == 0 || bytes <= range.limit_bytes)
        && volume.request.parameters == args.parameters
        && volume.request.volume_capabilities == args.volume_capabilities
}

pub(super) fn mode(capability: Option<&proto::VolumeCapability>) -> Result<Mode, Status> {
    let capability = capability.ok_or_else(|| Status::invalid_argument("no capability"))?;
    if capability.access_type.is_none() {
        return Err(Status::invalid_argument("no access type"));
    }
    match capability.access_mode.as_ref().map(|mode| mode.mode()) {
        None | Some(Mode::Unknown) => Err(Status::invalid_argument("no access mode")),
        Some(mode) => Ok(mode),
    }
}

pub(super) fn is_single_node(mode: Mode) -> bool {
    match mode {
        Mode::SingleNodeWriter
        | Mode::SingleNodeReaderOnly
        | Mode::SingleNodeSingleWriter
        | Mode::SingleNodeMultiWriter => true,
        Mode::Unknown
        | Mode::MultiNodeReaderOnly
        | Mode::MultiNodeSingleWriter
        | Mode::MultiNodeMultiWriter => false,
    }
}

pub(super) fn given(what: &str, text: &str) -> Result<(), Status> {
    match text.is_empty() {
        true => Err(Status::invalid_argument(format!("{what} is missing"))),
        false => Ok(()),
    }
}

fn no_volume(volume_id: &str) -> Status {
    Status::not_found(format!("volume {volume_id:?} is not known"))
}

pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).expect("the back end is smaller than 8 EiB")
}
