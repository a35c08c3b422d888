//! A cluster of the real program, for one test: its processes, state folders and network.
//!
//! [`World`] starts `sutler up`, or a master and agents of their own, waits until they are
//! ready, runs commands against them, kills and restarts them. When it is dropped, also by a
//! panic, nothing of it is left: no process, container, mount, loop device, cgroup, network
//! namespace or file. A world that was given its folder leaves all of that but its processes.
//! It decides nothing about what is right; that is the tests' and the
//! [oracle](crate::oracle)'s.
//!
//! ```text
//! /tmp/st-XXXXXX/        short, since socket paths must be
//!   m/  a1/  a2/         state folders of master and agents; only m/ with `sutler up`
//!   *.log                what each process said
//! ```

mod cleanup;
mod config;
mod containers;
mod daemon;
mod network;
mod registry;
mod runs;
mod sweep;
mod told;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::poll;
pub use cleanup::own;
pub use config::{Shape, WorldConfig, images_folder};
pub use containers::Container;
pub use daemon::Daemon;
pub use network::{Network, remove_namespaces_dir};
pub use registry::{CREDENTIALS, Registry};
pub use sweep::sweep;
pub use told::Told;

/// Longest wait for a cluster to come up: the plugin's image must be unpacked first.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// Longest time of one command: pulls, creates and runs included.
pub const COMMAND_WITHIN: Duration = Duration::from_secs(90);

/// The definition of the local plugin; its image is replaced by the packed one.
const LOCAL_DEFINITION: &str = include_str!("../../../../catalogue/local.toml");

/// Where worlds lie: short, since a socket's path may have 107 bytes.
const WORLDS: &str = "/tmp";

/// A running cluster.
#[derive(Debug)]
pub struct World {
    config: WorldConfig,
    root: PathBuf,
    address: SocketAddr,
    network: Option<Network>,
    master: Daemon,
    agents: Vec<Daemon>,
}

impl World {
    /// Starts a cluster and waits until it serves: all agents connected, the class `local` ready.
    ///
    /// # Errors
    /// It did not come up; the text holds what its processes said.
    pub fn up(config: WorldConfig) -> Result<Self> {
        let mut world = Self::stopped(config)?;
        world.start_all()?;
        world.wait_ready().with_context(|| world.said())?;
        Ok(world)
    }

    /// Prepares a cluster without starting any of it.
    ///
    /// # Errors
    /// We are not root, the images are not packed, or there is no folder or network for it.
    pub fn stopped(config: WorldConfig) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "tests with containers need root"
        );
        let image = config.images.join("sutler-local.oci.tar");
        ensure!(
            !config.local || image.is_file(),
            "{} is not there: run `cargo xtask pack`",
            image.display()
        );
        let root = match &config.root {
            Some(root) => kept_folder(root)?,
            None => tempfile::Builder::new()
                .prefix("st-")
                .tempdir_in(WORLDS)?
                .keep(),
        };
        own(&root)?;
        let network = match config.shape {
            Shape::Namespaces(agents) => Some(Network::make(&root, agents)?),
            Shape::Up | Shape::Split(_) => None,
        };
        let ip = network
            .as_ref()
            .map_or(Ipv4Addr::LOCALHOST, Network::master_ip);
        let address = free_address(ip)?;
        let mut world = Self {
            master: Daemon::new(&config.sutler, &root, "m"),
            agents: Vec::new(),
            config,
            root,
            address,
            network,
        };
        world.describe_daemons();
        Ok(world)
    }

    /// The folder of everything that this world writes.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the master listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The state folder of the master, and of the agent with `sutler up`.
    pub fn state_dir(&self) -> &Path {
        self.master.state_dir()
    }

    /// The master's process, or the only one.
    pub fn master(&mut self) -> &mut Daemon {
        &mut self.master
    }

    /// The process that holds agent `index`: the only one with `sutler up`.
    pub fn agent(&mut self, index: usize) -> &mut Daemon {
        match self.config.shape {
            Shape::Up => &mut self.master,
            Shape::Split(_) | Shape::Namespaces(_) => &mut self.agents[index],
        }
    }

    /// The state folders that hold an agent.
    pub fn agent_state_dirs(&self) -> Vec<PathBuf> {
        match self.config.shape {
            Shape::Up => vec![self.master.state_dir().to_owned()],
            Shape::Split(_) | Shape::Namespaces(_) => self
                .agents
                .iter()
                .map(|agent| agent.state_dir().to_owned())
                .collect(),
        }
    }

    /// Gives the reference of a packed image: an OCI archive.
    pub fn image(&self, name: &str) -> String {
        format!(
            "oci-archive:{}",
            self.config.images.join(format!("{name}.oci.tar")).display()
        )
    }

    /// Starts every process that does not run.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn start_all(&mut self) -> Result<()> {
        self.master.start()?;
        let join = self.master.state_dir().join("join.json");
        if !self.agents.is_empty() {
            poll::until("the master has written join.json", READY_WITHIN, || {
                self.master
                    .ensure_running()
                    .map_err(|error| format!("{error:#}"))?;
                poll::holds(join.is_file(), || "no join.json".to_owned())
            })?;
        }
        for agent in &mut self.agents {
            agent.start()?;
        }
        Ok(())
    }

    /// Waits until all agents are connected.
    ///
    /// # Errors
    /// A process ended, or the deadline passed.
    pub fn wait_connected(&mut self) -> Result<()> {
        let agents = self.agents.len().max(1);
        poll::until(
            "all agents are connected",
            READY_WITHIN,
            || -> Result<()> {
                self.master.ensure_running()?;
                for agent in &mut self.agents {
                    agent.ensure_running()?;
                }
                let nodes = self.json(&["node", "ls"])?;
                let connected = count(&nodes, |node| node["connected"] == true);
                ensure!(
                    connected == agents,
                    "{connected} of {agents} agents connected: {nodes}"
                );
                Ok(())
            },
        )
    }

    /// Waits until all agents are connected and the local class is ready on each.
    ///
    /// # Errors
    /// As [`World::wait_connected`].
    pub fn wait_ready(&mut self) -> Result<()> {
        self.wait_connected()?;
        if !self.config.local {
            return Ok(());
        }
        if self.config.shape != Shape::Up {
            self.add_local()?;
        }
        self.wait_class("local", self.agents.len().max(1))
    }

    /// Waits until a class is ready on so many nodes.
    ///
    /// # Errors
    /// The deadline passed; the text holds the classes as last seen.
    pub fn wait_class(&self, name: &str, agents: usize) -> Result<()> {
        poll::until(
            &format!("class {name} is ready"),
            READY_WITHIN,
            || -> Result<()> {
                let classes = self.json(&["class", "ls"])?;
                let class = items(&classes).iter().find(|class| class["name"] == name);
                let ready = class.map_or(0, |class| items(&class["ready_on"]).len());
                ensure!(ready == agents, "ready on {ready} of {agents}: {classes}");
                Ok(())
            },
        )
    }

    /// Adds the plugin that `sutler up` adds by itself.
    fn add_local(&self) -> Result<()> {
        let definition = LOCAL_DEFINITION
            .lines()
            .map(|line| match line.starts_with("image") {
                true => format!("image = \"{}\"\n", self.image("sutler-local")),
                false => format!("{line}\n"),
            });
        let path = self.root.join("local.toml");
        std::fs::write(&path, definition.collect::<String>())?;
        let told = self.sutler(&["plugin", "add", &path.display().to_string()]);
        ensure!(told.code == Some(0), "{told}");
        Ok(())
    }

    /// Runs a command of the command line against this cluster.
    ///
    /// # Panics
    /// The program cannot be started, or does not end in time: it never should.
    pub fn sutler(&self, args: &[&str]) -> Told {
        self.sutler_within(COMMAND_WITHIN, args)
    }

    /// The same with a deadline of its own.
    ///
    /// # Panics
    /// As [`World::sutler`].
    pub fn sutler_within(&self, within: Duration, args: &[&str]) -> Told {
        let mut command = std::process::Command::new(&self.config.sutler);
        command
            .args(args)
            .env("SUTLER_STATE_DIR", self.master.state_dir());
        told::run(command, within).unwrap_or_else(|error| panic!("{error:#}\n{}", self.said()))
    }

    /// Runs a command that must succeed, and gives its standard output.
    ///
    /// # Panics
    /// It fails: the panic tells what it and the cluster said.
    pub fn ok(&self, args: &[&str]) -> String {
        let told = self.sutler(args);
        assert!(told.code == Some(0), "{told}\n{}", self.said());
        told.stdout
    }

    /// Runs a command with `--json` and gives what it prints.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let told = self.sutler(&[args, &["--json"]].concat());
        ensure!(told.code == Some(0), "{told}");
        serde_json::from_str(&told.stdout).with_context(|| format!("not JSON: {told}"))
    }

    /// Gives a volume's view.
    ///
    /// # Errors
    /// As [`World::json`].
    pub fn volume(&self, name: &str) -> Result<Value> {
        self.json(&["volume", "show", name])
    }

    /// Waits until a volume is in a state, and gives its view.
    ///
    /// # Errors
    /// The deadline passed; the text holds the last view.
    pub fn wait_volume(&self, name: &str, state: &str, within: Duration) -> Result<Value> {
        poll::until(
            &format!("volume {name} is {state}"),
            within,
            || -> Result<Value> {
                let view = self.volume(name)?;
                ensure!(view["state"] == state, "{view}");
                Ok(view)
            },
        )
    }

    /// Waits until a task is in a state, and gives its view.
    ///
    /// # Errors
    /// The deadline passed; the text holds the last view.
    pub fn wait_task(&self, task: &str, state: &str, within: Duration) -> Result<Value> {
        poll::until(
            &format!("task {task} is {state}"),
            within,
            || -> Result<Value> {
                let view = self.json(&["task", "show", task])?;
                ensure!(view["state"] == state, "{view}");
                Ok(view)
            },
        )
    }

    /// Gives the containers of all agents, those that ended too.
    pub fn containers(&self) -> Vec<Container> {
        containers::of_agents(&self.agent_state_dirs())
    }

    /// Gives the sockets of all running plugins, with the plugin's name.
    ///
    /// # Errors
    /// The books do not tell which plugins there are.
    pub fn plugin_sockets(&self) -> Result<Vec<(String, PathBuf)>> {
        let plugins = self.json(&["plugin", "ls"])?;
        let names = items(&plugins)
            .iter()
            .filter_map(|plugin| plugin["name"].as_str());
        let names: Vec<String> = names.map(str::to_owned).collect();
        let running = self.containers().into_iter().filter(|c| c.init.is_some());
        let sockets = running.filter_map(|container| {
            let fits = names
                .iter()
                .filter(|name| container.id.contains(name.as_str()));
            let name = fits.max_by_key(|name| name.len())?.clone();
            Some((name, container.socket?))
        });
        Ok(sockets.collect())
    }

    /// Gives the running container of a plugin; of the first agent that has one.
    ///
    /// # Errors
    /// No container of it runs.
    pub fn plugin_container(&self, plugin: &str) -> Result<Container> {
        let mut containers = self.containers().into_iter();
        containers
            .find(|c| c.socket.is_some() && c.init.is_some() && c.id.contains(plugin))
            .with_context(|| format!("no container of plugin {plugin} runs"))
    }

    /// Gives the last lines of every process, for a report.
    pub fn said(&self) -> String {
        let daemons = std::iter::once(&self.master).chain(&self.agents);
        daemons.map(Daemon::said).collect::<Vec<_>>().join("\n")
    }

    fn describe_daemons(&mut self) {
        let image = self
            .config
            .images
            .join("sutler-local.oci.tar")
            .display()
            .to_string();
        let listen = self.address.to_string();
        let args: &[&str] = match (self.config.shape, self.config.local) {
            (Shape::Up, true) => &["up", "--name", "one", "--local-image", &image],
            (Shape::Up, false) => &["up", "--name", "one", "--no-local"],
            (Shape::Split(_) | Shape::Namespaces(_), _) => &["master"],
        };
        let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
        args.extend(["--listen".to_owned(), listen]);
        self.master.describe(args, &self.config.env);
        let (Shape::Split(agents) | Shape::Namespaces(agents)) = self.config.shape else {
            return;
        };
        for index in 1..=agents {
            let name = format!("a{index}");
            let mut agent = Daemon::new(&self.config.sutler, &self.root, &name);
            let join = self
                .master
                .state_dir()
                .join("join.json")
                .display()
                .to_string();
            let args = ["agent", "--join", &join, "--name", &name].map(str::to_owned);
            agent.describe(args.to_vec(), &self.config.env);
            if let Some(network) = &self.network {
                agent.enter(network.namespace(index - 1));
            }
            self.agents.push(agent);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
        self.master.kill();
        for agent in &mut self.agents {
            agent.kill();
        }
        drop(self.network.take());
        if self.config.root.is_none() {
            cleanup::clean(&self.root);
        }
    }
}

fn kept_folder(root: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(root).with_context(|| format!("make {}", root.display()))?;
    Ok(root.to_owned())
}

/// Gives the elements of a JSON array, or of the one array inside an object.
pub fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        Value::Object(fields) => fields.values().find_map(Value::as_array).map_or(&[], |a| a),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => &[],
    }
}

fn count(value: &Value, wanted: impl Fn(&Value) -> bool) -> usize {
    items(value).iter().filter(|item| wanted(item)).count()
}

/// Finds a port that nobody uses now. A restarted master must come back at its address, so the
/// kernel cannot choose at each start.
fn free_address(ip: Ipv4Addr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((ip, 0)).with_context(|| format!("find a port of {ip}"))?;
    Ok(listener.local_addr()?)
}
