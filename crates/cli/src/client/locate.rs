//! Where the master is and what key opens it: from flags and environment, or from the
//! `client.json` that a master writes into its state folder.
//!
//! A token is sent only to the address that it was written down for.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::connection::Connection;

/// Name of the file in the state folder.
pub(crate) const CLIENT_FILE: &str = "client.json";

/// A bearer token, as the header that carries it. Never prints.
#[derive(Clone)]
pub struct Token(pub(crate) HeaderValue);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A master and the key to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// `https://HOST:PORT`; a token is never sent to another scheme.
    pub address: String,
    /// The token; none for a master that asks for none.
    pub token: Option<Token>,
    /// The only authority trusted, PEM; the system's when absent.
    pub ca_pem: Option<Vec<u8>>,
}

/// Says why the way to the master is not known.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// No master has run with this state folder.
    #[error("no cluster is known here: {} does not exist", path.display())]
    NoCluster {
        /// The file.
        path: PathBuf,
    },
    /// A file that is needed cannot be read.
    #[error("cannot read {what} {}", path.display())]
    Read {
        /// What the file is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `client.json` is not of its form.
    #[error("{} is not a valid client file", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The token is empty or no header can carry it.
    #[error("token file {} holds no token", path.display())]
    BadToken {
        /// The file.
        path: PathBuf,
    },
}

impl LocateError {
    /// Gives one thing to do.
    pub fn hint(&self) -> String {
        match self {
            Self::NoCluster { .. } => "start one with `sutler up`, or name a running master \
                                       with --master URL --token-file FILE"
                .to_owned(),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root, or copy the token and give it with --token-file FILE".to_owned()
            }
            Self::Read { path, .. } => format!("look at it: ls -l {}", path.display()),
            Self::Parse { .. } => "restart `sutler up`: it writes the file anew".to_owned(),
            Self::BadToken { .. } => {
                "restart `sutler up`, or give another one with --token-file FILE".to_owned()
            }
        }
    }
}

/// What a master writes for the operator of its host.
#[derive(Debug, Deserialize)]
struct ClientFile {
    address: String,
    #[serde(default, alias = "ca_pem")]
    ca_pem_file: Option<PathBuf>,
    #[serde(default)]
    token_file: Option<PathBuf>,
}

impl Target {
    /// Finds the master by flags and environment, else by the state folder.
    ///
    /// # Errors
    /// [`LocateError`] names the file and the fault.
    pub fn find(connection: &Connection) -> Result<Self, LocateError> {
        match &connection.master {
            None => Self::of_state_dir(&connection.state_dir)?.overridden(connection),
            Some(address) => Self::of_address(address, connection)?.overridden(connection),
        }
    }

    /// Reads what the master of this state folder wrote.
    ///
    /// # Errors
    /// [`LocateError`] names the file and the fault.
    pub fn of_state_dir(state_dir: &Path) -> Result<Self, LocateError> {
        let path = state_dir.join(CLIENT_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LocateError::NoCluster { path });
            }
            Err(source) => {
                return Err(LocateError::Read {
                    what: "client file",
                    path,
                    source,
                });
            }
        };
        let file: ClientFile =
            serde_json::from_slice(&text).map_err(|source| LocateError::Parse { path, source })?;
        // A relative path is meant from the file that holds it; an absolute one stays.
        let at = |path: PathBuf| state_dir.join(path);
        Ok(Self {
            address: file.address,
            token: file
                .token_file
                .map(|path| read_token(&at(path)))
                .transpose()?,
            ca_pem: file
                .ca_pem_file
                .map(|path| read_ca(&at(path)))
                .transpose()?,
        })
    }

    /// Takes an address; token and certificate of the state folder only if they are for it.
    fn of_address(address: &str, connection: &Connection) -> Result<Self, LocateError> {
        let bare = Self {
            address: address.to_owned(),
            token: None,
            ca_pem: None,
        };
        if connection.token_file.is_some() {
            return Ok(bare);
        }
        match Self::of_state_dir(&connection.state_dir) {
            Ok(here) if same_address(&here.address, address) => Ok(here),
            Ok(_) | Err(_) => Ok(bare),
        }
    }

    fn overridden(mut self, connection: &Connection) -> Result<Self, LocateError> {
        if let Some(path) = &connection.token_file {
            self.token = Some(read_token(path)?);
        }
        if let Some(path) = &connection.ca_file {
            self.ca_pem = Some(read_ca(path)?);
        }
        Ok(self)
    }
}

fn same_address(one: &str, other: &str) -> bool {
    one.trim_end_matches('/')
        .eq_ignore_ascii_case(other.trim_end_matches('/'))
}

fn read_token(path: &Path) -> Result<Token, LocateError> {
    let text = std::fs::read_to_string(path).map_err(|source| LocateError::Read {
        what: "token file",
        path: path.to_owned(),
        source,
    })?;
    let bad = || LocateError::BadToken {
        path: path.to_owned(),
    };
    let token = text.trim();
    if token.is_empty() {
        return Err(bad());
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| bad())?;
    header.set_sensitive(true);
    Ok(Token(header))
}

fn read_ca(path: &Path) -> Result<Vec<u8>, LocateError> {
    std::fs::read(path).map_err(|source| LocateError::Read {
        what: "certificate file",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(state_dir: &Path) -> Connection {
        let state_dir = state_dir.to_owned();
        Connection {
            state_dir,
            master: None,
            token_file: None,
            ca_file: None,
        }
    }

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_state_folder_names_master_and_token() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "op.token", "abc\n");
        write(
            dir.path(),
            CLIENT_FILE,
            r#"{"address":"https://127.0.0.1:5050","ca_pem_file":null,"token_file":"op.token"}"#,
        );
        let target = Target::find(&connection(dir.path())).unwrap();
        assert_eq!(target.address, "https://127.0.0.1:5050");
        let token = target.token.expect("a token");
        assert_eq!(token.0.to_str().unwrap(), "Bearer abc");
        assert_eq!(format!("{token:?}"), "[secret]");
    }

    #[test]
    fn a_token_is_not_sent_to_another_address() {
        let dir = tempfile::tempdir().unwrap();
        let file = write(dir.path(), "op.token", "abc");
        write(
            dir.path(),
            CLIENT_FILE,
            r#"{"address":"https://127.0.0.1:5050","token_file":"op.token"}"#,
        );
        let with = |master: &str, token_file| {
            let master = Some(master.to_owned());
            Target::find(&Connection {
                master,
                token_file,
                ..connection(dir.path())
            })
            .unwrap()
        };
        assert!(with("https://127.0.0.1:5050/", None).token.is_some());
        assert!(with("https://10.0.0.1:5050", None).token.is_none());
        assert!(with("https://10.0.0.1:5050", Some(file)).token.is_some());
    }

    #[test]
    fn each_fault_of_the_files_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let find = || Target::find(&connection(dir.path())).unwrap_err();
        assert!(find().to_string().contains("client.json does not exist"));
        assert!(find().hint().contains("sutler up"));
        write(dir.path(), CLIENT_FILE, "{");
        assert!(find().to_string().contains("is not a valid client file"));
        write(
            dir.path(),
            CLIENT_FILE,
            r#"{"address":"https://a:1","token_file":"t"}"#,
        );
        assert!(find().to_string().contains("cannot read token file"));
        write(dir.path(), "t", " \n");
        assert!(find().to_string().contains("holds no token"));
    }
}
