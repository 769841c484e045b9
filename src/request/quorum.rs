//! Have enough different people said yes? Pure.
#![forbid(unsafe_code)]

/// So many people who have the role must say yes.
pub trait Needs {
    fn role(&self) -> u32;
    fn people(&self) -> usize;
}

/// What is still missing: an index into `needs`, and how many people. Empty: it is enough. `yes` has, for each different person who has said
/// yes, the roles that they had then. With `any` one of the needs is enough, else all are needed, and nobody counts twice.
pub fn missing(needs: &[impl Needs], any: bool, yes: &[Vec<u32>]) -> Vec<(usize, usize)> {
    if any {
        let counted = needs.iter().map(|need| {
            let have = yes.iter().filter(|roles| roles.contains(&need.role()));
            need.people().saturating_sub(have.count())
        });
        let missing: Vec<_> = counted.enumerate().collect();
        return match missing.iter().any(|&(_, people)| people == 0) {
            true => Vec::new(),
            false => missing,
        };
    }
    let places: Vec<usize> = (needs.iter().enumerate())
        .flat_map(|(need, of)| std::iter::repeat_n(need, of.people()))
        .collect();
    let fits = |person: usize, place: usize| {
        let need = places.get(place).and_then(|&need| needs.get(need));
        let roles = yes.get(person);
        need.zip(roles)
            .is_some_and(|(need, roles)| roles.contains(&need.role()))
    };
    // Each person takes a place, moving others to another one where that helps (augmenting paths).
    let mut taken: Vec<Option<usize>> = vec![None; places.len()];
    for person in 0..yes.len() {
        let mut tried = vec![false; places.len()];
        seat(person, &fits, &mut taken, &mut tried);
    }
    let mut missing: Vec<(usize, usize)> = Vec::new();
    for (&need, _) in places.iter().zip(&taken).filter(|(_, who)| who.is_none()) {
        match missing.last_mut() {
            Some((last, people)) if *last == need => *people += 1,
            _ => missing.push((need, 1)),
        }
    }
    missing
}

fn seat(
    person: usize,
    fits: &impl Fn(usize, usize) -> bool,
    taken: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    for place in 0..taken.len() {
        if !fits(person, place) || tried.get(place).copied().unwrap_or(true) {
            continue;
        }
        if let Some(mark) = tried.get_mut(place) {
            *mark = true;
        }
        let is_free = match taken.get(place).copied().flatten() {
            None => true,
            Some(other) => seat(other, fits, taken, tried),
        };
        if is_free {
            if let Some(slot) = taken.get_mut(place) {
                *slot = Some(person);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Needs for (u32, usize) {
        fn role(&self) -> u32 {
            self.0
        }
        fn people(&self) -> usize {
            self.1
        }
    }

    const DBA: u32 = 1;
    const OWNER: u32 = 2;

    #[test]
    fn quorum_counts_nobody_twice() {
        let needs = [(DBA, 1), (OWNER, 1)];
        assert_eq!(missing(&needs, false, &[vec![DBA, OWNER]]), [(1, 1)]);
        assert_eq!(missing(&needs, false, &[vec![DBA, OWNER], vec![DBA]]), []);
        assert_eq!(missing(&needs, false, &[vec![DBA], vec![DBA]]), [(1, 1)]);
        assert_eq!(missing(&[(DBA, 2)], false, &[]), [(0, 2)]);
    }

    #[test]
    fn quorum_of_any_needs_one_of_them_whole() {
        let needs = [(DBA, 2), (OWNER, 1)];
        assert_eq!(missing(&needs, true, &[vec![OWNER]]), []);
        assert_eq!(missing(&needs, true, &[vec![DBA]]), [(0, 1), (1, 1)]);
        assert_eq!(missing(&needs, true, &[vec![DBA], vec![DBA]]), []);
    }

    /// The most places that can be taken, by trying everything.
    fn most(places: &[u32], yes: &[Vec<u32>]) -> usize {
        let Some((first, rest)) = places.split_first() else {
            return 0;
        };
        let with = (0..yes.len())
            .filter(|&who| yes[who].contains(first))
            .map(|who| {
                let mut others = yes.to_vec();
                others.remove(who);
                1 + most(rest, &others)
            });
        with.chain([most(rest, yes)]).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn quorum_is_what_trying_everything_finds(
            needs in proptest::collection::vec((0_u32..4, 0_usize..3), 0..4),
            yes in proptest::collection::vec(proptest::collection::vec(0_u32..4, 0..4), 0..5),
        ) {
            let places: Vec<u32> = needs.iter().flat_map(|&(role, people)| vec![role; people]).collect();
            let missing: usize = missing(&needs, false, &yes).iter().map(|&(_, people)| people).sum();
            prop_assert_eq!(missing, places.len() - most(&places, &yes));
        }
    }
}
