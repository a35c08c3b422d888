//! A container registry on loopback, Debian's docker-registry, for as long as a test needs it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::poll;

/// User and password of a registry that asks for them.
pub const CREDENTIALS: (&str, &str) = ("sutler", "open-sesame");

/// The password above, hashed with bcrypt at its lowest cost.
const HTPASSWD: &str = "sutler:$2b$04$c1Er/QHQMb6T3WVK2DjUw.3hpwZAiKV9uefv7//CCAI6ite8lTskW\n";

/// Longest wait for the registry to answer.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A running registry; killed and its folder removed when dropped.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    child: Child,
    folder: tempfile::TempDir,
}

impl Registry {
    /// Starts an open registry.
    ///
    /// # Errors
    /// It cannot be started or does not answer.
    pub fn start() -> Result<Self> {
        Self::start_with(None)
    }

    /// Starts a registry that wants [`CREDENTIALS`].
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub fn start_locked() -> Result<Self> {
        Self::start_with(Some(HTPASSWD))
    }

    /// Gives the reference of an image in it, tag included.
    pub fn reference(&self, name_and_tag: &str) -> String {
        format!("{}/{name_and_tag}", self.address)
    }

    /// Writes an auth file with these credentials for plain HTTP, in the form of Docker and Podman,
    /// and gives its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_auth_file(&self, user: &str, password: &str) -> Result<PathBuf> {
        let path = self.folder.path().join("auth.json");
        let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
        let mut auths = serde_json::Map::new();
        auths.insert(
            format!("http://{}", self.address),
            serde_json::json!({ "auth": pair }),
        );
        fs::write(&path, serde_json::json!({ "auths": auths }).to_string())?;
        Ok(path)
    }

    fn start_with(htpasswd: Option<&str>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("st-registry-").tempdir()?;
        super::own(folder.path())?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut config = format!(
            "version: 0.1\nlog: {{level: warn}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            folder.path().join("data").display()
        );
        if let Some(text) = htpasswd {
            let path = folder.path().join("htpasswd");
            fs::write(&path, text)?;
            config += &format!(
                "auth: {{htpasswd: {{realm: tests, path: {}}}}}\n",
                path.display()
            );
        }
        let config_path = folder.path().join("config.yml");
        fs::write(&config_path, config)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config_path);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .context("start docker-registry; see `cargo xtask setup`")?;
        let registry = Self {
            address,
            child,
            folder,
        };
        poll::until("the registry listens", READY_WITHIN, || {
            std::net::TcpStream::connect(address).map(drop)
        })
        .with_context(|| {
            fs::read_to_string(registry.folder.path().join("log")).unwrap_or_default()
        })?;
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_answers_and_is_gone_when_dropped() {
        let registry = Registry::start().expect("docker-registry is installed");
        let address = registry.address;
        assert!(std::net::TcpStream::connect(address).is_ok());
        drop(registry);
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
