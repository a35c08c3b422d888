//! This host as an agent needs it: its name, the program's path, how to join.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sutler_agent::MasterAddress;
use sutler_cli::client::connection::Connection;
use sutler_cli::{ExitStatus, Failure, Report};
use sutler_ids::AgentName;
use sutler_telemetry::Secret;

/// Name of the file that a master writes for its agents.
pub(crate) const JOIN_FILE: &str = "join.json";

/// How an agent joins a master: the content of [`JOIN_FILE`].
#[derive(Deserialize)]
struct Join {
    address: String,
    #[serde(default)]
    ca_pem: Option<String>,
    token: String,
}

/// Gives the name of this node: as told, else its host name.
///
/// # Errors
/// If the host name cannot be an agent's name.
pub fn agent_name(told: Option<AgentName>) -> Result<AgentName, Failure> {
    if let Some(name) = told {
        return Ok(name);
    }
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    AgentName::new(host.as_ref()).map_err(|error| {
        Report::of_error(&error)
            .status(ExitStatus::USAGE)
            .hint("give this node a name with --name NAME")
            .into()
    })
}

/// Gives the command line of a shim: this very program.
///
/// # Errors
/// If the program's path cannot be found.
pub fn shim_command() -> Result<Vec<OsString>, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Report::new(format!("cannot find the path of this program: {error}")))?;
    Ok(vec![program.into_os_string(), "shim".into()])
}

/// Makes a path absolute: containers and plugins see it from elsewhere.
///
/// # Errors
/// If there is no working directory, or the path is empty.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Report::new(format!("path {} cannot be used: {error}", path.display()))
            .status(ExitStatus::USAGE)
            .into()
    })
}

/// Reads how to join; flags and environment override the address and the certificate.
///
/// # Errors
/// If a file cannot be read or is not of its form.
pub(crate) fn master_address(
    join: &Path,
    connection: &Connection,
) -> Result<MasterAddress, Failure> {
    let text = read("join file", join)?;
    let read_join: Join = serde_json::from_str(&text).map_err(|error| {
        Report::new(format!("{} is not a valid join file", join.display()))
            .cause(error.to_string())
            .hint("copy it again from the master's state folder")
    })?;
    let ca_pem = match &connection.ca_file {
        Some(path) => Some(read("certificate file", path)?),
        None => read_join.ca_pem,
    };
    let url = connection.master.clone().unwrap_or(read_join.address);
    Ok(MasterAddress {
        url,
        ca_pem,
        token: Secret::new(read_join.token),
    })
}

fn read(what: &str, path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        Report::new(format!("cannot read {what} {}", path.display()))
            .cause(error.to_string())
            .hint("a master writes join.json into its state folder; copy it to this host")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let state_dir = PathBuf::from("/s");
        Connection {
            state_dir,
            master: None,
            token_file: None,
            ca_file: None,
        }
    }

    #[test]
    fn a_join_file_is_read_and_flags_override_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let join = dir.path().join(JOIN_FILE);
        std::fs::write(
            &join,
            r#"{"address":"https://a:1","ca_pem":"PEM","token":"t"}"#,
        )
        .expect("writable");
        let read = master_address(&join, &connection()).expect("is valid");
        assert_eq!(
            (read.url.as_str(), read.ca_pem.as_deref()),
            ("https://a:1", Some("PEM"))
        );
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, "OTHER").expect("writable");
        let other = Connection {
            master: Some("https://b:2".to_owned()),
            ca_file: Some(ca),
            ..connection()
        };
        let read = master_address(&join, &other).expect("is valid");
        assert_eq!(
            (read.url.as_str(), read.ca_pem.as_deref()),
            ("https://b:2", Some("OTHER"))
        );
    }

    #[test]
    fn a_bad_join_file_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let join = dir.path().join(JOIN_FILE);
        let told = || match master_address(&join, &connection()) {
            Err(Failure::Told(report)) => report.render(false),
            other => panic!("{other:?}"),
        };
        assert!(told().contains("cannot read join file"), "{}", told());
        std::fs::write(&join, "{}").expect("writable");
        assert!(told().contains("is not a valid join file"), "{}", told());
        assert!(told().contains("missing field `address`"), "{}", told());
    }
}
