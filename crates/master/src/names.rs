//! Under which names and addresses this host can be reached.
//!
//! Read from `/proc`, because the master needs no more than the addresses themselves.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::MasterConfig;

/// What goes into the server's certificate: names and addresses, sorted.
pub(crate) fn of_server(config: &MasterConfig) -> Vec<String> {
    let mut names: BTreeSet<String> = config.names.iter().cloned().collect();
    let ip = config.listen.ip();
    names.insert("localhost".to_owned());
    names.insert(Ipv4Addr::LOCALHOST.to_string());
    names.insert(Ipv6Addr::LOCALHOST.to_string());
    match ip.is_unspecified() {
        true => names.extend(addresses().iter().map(IpAddr::to_string)),
        false => {
            names.insert(ip.to_string());
        }
    }
    names.extend(host_name());
    names.into_iter().collect()
}

/// Gives the host part of the address that agents elsewhere are told.
pub(crate) fn told_to_agents(config: &MasterConfig) -> String {
    if let Some(name) = config.names.first() {
        return match name.parse::<IpAddr>() {
            Ok(ip) => in_url(ip),
            Err(_) => name.clone(),
        };
    }
    let ip = config.listen.ip();
    if !ip.is_unspecified() {
        return in_url(ip);
    }
    addresses()
        .into_iter()
        .next()
        .map_or_else(|| "127.0.0.1".to_owned(), in_url)
}

/// Gives the host part of the address for programs on this host.
pub(crate) fn told_to_clients(config: &MasterConfig) -> String {
    match config.listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => in_url(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => in_url(Ipv6Addr::LOCALHOST.into()),
        ip => in_url(ip),
    }
}

fn in_url(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn host_name() -> Option<String> {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// Gives the host's addresses but those of loopback and link scope, IPv4 first.
fn addresses() -> Vec<IpAddr> {
    let v4 = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut addresses = local_v4(&v4);
    addresses.extend(global_v6(&v6));
    addresses
}

/// Finds the leaves of the routing trie that are this host's own.
fn local_v4(trie: &str) -> Vec<IpAddr> {
    let mut found = BTreeSet::new();
    let mut leaf = None;
    for line in trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = leaf.filter(|a| !a.is_loopback() && !a.is_link_local())
        {
            found.insert(IpAddr::from(address));
        }
    }
    found.into_iter().collect()
}

/// Reads lines of `address index prefix scope flags name`; scope 0 is global.
fn global_v6(table: &str) -> Vec<IpAddr> {
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let scope = words.nth(2)?;
        (scope == "00").then(|| IpAddr::from(Ipv6Addr::from_bits(address)))
    };
    table.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    |-- 10.0.0.5\n           /32 host LOCAL\n     |-- 10.0.0.255\n           \
                    /32 link BROADCAST\n     |-- 127.0.0.1\n           /32 host LOCAL\n";
        assert_eq!(local_v4(trie), ["10.0.0.5".parse::<IpAddr>().unwrap()]);
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe80000000000000a00000fffe000001 02 40 20 80     eth0\n\
                     fd000000000000000000000000000002 02 40 00 80     eth0\n";
        assert_eq!(global_v6(table), ["fd00::2".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_certificate_is_for_every_way_to_this_host() {
        let mut config = MasterConfig::new("/x", "10.1.2.3:5050".parse().unwrap());
        config.names = vec!["master.example".to_owned()];
        let names = of_server(&config);
        for name in ["10.1.2.3", "127.0.0.1", "localhost", "master.example"] {
            assert!(
                names.contains(&name.to_owned()),
                "{name} is not in {names:?}"
            );
        }
        assert_eq!(told_to_agents(&config), "master.example");
        assert_eq!(told_to_clients(&config), "10.1.2.3");
    }
}
