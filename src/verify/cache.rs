//! A bounded cache by tags. Pure.
//!
//! First in, first out, with a second chance for what was used meanwhile.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::Tag;

pub struct Cache<V> {
    entries: Option<HashMap<Tag, Slot<V>, BuildHasherDefault<LowBits>>>,
    order: VecDeque<Tag>,
}

struct Slot<V> {
    value: V,
    used: Cell<bool>,
}

/// A tag is uniform already: its low bits are its hash.
#[derive(Default)]
pub struct LowBits(u64);

impl Hasher for LowBits {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(8) {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }
    fn write_u128(&mut self, tag: Tag) {
        self.0 = tag as u64;
    }
}

impl<V> Cache<V> {
    pub const fn new() -> Self {
        Self {
            entries: None,
            order: VecDeque::new(),
        }
    }

    pub fn get(&self, tag: &Tag) -> Option<&V> {
        let slot = self.entries.as_ref()?.get(tag)?;
        slot.used.set(true);
        Some(&slot.value)
    }

    /// Keeps at most `limit` entries; none with a limit of 0.
    pub fn insert(&mut self, tag: Tag, value: V, limit: usize) {
        self.remove(&tag);
        // Room is made first: a new entry, not used yet, would else be the first to go.
        self.shrink(limit.saturating_sub(1));
        if limit == 0 {
            return;
        }
        let slot = Slot {
            value,
            used: Cell::new(false),
        };
        self.entries.get_or_insert_default().insert(tag, slot);
        self.order.push_back(tag);
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

    pub fn remove(&mut self, tag: &Tag) {
        if self
            .entries
            .as_mut()
            .is_some_and(|entries| entries.remove(tag).is_some())
        {
            self.order.retain(|other| other != tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u8) -> Tag {
        Tag::from(number)
    }

    #[test]
    fn cache_finds_what_was_put_in_and_stays_bounded() {
        let mut cache = Cache::new();
        for number in 0..100 {
            cache.insert(tag(number), number, 10);
            assert_eq!(cache.get(&tag(number)), Some(&number));
        }
        let kept = (0..100)
            .filter(|&number| cache.get(&tag(number)).is_some())
            .count();
        assert_eq!(kept, 10);
        assert_eq!(cache.order.len(), 10);
    }

    #[test]
    fn cache_gives_a_second_chance_to_what_is_used() {
        let mut cache = Cache::new();
        for number in 0..50 {
            cache.insert(tag(number), number, 4);
            cache.get(&tag(0));
        }
        assert_eq!(cache.get(&tag(0)), Some(&0));
        assert_eq!(cache.get(&tag(10)), None);
    }

    #[test]
    fn cache_of_size_zero_keeps_nothing() {
        let mut cache = Cache::new();
        cache.insert(tag(1), 1, 5);
        cache.get(&tag(1));
        cache.insert(tag(2), 2, 0);
        assert_eq!(cache.get(&tag(1)), None);
        assert_eq!(cache.get(&tag(2)), None);
    }

    #[test]
    fn cache_forgets_what_is_removed() {
        let mut cache = Cache::new();
        cache.insert(tag(1), 1, 5);
        cache.remove(&tag(1));
        cache.remove(&tag(2));
        assert_eq!(cache.get(&tag(1)), None);
        assert!(cache.order.is_empty());
    }
}
