//! Who holds a connection, and who gives way when there are too many.
//!
//! Pure: told of arrivals, of tokens shown and of ends; the server carries out what it says.
//! Nobody can be told apart before it shows a token, also not by its address: on loopback an
//! agent and a hostile task share one. So a stranger always gets in, at the cost of the oldest
//! of those who hold the most places; whoever has a token shows it long before its turn.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio_util::sync::CancellationToken;

use crate::Places;

/// What a connection has shown of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// No token of ours.
    Stranger,
    /// The operator's token, or that it is local where none is asked for.
    Operator,
    /// The agents' token.
    Agent,
}

/// Names a connection; later ones are greater.
pub(super) type SeatId = u64;

struct Seat {
    from: IpAddr,
    standing: Standing,
    out: CancellationToken,
}

/// Says that a connection with a token has no place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error("there are {0} connections of this kind already")]
    Full(usize),
    #[error("there are {0} connections from this address already")]
    FullForAddress(usize),
}

/// All connections.
pub(super) struct Seats {
    places: Places,
    next: SeatId,
    taken: BTreeMap<SeatId, Seat>,
    strangers: BTreeMap<IpAddr, Vec<SeatId>>,
}

impl Seats {
    pub(super) fn new(places: Places) -> Self {
        Self {
            places,
            next: 0,
            taken: BTreeMap::new(),
            strangers: BTreeMap::new(),
        }
    }

    /// Seats a stranger; `out` is cancelled when it must give way. Gives how many did so now.
    pub(super) fn admit(&mut self, from: IpAddr, out: CancellationToken) -> (SeatId, usize) {
        let from = neighbourhood(from);
        let of_address = self.strangers.get(&from).map_or(0, Vec::len);
        let gone = if of_address >= self.places.strangers_per_address {
            self.evict_from(from)
        } else if self.count(Standing::Stranger) >= self.places.strangers {
            self.evict_one()
        } else {
            0
        };
        let id = self.next;
        self.next += 1;
        let standing = Standing::Stranger;
        self.taken.insert(
            id,
            Seat {
                from,
                standing,
                out,
            },
        );
        self.strangers.entry(from).or_default().push(id);
        (id, gone)
    }

    /// Has the oldest stranger of the address with most of them give way; gives how many did.
    pub(super) fn evict_one(&mut self) -> usize {
        // Of those with as many, whose oldest came first: a tie must not go by the address.
        let of = |ids: &Vec<SeatId>| (ids.len(), Reverse(ids.first().copied()));
        let most = self.strangers.iter().max_by_key(|(_, ids)| of(ids));
        let most = most.map(|(from, _)| *from);
        most.map_or(0, |from| self.evict_from(from))
    }

    fn evict_from(&mut self, from: IpAddr) -> usize {
        // In the order of arrival, so the first is the oldest.
        let oldest = self.strangers.get(&from).and_then(|ids| ids.first());
        let seat = oldest.copied().and_then(|id| self.leave(id));
        seat.map_or(0, |seat| {
            seat.out.cancel();
            1
        })
    }

    /// Takes note of a token that was shown.
    ///
    /// # Errors
    /// If all places of that kind are taken; the connection stays what it was.
    pub(super) fn rise(&mut self, id: SeatId, to: Standing) -> Result<(), NoPlace> {
        // One that was told to go may still say something; it holds no place any more.
        let Some(seat) = self.taken.get(&id) else {
            return Ok(());
        };
        let (from, before) = (seat.from, seat.standing);
        if before >= to {
            return Ok(());
        }
        let places = match to {
            Standing::Stranger => return Ok(()),
            Standing::Operator => self.places.operators,
            Standing::Agent => self.places.agents,
        };
        if self.count(to) >= places {
            return Err(NoPlace::Full(places));
        }
        let of_address = self.places.operators_per_address;
        if to == Standing::Operator && self.operators_from(from) >= of_address {
            return Err(NoPlace::FullForAddress(of_address));
        }
        if before == Standing::Stranger {
            self.forget_stranger(from, id);
        }
        if let Some(seat) = self.taken.get_mut(&id) {
            seat.standing = to;
        }
        Ok(())
    }

    /// Frees a place; nothing if it gave way before.
    pub(super) fn end(&mut self, id: SeatId) {
        self.leave(id);
    }

    fn leave(&mut self, id: SeatId) -> Option<Seat> {
        let seat = self.taken.remove(&id)?;
        if seat.standing == Standing::Stranger {
            self.forget_stranger(seat.from, id);
        }
        Some(seat)
    }

    fn forget_stranger(&mut self, from: IpAddr, id: SeatId) {
        if let Some(ids) = self.strangers.get_mut(&from) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.strangers.remove(&from);
            }
        }
    }

    fn count(&self, standing: Standing) -> usize {
        if standing == Standing::Stranger {
            return self.strangers.values().map(Vec::len).sum();
        }
        let seats = self.taken.values();
        seats.filter(|seat| seat.standing == standing).count()
    }

    fn operators_from(&self, from: IpAddr) -> usize {
        let seats = self.taken.values();
        let here = seats.filter(|s| s.standing == Standing::Operator && s.from == from);
        here.count()
    }
}

/// What counts as one address: a host on IPv6 has a whole network of 64 bits to itself, and every
/// process of this host all of 127/8.
fn neighbourhood(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        here if here.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Places = Places {
        strangers: 4,
        strangers_per_address: 3,
        operators: 3,
        operators_per_address: 2,
        agents: 2,
    };

    struct Hall {
        seats: Seats,
        outs: BTreeMap<SeatId, CancellationToken>,
    }

    impl Hall {
        fn new() -> Self {
            let (seats, outs) = (Seats::new(PLACES), BTreeMap::new());
            Self { seats, outs }
        }

        fn come(&mut self, from: &str) -> SeatId {
            let out = CancellationToken::new();
            let (id, _) = self.seats.admit(from.parse().unwrap(), out.clone());
            self.outs.insert(id, out);
            id
        }

        fn gone(&self) -> Vec<SeatId> {
            let outs = self.outs.iter();
            outs.filter(|(_, out)| out.is_cancelled())
                .map(|(id, _)| *id)
                .collect()
        }
    }

    #[test]
    fn who_holds_the_most_places_gives_way_and_its_oldest_first() {
        let mut hall = Hall::new();
        let flood: Vec<SeatId> = (0..3).map(|_| hall.come("10.0.0.1")).collect();
        let other = hall.come("10.0.0.2");
        hall.come("10.0.0.3");
        assert_eq!(hall.gone(), flood[..1], "all strangers' places were taken");
        hall.come("10.0.0.1");
        assert_eq!(hall.gone(), flood[..2], "not one of the others");
        hall.seats.end(other);
        hall.come("10.0.0.1");
        hall.come("10.0.0.1");
        assert_eq!(hall.gone().len(), 3, "an address has so many and no more");
        assert!(!hall.gone().contains(&other));
    }

    #[test]
    fn a_tie_goes_by_age_and_not_by_address() {
        let mut hall = Hall::new();
        let early: Vec<SeatId> = (1..=4).map(|n| hall.come(&format!("10.0.0.{n}"))).collect();
        let newcomer = hall.come("192.168.0.1");
        hall.come("10.0.0.5");
        assert_eq!(hall.gone(), early[..2]);
        assert!(!hall.gone().contains(&newcomer));
    }

    #[test]
    fn a_token_takes_a_connection_out_of_the_strangers_reach() {
        let mut hall = Hall::new();
        let agent = hall.come("127.0.0.1");
        hall.seats.rise(agent, Standing::Agent).unwrap();
        let operator = hall.come("127.0.0.1");
        hall.seats.rise(operator, Standing::Operator).unwrap();
        let flood: Vec<SeatId> = (0..600).map(|_| hall.come("127.0.0.1")).collect();
        assert_eq!(hall.gone(), flood[..597]);
        let late = hall.come("127.0.0.1");
        hall.seats.rise(late, Standing::Agent).unwrap();
        assert!(!hall.gone().contains(&late));
    }

    #[test]
    fn operators_leave_room_for_other_addresses_and_for_agents() {
        let mut hall = Hall::new();
        let mut rise = |from: &str, to| {
            let id = hall.come(from);
            hall.seats.rise(id, to).map(|()| id)
        };
        let first = rise("10.0.0.1", Standing::Operator).unwrap();
        rise("10.0.0.1", Standing::Operator).unwrap();
        let refused = rise("10.0.0.1", Standing::Operator);
        assert_eq!(refused, Err(NoPlace::FullForAddress(2)));
        rise("10.0.0.2", Standing::Operator).unwrap();
        let refused = rise("10.0.0.3", Standing::Operator);
        assert_eq!(refused, Err(NoPlace::Full(3)));
        rise("10.0.0.1", Standing::Agent).unwrap();
        rise("10.0.0.1", Standing::Agent).unwrap();
        assert_eq!(rise("10.0.0.4", Standing::Agent), Err(NoPlace::Full(2)));
        hall.seats.end(first);
        let id = hall.come("10.0.0.1");
        assert_eq!(hall.seats.rise(id, Standing::Operator), Ok(()));
        assert_eq!(
            hall.seats.rise(id, Standing::Operator),
            Ok(()),
            "known already"
        );
    }

    #[test]
    fn a_host_has_one_address_however_it_is_written() {
        let one = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(one("2001:db8::1"), one("2001:db8::ffff:2"));
        assert_ne!(one("2001:db8::1"), one("2001:db8:0:1::1"));
        assert_eq!(one("::ffff:10.0.0.1"), one("10.0.0.1"));
        assert_eq!(one("::1"), one("127.0.0.1"));
        assert_eq!(one("127.0.0.77"), one("127.0.0.1"));
        assert_ne!(one("128.0.0.1"), one("127.0.0.1"));
    }
}
