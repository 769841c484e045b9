//! What is known of the logins of each role: a table of fixed size. Pure.
//!
//! The table lives in shared memory, so it is made of plain numbers. It is open-addressed: an entry is
//! at its home place or in the next free one after it, and taking one out moves up what follows.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::admission::Client;
use crate::admission::refusal::Refusal;

/// The facts of one role. Times are Unix microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Facts {
    /// How often it was let in.
    pub logins: u64,
    /// 0: never.
    pub last_login: i64,
    /// 0: never.
    pub last_refusal: i64,
    /// The client's at the last login; IPv4 mapped into IPv6.
    pub address: [u8; 16],
    /// What `address` is: one of the constants below.
    pub place: u8,
    /// The [`Refusal`] of the last refusal, as a number; 0: none.
    pub reason: u8,
    /// The last networks that it came from, the latest first.
    pub recent: [Recent; RECENT],
}

/// So many networks of a role are remembered, of so many hours.
pub const RECENT: usize = 8;
const RECENT_HOURS: u32 = 30 * 24;
const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// A network that a role has come from: an IPv4 address, or the half of an IPv6 one within which
/// machines change theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Recent {
    /// The half, or [`OF_IPV4`] and the address.
    pub network: [u8; 8],
    /// Of the last login from there, since 1970; 0: none.
    pub hour: u32,
}

/// No machine has such an address: it is one of many receivers.
const OF_IPV4: [u8; 4] = [0xFF; 4];

impl Recent {
    fn new(now: i64, address: IpAddr) -> Self {
        let mut network = [0; 8];
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let octets = OF_IPV4.into_iter().chain(address.octets());
                network
                    .iter_mut()
                    .zip(octets)
                    .for_each(|(to, from)| *to = from);
            }
            IpAddr::V6(address) => {
                let octets = address.octets();
                network
                    .iter_mut()
                    .zip(octets)
                    .for_each(|(to, from)| *to = from);
            }
        }
        Self {
            network,
            hour: hour(now).max(1),
        }
    }

    fn name(&self) -> String {
        let [a, b, c, d, e, f, g, h] = self.network;
        if [a, b, c, d] == OF_IPV4 {
            return Ipv4Addr::new(e, f, g, h).to_string();
        }
        let half = u128::from(u64::from_be_bytes(self.network)) << 64;
        format!("{}/64", Ipv6Addr::from(half))
    }
}

fn hour(micros: i64) -> u32 {
    u32::try_from(micros.div_euclid(MICROS_PER_HOUR)).unwrap_or(0)
}

pub const NOWHERE: u8 = 0;
pub const LOCAL: u8 = 1;
pub const ADDRESS: u8 = 2;

impl Facts {
    pub fn admit(&mut self, now: i64, client: Client) {
        self.logins = self.logins.saturating_add(1);
        self.last_login = now;
        (self.place, self.address) = match client {
            Client::Local => (LOCAL, [0; 16]),
            Client::Unknown => (NOWHERE, [0; 16]),
            Client::Tcp { address, .. } => {
                self.come_from(Recent::new(now, address));
                let address = match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                (ADDRESS, address.octets())
            }
        };
    }

    /// Puts a network first. When there is no room, the one that was longest not seen makes way.
    fn come_from(&mut self, latest: Recent) {
        let is_free = |known: &Recent| known.hour == 0;
        let place = self
            .recent
            .iter()
            .position(|known| known.network == latest.network || is_free(known))
            .unwrap_or(RECENT - 1);
        if let Some(known) = self.recent.get_mut(..=place) {
            known.rotate_right(1);
        }
        if let Some(first) = self.recent.first_mut() {
            *first = latest;
        }
    }

    /// The networks that it has come from in the last 30 days, the latest first.
    pub fn addresses(&self, now: i64) -> Vec<String> {
        let first = hour(now).saturating_sub(RECENT_HOURS);
        let is_recent = |known: &&Recent| known.hour > first;
        self.recent
            .iter()
            .filter(is_recent)
            .map(Recent::name)
            .collect()
    }

    /// From the last login, where nothing else is known.
    pub fn guess_recent(&mut self) {
        if self.place == ADDRESS {
            let address = IpAddr::V6(Ipv6Addr::from(self.address));
            self.come_from(Recent::new(self.last_login, address));
        }
    }

    pub fn refuse(&mut self, now: i64, refusal: Refusal) {
        self.last_refusal = now;
        self.reason = refusal as u8;
    }

    /// Where the last login came from: an address, or `local`.
    pub fn last_address(&self) -> Option<String> {
        match self.place {
            LOCAL => Some("local".to_owned()),
            ADDRESS => {
                let address = IpAddr::V6(Ipv6Addr::from(self.address));
                Some(address.to_canonical().to_string())
            }
            _ => None,
        }
    }

    pub fn last_reason(&self) -> Option<Refusal> {
        Refusal::ALL
            .into_iter()
            .find(|&refusal| refusal as u8 == self.reason)
    }

    /// When anything last happened.
    pub fn last_seen(&self) -> i64 {
        self.last_login.max(self.last_refusal)
    }

    /// Adds what was known from before.
    pub fn add(&mut self, earlier: &Facts) {
        self.logins = self.logins.saturating_add(earlier.logins);
        if earlier.last_login > self.last_login {
            self.last_login = earlier.last_login;
            self.place = earlier.place;
            self.address = earlier.address;
        }
        if earlier.last_refusal > self.last_refusal {
            self.last_refusal = earlier.last_refusal;
            self.reason = earlier.reason;
        }
        let both = self.recent.into_iter().chain(earlier.recent);
        let mut both: Vec<Recent> = both.filter(|known| known.hour > 0).collect();
        both.sort_by_key(|known| Reverse(known.hour));
        self.recent = Default::default();
        both.into_iter()
            .rev()
            .for_each(|known| self.come_from(known));
    }
}

/// A place in the table; that of role 0 is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Entry {
    pub role: u32,
    pub facts: Facts,
}

/// What found no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Lost {
    /// How many logins and refusals.
    pub count: u64,
    /// When the last of them was.
    pub last: i64,
}

/// How many places a table for so many roles has: enough that a search is short.
pub const fn places(roles: usize) -> usize {
    roles + roles / 2 + 1
}

/// The entry of a role, made if there is none; `None` when there is no room.
pub fn entry<'a>(
    places: &'a mut [Entry],
    used: &mut usize,
    most: usize,
    role: u32,
) -> Option<&'a mut Facts> {
    let place = find(places, role)?;
    let entry = places.get_mut(place)?;
    if entry.role == 0 {
        if *used >= most {
            return None;
        }
        *used += 1;
        *entry = Entry {
            role,
            facts: Facts::default(),
        };
    }
    Some(&mut entry.facts)
}

/// Takes a role's entry out.
pub fn remove(places: &mut [Entry], used: &mut usize, role: u32) {
    let Some(mut gap) = find(places, role) else {
        return;
    };
    if places.get(gap).is_none_or(|entry| entry.role == 0) {
        return;
    }
    *used = used.saturating_sub(1);
    let count = places.len();
    let mut next = gap;
    loop {
        next = (next + 1) % count;
        let Some(entry) = places.get(next).filter(|entry| entry.role != 0).copied() else {
            break;
        };
        // An entry whose home lies after the gap is found without passing it.
        let from_home = (next + count - home(entry.role, count)) % count;
        let from_gap = (next + count - gap) % count;
        if from_home >= from_gap {
            if let Some(place) = places.get_mut(gap) {
                *place = entry;
            }
            gap = next;
        }
    }
    if let Some(place) = places.get_mut(gap) {
        *place = Entry::default();
    }
}

/// The role's place, or the free one that it would take. There is always a free one.
fn find(places: &[Entry], role: u32) -> Option<usize> {
    let count = places.len();
    if role == 0 || count == 0 {
        return None;
    }
    let start = home(role, count);
    (0..count)
        .map(|step| (start + step) % count)
        .find(|&place| {
            places
                .get(place)
                .is_some_and(|entry| entry.role == role || entry.role == 0)
        })
}

/// OIDs follow one another; this spreads them.
fn home(role: u32, count: usize) -> usize {
    let spread = u64::from(role.wrapping_mul(0x9E37_79B1));
    usize::try_from((spread * count as u64) >> 32).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn client(address: &str) -> Client {
        Client::Tcp {
            address: address.parse().expect("an address"),
            tls: false,
        }
    }

    #[test]
    fn facts_tell_the_last_of_each() {
        let mut facts = Facts::default();
        assert_eq!((facts.last_address(), facts.last_reason()), (None, None));
        for (now, address, shown) in [
            (1, client("10.1.2.3"), "10.1.2.3"),
            (2, client("2001:db8::1"), "2001:db8::1"),
            (3, client("::ffff:10.1.2.3"), "10.1.2.3"),
            (4, Client::Local, "local"),
        ] {
            facts.admit(now, address);
            assert_eq!(facts.last_address().as_deref(), Some(shown));
            assert_eq!(facts.last_login, now);
        }
        facts.refuse(5, Refusal::Hours);
        assert_eq!(facts.last_reason(), Some(Refusal::Hours));
        assert_eq!(
            (facts.logins, facts.last_login, facts.last_seen()),
            (4, 4, 5)
        );
        for refusal in Refusal::ALL {
            facts.refuse(6, refusal);
            assert_eq!(facts.last_reason(), Some(refusal));
        }
    }

    #[test]
    fn facts_remember_where_a_role_has_come_from_lately() {
        const DAY: i64 = 24 * MICROS_PER_HOUR;
        let start = 1_700_000_000_000_000;
        let mut facts = Facts::default();
        for (days, address) in [
            (0, "10.0.0.1"),
            (1, "2001:db8:1:2:aaaa::1"),
            (2, "10.0.0.2"),
            (3, "2001:db8:1:2:bbbb::2"),
            (3, "::ffff:10.0.0.1"),
            (4, "::1"),
        ] {
            facts.admit(start + days * DAY, client(address));
        }
        facts.admit(start + 5 * DAY, Client::Local);
        let known = |days| facts.addresses(start + days * DAY);
        assert_eq!(
            known(5),
            ["::/64", "10.0.0.1", "2001:db8:1:2::/64", "10.0.0.2"]
        );
        assert_eq!(known(31), known(5));
        assert_eq!(known(32), ["::/64", "10.0.0.1", "2001:db8:1:2::/64"]);
        assert_eq!(known(34), [""; 0]);
        // No more than there is room for, and the latest of them.
        for last in 1..=20 {
            facts.admit(start + 6 * DAY, client(&format!("192.0.2.{last}")));
        }
        let known = facts.addresses(start + 6 * DAY);
        assert_eq!(known.len(), RECENT);
        assert_eq!(known.first().map(String::as_str), Some("192.0.2.20"));
        assert_eq!(known.last().map(String::as_str), Some("192.0.2.13"));
    }

    #[test]
    fn facts_of_two_times_have_the_latest_networks_of_both() {
        let at = |hour: i64| (500_000 + hour) * MICROS_PER_HOUR;
        let (mut now, mut before) = (Facts::default(), Facts::default());
        for last in 0..6 {
            before.admit(at(2 * last), client(&format!("10.0.0.{last}")));
            now.admit(at(2 * last + 1), client(&format!("10.0.1.{last}")));
        }
        before.admit(at(20), client("10.0.1.5"));
        let mut alone = Facts::default();
        alone.admit(at(0), client("192.0.2.1"));
        alone.admit(at(0), client("192.0.2.2"));
        let mut none = Facts::default();
        none.add(&alone);
        assert_eq!(none.recent, alone.recent, "the order within an hour");
        now.add(&before);
        assert_eq!(
            now.addresses(at(20)),
            [
                "10.0.1.5", "10.0.0.5", "10.0.1.4", "10.0.0.4", "10.0.1.3", "10.0.0.3", "10.0.1.2",
                "10.0.0.2"
            ]
        );
    }

    #[test]
    fn facts_of_two_times_are_added_up() {
        let (mut now, mut before) = (Facts::default(), Facts::default());
        before.admit(1, client("10.1.2.3"));
        before.refuse(9, Refusal::Tls);
        now.admit(5, Client::Local);
        now.refuse(7, Refusal::Address);
        now.add(&before);
        assert_eq!((now.logins, now.last_login, now.last_refusal), (2, 5, 9));
        assert_eq!(now.last_address().as_deref(), Some("local"));
        assert_eq!(now.last_reason(), Some(Refusal::Tls));
    }

    #[test]
    fn facts_of_the_first_roles_stay_when_the_table_is_full() {
        let (mut table, mut used) = (vec![Entry::default(); places(2)], 0);
        for role in [10, 11] {
            assert!(entry(&mut table, &mut used, 2, role).is_some());
        }
        assert!(entry(&mut table, &mut used, 2, 12).is_none());
        assert!(entry(&mut table, &mut used, 2, 10).is_some());
        assert!(entry(&mut table, &mut used, 2, 0).is_none());
        remove(&mut table, &mut used, 10);
        assert!(entry(&mut table, &mut used, 2, 12).is_some());
        assert!(entry(&mut [], &mut used, 2, 12).is_none());
    }

    proptest! {
        /// Whatever is put in and taken out, it is what a map would hold.
        #[test]
        fn facts_table_is_a_map(steps in prop::collection::vec((1_u32..40, any::<bool>()), 0..400)) {
            const MOST: usize = 16;
            let (mut table, mut used) = (vec![Entry::default(); places(MOST)], 0);
            let mut model: HashMap<u32, u64> = HashMap::new();
            for (role, put) in steps {
                if put {
                    let room = model.len() < MOST || model.contains_key(&role);
                    let found = entry(&mut table, &mut used, MOST, role);
                    prop_assert_eq!(found.is_some(), room);
                    if let Some(facts) = found {
                        facts.admit(1, Client::Local);
                        *model.entry(role).or_default() += 1;
                        prop_assert_eq!(facts.logins, model[&role]);
                    }
                } else {
                    remove(&mut table, &mut used, role);
                    model.remove(&role);
                }
                prop_assert_eq!(used, model.len());
                let held: HashMap<u32, u64> = table.iter().filter(|entry| entry.role != 0)
                    .map(|entry| (entry.role, entry.facts.logins)).collect();
                prop_assert_eq!(&held, &model);
            }
        }
    }
}
