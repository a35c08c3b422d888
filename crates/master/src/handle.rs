//! The master as its caller holds it: started, watched, asked to end.

use std::net::SocketAddr;
use std::path::Path;

use jiff::Timestamp;
use sutler_cluster_core::Config;
use sutler_store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::files::{self, ClientFile, JoinFile, Tokens};
use crate::http::{self, Access, Serve};
use crate::journal::{Journal, SCHEMA};
use crate::tls::{self, Tls};
use crate::{MasterConfig, StartError, names, shell};

/// The master of a cluster.
#[derive(Debug)]
pub struct Master;

/// How a master ended.
#[derive(Debug)]
pub enum MasterEnd {
    /// It was asked to.
    ShutDown,
    /// It cannot go on.
    Failed(StartError),
}

/// A running master. Dropping it asks it to end, without waiting.
#[derive(Debug)]
pub struct MasterHandle {
    addr: SocketAddr,
    address: String,
    end: CancellationToken,
    shell: JoinHandle<Result<(), StartError>>,
    server: JoinHandle<()>,
}

impl Master {
    /// Opens the books, makes tokens and certificates, and serves.
    ///
    /// On return the address is taken and `client.json` and `join.json` are written.
    ///
    /// # Errors
    /// [`StartError`] says what is missing and what to do.
    pub async fn start(config: MasterConfig) -> Result<MasterHandle, StartError> {
        if config.insecure_loopback && !config.listen.ip().is_loopback() {
            return Err(StartError::InsecureListen {
                listen: config.listen,
            });
        }
        files::ensure_state_dir(&config.state_dir)?;
        let folder = config.state_dir.join("master");
        files::ensure_folder(&folder)?;
        // The lock comes first: a second master must not touch a file of the first.
        let store = Store::open(&folder.join("books.redb"), SCHEMA)
            .map_err(|source| StartError::OpenBooks { source })?;
        let journal = Journal::new(store);
        let retention = config.trash_retention.as_millis();
        let core = Config {
            trash_retention_ms: retention.try_into().unwrap_or(u64::MAX),
        };
        let books = journal.recover(core).await?;
        let tokens = files::ensure_tokens(&config.state_dir)?;
        let names = names::of_server(&config);
        let tls = tls::ensure(&config.state_dir, &names, Timestamp::now())?;
        let fault = |source| StartError::Listen {
            listen: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(fault)?;
        let addr = listener.local_addr().map_err(fault)?;
        let address = write_ways_in(&config, addr, &tokens, &tls)?;
        let (shell, shell_loop) = shell::new(books, core, journal);
        let end = CancellationToken::new();
        let access = Access::new(tokens, config.insecure_loopback);
        let serve = Serve {
            listener,
            tls: tls.config,
            router: http::router(shell, access, config.connections.body_silence, end.clone()),
            bounds: config.connections,
            end: end.clone(),
        };
        tracing::info!(%addr, state_dir = %config.state_dir.display(), "the master serves");
        let shell = tokio::spawn(run_shell(shell_loop, end.clone()));
        let server = tokio::spawn(http::serve(serve));
        Ok(MasterHandle {
            addr,
            address,
            end,
            shell,
            server,
        })
    }
}

/// Runs the loop; its end ends everything else.
async fn run_shell(shell_loop: shell::ShellLoop, end: CancellationToken) -> Result<(), StartError> {
    let _guard = end.clone().drop_guard();
    shell_loop.run(end).await
}

/// Writes how programs here and agents elsewhere find us; gives the address for those here.
fn write_ways_in(
    config: &MasterConfig,
    addr: SocketAddr,
    tokens: &Tokens,
    tls: &Tls,
) -> Result<String, StartError> {
    let port = addr.port();
    let at = |name: &str| config.state_dir.join(name);
    let here = format!("https://{}:{port}", names::told_to_clients(config));
    let client = ClientFile {
        address: &here,
        ca_pem_file: Path::new(tls::CA_FILE),
        token_file: Path::new(files::OPERATOR_TOKEN_FILE),
    };
    files::write_json(&at("client.json"), &client)?;
    let join = JoinFile {
        address: &format!("https://{}:{port}", names::told_to_agents(config)),
        ca_pem: &tls.ca_pem,
        token: tokens.agent.reveal(),
    };
    files::write_json(&at("join.json"), &join)?;
    Ok(here)
}

impl MasterHandle {
    /// Gives the address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Gives the URL by which programs on this host reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until it ends by itself, which is always a failure.
    ///
    /// # Cancel safety
    /// Safe until it has returned; after that it must not be called again.
    pub async fn ended(&mut self) -> MasterEnd {
        let ended = (&mut self.shell).await;
        self.end.cancel();
        match ended {
            Ok(Ok(())) => MasterEnd::ShutDown,
            Ok(Err(error)) => MasterEnd::Failed(error),
            Err(_) => MasterEnd::Failed(StartError::PartEnded { part: "shell" }),
        }
    }

    /// Ends it: open requests are answered or cut, and the books are closed on return.
    pub async fn shutdown(mut self) -> MasterEnd {
        self.end.cancel();
        // The server holds no state; that it ended is all that matters.
        let _ = (&mut self.server).await;
        self.ended().await
    }
}

impl Drop for MasterHandle {
    fn drop(&mut self) {
        self.end.cancel();
    }
}
