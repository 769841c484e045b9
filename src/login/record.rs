//! The file of login facts: bytes with a checksum. Pure.
#![forbid(unsafe_code)]

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use crate::admission::refusal::Refusal;
use crate::login_facts::{ADDRESS, Entry, Facts, Lost, RECENT, Recent};

/// Another format has another number.
const MAGIC: &[u8] = b"scope_roles logins 2\n";
/// Without the networks, and without the time since when.
const MAGIC_1: &[u8] = b"scope_roles logins 1\n";
/// Of an entry without networks.
const ENTRY_BYTES: usize = 47;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Written by a standby, of its own logins.
    pub of_standby: bool,
    /// When this server began to count; 0: not known.
    pub since: i64,
    pub lost: Lost,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    #[error("it is not a file of this version")]
    Magic,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("what it says makes no sense")]
    Content,
}

impl Record {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.entries.len() * ENTRY_BYTES + 32);
        bytes.extend(MAGIC);
        bytes.push(self.of_standby.into());
        bytes.extend(self.since.to_le_bytes());
        bytes.extend(self.lost.count.to_le_bytes());
        bytes.extend(self.lost.last.to_le_bytes());
        for Entry { role, facts } in &self.entries {
            bytes.extend(role.to_le_bytes());
            bytes.extend(facts.logins.to_le_bytes());
            bytes.extend(facts.last_login.to_le_bytes());
            bytes.extend(facts.last_refusal.to_le_bytes());
            bytes.extend(facts.address);
            bytes.push(facts.place);
            bytes.push(facts.reason);
            let recent = facts.recent.iter().filter(|recent| recent.hour > 0);
            bytes.push(recent.clone().count() as u8);
            for Recent { network, hour } in recent {
                bytes.extend(network);
                bytes.extend(hour.to_le_bytes());
            }
        }
        let sum = digest(&SHA256, &bytes);
        bytes.extend(sum.as_ref());
        bytes
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, Garbage> {
        let is_first = bytes.starts_with(MAGIC_1);
        if !is_first && !bytes.starts_with(MAGIC) {
            return Err(Garbage::Magic);
        }
        let (content, sum) = bytes
            .len()
            .checked_sub(SHA256_OUTPUT_LEN)
            .and_then(|end| bytes.split_at_checked(end))
            .ok_or(Garbage::Checksum)?;
        if digest(&SHA256, content).as_ref() != sum {
            return Err(Garbage::Checksum);
        }
        let mut reader = Reader {
            rest: content.get(MAGIC.len()..).unwrap_or_default(),
            is_first,
        };
        reader.record().ok_or(Garbage::Content)
    }
}

struct Reader<'a> {
    /// What is left to read.
    rest: &'a [u8],
    /// Of the first version.
    is_first: bool,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*bytes)
    }

    fn record(&mut self) -> Option<Record> {
        let mut record = Record {
            of_standby: match self.take()? {
                [0] => false,
                [1] => true,
                _ => return None,
            },
            since: match self.is_first {
                true => 0,
                false => i64::from_le_bytes(self.take()?),
            },
            lost: Lost {
                count: u64::from_le_bytes(self.take()?),
                last: i64::from_le_bytes(self.take()?),
            },
            entries: Vec::with_capacity(self.rest.len() / ENTRY_BYTES),
        };
        while !self.rest.is_empty() {
            record.entries.push(self.entry()?);
        }
        Some(record)
    }

    fn entry(&mut self) -> Option<Entry> {
        let role = u32::from_le_bytes(self.take()?);
        let logins = u64::from_le_bytes(self.take()?);
        let last_login = i64::from_le_bytes(self.take()?);
        let last_refusal = i64::from_le_bytes(self.take()?);
        let address = self.take()?;
        let [place, reason] = self.take()?;
        let known = Refusal::ALL.iter().any(|&known| known as u8 == reason);
        let makes_sense = role != 0 && place <= ADDRESS && (reason == 0 || known);
        let mut facts = Facts {
            logins,
            last_login,
            last_refusal,
            address,
            place,
            reason,
            recent: Default::default(),
        };
        if self.is_first {
            facts.guess_recent();
        } else {
            facts.recent = self.recent()?;
        }
        makes_sense.then_some(Entry { role, facts })
    }

    fn recent(&mut self) -> Option<[Recent; RECENT]> {
        let mut recent = [Recent::default(); RECENT];
        let [count] = self.take()?;
        for place in recent.get_mut(..count.into())? {
            let (network, hour) = (self.take()?, u32::from_le_bytes(self.take()?));
            *place = (hour > 0).then_some(Recent { network, hour })?;
        }
        Some(recent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admission::Client;

    fn record() -> Record {
        let mut facts = Facts::default();
        for address in ["10.1.2.3", "2001:db8::1"] {
            let address = address
                .parse()
                .map_or(Client::Unknown, |address| Client::Tcp {
                    address,
                    tls: false,
                });
            facts.admit(1_600_000_000_000_000, address);
        }
        facts.admit(1_700_000_000_000_000, Client::Local);
        facts.refuse(1_700_000_000_000_001, Refusal::Address);
        Record {
            of_standby: true,
            since: 5,
            lost: Lost { count: 3, last: 7 },
            entries: (1..100).map(|role| Entry { role, facts }).collect(),
        }
    }

    #[test]
    fn record_is_read_back() {
        assert_eq!(Record::parse(&record().to_bytes()), Ok(record()));
        let empty = Record::default();
        assert_eq!(Record::parse(&empty.to_bytes()), Ok(empty));
    }

    /// As the first version wrote it: a login by TCP, and one by socket.
    #[test]
    fn record_of_the_first_version_is_read() {
        let mut bytes = MAGIC_1.to_vec();
        bytes.push(0);
        bytes.extend(3_u64.to_le_bytes());
        bytes.extend(7_i64.to_le_bytes());
        let address = std::net::Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped();
        for (role, place) in [(16_400_u32, ADDRESS), (16_401, 1)] {
            bytes.extend(role.to_le_bytes());
            bytes.extend(2_u64.to_le_bytes());
            bytes.extend(1_700_000_000_000_000_i64.to_le_bytes());
            bytes.extend(0_i64.to_le_bytes());
            bytes.extend(address.octets());
            bytes.extend([place, 0]);
        }
        let sum = digest(&SHA256, &bytes);
        bytes.extend(sum.as_ref());
        let record = Record::parse(&bytes).unwrap_or_default();
        assert_eq!((record.since, record.lost.count), (0, 3));
        let known: Vec<_> = record
            .entries
            .iter()
            .map(|entry| {
                let facts = entry.facts;
                (entry.role, facts.logins, facts.addresses(facts.last_login))
            })
            .collect();
        assert_eq!(
            known,
            [
                (16_400, 2, vec!["10.1.2.3".to_owned()]),
                (16_401, 2, vec![])
            ]
        );
    }

    #[test]
    fn record_that_is_damaged_anywhere_is_refused() {
        let bytes = record().to_bytes();
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            if let Some(byte) = damaged.get_mut(place) {
                *byte ^= 1;
            }
            assert!(Record::parse(&damaged).is_err(), "byte {place}");
        }
        for length in 0..bytes.len() {
            let torn = bytes.get(..length).unwrap_or_default();
            assert!(Record::parse(torn).is_err(), "{length} bytes");
        }
        assert_eq!(Record::parse(b"garbage"), Err(Garbage::Magic));
    }

    #[test]
    fn record_with_a_right_checksum_must_make_sense_too() {
        let spoilt = |spoil: fn(&mut Entry)| {
            let mut record = record();
            record.entries.iter_mut().for_each(spoil);
            Record::parse(&record.to_bytes())
        };
        assert_eq!(spoilt(|entry| entry.role = 0), Err(Garbage::Content));
        assert_eq!(spoilt(|entry| entry.facts.place = 9), Err(Garbage::Content));
        // More networks than there is room for, and one of no time.
        for (count, hour) in [(9, 1_u32), (1, 0)] {
            let mut record = record();
            record.entries.truncate(1);
            record.entries[0].facts.recent = Default::default();
            let mut bytes = record.to_bytes();
            bytes.truncate(bytes.len() - SHA256_OUTPUT_LEN - 1);
            bytes.push(count);
            for _ in 0..count {
                bytes.extend([1; 8]);
                bytes.extend(hour.to_le_bytes());
            }
            let sum = digest(&SHA256, &bytes);
            bytes.extend(sum.as_ref());
            assert_eq!(Record::parse(&bytes), Err(Garbage::Content), "{count}");
        }
        assert_eq!(
            spoilt(|entry| entry.facts.reason = 99),
            Err(Garbage::Content)
        );
    }

    proptest! {
        #[test]
        fn record_takes_any_bytes_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut content = MAGIC.to_vec();
            content.extend(&bytes);
            let sum = digest(&SHA256, &content);
            content.extend(sum.as_ref());
            if let Ok(record) = Record::parse(&content) {
                prop_assert_eq!(record.to_bytes(), content);
            }
            let _ = Record::parse(&bytes);
        }
    }
}
