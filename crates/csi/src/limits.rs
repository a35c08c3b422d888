//! Every size the conversation with a plugin is held to.
//!
//! Owns the numbers and the checks. What we choose ourselves (names, parameters) keeps to
//! CSI's limits exactly; what comes from others (ids, contexts, secrets) is given more room,
//! because plugins in the field exceed the limits and work, but never room without end.
//!
//! Source: CSI spec, "Size Limits" and the comments of the fields.

use std::collections::BTreeMap;
use std::path::Path;

/// Longest socket path in bytes that the kernel takes (`sun_path`, unix(7), less its NUL).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Longest string field in bytes, unless said otherwise.
pub const STRING_BYTES_MAX: usize = 128;

/// Largest map field in bytes, all keys and values together.
pub const MAP_BYTES_MAX: usize = 4096;

/// Longest node id in bytes.
pub const NODE_ID_BYTES_MAX: usize = 256;

/// Longest plugin name in characters.
pub const PLUGIN_NAME_BYTES_MAX: usize = 63;

/// Longest path in bytes; the kernel's PATH_MAX.
pub const PATH_BYTES_MAX: usize = 4096;

/// Longest volume id in bytes that we accept. CSI says [`STRING_BYTES_MAX`], but plugins that
/// write a server and a path into the id (NFS, SMB) exceed it.
pub const VOLUME_ID_BYTES_TOLERATED: usize = 1024;

/// Largest context or set of secrets in bytes that we accept. CSI says [`MAP_BYTES_MAX`], but
/// certificates exceed it.
pub const FOREIGN_MAP_BYTES_TOLERATED: usize = 64 * 1024;

/// Largest answer in bytes; what gRPC implementations agree on as the default.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most bytes of a plugin's error text that are kept: it goes into records and on screens.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Most bytes of headers in an answer. The error text travels there, percent-encoded; the
/// default of 16 KiB would turn a talkative plugin's error into a broken connection.
pub(crate) const HEADER_BYTES_MAX: u32 = 256 * 1024;

/// Most pages of one listing: a plugin that never ends must not hold us for ever.
pub const LIST_PAGES_MAX: usize = 10_000;

/// Most volumes of one listing; bounds memory at some hundred MiB.
pub const LIST_VOLUMES_MAX: usize = 500_000;

/// How often one listing starts over when the plugin forgets its own page token.
pub const LIST_RESTARTS_MAX: usize = 3;

pub(crate) fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    match text.len() {
        0 => Err(format!("{what} is empty")),
        bytes if bytes > bytes_max => {
            Err(format!("{what} has {bytes} bytes, more than {bytes_max}"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_map(
    what: &str,
    map: &BTreeMap<String, String>,
    bytes_max: usize,
) -> Result<(), String> {
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    match bytes > bytes_max {
        true => Err(format!("{what} have {bytes} bytes, more than {bytes_max}")),
        false => Ok(()),
    }
}

pub(crate) fn check_path(what: &str, path: &Path) -> Result<String, String> {
    let text = path
        .to_str()
        .ok_or_else(|| format!("{what} {path:?} is not UTF-8"))?;
    check_text(what, text, PATH_BYTES_MAX)?;
    match path.is_absolute() {
        true => Ok(text.to_owned()),
        false => Err(format!("{what} {path:?} is not absolute")),
    }
}
