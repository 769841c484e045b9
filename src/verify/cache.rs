//! A bounded cache by digest. Pure.
//!
//! First in, first out, with a second chance for what was used meanwhile.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::Digest;

pub struct Cache<V> {
    entries: Option<HashMap<Digest, Slot<V>, BuildHasherDefault<FirstBytes>>>,
    order: VecDeque<Digest>,
}

struct Slot<V> {
    value: V,
    used: Cell<bool>,
}

/// A digest is uniform already: its first bytes are its hash.
#[derive(Default)]
pub struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(8) {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }
    fn write_usize(&mut self, _length: usize) {}
}

impl<V> Cache<V> {
    pub const fn new() -> Self {
        Self {
            entries: None,
            order: VecDeque::new(),
        }
    }

    pub fn get(&self, digest: &Digest) -> Option<&V> {
        let slot = self.entries.as_ref()?.get(digest)?;
        slot.used.set(true);
        Some(&slot.value)
    }

    /// Keeps at most `limit` entries; none with a limit of 0.
    pub fn insert(&mut self, digest: Digest, value: V, limit: usize) {
        self.remove(&digest);
        // Room is made first: a new entry, not used yet, would else be the first to go.
        self.shrink(limit.saturating_sub(1));
        if limit == 0 {
            return;
        }
        let slot = Slot {
            value,
            used: Cell::new(false),
        };
        self.entries.get_or_insert_default().insert(digest, slot);
        self.order.push_back(digest);
    }

    fn shrink(&mut self, limit: usize) {
        let entries = self.entries.get_or_insert_default();
        while entries.len() > limit {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            match entries.get(&oldest) {
                Some(slot) if slot.used.replace(false) => self.order.push_back(oldest),
                _ => {
                    entries.remove(&oldest);
                }
            }
        }
    }

    pub fn remove(&mut self, digest: &Digest) {
        if self
            .entries
            .as_mut()
            .is_some_and(|entries| entries.remove(digest).is_some())
        {
            self.order.retain(|other| other != digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> Digest {
        [number; 32]
    }

    #[test]
    fn cache_finds_what_was_put_in_and_stays_bounded() {
        let mut cache = Cache::new();
        for number in 0..100 {
            cache.insert(digest(number), number, 10);
            assert_eq!(cache.get(&digest(number)), Some(&number));
        }
        let kept = (0..100)
            .filter(|&number| cache.get(&digest(number)).is_some())
            .count();
        assert_eq!(kept, 10);
        assert_eq!(cache.order.len(), 10);
    }

    #[test]
    fn cache_gives_a_second_chance_to_what_is_used() {
        let mut cache = Cache::new();
        for number in 0..50 {
            cache.insert(digest(number), number, 4);
            cache.get(&digest(0));
        }
        assert_eq!(cache.get(&digest(0)), Some(&0));
        assert_eq!(cache.get(&digest(10)), None);
    }

    #[test]
    fn cache_of_size_zero_keeps_nothing() {
        let mut cache = Cache::new();
        cache.insert(digest(1), 1, 5);
        cache.get(&digest(1));
        cache.insert(digest(2), 2, 0);
        assert_eq!(cache.get(&digest(1)), None);
        assert_eq!(cache.get(&digest(2)), None);
    }

    #[test]
    fn cache_forgets_what_is_removed() {
        let mut cache = Cache::new();
        cache.insert(digest(1), 1, 5);
        cache.remove(&digest(1));
        cache.remove(&digest(2));
        assert_eq!(cache.get(&digest(1)), None);
        assert!(cache.order.is_empty());
    }
}
