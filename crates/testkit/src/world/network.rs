//! Network namespaces for agents, each joined to the host by a pair of virtual interfaces.
//!
//! ```text
//! host: 10.231.N.1 ──veth── 10.231.N.2 in namespace 1
//!       10.231.N.1 ──veth── 10.231.N.3 in namespace 2
//! ```
//! Point to point, so that no bridge is needed and the agents do not see each other.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};

use crate::host::{NAMESPACES_DIR, mounts_under, network_namespaces};
use crate::traces::is_tagged;

/// Networks tried before we give up: another test may have taken one.
const NETWORKS_MAX: u8 = 250;

/// Takes away the mount that `ip netns` has left on its own folder, if no namespace is in it.
///
/// Worlds cannot do it when they are dropped, as another may be about to add a namespace.
pub fn remove_namespaces_dir() {
    let folder = Path::new(NAMESPACES_DIR);
    if !network_namespaces().is_empty() {
        return;
    }
    // What cannot be undone is found by whoever looks at the host afterwards. Two first
    // namespaces at once may have made two mounts.
    for _ in mounts_under(folder) {
        let _ = unmount(folder, UnmountFlags::empty());
    }
    let _ = std::fs::remove_dir(folder);
}

/// Namespaces and their links; gone when dropped.
#[derive(Debug)]
pub struct Network {
    number: u8,
    namespaces: Vec<String>,
}

impl Network {
    /// Makes one namespace for each agent, named after the world's folder.
    pub(super) fn make(root: &Path, agents: usize) -> Result<Self> {
        let tag = tag(root);
        let mut network = Self {
            number: free_network()?,
            namespaces: Vec::new(),
        };
        for index in 0..agents {
            network.add(format!("{tag}{index}"))?;
        }
        Ok(network)
    }

    /// The host's address, the same on all links.
    pub(crate) fn master_ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 231, self.number, 1)
    }

    /// Name of an agent's namespace, from 0.
    pub fn namespace(&self, index: usize) -> &str {
        &self.namespaces[index]
    }

    fn add(&mut self, name: String) -> Result<()> {
        let last = u8::try_from(self.namespaces.len() + 2).context("few agents")?;
        let here = self.master_ip().to_string();
        let there = Ipv4Addr::new(10, 231, self.number, last).to_string();
        ip(&["netns", "add", &name])?;
        // Known from here on: dropped with the rest whatever fails next.
        self.namespaces.push(name.clone());
        let inside = [
            "link", "add", &name, "type", "veth", "peer", "name", "up0", "netns", &name,
        ];
        ip(&inside)?;
        ip(&["addr", "add", &here, "peer", &there, "dev", &name])?;
        ip(&["link", "set", &name, "up"])?;
        ip(&[
            "-n", &name, "addr", "add", &there, "peer", &here, "dev", "up0",
        ])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        ip(&["-n", &name, "link", "set", "up0", "up"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.namespaces.iter().for_each(|name| remove(name));
    }
}

/// Removes the namespaces that a world's folder gave their names.
pub(super) fn sweep(root: &Path) {
    let tag = tag(root);
    let names = crate::host::network_namespaces();
    names
        .iter()
        .filter(|name| name.starts_with(&tag))
        .for_each(|name| remove(name));
}

/// Removes the namespaces of worlds whose folder is gone.
pub(super) fn sweep_orphans(worlds: &Path) {
    let folders = crate::host::subfolders(worlds);
    let tags: Vec<String> = folders.iter().map(|folder| tag(folder)).collect();
    let names = network_namespaces().into_iter();
    names
        .filter(|name| is_tagged(name) && !tags.iter().any(|tag| name.starts_with(tag)))
        .for_each(|name| remove(&name));
}

/// Removes one namespace and its link.
fn remove(name: &str) {
    for args in [["link", "del", name], ["netns", "del", name]] {
        if let Err(error) = ip(&args) {
            eprintln!("clean-up: {error:#}");
        }
    }
}

/// Letters and digits of the world's folder: short enough for an interface's name.
fn tag(root: &Path) -> String {
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Finds a network whose host address nobody has.
fn free_network() -> Result<u8> {
    let taken = output(&["-o", "-4", "addr", "show"])?;
    let own = (std::process::id() % u32::from(NETWORKS_MAX)) as u8;
    (0..NETWORKS_MAX)
        .map(|step| (own + step) % NETWORKS_MAX)
        .find(|number| !taken.contains(&format!("10.231.{number}.1 ")))
        .context("every 10.231.N.0 network of this host is taken")
}

fn ip(args: &[&str]) -> Result<()> {
    output(args).map(drop)
}

fn output(args: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(args).output().context("start ip")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_reach_the_host_and_leave_nothing() {
        assert!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root"
        );
        let root = tempfile::Builder::new()
            .prefix("st-")
            .tempdir()
            .expect("a folder");
        let network = Network::make(root.path(), 2).expect("namespaces can be made");
        let listener = std::net::TcpListener::bind((network.master_ip(), 0)).expect("is ours");
        let port = listener.local_addr().expect("is bound").port();
        let names = network.namespaces.clone();
        for name in &names {
            let target = format!("/dev/tcp/{}/{port}", network.master_ip());
            let status = Command::new("nsenter")
                .arg(format!("--net=/run/netns/{name}"))
                .args(["bash", "-c", &format!("exec 3<>{target}")])
                .status()
                .expect("nsenter is there");
            assert!(status.success(), "no way from {name}");
        }
        drop(network);
        let left = crate::host::network_namespaces();
        assert!(names.iter().all(|name| !left.contains(name)), "{left:?}");
    }
}
