//! `sutler up`: master and agent in one process, and the plugin `local`.
//!
//! The agent speaks to the master as any other does, over TLS with its token, so that one
//! node and many are the same code. On SIGTERM the agent ends first, then the master;
//! containers keep running and the next start takes them over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use sutler_agent::{Agent, AgentConfig, AgentEnd, AgentHandle};
use sutler_api::task::TaskView;
use sutler_cli::client::Client;
use sutler_cli::client::connection::Connection;
use sutler_cli::verbs::up::UpArgs;
use sutler_cli::{Failure, Json};
use sutler_ids::AgentName;
use sutler_master::{MasterEnd, MasterHandle};

use crate::local::{self, Image};
use crate::stop::Stop;
use crate::{agent, checks, host, master, notify, say};

/// What to try first, once a class is there.
const NEXT: &str = "  next: sutler run -v hello:1G:/data busybox -- sh -c \
                    'date >> /data/log; cat /data/log'";

/// How long the question what goes on may take.
const TELL_MAX: Duration = Duration::from_secs(1);

/// Serves until asked to end.
///
/// # Errors
/// What keeps master or agent from starting, or from going on.
pub async fn serve(args: UpArgs, connection: Connection, json: Json) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let state_dir = host::absolute(&connection.state_dir)?;
    let name = host::agent_name(args.name.clone())?;
    let image = match args.no_local {
        true => None,
        false => Some(Image::find(args.local_image.as_deref())?),
    };
    checks::lines().iter().for_each(|line| say::line(line));
    let started = tokio::select! {
        started = start(&args, &state_dir, &name) => started?,
        // Whatever was begun is taken up again by the next start.
        () = stop.asked() => return Ok(()),
    };
    let Started {
        master,
        agent,
        client,
    } = started;
    Serving {
        master,
        agent,
        client,
        name,
        state_dir,
        image,
        json,
    }
    .until_end(stop)
    .await
}

/// Master and agent, started.
struct Started {
    master: MasterHandle,
    agent: AgentHandle,
    client: Client,
}

async fn start(args: &UpArgs, state_dir: &Path, name: &AgentName) -> Result<Started, Failure> {
    let master = master::start(&args.serve, state_dir.to_owned()).await?;
    match start_agent(state_dir, name).await {
        Ok((agent, client)) => Ok(Started {
            master,
            agent,
            client,
        }),
        Err(failure) => {
            // The agent's failure is what matters; the master has nothing under way.
            let _ = master.shutdown().await;
            Err(failure)
        }
    }
}

async fn start_agent(state_dir: &Path, name: &AgentName) -> Result<(AgentHandle, Client), Failure> {
    let client = master::own_client(state_dir)?;
    // Flags and environment that name a master are for commands, never for our own agent.
    let own = Connection {
        state_dir: state_dir.to_owned(),
        master: None,
        token_file: None,
        ca_file: None,
    };
    let address = host::master_address(&state_dir.join(host::JOIN_FILE), &own)?;
    let shim = host::shim_command()?;
    let config = AgentConfig::new(state_dir, name.clone(), address, shim);
    let agent = Agent::start(config)
        .await
        .map_err(|error| agent::failed(&error))?;
    Ok((agent, client))
}

/// A whole cluster of one node.
struct Serving {
    master: MasterHandle,
    agent: AgentHandle,
    client: Client,
    name: AgentName,
    state_dir: PathBuf,
    image: Option<Image>,
    json: Json,
}

/// Why serving ends.
enum Why {
    Asked,
    Agent(AgentEnd),
    Master(MasterEnd),
}

impl Serving {
    async fn until_end(mut self, mut stop: Stop) -> Result<(), Failure> {
        let bring_up = self.bring_up();
        let ready = self.tell_ready();
        let why = {
            let agent = agent::until_ended(&mut self.agent, ready);
            tokio::pin!(agent, bring_up);
            let mut up = false;
            loop {
                // Each arm is cancel-safe: signals and ends are kept, and adding the plugin
                // is repeated by the next start.
                tokio::select! {
                    () = stop.asked() => break Why::Asked,
                    end = &mut agent => break Why::Agent(end),
                    end = self.master.ended() => break Why::Master(end),
                    () = &mut bring_up, if !up => up = true,
                }
            }
        };
        self.end(why).await
    }

    /// Ends what has not ended by itself: the agent first, for it speaks to the master.
    async fn end(self, why: Why) -> Result<(), Failure> {
        match why {
            Why::Asked => {
                self.tell_what_goes_on().await;
                let agent = agent::ended(self.agent.shutdown().await);
                master::ended(self.master.shutdown().await).and(agent)
            }
            Why::Agent(end) => {
                let master = master::ended(self.master.shutdown().await);
                agent::ended(end).and(master)
            }
            Why::Master(end) => {
                let agent = agent::ended(self.agent.shutdown().await);
                master::ended(end).and(agent)
            }
        }
    }

    /// Says that containers outlive us, if there are any: nothing stops them while we are away.
    async fn tell_what_goes_on(&self) {
        let asked = self.client.get_all::<TaskView>("/v1/tasks");
        // Our own master; one that does not answer at once must not hold the end up.
        let Ok(Ok(tasks)) = tokio::time::timeout(TELL_MAX, asked).await else {
            return;
        };
        let live = |task: &&TaskView| !task.state.is_terminal();
        let count = tasks.value.iter().filter(live).count();
        let what = match count {
            0 => return,
            1 => "1 task goes".to_owned(),
            more => format!("{more} tasks go"),
        };
        say::line(&format!(
            "  {what} on without us, and nothing stops what runs meanwhile; the next `sutler up` \
             takes over"
        ));
    }

    /// Makes the announcement of the moment in which the agent is connected.
    fn tell_ready(&self) -> impl FnOnce() + use<> {
        let address = self.client.address().to_owned();
        let (name, state_dir, json) = (self.name.clone(), self.state_dir.clone(), self.json);
        move || {
            say::line(&format!("  ✓ master and agent {name}  {address}"));
            if json.0 {
                let told = json!({
                    "ready": true, "address": address, "node": name, "state_dir": state_dir,
                });
                say::document(&told);
            }
            notify::ready();
        }
    }

    /// Makes the work of bringing the plugin `local` up, or of saying why it is not.
    fn bring_up(&self) -> impl Future<Output = ()> + use<> {
        let (client, state_dir) = (self.client.clone(), self.state_dir.clone());
        let (image, mut status) = (self.image.clone(), self.agent.status());
        async move {
            // Before, every plugin's trouble is only that its node is not there yet. The
            // agent's end is told by the agent.
            if status.wait_for(|status| status.connected).await.is_err() {
                return;
            }
            match image {
                None => say::line("  next: sutler plugin add IMAGE"),
                Some(Image::At(image)) => {
                    if local::bring_up(&client, &image, &state_dir).await {
                        say::line(NEXT);
                    }
                }
                Some(Image::Nowhere(places)) => {
                    let places: Vec<String> = places
                        .iter()
                        .map(|place| place.display().to_string())
                        .collect();
                    say::line(&format!(
                        "  ! class 'local' is off: no image at {}; give --local-image PATH",
                        places.join(" or ")
                    ));
                }
            }
        }
    }
}
