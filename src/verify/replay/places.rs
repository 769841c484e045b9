//! The places for tokens that were used: each has two groups of them, and is in one. Pure.
#![forbid(unsafe_code)]

/// Places of a group.
pub const WAYS: usize = 16;

/// Half of a digest, which nobody can choose, and until when it is remembered, in Unix microseconds: free afterwards.
#[derive(Clone, Copy, Default)]
pub struct Place {
    id: [u64; 2],
    until: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    First,
    Again,
    /// Both groups are full of tokens that have not ended.
    NoRoom,
}

/// Takes a place for the token until its end, unless it has one.
pub fn take(places: &mut [Place], digest: &[u8; 32], until: i64, now: i64) -> Taken {
    let (words, _) = digest.as_chunks::<8>();
    let &[a, b, one, other] = words else {
        return Taken::NoRoom;
    };
    let id = [u64::from_le_bytes(a), u64::from_le_bytes(b)];
    let groups = places.len() / WAYS;
    let group = |word| (u64::from_le_bytes(word) % groups.max(1) as u64) as usize * WAYS;
    let groups = [group(one), group(other)];
    let is_free = |place: &Place| place.until <= now;
    let mut best: Option<(usize, usize)> = None;
    for start in groups {
        let Some(group) = places.get(start..start + WAYS) else {
            return Taken::NoRoom;
        };
        if group.iter().any(|place| place.id == id && !is_free(place)) {
            return Taken::Again;
        }
        let free = group.iter().filter(|place| is_free(place)).count();
        let first = group.iter().position(is_free);
        if let Some(first) = first
            && best.is_none_or(|(most, _)| free > most)
        {
            best = Some((free, start + first));
        }
    }
    let Some(place) = best.and_then(|(_, place)| places.get_mut(place)) else {
        return Taken::NoRoom;
    };
    *place = Place { id, until };
    Taken::First
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};
    use proptest::prelude::*;

    use super::*;

    fn id(number: u32) -> [u8; 32] {
        digest(&SHA256, &number.to_le_bytes())
            .as_ref()
            .try_into()
            .unwrap()
    }

    #[test]
    fn a_token_is_taken_once_until_its_end() {
        let mut places = [Place::default(); 64];
        assert_eq!(take(&mut places, &id(1), 100, 0), Taken::First);
        assert_eq!(take(&mut places, &id(1), 100, 99), Taken::Again);
        assert_eq!(take(&mut places, &id(2), 100, 99), Taken::First);
        assert_eq!(take(&mut places, &id(1), 200, 100), Taken::First);
        assert_eq!(take(&mut places, &id(1), 200, 100), Taken::Again);
        assert_eq!(take(&mut [], &id(1), 100, 0), Taken::NoRoom);
    }

    #[test]
    fn places_fill_nearly_whole_and_then_refuse() {
        let mut places = vec![Place::default(); 65_536];
        let taken = (0..70_000)
            .take_while(|&number| take(&mut places, &id(number), 10, 0) == Taken::First)
            .count();
        assert!(taken > 55_000, "{taken}");
        // What is there is still known, and makes room when it has ended.
        assert_eq!(take(&mut places, &id(0), 10, 9), Taken::Again);
        assert_eq!(take(&mut places, &id(1_000_000), 20, 10), Taken::First);
    }

    proptest! {
        #[test]
        fn none_is_forgotten_before_its_end(uses in prop::collection::vec((0..50_u32, 1..20_i64), 0..200)) {
            let mut places = [Place::default(); 4 * WAYS];
            let mut known = std::collections::HashMap::<u32, i64>::new();
            for (now, (number, life)) in (0_i64..).zip(uses) {
                let until = now + life;
                let is_known = known.get(&number).is_some_and(|&until| until > now);
                match take(&mut places, &id(number), until, now) {
                    Taken::First => {
                        prop_assert!(!is_known);
                        known.insert(number, until);
                    }
                    Taken::Again => prop_assert!(is_known),
                    Taken::NoRoom => prop_assert!(!is_known),
                }
            }
        }
    }
}
