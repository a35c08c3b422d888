//! What kind of failure something is, for whoever decides what to do about it.

/// What sort of failure it is, for exit codes and hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageErrorKind {
    /// The repository, tag, file or blob does not exist.
    Absent,
    /// The registry does not let us.
    Unauthorised,
    /// The registry cannot be reached or fails; trying later may help.
    Unreachable,
    /// It exists, but not for this host.
    WrongPlatform,
    /// It was refused because it is damaged, forged or hostile.
    Refused,
    /// It may be sound, but is of a kind that this version cannot unpack.
    Unsupported,
    /// Its registry wants credentials, and what this host has of them cannot be used.
    Credentials,
    /// The registry's name does not make an address.
    Address,
    /// This host is not set up for encrypted connections: CA certificates are missing.
    Client,
    /// The program is stopping.
    Stopping,
    /// This host's disk is at fault.
    Local,
}
