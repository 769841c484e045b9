//! The file of login facts: bytes with a checksum. Pure.
#![forbid(unsafe_code)]

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::facts::{ADDRESS, Entry, Facts, Lost};
use super::policy::Refusal;

/// Another format has another number.
const MAGIC: &[u8] = b"scope_roles logins 1\n";
const ENTRY_BYTES: usize = 46;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Written by a standby, of its own logins.
    pub of_standby: bool,
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
        }
        let sum = digest(&SHA256, &bytes);
        bytes.extend(sum.as_ref());
        bytes
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, Garbage> {
        if !bytes.starts_with(MAGIC) {
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
        let mut reader = Reader(content.get(MAGIC.len()..).unwrap_or_default());
        reader.record().ok_or(Garbage::Content)
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn record(&mut self) -> Option<Record> {
        let mut record = Record {
            of_standby: match self.take()? {
                [0] => false,
                [1] => true,
                _ => return None,
            },
            lost: Lost {
                count: u64::from_le_bytes(self.take()?),
                last: i64::from_le_bytes(self.take()?),
            },
            entries: Vec::with_capacity(self.0.len() / ENTRY_BYTES),
        };
        while !self.0.is_empty() {
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
        makes_sense.then_some(Entry {
            role,
            facts: Facts {
                logins,
                last_login,
                last_refusal,
                address,
                place,
                reason,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::policy::Client;
    use super::*;

    fn record() -> Record {
        let mut facts = Facts::default();
        facts.admit(1_700_000_000_000_000, Client::Local);
        facts.refuse(1_700_000_000_000_001, Refusal::Address);
        Record {
            of_standby: true,
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
