//! What a scope was made to hold, and in what it differs from that. Pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Difference, Grant, Holdings, Names, Need, Object, Other, Plan};
use super::privilege::{Class, Privilege};

/// How a declaration stands to a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stance {
    /// The scope is to hold it.
    Required,
    /// It may hold it, and works without.
    Spare,
    /// Taken away from it, while objects of the kind that come to the schema are declared, or what it
    /// has created there is still its own.
    Withheld,
}

impl Stance {
    pub fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Spare => "spare",
            Self::Withheld => "withheld",
        }
    }

    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Required, Self::Spare, Self::Withheld]
            .into_iter()
            .find(|stance| stance.word() == word)
    }
}

/// What a scope declares in this database.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Declaration {
    pub grants: BTreeMap<Grant, Stance>,
    pub names: Names,
    pub schemas: BTreeMap<Object, u32>,
    /// Objects that the scope itself owns: it needs no grant on them.
    pub owned: BTreeSet<Object>,
}

/// An object in a schema, with who owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub object: Object,
    pub schema: u32,
    pub owner: u32,
}

impl Declaration {
    /// All of a plan belongs to the scope from now on. `held`: what it holds once that is granted.
    pub fn add(&mut self, plan: &Plan, held: &Holdings) {
        for (grant, wanted) in &plan.grants {
            let stance = match (wanted.need, self.grants.get(grant)) {
                (Need::Spare, Some(&stance)) if stance != Stance::Withheld => stance,
                (Need::Spare, _) if !held.grants.contains_key(grant) => Stance::Spare,
                _ => Stance::Required,
            };
            self.grants.insert(*grant, stance);
        }
        let names = |(&object, name): (&Object, &String)| (object, name.clone());
        self.names.extend(plan.names.iter().map(names));
        self.schemas.extend(&plan.schemas);
    }

    /// Nothing but a plan belongs to the scope from now on.
    pub fn replace(&mut self, plan: &Plan, held: &Holdings) {
        let has_created = |(grant, stance): (&Grant, &mut Stance)| {
            if !plan.grants.contains_key(grant) && owns_in(held, grant) {
                *stance = Stance::Withheld;
            }
        };
        self.grants.iter_mut().for_each(has_created);
        self.grants.retain(|grant, stance| {
            plan.grants.contains_key(grant) || *stance == Stance::Withheld && owns_in(held, grant)
        });
        self.add(plan, held);
        self.forget_withheld();
    }

    /// What was taken from a scope that held `held` does no longer belong to it, nor does the rest of
    /// the plan by which it was taken.
    pub fn take_away(&mut self, gone: &BTreeSet<Grant>, plan: &Plan, held: &Holdings) {
        let has_created = |grant: &Grant| gone.contains(grant) && owns_in(held, grant);
        let created: Vec<Grant> = self.grants.keys().copied().filter(has_created).collect();
        self.grants.retain(|grant, _| !gone.contains(grant));
        self.grants
            .extend(created.into_iter().map(|grant| (grant, Stance::Withheld)));
        let asked = plan
            .grants
            .iter()
            .filter(|(_, wanted)| wanted.need == Need::Asked)
            .map(|(grant, _)| grant);
        for grant in gone.iter().chain(asked) {
            for known in [&held.schemas, &plan.schemas] {
                self.schemas.extend(known.get_key_value(&grant.object));
            }
            if self.is_covered(grant, self.schemas.get(&grant.object).copied()) {
                for known in [&held.names, &plan.names] {
                    let name = known.get(&grant.object);
                    self.names
                        .extend(name.map(|name| (grant.object, name.clone())));
                }
                self.grants.insert(*grant, Stance::Withheld);
            }
        }
        self.grants.retain(|grant, stance| {
            *stance != Stance::Spare
                || class_of(grant.object).is_none()
                || !plan.grants.contains_key(grant)
        });
        self.forget_withheld();
    }

    /// Where nothing comes by itself any more, nothing is withheld.
    fn forget_withheld(&mut self) {
        let idle: Vec<Grant> = self
            .grants
            .iter()
            .filter(|(grant, stance)| {
                let schema = self.schemas.get(&grant.object).copied();
                **stance == Stance::Withheld
                    && grant.privilege != Privilege::Create
                    && !self.is_covered(grant, schema)
            })
            .map(|(&grant, _)| grant)
            .collect();
        idle.iter().for_each(|grant| {
            self.grants.remove(grant);
        });
    }

    /// Counts what is declared as held, by nobody's grant.
    pub fn join(&self, held: &mut Holdings) {
        let counts = |(grant, stance): &(&Grant, &Stance)| match stance {
            Stance::Required => true,
            Stance::Spare => matches!(grant.object, Object::Future { .. }),
            Stance::Withheld => false,
        };
        for (grant, _) in self.grants.iter().filter(counts) {
            held.grants.entry(*grant).or_default();
            if let Some(&schema) = self.schemas.get(&grant.object) {
                held.schemas.insert(grant.object, schema);
            }
        }
    }

    /// What it holds beyond this, and what it lacks. `newcomers`: what is in schemas whose future
    /// objects are declared.
    pub fn drift(&self, held: &Holdings, newcomers: &[Found]) -> Difference {
        let excess = held.grants.keys().filter(|grant| {
            let schema = held.schemas.get(&grant.object).copied();
            match self.grants.get(grant) {
                Some(stance) => *stance == Stance::Withheld,
                None => !self.is_covered(grant, schema),
            }
        });
        let mut missing: BTreeSet<Grant> = self
            .grants
            .iter()
            .filter(|(grant, stance)| {
                **stance == Stance::Required && !self.owned.contains(&grant.object)
            })
            .map(|(&grant, _)| grant)
            .collect();
        for (future, _) in self
            .grants
            .iter()
            .filter(|(_, stance)| **stance == Stance::Required)
        {
            let Object::Future {
                creator,
                schema,
                class,
            } = future.object
            else {
                continue;
            };
            let comes = |found: &&Found| {
                found.schema == schema
                    && found.owner == creator
                    && class_of(found.object) == Some(class)
            };
            let comes = newcomers.iter().filter(comes).map(|found| Grant {
                object: found.object,
                privilege: future.privilege,
            });
            missing.extend(comes.filter(|grant| !self.grants.contains_key(grant)));
        }
        missing.retain(|grant| !held.grants.contains_key(grant));
        Difference {
            missing: missing.into_iter().collect(),
            excess: excess.copied().collect(),
        }
    }

    /// The privileges on an object that belong to the scope, by declared future objects too.
    pub fn on(&self, object: Object, schema: Option<u32>) -> Vec<&'static str> {
        let named = self
            .grants
            .iter()
            .filter(|(grant, stance)| grant.object == object && **stance == Stance::Required);
        let named = named.map(|(grant, _)| grant.privilege);
        let withheld = |privilege| {
            let grant = Grant { object, privilege };
            self.grants.get(&grant) == Some(&Stance::Withheld)
        };
        let coming = self.grants.iter().filter_map(|(grant, stance)| {
            (*stance == Stance::Required && is_kind(grant.object, object, schema))
                .then_some(grant.privilege)
        });
        let coming = coming.filter(|&privilege| !withheld(privilege));
        let all: BTreeSet<_> = named.chain(coming).collect();
        all.into_iter().map(|privilege| privilege.word()).collect()
    }

    /// Does it come with declared future objects of its schema?
    fn is_covered(&self, grant: &Grant, schema: Option<u32>) -> bool {
        self.grants.iter().any(|(declared, stance)| {
            *stance != Stance::Withheld
                && declared.privilege == grant.privilege
                && is_kind(declared.object, grant.object, schema)
        })
    }
}

/// Does the scope own something in the schema that it may create in by this grant?
fn owns_in(held: &Holdings, grant: &Grant) -> bool {
    let owns = |schema| {
        let there = |other: &Other| matches!(other, Other::Owns { schema: s, .. } if *s == schema);
        held.others.iter().any(there)
    };
    matches!(grant.object, Object::Schema(schema) if grant.privilege == Privilege::Create && owns(schema))
}

/// Is `object`, in `schema`, of the kind that `future` is about, whoever made it?
fn is_kind(future: Object, object: Object, schema: Option<u32>) -> bool {
    matches!(future, Object::Future { schema: s, class, .. }
        if (s == 0 || Some(s) == schema) && class_of(object) == Some(class))
}

fn class_of(object: Object) -> Option<Class> {
    match object {
        Object::Table(_) => Some(Class::Table),
        Object::Sequence(_) => Some(Class::Sequence),
        Object::Function(_) => Some(Class::Function),
        Object::Column(..) | Object::Schema(_) | Object::Database(_) | Object::Future { .. } => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Grantor, Wanted};
    use super::super::privilege::Privilege::{self, Insert, Select, Update, Usage};
    use super::*;

    const ORDERS: Object = Object::Table(1);
    const LATER: Object = Object::Table(2);
    const APP: Object = Object::Schema(9);
    const ALICE: u32 = 20;
    const FUTURE: Object = Object::Future {
        creator: ALICE,
        schema: 9,
        class: Class::Table,
    };

    fn grant(object: Object, privilege: Privilege) -> Grant {
        Grant { object, privilege }
    }

    fn plan(grants: &[(Object, Privilege, Need)]) -> Plan {
        let mut plan = Plan::default();
        for &(object, privilege, need) in grants {
            let grantor = Grantor::Caller;
            plan.add(object, privilege, Wanted { need, grantor });
            plan.schemas.insert(object, 9);
        }
        plan
    }

    fn held(grants: &[(Object, Privilege)]) -> Holdings {
        let mut held = Holdings::default();
        for &(object, privilege) in grants {
            held.grants
                .insert(grant(object, privilege), BTreeSet::from([10]));
            held.schemas.insert(object, 9);
        }
        held
    }

    fn declared(grants: &[(Object, Privilege)]) -> Declaration {
        let wanted: Vec<_> = grants
            .iter()
            .map(|&(object, privilege)| (object, privilege, Need::Asked))
            .collect();
        let mut declaration = Declaration::default();
        declaration.add(&plan(&wanted), &held(grants));
        declaration
    }

    fn found(object: Object, owner: u32) -> Found {
        Found {
            object,
            schema: 9,
            owner,
        }
    }

    #[test]
    fn declaration_and_holdings_that_agree_do_not_drift() {
        let all = [(ORDERS, Select), (APP, Usage)];
        let drift = declared(&all).drift(&held(&all), &[]);
        assert_eq!(drift, Difference::default());
    }

    #[test]
    fn declaration_shows_what_was_added_and_taken_by_hand() {
        let declaration = declared(&[(ORDERS, Select), (APP, Usage)]);
        let drift = declaration.drift(&held(&[(ORDERS, Update), (APP, Usage)]), &[]);
        assert_eq!(drift.excess, [grant(ORDERS, Update)]);
        assert_eq!(drift.missing, [grant(ORDERS, Select)]);
        assert_eq!(declaration.on(ORDERS, Some(9)), ["SELECT"]);
    }

    #[test]
    fn declaration_lets_spare_grants_come_and_go() {
        let mut declaration = Declaration::default();
        let spare = plan(&[(APP, Usage, Need::Spare)]);
        declaration.add(&spare, &Holdings::default());
        let with = held(&[(APP, Usage)]);
        assert_eq!(declaration.drift(&with, &[]), Difference::default());
        assert_eq!(
            declaration.drift(&Holdings::default(), &[]),
            Difference::default()
        );
        // One that was granted all the same is missed.
        let mut declaration = Declaration::default();
        declaration.add(&spare, &with);
        let drift = declaration.drift(&Holdings::default(), &[]);
        assert_eq!(drift.missing, [grant(APP, Usage)]);
    }

    #[test]
    fn declaration_of_future_tables_covers_them_and_misses_them() {
        let declaration = declared(&[(FUTURE, Select)]);
        let with = held(&[(FUTURE, Select), (LATER, Select)]);
        let theirs = [found(LATER, ALICE)];
        assert_eq!(declaration.drift(&with, &theirs), Difference::default());
        let without = held(&[(FUTURE, Select)]);
        assert_eq!(
            declaration.drift(&without, &theirs).missing,
            [grant(LATER, Select)]
        );
        // Others' tables never came to it, nor do other privileges or other kinds.
        assert_eq!(
            declaration.drift(&without, &[found(LATER, 21)]),
            Difference::default()
        );
        let more = held(&[
            (FUTURE, Select),
            (LATER, Insert),
            (Object::Sequence(3), Select),
        ]);
        let mut excess = declaration.drift(&more, &[]).excess;
        excess.sort_unstable();
        assert_eq!(
            excess,
            [grant(LATER, Insert), grant(Object::Sequence(3), Select)]
        );
        assert_eq!(declaration.on(LATER, Some(9)), ["SELECT"]);
        assert_eq!(declaration.on(LATER, Some(8)), [""; 0]);
    }

    #[test]
    fn declaration_remembers_what_was_taken_out_of_a_whole_schema() {
        let mut declaration = declared(&[(FUTURE, Select), (ORDERS, Select), (ORDERS, Insert)]);
        let gone = BTreeSet::from([grant(ORDERS, Select), grant(ORDERS, Insert)]);
        declaration.take_away(&gone, &Plan::default(), &Holdings::default());
        let without = held(&[(FUTURE, Select)]);
        let theirs = [found(ORDERS, ALICE)];
        assert_eq!(declaration.drift(&without, &theirs), Difference::default());
        assert_eq!(declaration.on(ORDERS, Some(9)), [""; 0]);
        let with = held(&[(FUTURE, Select), (ORDERS, Select)]);
        assert_eq!(
            declaration.drift(&with, &theirs).excess,
            [grant(ORDERS, Select)]
        );
        // Asked for again, it belongs to the scope again.
        declaration.add(&plan(&[(ORDERS, Select, Need::Asked)]), &with);
        assert_eq!(declaration.drift(&with, &theirs), Difference::default());
    }

    #[test]
    fn declaration_remembers_what_came_later_and_was_taken_out() {
        let taken = plan(&[(LATER, Select, Need::Asked)]);
        // Whether it was held then or not.
        for held in [held(&[(LATER, Select)]), Holdings::default()] {
            let mut declaration = declared(&[(FUTURE, Select)]);
            let gone = held.grants.keys().copied().collect();
            declaration.take_away(&gone, &taken, &held);
            let without = self::held(&[(FUTURE, Select)]);
            let theirs = [found(LATER, ALICE)];
            assert_eq!(declaration.drift(&without, &theirs), Difference::default());
        }
        // With the future it is all gone, what was withheld before too.
        let mut declaration = declared(&[(FUTURE, Select), (LATER, Select)]);
        let one = BTreeSet::from([grant(LATER, Select)]);
        declaration.take_away(&one, &Plan::default(), &Holdings::default());
        assert_eq!(declaration.grants.len(), 2);
        let all = BTreeSet::from([grant(FUTURE, Select)]);
        declaration.take_away(&all, &taken, &Holdings::default());
        assert!(declaration.grants.is_empty());
    }

    #[test]
    fn declaration_of_a_whole_is_that_and_nothing_else() {
        let mut declaration = declared(&[(ORDERS, Select), (LATER, Select)]);
        let now = held(&[(ORDERS, Select)]);
        declaration.replace(&plan(&[(ORDERS, Select, Need::Asked)]), &now);
        assert_eq!(declaration.drift(&now, &[]), Difference::default());
    }

    #[test]
    fn declaration_needs_no_grant_on_what_the_scope_owns() {
        let mut declaration = declared(&[(ORDERS, Select)]);
        declaration.owned.insert(ORDERS);
        let drift = declaration.drift(&Holdings::default(), &[]);
        assert_eq!(drift, Difference::default());
    }

    #[test]
    fn stance_words_are_read_back() {
        for stance in [Stance::Required, Stance::Spare, Stance::Withheld] {
            assert_eq!(Stance::of_word(stance.word()), Some(stance));
        }
        assert_eq!(Stance::of_word("else"), None);
    }
}
