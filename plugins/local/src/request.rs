//! What a call asks for, in our words: checked, or refused with the field's name. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sutler_csi::proto::volume_capability::access_mode::Mode;
use sutler_csi::proto::volume_capability::{AccessType, MountVolume};
use sutler_csi::proto::{CapacityRange, CreateVolumeRequest, VolumeCapability};

use crate::pool::{ContentAsked, VolumeAsked};
use crate::record::FsKind;
use crate::refusal::Refusal;
use crate::size::{SizeAsked, SizeError};
use crate::stage::Access;

/// The one parameter: no room is held for the volume.
pub(crate) const THIN: &str = "thin";

/// Longest name and id that CSI allows, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// One way of using a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Device or file system.
    pub access: Access,
    /// Without writing, at every target.
    pub read_only: bool,
    /// At one target only.
    pub single_writer: bool,
}

/// Reads a field that must not be empty.
///
/// # Errors
/// It is empty.
pub fn required(field: &'static str, value: &str) -> Result<(), Refusal> {
    match value.is_empty() {
        true => Err(Refusal::invalid(format!("{field} is empty"))),
        false => Ok(()),
    }
}

/// Reads an absolute path.
///
/// # Errors
/// It is empty, relative, climbs upwards or holds a zero byte.
pub fn path(field: &'static str, value: &str) -> Result<PathBuf, Refusal> {
    required(field, value)?;
    let path = Path::new(value);
    let climbs = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    match path.is_absolute() && !climbs && !value.contains('\0') {
        // Without "." and doubled or trailing slashes.
        true => Ok(path.components().collect()),
        false => Err(Refusal::invalid(format!(
            "{field} {value:?} is not an absolute path"
        ))),
    }
}

/// Reads a size.
///
/// # Errors
/// Negative or crossed figures.
pub fn size(range: Option<&CapacityRange>) -> Result<SizeAsked, SizeError> {
    range.map_or(Ok(SizeAsked::default()), |range| {
        SizeAsked::new(range.required_bytes, range.limit_bytes)
    })
}

/// Reads the one capability of a node call.
///
/// # Errors
/// Absent, or nothing that this plugin can do.
pub fn usage(capability: Option<&VolumeCapability>) -> Result<Usage, Refusal> {
    let capability = capability.ok_or_else(|| Refusal::invalid("volume_capability is not set"))?;
    let access = match &capability.access_type {
        Some(AccessType::Block(_)) => Access::Block,
        Some(AccessType::Mount(mount)) => access_of(mount)?,
        None => {
            return Err(Refusal::invalid(
                "volume_capability has neither block nor mount",
            ));
        }
    };
    let mode = capability
        .access_mode
        .as_ref()
        .map_or(Mode::Unknown, |mode| mode.mode());
    let (read_only, single_writer) = match mode {
        Mode::SingleNodeWriter | Mode::SingleNodeMultiWriter => (false, false),
        Mode::SingleNodeReaderOnly => (true, false),
        Mode::SingleNodeSingleWriter => (false, true),
        Mode::Unknown => return Err(Refusal::invalid("volume_capability has no access mode")),
        Mode::MultiNodeReaderOnly | Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter => {
            let mode = mode.as_str_name();
            let text = format!("access mode {mode}: a local volume is reachable on one node");
            return Err(Refusal::invalid(text));
        }
    };
    Ok(Usage {
        access,
        read_only,
        single_writer,
    })
}

fn access_of(mount: &MountVolume) -> Result<Access, Refusal> {
    if !mount.volume_mount_group.is_empty() {
        return Err(Refusal::invalid("volume_mount_group is not supported"));
    }
    let known = |name: &str| FsKind::ALL.into_iter().find(|fs| fs.name() == name);
    let fs = match mount.fs_type.as_str() {
        "" => None,
        name => Some(known(name).ok_or_else(|| {
            Refusal::invalid(format!("fs_type {name:?} is neither ext4 nor xfs"))
        })?),
    };
    Ok(Access::Mount {
        fs,
        options: mount.mount_flags.clone(),
    })
}

/// Reads what all capabilities of a volume to be made have in common.
///
/// # Errors
/// None given, one that this plugin cannot do, or two that contradict each other.
pub fn content(capabilities: &[VolumeCapability]) -> Result<ContentAsked, Refusal> {
    let mut content: Option<ContentAsked> = None;
    for capability in capabilities {
        let next = match usage(Some(capability))?.access {
            Access::Block => ContentAsked::Block,
            Access::Mount { fs, .. } => ContentAsked::Filesystem(fs),
        };
        content = Some(match (content, next) {
            (None, next) => next,
            (Some(first), next) => both(first, next)?,
        });
    }
    content.ok_or_else(|| Refusal::invalid("volume_capabilities is empty"))
}

fn both(first: ContentAsked, next: ContentAsked) -> Result<ContentAsked, Refusal> {
    match (first, next) {
        (ContentAsked::Block, ContentAsked::Block) => Ok(first),
        (ContentAsked::Filesystem(one), ContentAsked::Filesystem(other)) => match (one, other) {
            (Some(one), Some(other)) if one != other => {
                let text = format!("volume_capabilities ask for {one} and for {other}");
                Err(Refusal::invalid(text))
            }
            (one, other) => Ok(ContentAsked::Filesystem(one.or(other))),
        },
        (ContentAsked::Block, ContentAsked::Filesystem(_))
        | (ContentAsked::Filesystem(_), ContentAsked::Block) => Err(Refusal::invalid(
            "volume_capabilities ask for a block device and for a mount",
        )),
    }
}

/// Reads the parameters.
///
/// # Errors
/// Unknown key or value, named.
pub fn thin(parameters: &BTreeMap<String, String>) -> Result<bool, Refusal> {
    if let Some(key) = parameters.keys().find(|key| *key != THIN) {
        return Err(Refusal::invalid(format!(
            "parameter {key:?} is unknown; there is {THIN:?}"
        )));
    }
    match parameters.get(THIN).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(value) => Err(Refusal::invalid(format!(
            "parameter {THIN}={value:?} is neither true nor false"
        ))),
    }
}

/// Reads the whole request for a new volume.
///
/// # Errors
/// The first field that cannot be satisfied.
pub fn volume(request: &CreateVolumeRequest) -> Result<VolumeAsked, Refusal> {
    required("name", &request.name)?;
    if request.name.len() > NAME_BYTES_MAX {
        return Err(Refusal::invalid(format!(
            "name is longer than {NAME_BYTES_MAX} bytes"
        )));
    }
    if request.name.chars().any(char::is_control) {
        return Err(Refusal::invalid("name holds control characters"));
    }
    let content = content(&request.volume_capabilities)?;
    if request.volume_content_source.is_some() {
        return Err(Refusal::invalid(
            "volume_content_source: this plugin cannot copy volumes",
        ));
    }
    if let Some(key) = request.mutable_parameters.keys().next() {
        let text = format!("mutable parameter {key:?}: this plugin has none");
        return Err(Refusal::invalid(text));
    }
    Ok(VolumeAsked {
        name: request.name.clone(),
        size: size(request.capacity_range.as_ref())?,
        content,
        thin: thin(&request.parameters)?,
        parameters: request.parameters.clone(),
    })
}

#[cfg(test)]
mod tests;
