//! The containers of an agent, read from their folders as a stranger would.
//! Trusts no record for more than finding what is to be killed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::host;

/// One container's folder and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub folder: PathBuf,
    /// Process of its shim, if it runs.
    pub shim: Option<i32>,
    /// Its first process, if it runs.
    pub init: Option<i32>,
    pub cgroup: Option<String>,
    /// Where its CSI socket lies on the host, if it is a plugin's.
    pub socket: Option<PathBuf>,
}

/// Gives the containers below agents' state folders.
pub(super) fn of_agents(state_dirs: &[PathBuf]) -> Vec<Container> {
    let folders = state_dirs.iter().map(|dir| dir.join("agent/containers"));
    folders
        .flat_map(|folder| host::subfolders(&folder))
        .map(read)
        .collect()
}

fn read(folder: PathBuf) -> Container {
    let record = json(&folder.join("shim.json"));
    let config = json(&folder.join("config.json"));
    let running = |value: &Value| {
        let pid = value["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok())?;
        host::process(pid).map(|process| process.pid)
    };
    Container {
        id: folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        shim: running(&record["shim"]),
        init: running(&record["container"]),
        cgroup: config["linux"]["cgroupsPath"].as_str().map(str::to_owned),
        socket: socket(&config),
        folder,
    }
}

/// Finds the socket that `CSI_ENDPOINT` names, by the mount that brings its folder.
fn socket(config: &Value) -> Option<PathBuf> {
    let env = config["process"]["env"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str);
    let endpoint = env
        .filter_map(|pair| pair.strip_prefix("CSI_ENDPOINT=unix://"))
        .next_back()?;
    let endpoint = Path::new(endpoint);
    let mounts = config["mounts"].as_array()?.iter();
    let folder = mounts
        .filter(|mount| mount["destination"].as_str().map(Path::new) == endpoint.parent())
        .find_map(|mount| mount["source"].as_str())?;
    Some(Path::new(folder).join(endpoint.file_name()?))
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_socket_is_found_on_the_host() {
        let config = serde_json::json!({
            "process": { "env": ["A=b", "CSI_ENDPOINT=unix:///csi/csi.sock"] },
            "mounts": [
                { "destination": "/dev", "source": "/dev" },
                { "destination": "/csi", "source": "/run/sutler/x/local" },
            ],
        });
        assert_eq!(
            socket(&config),
            Some(PathBuf::from("/run/sutler/x/local/csi.sock"))
        );
        assert_eq!(
            socket(&serde_json::json!({ "process": { "env": [] } })),
            None
        );
    }
}
