//! The words of the reference grammar: registries, repositories, tags. Pure.
//!
//! Source: OCI distribution specification 1.1, "Pulling manifests"; RFC 1123 for host names.

pub(super) const REPOSITORY_BYTES_MAX: usize = 255;
pub(super) const TAG_BYTES_MAX: usize = 128;

/// The registry without its port.
pub(super) fn host_of(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => registry,
    }
}

pub(super) fn is_registry(registry: &str) -> bool {
    let host = host_of(registry);
    let port_fits = match registry
        .strip_prefix(host)
        .and_then(|rest| rest.strip_prefix(':'))
    {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => true,
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let host_fits = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    port_fits && host_fits
}

pub(super) fn is_repository(repository: &str) -> bool {
    repository.len() <= REPOSITORY_BYTES_MAX && repository.split('/').all(is_component)
}

/// `[a-z0-9]+` joined by one dot, one or two underscores, or dashes.
fn is_component(component: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| plain(*byte));
    let bytes = component.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && component
            .split(|letter: char| u8::try_from(letter).is_ok_and(plain))
            .all(|separator| {
                matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
            })
}

pub(super) fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(word)
        && tag
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-')
}
