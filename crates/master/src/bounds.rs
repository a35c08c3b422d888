//! How many connections the master holds, and how long each may keep it waiting.
//!
//! Plain data with the reason of each figure beside it; `http::server` applies them.

use std::time::Duration;

/// Connections at once when descriptors do not matter: some thousand agents of three each,
/// and the users.
const CONNECTIONS_MAX: u64 = 8192;

/// Strangers at once when descriptors do not matter: each may cost 40 kB of TLS, and the loss
/// of a place hits first who holds the most of them.
const STRANGERS_MAX: u64 = 1024;

/// How many connections may be held, by who they are.
///
/// A stranger is a connection that has shown no token of ours yet. Strangers cannot take the
/// places of operators and agents, nor operators those of agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Strangers; beyond it the oldest of the address that has most of them gives way.
    pub strangers: usize,
    /// Strangers from one address; beyond it its oldest gives way.
    pub strangers_per_address: usize,
    /// Connections with the operator's token; beyond it they are refused.
    pub operators: usize,
    /// The same from one address: a program that leaks them leaves room for the others.
    pub operators_per_address: usize,
    /// Connections with the agents' token. Not bounded by address: a site's nodes may all
    /// come from one.
    pub agents: usize,
}

impl Places {
    /// Shares out a process's descriptors; a quarter of them is for files and outgoing calls.
    pub fn of_descriptors(limit: u64) -> Self {
        let total = (limit / 4 * 3).min(CONNECTIONS_MAX);
        let strangers = (total / 2).min(STRANGERS_MAX);
        let operators = (total - strangers) / 3;
        let agents = total - strangers - operators;
        // One at least of each: a master with a handful of descriptors still answers.
        let places = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).max(1);
        Self {
            strangers: places(strangers),
            strangers_per_address: places(strangers / 3 * 2),
            operators: places(operators),
            operators_per_address: places(operators / 2),
            agents: places(agents),
        }
    }

    /// Shares out what this process may open now.
    pub(crate) fn of_this_process() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        // No limit at all is more than we ever use.
        Self::of_descriptors(limit.current.unwrap_or(u64::MAX))
    }
}

/// Every bound on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionBounds {
    /// From the connection to the end of its TLS handshake: many round trips of a bad network.
    pub handshake: Duration,
    /// From there to the first request with a token of ours, whatever happens between: nobody
    /// who has a token needs longer, and a stranger keeps its place no longer.
    pub stranger: Duration,
    /// From the first byte of a request's head to its last; one packet as a rule.
    pub head: Duration,
    /// Between two requests of a known client: longer than the 90 s after which usual HTTP
    /// clients drop a connection themselves, and than the 10 s between an agent's reports, so
    /// that no request races our end of it.
    pub idle: Duration,
    /// Between two pieces of a request's body: longer than a network's short loss.
    pub body_silence: Duration,
    /// What we sent may stay unacknowledged so long before the peer counts as gone; also
    /// between two probes of a silent peer (TCP's own, and HTTP/2's ping).
    pub unacknowledged: Duration,
    /// How many connections.
    pub places: Places,
}

impl ConnectionBounds {
    /// The bounds of every real master, for so many places.
    pub fn new(places: Places) -> Self {
        Self {
            handshake: Duration::from_secs(10),
            stranger: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(5 * 60),
            body_silence: Duration::from_secs(30),
            unacknowledged: Duration::from_secs(20),
            places,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_master_waits_so_long_and_no_longer() {
        let bounds = ConnectionBounds::new(Places::of_descriptors(1 << 20));
        let seconds = Duration::from_secs;
        assert_eq!(
            (bounds.handshake, bounds.stranger),
            (seconds(10), seconds(10))
        );
        assert_eq!(
            (bounds.head, bounds.body_silence),
            (seconds(10), seconds(30))
        );
        assert_eq!(
            (bounds.idle, bounds.unacknowledged),
            (seconds(300), seconds(20))
        );
    }

    #[test]
    fn places_follow_the_descriptors_and_leave_some_of_them() {
        for limit in [64, 256, 1024, 4096, 1 << 20, u64::MAX] {
            let places = Places::of_descriptors(limit);
            let total = places.strangers + places.operators + places.agents;
            let room = usize::try_from(limit / 4 * 3).unwrap_or(usize::MAX);
            assert!(total <= room, "{limit}: {places:?}");
            assert!(places.strangers_per_address < places.strangers);
            assert!(places.operators < places.agents);
        }
        let many = Places::of_descriptors(1 << 20);
        assert_eq!(
            (many.strangers, many.operators, many.agents),
            (1024, 2389, 4779)
        );
        let few = Places::of_descriptors(256);
        assert_eq!((few.strangers, few.operators, few.agents), (96, 32, 64));
    }
}
