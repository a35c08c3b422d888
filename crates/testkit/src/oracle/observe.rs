//! Looking at a world: the API for the books, each plugin's own list, the kernel for the rest.
//! Asks the plugins behind the agent's back, on their sockets, so that the books are held
//! against something that sutler does not tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use sutler_csi::PluginClient;

use super::{BookTask, BookVolume, Expectations, ListedVolume, Observed};
use crate::host;
use crate::world::{World, items};

/// Longest time for one plugin's list.
const LIST_WITHIN: Duration = Duration::from_secs(10);

/// Volumes in one page of a plugin's list.
const PAGE_ENTRIES: u32 = 100;

/// Looks at everything.
pub(super) fn observe(world: &World, expectations: &Expectations) -> Result<Observed> {
    let mut mounts = BTreeMap::new();
    for dir in world.agent_state_dirs() {
        let points = host::mounts_under(&dir);
        let points = points
            .into_iter()
            .map(|m| m.point.display().to_string())
            .collect();
        mounts.insert(dir.display().to_string(), points);
    }
    let loops = host::loop_devices_of(world.root());
    Ok(Observed {
        volumes: items(&world.json(&["volume", "ls"])?)
            .iter()
            .map(book_volume)
            .collect(),
        tasks: items(&world.json(&["task", "ls"])?)
            .iter()
            .map(book_task)
            .collect(),
        listed: ask_plugins(world)?,
        mounts,
        loop_files: loops
            .into_iter()
            .map(|l| l.backing.display().to_string())
            .collect(),
        texts: texts(world),
        secrets: secrets(world),
        read_back: expectations.read_back.clone(),
    })
}

/// Gives what every plugin of the world lists, by plugin.
fn ask_plugins(world: &World) -> Result<BTreeMap<String, Vec<ListedVolume>>> {
    let mut listed: BTreeMap<String, Vec<ListedVolume>> = BTreeMap::new();
    for (plugin, socket) in world.plugin_sockets()? {
        let volumes = list_volumes(&socket)
            .with_context(|| format!("ask {plugin} at {} for its list", socket.display()))?;
        listed.entry(plugin).or_default().extend(volumes);
    }
    Ok(listed)
}

/// Gives what one plugin of a world lists, on all nodes together.
///
/// # Errors
/// It does not run, does not answer, or answers with an error.
pub fn volumes_of(world: &World, plugin: &str) -> Result<Vec<ListedVolume>> {
    ask_plugins(world)?
        .remove(plugin)
        .with_context(|| format!("plugin {plugin} does not run"))
}

fn list_volumes(socket: &Path) -> Result<Vec<ListedVolume>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = PluginClient::connect(socket)?;
        let volumes = client.list_volumes(PAGE_ENTRIES, LIST_WITHIN).await?;
        Ok(volumes
            .into_iter()
            .map(|listed| ListedVolume {
                name: listed.volume.context.reveal().get("name").cloned(),
                csi_volume_id: listed.volume.volume_id,
            })
            .collect())
    })
}

fn book_volume(view: &Value) -> BookVolume {
    BookVolume {
        name: text(&view["name"]),
        volume_id: text(&view["volume_id"]),
        csi_volume_id: view["csi_volume_id"].as_str().map(str::to_owned),
        plugin: text(&view["plugin"]),
        state: text(&view["state"]),
        holders: texts_of(&view["holders"], "task_id"),
    }
}

fn book_task(view: &Value) -> BookTask {
    BookTask {
        task_id: text(&view["task_id"]),
        state: text(&view["state"]),
        volumes: texts_of(&view["volumes"], "volume_id"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts_of(value: &Value, field: &str) -> BTreeSet<String> {
    items(value).iter().map(|item| text(&item[field])).collect()
}

fn texts(world: &World) -> BTreeMap<String, String> {
    let folders = world
        .containers()
        .into_iter()
        .map(|container| container.folder);
    let logs = folders
        .chain([world.root().to_owned()])
        .flat_map(|folder| logs_in(&folder));
    logs.map(|path| {
        (
            path.display().to_string(),
            fs::read_to_string(&path).unwrap_or_default(),
        )
    })
    .collect()
}

fn logs_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    entries
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect()
}

/// The tokens that the master has made: 64 hexadecimal digits in a file of their own.
fn secrets(world: &World) -> BTreeMap<String, String> {
    let entries = fs::read_dir(world.state_dir())
        .into_iter()
        .flatten()
        .flatten();
    let short = |text: &String| text.trim().len() == 64;
    entries
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok().filter(short)?;
            Some((
                format!("token in {}", entry.path().display()),
                text.trim().to_owned(),
            ))
        })
        .collect()
}
