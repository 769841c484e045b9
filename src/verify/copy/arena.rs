//! Records of databases, one behind the other, in memory of a fixed length. Pure.
#![forbid(unsafe_code)]

use std::ops::Range;

use zeroize::Zeroize;

/// What stands before a record's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub database: u32,
    /// What had been committed by then, on a primary.
    pub epoch: u64,
    /// When what the record says was so, in Unix microseconds.
    pub at: i64,
    /// Nobody has told of changes since.
    pub is_unheard: bool,
    /// A worker has written it when it had done all that it was asked for.
    pub ends_visit: bool,
    /// How many bytes there should be. There are none where these have no room, whatever else goes.
    pub wanted: u32,
}

/// A head in memory.
const HEAD: usize = 32;

impl Head {
    fn write(&self, length: u32) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let parts: [&[u8]; 6] = [
            &self.database.to_le_bytes(),
            &length.to_le_bytes(),
            &self.epoch.to_le_bytes(),
            &self.at.to_le_bytes(),
            &self.wanted.to_le_bytes(),
            &(u32::from(self.is_unheard) | u32::from(self.ends_visit) << 1).to_le_bytes(),
        ];
        for (slot, byte) in bytes.iter_mut().zip(parts.concat()) {
            *slot = byte;
        }
        bytes
    }

    /// With the length of the bytes behind it.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let (database, rest) = bytes.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (epoch, rest) = rest.split_first_chunk::<8>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (wanted, rest) = rest.split_first_chunk::<4>()?;
        let (flags, _) = rest.split_first_chunk::<4>()?;
        let flags = u32::from_le_bytes(*flags);
        let head = Self {
            database: u32::from_le_bytes(*database),
            epoch: u64::from_le_bytes(*epoch),
            at: i64::from_le_bytes(*at),
            wanted: u32::from_le_bytes(*wanted),
            is_unheard: flags & 1 != 0,
            ends_visit: flags & 2 != 0,
        };
        Some((head, u32::from_le_bytes(*length) as usize))
    }
}

/// The records in the used part of memory: each with where it is, its head included.
fn records(used: &[u8]) -> impl Iterator<Item = (Range<usize>, Head)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (head, length) = Head::read(used.get(at..)?)?;
        let place = at..at.checked_add(HEAD)?.checked_add(length)?;
        at = place.end;
        (place.end <= used.len()).then_some((place, head))
    })
}

/// A database's record.
pub fn find(memory: &[u8], used: usize, database: u32) -> Option<(Head, &[u8])> {
    let used = memory.get(..used)?;
    let (place, head) = records(used).find(|(_, head)| head.database == database)?;
    Some((head, used.get(place.start.checked_add(HEAD)?..place.end)?))
}

/// Writes a database's record in place of the one that it had. Where there is too little room others go: first those that are not `good`
/// any more, then the oldest.
pub fn put(
    memory: &mut [u8],
    used: &mut usize,
    head: &Head,
    bytes: &[u8],
    good: impl Fn(&Head) -> bool,
) {
    let all = HEAD.saturating_add(bytes.len());
    let bytes = match u32::try_from(bytes.len()) {
        Ok(_) if all <= memory.len() => bytes,
        _ => &[],
    };
    let needed = HEAD.saturating_add(bytes.len());
    remove(memory, used, |head_of| head_of.database == head.database);
    while memory.len().saturating_sub(*used) < needed {
        let oldest = memory.get(..*used).and_then(|used| {
            let all = records(used).map(|(_, head)| head);
            all.min_by_key(|head| (good(head), head.at))
        });
        match oldest {
            Some(oldest) => remove(memory, used, |head| head.database == oldest.database),
            // Not one record, and still no room.
            None => return wipe(memory, used),
        }
    }
    let head = head.write(u32::try_from(bytes.len()).unwrap_or(0));
    let free = memory.iter_mut().skip(*used);
    for (slot, byte) in free.zip(head.iter().chain(bytes)) {
        *slot = *byte;
    }
    *used = used.saturating_add(needed);
}

/// Removes the first record that is one of these; no byte of it stays.
fn remove(memory: &mut [u8], used: &mut usize, is_it: impl Fn(&Head) -> bool) {
    let Some(known) = memory.get_mut(..*used) else {
        return wipe(memory, used);
    };
    let found = records(known).find(|(_, head)| is_it(head));
    if let Some((place, _)) = found {
        let left = known.len().saturating_sub(place.len());
        known.copy_within(place.end.., place.start);
        if let Some(rest) = known.get_mut(left..) {
            rest.zeroize();
        }
        *used = left;
    }
}

fn wipe(memory: &mut [u8], used: &mut usize) {
    memory.zeroize();
    *used = 0;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn head(database: u32, at: i64) -> Head {
        Head {
            database,
            epoch: u64::from(database) * 7,
            at,
            is_unheard: database.is_multiple_of(2),
            ends_visit: database.is_multiple_of(3),
            wanted: 3,
        }
    }

    #[test]
    fn a_record_is_found_as_it_was_written_and_leaves_no_byte() {
        let (mut memory, mut used) = (vec![0; 200], 0);
        put(&mut memory, &mut used, &head(1, 5), b"one", |_| true);
        put(&mut memory, &mut used, &head(2, 6), b"", |_| true);
        put(&mut memory, &mut used, &head(3, 7), b"three", |_| true);
        assert_eq!(
            find(&memory, used, 1),
            Some((head(1, 5), b"one".as_slice()))
        );
        assert_eq!(find(&memory, used, 2), Some((head(2, 6), b"".as_slice())));
        assert_eq!(find(&memory, used, 4), None);
        put(&mut memory, &mut used, &head(1, 8), b"uno", |_| true);
        assert_eq!(
            find(&memory, used, 1),
            Some((head(1, 8), b"uno".as_slice()))
        );
        assert_eq!(
            find(&memory, used, 3),
            Some((head(3, 7), b"three".as_slice()))
        );
        assert!(!memory.windows(3).any(|bytes| bytes == b"one"));
        assert!(memory.iter().skip(used).all(|&byte| byte == 0));
    }

    #[test]
    fn what_counts_no_more_goes_first_then_the_oldest() {
        let (mut memory, mut used) = (vec![0; 3 * (HEAD + 10)], 0);
        let good = |head: &Head| head.database != 2;
        for (database, at) in [(1, 1), (2, 2), (3, 3)] {
            put(&mut memory, &mut used, &head(database, at), &[9; 10], good);
        }
        put(&mut memory, &mut used, &head(4, 4), &[9; 10], good);
        assert_eq!(find(&memory, used, 2), None);
        put(&mut memory, &mut used, &head(5, 5), &[9; 10], good);
        assert_eq!(find(&memory, used, 1), None);
        for database in [3, 4, 5] {
            assert!(find(&memory, used, database).is_some());
        }
        // One that has no room at all takes nobody else's.
        put(&mut memory, &mut used, &head(3, 6), &[9; 1_000], good);
        assert_eq!(find(&memory, used, 3), Some((head(3, 6), b"".as_slice())));
        assert!(find(&memory, used, 4).is_some());
    }

    proptest! {
        #[test]
        fn arena_finds_what_was_put_last_or_nothing(
            length in 0_usize..400,
            puts in prop::collection::vec((0_u32..6, 0_i64..9, prop::collection::vec(1_u8.., 0..150)), 0..40)
        ) {
            let (mut memory, mut used) = (vec![0; length], 0);
            let mut last = HashMap::new();
            for (database, at, bytes) in puts {
                let new = head(database, at);
                put(&mut memory, &mut used, &new, &bytes, |head| head.at > 4);
                prop_assert!(used <= length);
                last.insert(database, (new, bytes.clone()));
                if length >= HEAD + bytes.len() {
                    prop_assert_eq!(find(&memory, used, database), Some((new, bytes.as_slice())));
                }
                for (database, (head, bytes)) in &last {
                    if let Some((found, is)) = find(&memory, used, *database) {
                        prop_assert_eq!(found, *head);
                        prop_assert!(is == bytes || is.is_empty());
                    }
                }
                prop_assert!(memory.iter().skip(used).all(|&byte| byte == 0));
            }
        }
    }
}
