//! Files that only root may read: tokens, and how clients and agents find this master.
//!
//! Each is written beside its name and renamed, so that a reader sees all or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use sutler_host::private;
use sutler_telemetry::Secret;

use crate::StartError;

/// Bytes of a token before it is written as hexadecimal digits.
const TOKEN_BYTES: usize = 32;

/// Mode of every file here: secrets, or the way to them.
const PRIVATE: u32 = 0o600;

/// Where the operator's token is, in the state folder.
pub(crate) const OPERATOR_TOKEN_FILE: &str = "operator.token";

/// The two tokens.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub operator: Secret<String>,
    pub agent: Secret<String>,
}

/// How the operator's programs on this host find the master. Paths are meant from the state
/// folder, so that they hold when it is moved.
#[derive(Serialize)]
pub(crate) struct ClientFile<'a> {
    pub address: &'a str,
    pub ca_pem_file: &'a Path,
    pub token_file: &'a Path,
}

/// What an operator copies to the other nodes.
#[derive(Serialize)]
pub(crate) struct JoinFile<'a> {
    pub address: &'a str,
    pub ca_pem: &'a str,
    pub token: &'a str,
}

/// What a master, and an agent beside it, keep in the state folder.
const OURS: [&str; 7] = [
    "agent",
    "agent.token",
    "client.json",
    "join.json",
    "master",
    "operator.token",
    "tls",
];

/// Makes the state folder for root alone, or tightens the one that is there.
pub(crate) fn ensure_state_dir(path: &Path) -> Result<(), StartError> {
    private::ensure_folder_of(path, &OURS).map_err(|source| StartError::StateDir {
        path: path.to_owned(),
        source,
    })
}

/// Makes a folder in the state folder for root alone, or tightens the one that is there.
pub(crate) fn ensure_folder(path: &Path) -> Result<(), StartError> {
    private::ensure_folder(path).map_err(|source| StartError::StateDir {
        path: path.to_owned(),
        source,
    })
}

/// Reads the tokens, or makes them at the first start.
pub(crate) fn ensure_tokens(state_dir: &Path) -> Result<Tokens, StartError> {
    Ok(Tokens {
        operator: ensure_token(&state_dir.join(OPERATOR_TOKEN_FILE))?,
        agent: ensure_token(&state_dir.join("agent.token"))?,
    })
}

fn ensure_token(path: &Path) -> Result<Secret<String>, StartError> {
    if let Some(text) = read_if_there(path)? {
        let text = text.trim();
        let is_token = |text: &str| hex::decode(text).is_ok_and(|b| b.len() == TOKEN_BYTES);
        return match is_token(text) {
            true => Ok(Secret::new(text.to_owned())),
            false => Err(StartError::BadToken {
                path: path.to_owned(),
            }),
        };
    }
    let mut bytes = [0; TOKEN_BYTES];
    let urandom = PathBuf::from("/dev/urandom");
    File::open(&urandom)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| StartError::ReadFile {
            path: urandom,
            source,
        })?;
    let token = hex::encode(bytes);
    write_private(path, format!("{token}\n").as_bytes())?;
    Ok(Secret::new(token))
}

/// Reads one of these files; none if there is none. One that others could read is tightened.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, StartError> {
    let read = || -> io::Result<String> {
        // A link or a pipe is not of our making: one would have us change the mode of another's
        // file, the other would keep us waiting.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        if private::ensure_file(&file)? {
            tracing::warn!(path = %path.display(), "others could read this file until now");
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StartError::ReadFile {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes a JSON file for root alone.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StartError> {
    let mut text = serde_json::to_vec_pretty(value).expect("our files are plain JSON");
    text.push(b'\n');
    write_private(path, &text)
}

/// Writes a file for root alone, wholly or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StartError> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| StartError::WriteFile {
        path: path.to_owned(),
        source,
    })
}
