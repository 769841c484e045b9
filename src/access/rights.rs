//! Privileges as PostgreSQL's access control lists keep them: one bit each. Pure.
#![forbid(unsafe_code)]

/// What privileges are held on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Tables, views, materialized views, foreign tables.
    Relation,
    Sequence,
    Column,
    /// Functions, procedures, aggregates.
    Function,
    Schema,
    Database,
    Type,
    Language,
    Wrapper,
    Server,
    LargeObject,
    Parameter,
    Tablespace,
    /// Membership.
    Role,
    /// What a role is going to create.
    Defaults,
}

/// A privilege: the number of its bit in an access control list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right(u8);

/// How many there are.
pub const COUNT: usize = 16;

/// By their bits (nodes/parsenodes.h). The last is ours: ADMIN OPTION is no privilege of a list.
const WORDS: [&str; COUNT] = [
    "INSERT",
    "SELECT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
    "EXECUTE",
    "USAGE",
    "CREATE",
    "TEMPORARY",
    "CONNECT",
    "SET",
    "ALTER SYSTEM",
    "MAINTAIN",
    "ADMIN",
];

impl Right {
    pub const INSERT: Self = Self(0);
    pub const SELECT: Self = Self(1);
    pub const UPDATE: Self = Self(2);
    pub const DELETE: Self = Self(3);
    pub const TRUNCATE: Self = Self(4);
    pub const REFERENCES: Self = Self(5);
    pub const TRIGGER: Self = Self(6);
    pub const EXECUTE: Self = Self(7);
    pub const USAGE: Self = Self(8);
    pub const CREATE: Self = Self(9);
    pub const TEMPORARY: Self = Self(10);
    pub const CONNECT: Self = Self(11);
    pub const SET: Self = Self(12);
    pub const ALTER_SYSTEM: Self = Self(13);
    /// PostgreSQL 17 and later.
    pub const MAINTAIN: Self = Self(14);
    pub const ADMIN: Self = Self(15);

    pub fn word(self) -> &'static str {
        WORDS.get(self.index()).copied().unwrap_or_default()
    }

    /// The privilege of a word, in any case and with any space around it.
    pub fn of_word(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_uppercase();
        let word = if word == "TEMP" { "TEMPORARY" } else { &word };
        Self::every().find(|right| right.word() == word)
    }

    pub fn every() -> impl Iterator<Item = Self> {
        (0..COUNT as u8).map(Self)
    }

    pub fn index(self) -> usize {
        self.0.into()
    }

    pub fn is_in(self, bits: u16) -> bool {
        bits & (1 << self.0) != 0
    }
}

/// What differs between versions of PostgreSQL.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Is there a privilege MAINTAIN?
    pub has_maintain: bool,
    /// Do pg_read_all_data and pg_write_all_data give large objects?
    pub all_data_has_large_objects: bool,
}

/// By a membership.
pub const OF_ROLES: [Right; 3] = [Right::USAGE, Right::SET, Right::ADMIN];

/// All privileges that there are on such an object: what superusers hold.
pub fn all(class: Class, rules: Rules) -> &'static [Right] {
    use Right as R;
    const RELATION: [R; 8] = [
        R::SELECT,
        R::INSERT,
        R::UPDATE,
        R::DELETE,
        R::TRUNCATE,
        R::REFERENCES,
        R::TRIGGER,
        R::MAINTAIN,
    ];
    match class {
        Class::Relation if rules.has_maintain => &RELATION,
        Class::Relation => RELATION.split_last().map_or(&[], |(_, rest)| rest),
        Class::Sequence => &[R::USAGE, R::SELECT, R::UPDATE],
        Class::Column => &[R::SELECT, R::INSERT, R::UPDATE, R::REFERENCES],
        Class::Function => &[R::EXECUTE],
        Class::Schema => &[R::USAGE, R::CREATE],
        Class::Database => &[R::CONNECT, R::CREATE, R::TEMPORARY],
        Class::Type | Class::Language | Class::Wrapper | Class::Server => &[R::USAGE],
        Class::LargeObject => &[R::SELECT, R::UPDATE],
        Class::Parameter => &[R::SET, R::ALTER_SYSTEM],
        Class::Tablespace => &[R::CREATE],
        Class::Role => &OF_ROLES,
        // These are given by name only.
        Class::Defaults => &[],
    }
}

/// catalog/pg_authid.dat
pub const PG_DATABASE_OWNER: u32 = 6171;
pub const PG_MONITOR: u32 = 3373;
const PG_READ_ALL_DATA: u32 = 6181;
const PG_WRITE_ALL_DATA: u32 = 6182;
const PG_MAINTAIN: u32 = 6337;

/// Roles that need no entry in a list.
pub const REACHES_EVERYTHING: [u32; 3] = [PG_READ_ALL_DATA, PG_WRITE_ALL_DATA, PG_MAINTAIN];

/// The predefined roles that give a privilege on every object of a class, without a grant
/// (aclchk.c, pg_class_aclmask, pg_namespace_aclmask and pg_largeobject_aclmask_snapshot).
pub fn predefined(class: Class, right: Right, rules: Rules) -> &'static [u32] {
    use Right as R;
    match (class, right) {
        (Class::Relation | Class::Sequence, R::SELECT) => &[PG_READ_ALL_DATA],
        (Class::Relation, R::INSERT | R::UPDATE | R::DELETE) | (Class::Sequence, R::UPDATE) => {
            &[PG_WRITE_ALL_DATA]
        }
        (Class::Relation, R::MAINTAIN) => &[PG_MAINTAIN],
        (Class::LargeObject, R::SELECT) if rules.all_data_has_large_objects => &[PG_READ_ALL_DATA],
        (Class::LargeObject, R::UPDATE) if rules.all_data_has_large_objects => &[PG_WRITE_ALL_DATA],
        (Class::Schema, R::USAGE) => &[PG_READ_ALL_DATA, PG_WRITE_ALL_DATA],
        _ => &[],
    }
}

/// On PostgreSQL's own tables nobody but superusers has these, whatever the list says.
pub fn guarded(right: Right) -> bool {
    use Right as R;
    matches!(right, R::INSERT | R::UPDATE | R::DELETE | R::TRUNCATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_words_are_those_of_their_bits() {
        for right in Right::every() {
            assert_eq!(Right::of_word(right.word()), Some(right));
        }
        assert_eq!(Right::of_word(" temp "), Some(Right::TEMPORARY));
        assert_eq!(Right::of_word("alter system"), Some(Right::ALTER_SYSTEM));
        for word in ["", "ALL", "SELECT WITH GRANT OPTION", "OWNER"] {
            assert_eq!(Right::of_word(word), None, "{word}");
        }
        let rules = |newer| Rules {
            has_maintain: newer,
            all_data_has_large_objects: newer,
        };
        assert_eq!(all(Class::Relation, rules(false)).len(), 7);
        assert_eq!(all(Class::Relation, rules(true)).len(), 8);
        let read = |newer| predefined(Class::LargeObject, Right::SELECT, rules(newer));
        assert!(read(false).is_empty());
        assert_eq!(read(true), [PG_READ_ALL_DATA]);
    }
}
