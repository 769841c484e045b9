//! Of whom a token has a session act, as words that others can read while they are written. Pure.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;

/// As many bytes are kept of a text; of a longer one, its hash too.
const MOST: usize = 256;
const TEXTS: usize = 3;
/// When it ends, the lengths, and two hashes of two words each.
const HEAD: usize = 6;
const WORD: usize = 8;
/// As long as a record can be.
pub const WORDS: usize = HEAD + TEXTS * MOST / WORD;

/// Who acts by a token.
#[derive(Debug, Clone, Copy, Default)]
pub struct Person<'a> {
    /// `iss`.
    pub issuer: Option<&'a str>,
    /// `sub`.
    pub subject: Option<&'a str>,
    /// Who acts now for the subject, by `act`.
    pub actor: Option<&'a str>,
}

/// A person and the end of the token, ready to be shown: made once for a token.
pub struct Record {
    /// Differs from that of every other record of this process; never 0.
    pub serial: u64,
    words: Box<[u64]>,
}

impl Record {
    /// `ends_at`: Unix microseconds; `i64::MAX`: never.
    pub fn new(ends_at: i64, person: &Person<'_>) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let texts = [person.issuer, person.subject, person.actor];
        let all_kept = texts.map(|text| text.map(|text| cut(text, MOST)));
        let length: usize = all_kept.iter().flatten().map(|kept| kept.len()).sum();
        // With room for no more: each new token pays for it.
        let mut bytes = Vec::with_capacity(length.next_multiple_of(WORD));
        let mut lengths = 0;
        for (place, (text, kept)) in texts.into_iter().zip(all_kept).enumerate() {
            let field = Field {
                is_there: text.is_some(),
                is_cut: kept != text,
                bytes: kept.map_or(0, str::len),
            };
            lengths |= field.to_bits() << (16 * place);
            bytes.extend_from_slice(kept.unwrap_or_default().as_bytes());
        }
        bytes.resize(length.next_multiple_of(WORD), 0);
        let hash = |text: Option<&str>| {
            let longer = text.filter(|text| text.len() > MOST);
            longer.map_or([0; 2], |text| halves(hash(text)))
        };
        let [issuer, subject] = [person.issuer, person.subject].map(hash);
        let head = [ends_at.cast_unsigned(), lengths];
        let (texts, _) = bytes.as_chunks();
        let texts = texts.iter().copied().map(u64::from_ne_bytes);
        let head = head.into_iter().chain(issuer).chain(subject);
        Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            words: head.chain(texts).collect(),
        }
    }

    pub fn words(&self) -> &[u64] {
        &self.words
    }
}

/// How a text is kept, in 16 bits.
#[derive(Clone, Copy)]
struct Field {
    is_there: bool,
    is_cut: bool,
    bytes: usize,
}

impl Field {
    fn to_bits(self) -> u64 {
        u64::from(self.is_there) << 15 | u64::from(self.is_cut) << 14 | self.bytes as u64
    }

    fn from_bits(bits: u64) -> Self {
        Self {
            is_there: bits & 1 << 15 != 0,
            is_cut: bits & 1 << 14 != 0,
            bytes: (bits as usize & 0x3fff).min(MOST),
        }
    }
}

fn fields(lengths: u64) -> [Field; TEXTS] {
    std::array::from_fn(|place| Field::from_bits(lengths >> (16 * place)))
}

/// How many words a record has, by its first ones.
pub fn length(head: impl Fn(usize) -> u64) -> usize {
    let bytes: usize = fields(head(1)).iter().map(|field| field.bytes).sum();
    HEAD + bytes.div_ceil(WORD)
}

/// What others read of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switched {
    /// The role that the token has activated.
    pub role: u32,
    /// When the token's statements end, in Unix microseconds; `i64::MAX`: never.
    pub ends_at: i64,
    pub issuer: Option<Text>,
    pub subject: Option<Text>,
    pub actor: Option<Text>,
}

impl Switched {
    pub fn read(role: u32, words: &[u64]) -> Self {
        let word = |place: usize| words.get(place).copied().unwrap_or_default();
        let bytes: Vec<u8> = (words.iter().skip(HEAD))
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let mut from = 0;
        let [issuer, subject, actor] = fields(word(1)).map(|field| {
            let kept = bytes.get(from..from + field.bytes).unwrap_or_default();
            from += field.bytes;
            field.is_there.then_some((kept, field.is_cut))
        });
        let text = |text: Option<(&[u8], bool)>, place: usize| {
            text.map(|(kept, is_cut)| Text {
                kept: String::from_utf8_lossy(kept).into_owned(),
                hash: is_cut.then(|| [word(place), word(place + 1)]),
            })
        };
        Self {
            role,
            ends_at: word(0).cast_signed(),
            issuer: text(issuer, 2),
            subject: text(subject, 4),
            actor: text(actor, WORDS),
        }
    }
}

/// A text, or its beginning and a hash of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    kept: String,
    hash: Option<[u64; 2]>,
}

impl Text {
    /// Is it this text, as a whole?
    pub fn is(&self, text: &str) -> bool {
        match self.hash {
            None => self.kept == text,
            Some(known) => text.starts_with(&self.kept) && halves(hash(text)) == known,
        }
    }

    /// With a mark where the rest is missing.
    pub fn shown(&self) -> Cow<'_, str> {
        match self.hash {
            None => Cow::Borrowed(&self.kept),
            Some(_) => Cow::Owned(format!("{}...", self.kept)),
        }
    }
}

/// The first bytes, up to the end of a character.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most))
        .unwrap_or_default()
}

/// 128 bits of SHA-256: nobody makes a subject that counts as another's.
fn hash(text: &str) -> u128 {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
    u128::from_ne_bytes(first)
}

fn halves(hash: u128) -> [u64; 2] {
    [hash as u64, (hash >> 64) as u64]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(record: &Record) -> Switched {
        let words = record.words();
        assert_eq!(length(|place| words[place]), words.len());
        assert!(words.len() <= WORDS);
        Switched::read(7, words)
    }

    fn again(ends_at: i64, person: &Person<'_>) -> Switched {
        read(&Record::new(ends_at, person))
    }

    #[test]
    fn presence_without_a_person_has_none() {
        let read = again(i64::MAX, &Person::default());
        assert_eq!((read.role, read.ends_at), (7, i64::MAX));
        assert_eq!((read.issuer, read.subject, read.actor), (None, None, None));
    }

    #[test]
    fn presence_keeps_the_empty_apart_from_the_missing() {
        let person = Person {
            subject: Some(""),
            actor: Some("bot"),
            ..Person::default()
        };
        let read = again(-1, &person);
        assert_eq!((read.ends_at, read.issuer), (-1, None));
        assert_eq!(read.subject.unwrap().shown(), "");
        assert_eq!(read.actor.unwrap().shown(), "bot");
    }

    #[test]
    fn presence_of_a_long_subject_is_the_whole_one() {
        for character in ["a", "\u{e9}", "\u{1f600}"] {
            let long = character.repeat(400);
            let person = Person {
                issuer: Some(&long),
                subject: Some(&long),
                actor: Some(&long),
            };
            let read = again(0, &person);
            for text in [read.issuer.unwrap(), read.subject.unwrap()] {
                let start = character.repeat(MOST / character.len());
                assert_eq!(text.shown(), format!("{start}..."));
                assert!(text.is(&long));
                for other in [
                    format!("{long}{character}"),
                    long[..long.len() - character.len()].to_owned(),
                    start,
                    text.shown().into_owned(),
                ] {
                    assert!(!text.is(&other), "{}", other.len());
                }
            }
            assert!(read.actor.unwrap().shown().ends_with("..."));
        }
    }

    proptest! {
        #[test]
        fn presence_is_read_as_it_was_written(
            ends_at in any::<i64>(),
            texts in any::<[Option<String>; 3]>(),
        ) {
            let [issuer, subject, actor] = texts.each_ref().map(Option::as_deref);
            let read = again(ends_at, &Person { issuer, subject, actor });
            prop_assert_eq!(read.ends_at, ends_at);
            for (text, was) in [(read.issuer, issuer), (read.subject, subject), (read.actor, actor)] {
                prop_assert_eq!(text.is_some(), was.is_some());
                if let (Some(text), Some(was)) = (text, was) {
                    prop_assert!(text.shown().starts_with(cut(was, MOST)));
                    prop_assert_eq!(text.hash.is_some(), was.len() > MOST);
                }
            }
        }

        #[test]
        fn presence_torn_by_anything_is_no_panic(words in prop::collection::vec(any::<u64>(), 0..WORDS)) {
            Switched::read(1, &words);
            prop_assert!(length(|place| words.get(place).copied().unwrap_or_default()) <= WORDS);
        }
    }
}
