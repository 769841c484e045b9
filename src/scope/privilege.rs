//! Privileges by their SQL words, and what each can be granted on. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
    References,
    Trigger,
    /// PostgreSQL 17 and later.
    Maintain,
    Usage,
    Execute,
    Create,
    Connect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Tables, partitioned tables, views, materialized views, foreign tables.
    Table,
    Column,
    Sequence,
    /// Functions, procedures and aggregates.
    Function,
}

const ALL: [Privilege; 12] = [
    Privilege::Select,
    Privilege::Insert,
    Privilege::Update,
    Privilege::Delete,
    Privilege::Truncate,
    Privilege::References,
    Privilege::Trigger,
    Privilege::Maintain,
    Privilege::Usage,
    Privilege::Execute,
    Privilege::Create,
    Privilege::Connect,
];

impl Privilege {
    pub fn word(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
            Self::References => "REFERENCES",
            Self::Trigger => "TRIGGER",
            Self::Maintain => "MAINTAIN",
            Self::Usage => "USAGE",
            Self::Execute => "EXECUTE",
            Self::Create => "CREATE",
            Self::Connect => "CONNECT",
        }
    }

    /// The privilege of a word as PostgreSQL's catalogues write it.
    pub fn of_word(word: &str) -> Option<Self> {
        ALL.into_iter().find(|privilege| privilege.word() == word)
    }

    pub fn fits(self, class: Class) -> bool {
        match class {
            Class::Table => matches!(
                self,
                Self::Select
                    | Self::Insert
                    | Self::Update
                    | Self::Delete
                    | Self::Truncate
                    | Self::References
                    | Self::Trigger
                    | Self::Maintain
            ),
            Class::Column => matches!(
                self,
                Self::Select | Self::Insert | Self::Update | Self::References
            ),
            Class::Sequence => matches!(self, Self::Select | Self::Update | Self::Usage),
            Class::Function => self == Self::Execute,
        }
    }
}

/// Kinds of object that a request names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Named {
    pub tables: bool,
    pub columns: bool,
    pub sequences: bool,
    pub functions: bool,
    pub schemas: bool,
}

impl Named {
    pub fn nothing(self) -> bool {
        self == Self::default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadVerb {
    #[error("unknown privilege \"{word}\"")]
    Unknown { word: String },
    #[error("the privilege MAINTAIN does not exist on this server")]
    NoMaintain,
    #[error("privilege {} cannot be held by a scope", .0.word())]
    NotForScopes(Privilege),
    #[error("privilege {} does not fit any of the given objects", .0.word())]
    Misfit(Privilege),
    #[error("privilege {} cannot be granted on columns", .0.word())]
    NotByColumn(Privilege),
    #[error("no privilege was given for the {0}")]
    NothingFor(&'static str),
}

/// The privileges of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verbs(BTreeSet<Privilege>);

impl Verbs {
    /// From the words that a caller wrote, in any case.
    pub fn parse(words: &[String], has_maintain: bool) -> Result<Self, BadVerb> {
        let mut verbs = BTreeSet::new();
        for word in words {
            let upper = word.trim().to_ascii_uppercase();
            match Privilege::of_word(&upper) {
                None => return Err(BadVerb::Unknown { word: word.clone() }),
                Some(Privilege::Maintain) if !has_maintain => return Err(BadVerb::NoMaintain),
                // Every scope may connect to its own database, and to no other.
                Some(privilege @ Privilege::Connect) => {
                    return Err(BadVerb::NotForScopes(privilege));
                }
                Some(privilege) => verbs.insert(privilege),
            };
        }
        Ok(Self(verbs))
    }

    pub fn read() -> Self {
        Self(BTreeSet::from([Privilege::Select]))
    }

    pub fn read_write() -> Self {
        Self(BTreeSet::from([
            Privilege::Select,
            Privilege::Insert,
            Privilege::Update,
            Privilege::Delete,
        ]))
    }

    /// What administration of whole schemas needs. Not what leaves code, or work, on the tables of
    /// others: it would outlive the login, and its triggers would run as whoever writes there.
    pub fn administration(has_maintain: bool) -> Self {
        Self(
            ALL.into_iter()
                .filter(|&privilege| {
                    !matches!(
                        privilege,
                        Privilege::Connect | Privilege::Trigger | Privilege::References
                    )
                })
                .filter(|&privilege| has_maintain || privilege != Privilege::Maintain)
                .collect(),
        )
    }

    /// The same, on single tables.
    pub fn administration_of_tables(has_maintain: bool) -> Self {
        Self(Self::administration(has_maintain).fitting(Class::Table))
    }

    /// Those by which a role can leave code that others run.
    pub fn that_plant_code(&self) -> Vec<Privilege> {
        self.0
            .iter()
            .copied()
            .filter(|verb| {
                matches!(
                    verb,
                    Privilege::Trigger | Privilege::References | Privilege::Create
                )
            })
            .collect()
    }

    /// Each privilege must mean something for what is named, and the other way round.
    pub fn check(&self, named: Named) -> Result<(), BadVerb> {
        if named.nothing() {
            return Ok(());
        }
        if named.columns
            && let Some(&verb) = self
                .0
                .iter()
                .find(|verb| verb.fits(Class::Table) && !verb.fits(Class::Column))
        {
            return Err(BadVerb::NotByColumn(verb));
        }
        // Functions have one privilege only, so it need not be said; SELECT is what the argument
        // defaults to.
        let only_functions = named
            == Named {
                functions: true,
                ..Named::default()
            };
        let unsaid = only_functions && self.0.iter().eq([&Privilege::Select]);
        let means = |verb: Privilege| {
            (named.tables && verb.fits(Class::Table))
                || (named.sequences && (verb.fits(Class::Sequence) || verb == Privilege::Insert))
                || (named.functions && verb.fits(Class::Function))
                || named.schemas
        };
        if let Some(&verb) = self.0.iter().find(|&&verb| !unsaid && !means(verb)) {
            return Err(BadVerb::Misfit(verb));
        }
        if named.tables && self.on(Class::Table).is_empty() {
            return Err(BadVerb::NothingFor("tables"));
        }
        if named.sequences && self.on(Class::Sequence).is_empty() {
            return Err(BadVerb::NothingFor("sequences"));
        }
        if named.schemas && self.0.is_empty() {
            return Err(BadVerb::NothingFor("schemas"));
        }
        Ok(())
    }

    /// What is granted on an object of this class that the request names.
    pub fn on(&self, class: Class) -> BTreeSet<Privilege> {
        match class {
            Class::Function => BTreeSet::from([Privilege::Execute]),
            // Whoever inserts draws numbers: nextval() is USAGE.
            Class::Sequence if self.0.contains(&Privilege::Insert) => {
                let mut verbs = self.fitting(class);
                verbs.insert(Privilege::Usage);
                verbs
            }
            _ => self.fitting(class),
        }
    }

    fn fitting(&self, class: Class) -> BTreeSet<Privilege> {
        self.0
            .iter()
            .copied()
            .filter(|verb| verb.fits(class))
            .collect()
    }

    /// Rows are written, so the sequences behind them are used.
    pub fn writes(&self) -> bool {
        self.0.contains(&Privilege::Insert) || self.0.contains(&Privilege::Update)
    }

    pub fn has(&self, verb: Privilege) -> bool {
        self.0.contains(&verb)
    }

    /// On every sequence of a whole schema. Only who may create there also sets their values.
    pub fn on_sequences_of_schema(&self) -> BTreeSet<Privilege> {
        if self.has(Privilege::Create) {
            return self.fitting(Class::Sequence);
        }
        if self.writes() || self.has(Privilege::Usage) {
            return BTreeSet::from([Privilege::Usage]);
        }
        BTreeSet::new()
    }

    /// For the name of a scope: the same set gives the same text.
    pub fn to_text(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(|verb| verb.word()).collect();
        words.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs(words: &[&str]) -> Result<Verbs, BadVerb> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Verbs::parse(&words, true)
    }

    fn on(words: &[&str], class: Class) -> Vec<Privilege> {
        verbs(words)
            .map(|verbs| verbs.on(class).into_iter().collect())
            .unwrap_or_default()
    }

    const TABLES: Named = Named {
        tables: true,
        columns: false,
        sequences: false,
        functions: false,
        schemas: false,
    };

    #[test]
    fn privilege_words_are_read_in_any_case_and_once() {
        assert_eq!(
            verbs(&["select", " Insert ", "SELECT"]),
            verbs(&["INSERT", "SELECT"])
        );
        assert_eq!(verbs(&[]).map(|verbs| verbs.to_text()), Ok(String::new()));
    }

    #[test]
    fn privilege_words_of_others_are_refused() {
        for word in [
            "",
            "ALL",
            "ALL PRIVILEGES",
            "SELECT WITH GRANT OPTION",
            "SELECT (id)",
            "SELECT; DROP TABLE x",
            "SUPERUSER",
            "\u{131}nsert",
        ] {
            let unknown = BadVerb::Unknown {
                word: word.to_owned(),
            };
            assert_eq!(verbs(&["SELECT", word]), Err(unknown), "{word}");
        }
        assert_eq!(
            verbs(&["CONNECT"]),
            Err(BadVerb::NotForScopes(Privilege::Connect))
        );
        assert_eq!(
            Verbs::parse(&["MAINTAIN".into()], false),
            Err(BadVerb::NoMaintain)
        );
        assert!(verbs(&["MAINTAIN"]).is_ok());
    }

    #[test]
    fn privilege_that_fits_nothing_given_is_refused() {
        let check = |words: &[&str], named| verbs(words).and_then(|verbs| verbs.check(named));
        assert_eq!(check(&["SELECT", "DELETE"], TABLES), Ok(()));
        assert_eq!(
            check(&["SELECT", "EXECUTE"], TABLES),
            Err(BadVerb::Misfit(Privilege::Execute))
        );
        assert_eq!(
            check(&["SELECT", "CREATE"], TABLES),
            Err(BadVerb::Misfit(Privilege::Create))
        );
        assert_eq!(check(&[], TABLES), Err(BadVerb::NothingFor("tables")));
        let sequences = Named {
            sequences: true,
            ..Named::default()
        };
        assert_eq!(
            check(&["DELETE"], sequences),
            Err(BadVerb::Misfit(Privilege::Delete))
        );
        assert_eq!(check(&["INSERT"], sequences), Ok(()));
        assert_eq!(
            check(
                &["DELETE"],
                Named {
                    tables: true,
                    ..sequences
                }
            ),
            Err(BadVerb::NothingFor("sequences"))
        );
        let functions = Named {
            functions: true,
            ..Named::default()
        };
        assert_eq!(check(&["SELECT"], functions), Ok(()));
        assert_eq!(check(&["EXECUTE"], functions), Ok(()));
        assert_eq!(check(&[], functions), Ok(()));
        assert_eq!(
            check(&["DELETE"], functions),
            Err(BadVerb::Misfit(Privilege::Delete))
        );
        let columns = Named {
            columns: true,
            ..TABLES
        };
        assert_eq!(check(&["SELECT", "UPDATE"], columns), Ok(()));
        assert_eq!(
            check(&["SELECT", "DELETE"], columns),
            Err(BadVerb::NotByColumn(Privilege::Delete))
        );
        assert_eq!(check(&["SELECT"], Named::default()), Ok(()));
    }

    #[test]
    fn privilege_sets_follow_the_class() {
        use Privilege::{Delete, Execute, Insert, Select, Update, Usage};
        let all = ["SELECT", "INSERT", "UPDATE", "DELETE"];
        assert_eq!(on(&all, Class::Table), [Select, Insert, Update, Delete]);
        assert_eq!(on(&all, Class::Column), [Select, Insert, Update]);
        assert_eq!(on(&all, Class::Sequence), [Select, Update, Usage]);
        assert_eq!(on(&["SELECT"], Class::Sequence), [Select]);
        assert_eq!(on(&["SELECT"], Class::Function), [Execute]);
        let of_schema =
            |words: &[&str]| verbs(words).map(|verbs| verbs.on_sequences_of_schema().len());
        assert_eq!(of_schema(&["SELECT"]), Ok(0));
        assert_eq!(of_schema(&all), Ok(1));
        assert_eq!(
            Verbs::administration(true).on_sequences_of_schema(),
            BTreeSet::from([Select, Update, Usage])
        );
        assert!(!Verbs::administration(false).has(Privilege::Maintain));
        for planting in [Privilege::Trigger, Privilege::References] {
            assert!(!Verbs::administration(true).has(planting));
        }
    }
}
