//! Secrets of a plugin, read from their files when a call needs them and dropped after it.

use std::collections::BTreeMap;
use std::time::Duration;

use sutler_api::definition::SecretRef;
use sutler_csi::Secrets;
use sutler_ids::{ErrorKind, Problem, SaidBy};

/// Longest secret: what CSI allows a map entry, with room to spare.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Longest wait for one file: a call that waits for it holds a lane.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Reads every secret that a definition names.
pub(crate) async fn read(refs: &BTreeMap<String, SecretRef>) -> Result<Secrets, Problem> {
    let mut values = BTreeMap::new();
    for (key, secret) in refs {
        values.insert(key.clone(), read_one(key, &secret.file).await?);
    }
    Ok(values.into_iter().collect())
}

async fn read_one(key: &str, file: &str) -> Result<String, Problem> {
    let unreadable = |raw: String| {
        Problem::new(
            ErrorKind::Unavailable,
            format!("cannot read secret {key} from {file}"),
        )
        .said_by(SaidBy::Kernel)
        .raw(raw)
        .hint("make the file readable for root on this host")
    };
    let read = async {
        let meta = tokio::fs::metadata(file).await?;
        if meta.len() > SECRET_BYTES_MAX {
            return Err(std::io::Error::other(format!(
                "it has {} bytes",
                meta.len()
            )));
        }
        tokio::fs::read_to_string(file).await
    };
    let read = tokio::time::timeout(READ_WITHIN, read).await;
    let read = read.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let text = read.map_err(|error| unreadable(error.to_string()))?;
    Ok(text.trim_end_matches('\n').to_owned())
}
