//! Plugin definitions: how to start a vendor's image, as TOML.
//!
//! A definition says only what differs between vendors and cannot be asked at run time.
//! Capabilities, attach, staging and topology are asked of the plugin itself.

mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::template::{self, TemplateError};
use sutler_ids::{ClassName, PluginName};
use times::{
    default_call_timeout, default_probe_timeout, default_startup_timeout, default_stop_timeout,
};

/// Longest socket path that the kernel takes, in bytes, without its closing NUL
/// (`sun_path`, unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Says why a definition is refused.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// Not TOML, an unknown key, a wrong type. The text names line and column.
    #[error("definition is not valid: {0}")]
    Parse(String),
    /// No image.
    #[error("definition has no `image`; give the reference of the plugin's container image")]
    NoImage,
    /// No usable name.
    #[error("definition has no `name` and none can be made from image {image:?}")]
    NoName {
        /// The image.
        image: String,
    },
    /// A template in it cannot be filled in.
    #[error("definition of plugin {plugin}: {source}")]
    Template {
        /// The plugin.
        plugin: PluginName,
        /// The fault.
        source: TemplateError,
    },
    /// The endpoint is not a usable path.
    #[error("endpoint {path:?}: {fault}")]
    Endpoint {
        /// What was given.
        path: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A mount is not of the form.
    #[error("mount {text:?} is not HOST[:CONTAINER[:ro|rshared|rslave]] with absolute paths")]
    Mount {
        /// What was given.
        text: String,
    },
    /// A time is not of the form.
    #[error("{key} {text:?} is not a time such as 30s, 5m or 500ms")]
    Time {
        /// Which key.
        key: &'static str,
        /// What was given.
        text: String,
    },
    /// A time is outside its bounds.
    #[error("{key} {text:?} is not from {least} to {most}")]
    TimeBounds {
        /// Which key.
        key: &'static str,
        /// What was given.
        text: String,
        /// The shortest.
        least: &'static str,
        /// The longest.
        most: &'static str,
    },
    /// A need is not of the form.
    #[error("need {text:?} is not one of loop, fuse, path:/PATH, module:NAME")]
    Need {
        /// What was given.
        text: String,
    },
}

/// Command-line arguments by the half of the plugin that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Args {
    /// For both halves in one process.
    All(Vec<String>),
    /// By half.
    ByMode(ModeArgs),
}

/// Arguments by half. Both halves run in one process here, so `all` is used when given,
/// else `controller` followed by `node`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModeArgs {
    /// Both halves in one process.
    pub all: Vec<String>,
    /// The controller half.
    pub controller: Vec<String>,
    /// The node half.
    pub node: Vec<String>,
}

impl Default for Args {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl Args {
    /// Gives the arguments of one process that serves both halves.
    pub fn one_process(&self) -> Vec<String> {
        match self {
            Self::All(all) => all.clone(),
            Self::ByMode(by) if by.all.is_empty() => {
                by.controller.iter().chain(&by.node).cloned().collect()
            }
            Self::ByMode(by) => by.all.clone(),
        }
    }

    fn texts(&self) -> Vec<&String> {
        match self {
            Self::All(all) => all.iter().collect(),
            Self::ByMode(by) => by
                .all
                .iter()
                .chain(&by.controller)
                .chain(&by.node)
                .collect(),
        }
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// A file on each node, read when a call needs it.
    pub file: String,
}

/// A documented parameter of the plugin's volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// The key passed to CreateVolume.
    pub key: String,
    /// The values allowed; any when empty.
    #[serde(default)]
    pub values: Vec<String>,
    /// The value when none is given.
    #[serde(default)]
    pub default: Option<String>,
    /// Whether one must be given.
    #[serde(default)]
    pub required: bool,
    /// What it means.
    #[serde(default)]
    pub description: Option<String>,
}

/// A class that comes with the plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassDefinition {
    /// Parameters passed to CreateVolume.
    pub parameters: BTreeMap<String, String>,
    /// The file system; the plugin's choice when absent.
    pub fs_type: Option<String>,
    /// Mount flags.
    pub mount_flags: Vec<String>,
}

/// How to start a vendor's image. See `docs/plugins.md` for every key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginDefinition {
    /// Our name for it; made from the image when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PluginName>,
    /// The name that the plugin must report; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Image reference.
    #[serde(default)]
    pub image: String,
    /// Arguments.
    #[serde(default)]
    pub args: Args,
    /// Environment. `CSI_ENDPOINT` is set besides.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Path of the socket inside the container.
    #[serde(default = "default_endpoint")]
    pub endpoint: String,
    /// Host folders and devices: `HOST[:CONTAINER[:ro|rshared|rslave]]`.
    #[serde(default)]
    pub mounts: Vec<String>,
    /// All of our own bounding set and every device.
    #[serde(default = "yes")]
    pub privileged: bool,
    /// The host's network.
    #[serde(default = "yes")]
    pub host_network: bool,
    /// The host's processes.
    #[serde(default)]
    pub host_pid: bool,
    /// The host's IPC.
    #[serde(default)]
    pub host_ipc: bool,
    /// What the host must have: `loop`, `fuse`, `path:/PATH`, `module:NAME`.
    #[serde(default)]
    pub needs: Vec<String>,
    /// How long until Probe says ready.
    #[serde(default = "default_startup_timeout")]
    pub startup_timeout: String,
    /// How long a stop waits before it kills.
    #[serde(default = "default_stop_timeout")]
    pub stop_timeout: String,
    /// How long one Probe, and each question at its start, may take.
    #[serde(default = "default_probe_timeout")]
    pub probe_timeout: String,
    /// How long one call about a volume may take.
    #[serde(default = "default_call_timeout")]
    pub call_timeout: String,
    /// Whether the plugin wants the target path to exist.
    #[serde(default)]
    pub pre_create_target: bool,
    /// Whether what the plugin publishes shows as a mount on the host, as with almost all. Then a
    /// publication without one is refused: what a task writes there would land on the host's disk.
    #[serde(default = "yes")]
    pub mounts_volumes: bool,
    /// Calls in flight at once, for each kind of call.
    #[serde(default = "default_lanes")]
    #[schema(value_type = u32, minimum = 1)]
    pub lanes: NonZeroU32,
    /// Given in every call that takes secrets.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretRef>,
    /// Documented parameters.
    #[serde(default)]
    pub params: Vec<Param>,
    /// Classes beside the one named like the plugin.
    #[serde(default)]
    pub class: BTreeMap<ClassName, ClassDefinition>,
}

/// One mount of a definition, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinedMount {
    /// Folder or device on the host; may still hold templates.
    pub host: String,
    /// Path inside the container.
    pub container: String,
    /// How.
    pub mode: MountMode,
}

/// How a definition's mount is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountMode {
    /// Private, read and write.
    ReadWrite,
    /// Private, read only.
    ReadOnly,
    /// Mounts go both ways.
    Shared,
    /// Mounts come in from the host only.
    Slave,
}

fn yes() -> bool {
    true
}

fn default_endpoint() -> String {
    "/csi/csi.sock".to_owned()
}

/// Four calls at once: enough to hide a slow one, few enough for plugins that break when
/// calls for one node overlap.
const fn default_lanes() -> NonZeroU32 {
    NonZeroU32::new(4).expect("above zero")
}

impl PluginDefinition {
    /// Makes the definition of a plugin that follows the CSI packaging advice.
    pub fn of_image(image: impl Into<String>) -> Self {
        Self {
            name: None,
            driver: None,
            image: image.into(),
            args: Args::default(),
            env: BTreeMap::new(),
            endpoint: default_endpoint(),
            mounts: vec!["/dev".to_owned()],
            privileged: true,
            host_network: true,
            host_pid: false,
            host_ipc: false,
            needs: Vec::new(),
            startup_timeout: default_startup_timeout(),
            stop_timeout: default_stop_timeout(),
            probe_timeout: default_probe_timeout(),
            call_timeout: default_call_timeout(),
            pre_create_target: false,
            mounts_volumes: true,
            lanes: default_lanes(),
            secrets: BTreeMap::new(),
            params: Vec::new(),
            class: BTreeMap::new(),
        }
    }

    /// Reads a definition file.
    ///
    /// # Errors
    /// [`DefinitionError::Parse`] with line and column of an unknown key or wrong type.
    pub fn from_toml(text: &str) -> Result<Self, DefinitionError> {
        toml::from_str(text).map_err(|error| DefinitionError::Parse(error.to_string()))
    }

    /// Fills in the name and checks everything that can be checked without a host.
    ///
    /// # Errors
    /// [`DefinitionError`] names the fault.
    pub fn checked(mut self, set: &BTreeMap<String, String>) -> Result<Self, DefinitionError> {
        if self.image.trim().is_empty() {
            return Err(DefinitionError::NoImage);
        }
        let name = match self.name.take() {
            Some(name) => name,
            None => name_from_image(&self.image).ok_or_else(|| DefinitionError::NoName {
                image: self.image.clone(),
            })?,
        };
        for text in self.templated_texts() {
            template::check(text, set).map_err(|source| DefinitionError::Template {
                plugin: name.clone(),
                source,
            })?;
        }
        self.name = Some(name);
        check_endpoint(&self.endpoint)?;
        self.defined_mounts()?;
        self.startup_timeout_ms()?;
        self.stop_timeout_ms()?;
        self.probe_timeout()?;
        self.call_timeout()?;
        for need in &self.needs {
            check_need(need)?;
        }
        Ok(self)
    }

    /// Gives the name of a checked definition.
    pub fn checked_name(&self) -> &PluginName {
        self.name
            .as_ref()
            .expect("`checked` has filled in the name")
    }

    /// Gives the mounts, read.
    ///
    /// # Errors
    /// [`DefinitionError::Mount`].
    pub fn defined_mounts(&self) -> Result<Vec<DefinedMount>, DefinitionError> {
        self.mounts.iter().map(|text| parse_mount(text)).collect()
    }

    /// Gives the classes of this plugin: the one named like it, and those defined.
    pub fn classes(&self) -> BTreeMap<ClassName, ClassDefinition> {
        let mut classes = self.class.clone();
        if let Ok(own) = ClassName::new(self.checked_name().as_str()) {
            classes.entry(own).or_default();
        }
        classes
    }

    /// Gives a class's parameters, with the defaults of those that it leaves out.
    pub fn parameters_of(&self, class: &ClassDefinition) -> BTreeMap<String, String> {
        let mut parameters = class.parameters.clone();
        for param in &self.params {
            if let Some(default) = &param.default {
                parameters
                    .entry(param.key.clone())
                    .or_insert_with(|| default.clone());
            }
        }
        parameters
    }

    fn templated_texts(&self) -> BTreeSet<&String> {
        let mut texts: BTreeSet<&String> = self.args.texts().into_iter().collect();
        texts.extend(self.env.values());
        texts.extend(&self.mounts);
        texts
    }
}

fn name_from_image(image: &str) -> Option<PluginName> {
    let last = image.trim_end_matches('/').rsplit('/').next()?;
    let last = last.split(['@', ':']).next()?;
    let last = last.strip_suffix(".tar").unwrap_or(last);
    PluginName::new(last.to_ascii_lowercase()).ok()
}

fn check_endpoint(path: &str) -> Result<(), DefinitionError> {
    let fault = |fault: String| DefinitionError::Endpoint {
        path: path.to_owned(),
        fault,
    };
    if !path.starts_with('/') {
        return Err(fault(
            "is not an absolute path inside the container".to_owned(),
        ));
    }
    if path.len() > SOCKET_PATH_BYTES_MAX {
        return Err(fault(format!(
            "has {} bytes; a socket path may have {SOCKET_PATH_BYTES_MAX}",
            path.len()
        )));
    }
    let mut parts = path.split('/').skip(1);
    if parts.clone().count() < 2 || parts.any(|part| part.is_empty() || part == "..") {
        return Err(fault(
            "must be a file in a folder of its own, like /csi/csi.sock".to_owned(),
        ));
    }
    Ok(())
}

fn parse_mount(text: &str) -> Result<DefinedMount, DefinitionError> {
    let fault = || DefinitionError::Mount {
        text: text.to_owned(),
    };
    let mut parts = text.split(':');
    let host = parts.next().unwrap_or_default().to_owned();
    let container = parts.next().unwrap_or(&host).to_owned();
    let mode = match parts.next() {
        None | Some("rw") => MountMode::ReadWrite,
        Some("ro") => MountMode::ReadOnly,
        Some("rshared") => MountMode::Shared,
        Some("rslave") => MountMode::Slave,
        Some(_) => return Err(fault()),
    };
    // A leading variable such as `{{state_dir}}` stands for an absolute path, on both sides:
    // a driver that keeps absolute paths of its own wants its folder at the host's path.
    let absolute = |path: &str| {
        (path.starts_with('/') || path.starts_with("{{")) && !path.split('/').any(|p| p == "..")
    };
    if parts.next().is_some() || !absolute(&host) || !absolute(&container) {
        return Err(fault());
    }
    Ok(DefinedMount {
        host,
        container,
        mode,
    })
}

fn check_need(need: &str) -> Result<(), DefinitionError> {
    let known = matches!(need, "loop" | "fuse")
        || need
            .strip_prefix("path:")
            .is_some_and(|path| path.starts_with('/'))
        || need
            .strip_prefix("module:")
            .is_some_and(|name| !name.is_empty());
    if known {
        Ok(())
    } else {
        Err(DefinitionError::Need {
            text: need.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(toml: &str) -> String {
        PluginDefinition::from_toml(toml)
            .and_then(|d| d.checked(&BTreeMap::new()))
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn a_bad_definition_is_refused_with_its_fault() {
        for (toml, fault) in [
            ("image = 'x'\nimgae = 'y'", "imgae"),
            ("name = 'x'", "no `image`"),
            ("image = 'x'\nargs = ['{{endpoint}}']", "\"endpoint\""),
            ("image = 'x'\nargs = ['{{set.a}}']", "--set a=VALUE"),
            ("image = 'x'\nendpoint = 'csi.sock'", "absolute"),
            ("image = 'x'\nendpoint = '/csi.sock'", "folder of its own"),
            ("image = 'x'\nmounts = ['dev']", "mount \"dev\""),
            ("image = 'x'\nstartup_timeout = '10'", "startup_timeout"),
            ("image = 'x'\nneeds = ['luck']", "luck"),
            (
                "image = 'x'\nprobe_timeout = 'soon'",
                "probe_timeout \"soon\"",
            ),
            (
                "image = 'x'\nprobe_timeout = '0s'",
                "probe_timeout \"0s\" is not from 1s to 5m",
            ),
            (
                "image = 'x'\nprobe_timeout = '6m'",
                "probe_timeout \"6m\" is not from 1s to 5m",
            ),
            ("image = 'x'\ncall_timeout = '90'", "call_timeout \"90\""),
            (
                "image = 'x'\ncall_timeout = '999ms'",
                "call_timeout \"999ms\" is not from 1s to 1h",
            ),
            (
                "image = 'x'\ncall_timeout = '2h'",
                "call_timeout \"2h\" is not from 1s to 1h",
            ),
            ("image = 'x'\nname = 'a/b'", "plugin name"),
            ("image = 'x'\nlanes = 0", "nonzero"),
        ] {
            let error = refused(toml);
            assert!(error.contains(fault), "{toml}: {error}");
        }
        let long = format!("image = 'x'\nendpoint = '/csi/{}'", "s".repeat(120));
        assert!(
            refused(&long).contains("a socket path may have 107"),
            "{}",
            refused(&long)
        );
    }

    #[test]
    fn a_folder_by_variable_may_be_mounted_at_its_own_path() {
        let mount = |text: &str| {
            let mount = parse_mount(text).expect(text);
            (mount.host, mount.container)
        };
        let own = "{{state_dir}}".to_owned();
        assert_eq!(mount("{{state_dir}}"), (own.clone(), own.clone()));
        let shared = mount("{{state_dir}}:{{state_dir}}:rshared");
        assert_eq!(shared, (own.clone(), own.clone()));
        assert_eq!(mount("{{state_dir}}:/data"), (own, "/data".to_owned()));
        for bad in [
            "{{state_dir}}/../..",
            "/dev:{{state_dir}}/../x",
            "/dev:data",
            "",
        ] {
            assert!(parse_mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = refused("image = 'x'\nimgae = 'y'");
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn an_image_alone_gets_a_name_and_a_class() {
        let definition = PluginDefinition::of_image("localhost:5000/Team/MyPlugin:v1@sha256:00")
            .checked(&BTreeMap::new())
            .unwrap();
        assert_eq!(definition.checked_name().as_str(), "myplugin");
        assert_eq!(definition.classes().len(), 1);
    }

    #[test]
    fn arguments_by_half_join_for_one_process() {
        let definition = PluginDefinition::from_toml(
            "image='x'\n[args]\ncontroller=['-controller']\nnode=['-node']",
        )
        .unwrap();
        assert_eq!(definition.args.one_process(), ["-controller", "-node"]);
    }
}
