//! What a scope is to hold, what it holds, and the way from one to the other. Pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::privilege::{Class, Privilege};

/// An object by its OID in this database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    Table(u32),
    Column(u32, i16),
    Sequence(u32),
    Function(u32),
    Schema(u32),
    Database(u32),
    /// What `creator` makes in `schema` from now on (0: in any schema).
    Future {
        creator: u32,
        schema: u32,
        class: Class,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    pub object: Object,
    pub privilege: Privilege,
}

/// Why a grant is in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Named by the request.
    Asked,
    /// Comes along: the way to what was named, and sequences behind tables that are written.
    Implied,
    /// Works without it: everyone holds the privilege, or nobody needs it.
    Spare,
}

/// Who can make a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantor {
    Caller,
    /// A scope of the caller's, which owns the object.
    Scope(u32),
    Nobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub need: Need,
    pub grantor: Grantor,
}

/// How statements name the objects; quoted already.
pub type Names = BTreeMap<Object, String>;

#[derive(Debug, Default)]
pub struct Plan {
    pub grants: BTreeMap<Grant, Wanted>,
    pub names: Names,
    /// The schemas that hold the objects.
    pub schemas: BTreeMap<Object, u32>,
}

/// What a scope holds in this database.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    /// Grantors by grant.
    pub grants: BTreeMap<Grant, BTreeSet<u32>>,
    pub names: Names,
    pub schemas: BTreeMap<Object, u32>,
    /// All that no plan contains, in words: grant options, memberships, attributes, ownership,
    /// grants on other kinds of objects.
    pub others: Vec<Other>,
    /// What it holds in, and on, other databases that have no part of it.
    pub elsewhere: Vec<Other>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    Owns {
        what: String,
        schema: u32,
    },
    /// What a session of it has made for itself, and goes with that session.
    Temporary {
        what: String,
    },
    Policy {
        what: String,
    },
    Else {
        what: String,
    },
}

impl Holdings {
    /// All that no plan contains, wherever it is.
    pub fn all_others(&self) -> impl Iterator<Item = &Other> {
        self.others.iter().chain(&self.elsewhere)
    }

    /// Privileges on columns that go when others on their tables are revoked, as PostgreSQL does it:
    /// by each grantor.
    pub fn columns_lost_with(&self, revoked: &[Grant]) -> Vec<Grant> {
        let nobody = BTreeSet::new();
        let grantors_of_table = |grant: &Grant| match grant.object {
            Object::Column(table, _) => {
                let whole = Grant {
                    object: Object::Table(table),
                    ..*grant
                };
                self.grants
                    .get(&whole)
                    .filter(|_| revoked.contains(&whole))
                    .unwrap_or(&nobody)
            }
            _ => &nobody,
        };
        self.grants
            .iter()
            .filter(|(grant, grantors)| grantors.is_subset(grantors_of_table(grant)))
            .map(|(&grant, _)| grant)
            .collect()
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub missing: Vec<Grant>,
    pub excess: Vec<Grant>,
}

impl Plan {
    /// The stronger need wins when an object is reached in two ways.
    pub fn add(&mut self, object: Object, privilege: Privilege, wanted: Wanted) {
        let strength = |need| match need {
            Need::Asked => 2,
            Need::Implied => 1,
            Need::Spare => 0,
        };
        let slot = self
            .grants
            .entry(Grant { object, privilege })
            .or_insert(wanted);
        if strength(wanted.need) > strength(slot.need) {
            *slot = wanted;
        }
    }

    /// Missing: what does not work yet. Excess: what was not asked for.
    pub fn difference(&self, held: &Holdings) -> Difference {
        let missing = self
            .grants
            .iter()
            .filter(|(_, wanted)| wanted.need != Need::Spare);
        Difference {
            missing: missing
                .map(|(&grant, _)| grant)
                .filter(|grant| !held.grants.contains_key(grant))
                .collect(),
            excess: held
                .grants
                .keys()
                .filter(|grant| !self.grants.contains_key(grant))
                .copied()
                .collect(),
        }
    }

    /// Is all that a scope lacks what it was made to get as it comes: objects of a schema, of whose
    /// kind it has the future ones with the same privilege, and those of roles that create there now?
    pub fn is_outgrown(&self, held: &Holdings) -> bool {
        let has_future = |missing: &Grant| {
            let (schema, class) = match missing.object {
                Object::Future { schema, class, .. } => (Some(schema), class),
                Object::Table(_) => (self.schema_of(missing), Class::Table),
                Object::Sequence(_) => (self.schema_of(missing), Class::Sequence),
                Object::Function(_) => (self.schema_of(missing), Class::Function),
                Object::Column(..) | Object::Schema(_) | Object::Database(_) => return false,
            };
            held.grants.keys().any(|grant| {
                grant.privilege == missing.privilege
                    && matches!(grant.object, Object::Future { schema: s, class: c, .. }
                        if Some(s) == schema && c == class)
            })
        };
        let difference = self.difference(held);
        difference.excess.is_empty() && difference.missing.iter().all(has_future)
    }

    fn schema_of(&self, grant: &Grant) -> Option<u32> {
        self.schemas.get(&grant.object).copied()
    }

    /// Grants still to be made, spare ones too where somebody can.
    pub fn to_grant(&self, held: &Holdings) -> Vec<(Grant, Wanted)> {
        self.grants
            .iter()
            .filter(|(grant, _)| !held.grants.contains_key(grant))
            .filter(|(_, wanted)| wanted.need != Need::Spare || wanted.grantor != Grantor::Nobody)
            .map(|(&grant, &wanted)| (grant, wanted))
            .collect()
    }

    /// What goes when this plan is taken away from a scope: what was asked for, by column too,
    /// future objects of whole schemas, and what nothing else needs any more.
    pub fn to_revoke(
        &self,
        held: &Holdings,
        sequences_of: &BTreeMap<u32, BTreeSet<u32>>,
    ) -> BTreeSet<Grant> {
        let asked = |grant: &Grant| {
            self.grants
                .get(grant)
                .is_some_and(|wanted| wanted.need == Need::Asked)
        };
        let by_column = |grant: &Grant| match grant.object {
            Object::Column(table, _) => asked(&Grant {
                object: Object::Table(table),
                privilege: grant.privilege,
            }),
            _ => false,
        };
        let future = |grant: &Grant| {
            match grant.object {
            // Whoever creates there; the plan knows those of today only.
            Object::Future { schema, class, .. } => self.grants.iter().any(|(other, wanted)| {
                matches!(other.object, Object::Future { schema: s, class: c, .. } if s == schema && c == class)
                    && other.privilege == grant.privilege
                    && wanted.need != Need::Spare
            }),
            _ => false,
        }
        };
        let mut gone: BTreeSet<Grant> = held
            .grants
            .keys()
            .filter(|grant| asked(grant) || by_column(grant) || future(grant))
            .copied()
            .collect();
        let remains = |gone: &BTreeSet<Grant>, test: &dyn Fn(&Grant) -> bool| {
            held.grants
                .keys()
                .any(|grant| !gone.contains(grant) && test(grant))
        };
        for (&table, sequences) in sequences_of {
            let writes = |grant: &Grant| {
                matches!(grant.object, Object::Table(t) | Object::Column(t, _) if t == table)
                    && matches!(grant.privilege, Privilege::Insert | Privilege::Update)
            };
            if !remains(&gone, &writes) {
                gone.extend(sequences.iter().map(|&sequence| Grant {
                    object: Object::Sequence(sequence),
                    privilege: Privilege::Usage,
                }));
            }
        }
        gone.retain(|grant| held.grants.contains_key(grant));
        let touched: BTreeSet<u32> = gone
            .iter()
            .filter_map(|grant| held.schemas.get(&grant.object).copied())
            .collect();
        for schema in touched {
            let inside = |grant: &Grant| {
                !matches!(grant.object, Object::Schema(_))
                    && held.schemas.get(&grant.object) == Some(&schema)
            };
            let creates = |grant: &Grant| {
                grant.object == Object::Schema(schema) && grant.privilege == Privilege::Create
            };
            // Foreign keys, views and functions that it owns there find their objects as it.
            let owns = held
                .others
                .iter()
                .any(|other| matches!(other, Other::Owns { schema: s, .. } if *s == schema));
            if !owns && !remains(&gone, &inside) && !remains(&gone, &creates) {
                gone.insert(Grant {
                    object: Object::Schema(schema),
                    privilege: Privilege::Usage,
                });
            }
        }
        gone.retain(|grant| held.grants.contains_key(grant));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: Object = Object::Table(1);
    const TICKETS: Object = Object::Table(2);
    const SEQUENCE: Object = Object::Sequence(3);
    const APP: Object = Object::Schema(9);

    fn grant(object: Object, privilege: Privilege) -> Grant {
        Grant { object, privilege }
    }

    fn asked() -> Wanted {
        Wanted {
            need: Need::Asked,
            grantor: Grantor::Caller,
        }
    }

    fn plan(grants: &[(Object, Privilege, Need)]) -> Plan {
        let mut plan = Plan::default();
        for &(object, privilege, need) in grants {
            plan.add(object, privilege, Wanted { need, ..asked() });
        }
        plan
    }

    fn holdings(grants: &[(Object, Privilege)]) -> Holdings {
        Holdings {
            grants: grants
                .iter()
                .map(|&(object, privilege)| (grant(object, privilege), BTreeSet::from([10])))
                .collect(),
            schemas: [ORDERS, TICKETS, SEQUENCE]
                .into_iter()
                .map(|object| (object, 9))
                .collect(),
            ..Holdings::default()
        }
    }

    #[test]
    fn plan_difference_ignores_what_nobody_needs() {
        use Privilege::{Delete, Select, Usage};
        let wanted = plan(&[
            (ORDERS, Select, Need::Asked),
            (TICKETS, Select, Need::Asked),
            (APP, Usage, Need::Spare),
        ]);
        let held = holdings(&[(ORDERS, Select), (ORDERS, Delete)]);
        assert_eq!(
            wanted.difference(&held),
            Difference {
                missing: vec![grant(TICKETS, Select)],
                excess: vec![grant(ORDERS, Delete)],
            }
        );
        // Spare grants are made where they can be, and are no excess.
        assert_eq!(wanted.to_grant(&held).len(), 2);
        let held = holdings(&[(ORDERS, Select), (TICKETS, Select), (APP, Usage)]);
        assert_eq!(wanted.difference(&held), Difference::default());
    }

    #[test]
    fn plan_keeps_the_stronger_need() {
        use Privilege::Usage;
        let plan = plan(&[
            (SEQUENCE, Usage, Need::Spare),
            (SEQUENCE, Usage, Need::Asked),
            (SEQUENCE, Usage, Need::Implied),
        ]);
        assert_eq!(plan.grants[&grant(SEQUENCE, Usage)].need, Need::Asked);
    }

    #[test]
    fn plan_removal_takes_along_what_nothing_else_needs() {
        use Privilege::{Insert, Select, Update, Usage};
        let held = holdings(&[
            (ORDERS, Select),
            (ORDERS, Insert),
            (ORDERS, Update),
            (Object::Column(1, 2), Insert),
            (SEQUENCE, Usage),
            (TICKETS, Select),
            (APP, Usage),
        ]);
        let sequences = BTreeMap::from([(1, BTreeSet::from([3]))]);
        let remove = |grants: &[(Object, Privilege)]| {
            let grants: Vec<_> = grants.iter().map(|&(o, p)| (o, p, Need::Asked)).collect();
            plan(&grants).to_revoke(&held, &sequences)
        };
        // UPDATE still needs the sequence; the column goes with its table.
        assert_eq!(
            remove(&[(ORDERS, Insert)]),
            BTreeSet::from([grant(ORDERS, Insert), grant(Object::Column(1, 2), Insert)])
        );
        let writes = remove(&[(ORDERS, Insert), (ORDERS, Update)]);
        assert!(writes.contains(&grant(SEQUENCE, Usage)));
        assert!(!writes.contains(&grant(APP, Usage)));
        let all = remove(&[
            (ORDERS, Insert),
            (ORDERS, Update),
            (ORDERS, Select),
            (TICKETS, Select),
        ]);
        assert!(all.contains(&grant(APP, Usage)));
        // What is not held is not revoked.
        assert!(remove(&[(TICKETS, Update)]).is_empty());
    }

    #[test]
    fn plan_removal_covers_future_objects_of_any_creator() {
        use Privilege::Select;
        let future = |creator| Object::Future {
            creator,
            schema: 9,
            class: Class::Table,
        };
        let held = holdings(&[(future(20), Select), (future(21), Select)]);
        let gone =
            plan(&[(future(20), Select, Need::Asked)]).to_revoke(&held, &BTreeMap::default());
        assert_eq!(gone.len(), 2);
    }

    #[test]
    fn plan_is_outgrown_by_what_has_come_since_only() {
        use Privilege::{Insert, Select};
        let future = |creator, schema| Object::Future {
            creator,
            schema,
            class: Class::Table,
        };
        let outgrown = |grants: &[(Object, Privilege)], held: &[(Object, Privilege)]| {
            let grants: Vec<_> = grants
                .iter()
                .map(|&(object, privilege)| (object, privilege, Need::Asked))
                .collect();
            let mut plan = plan(&grants);
            plan.schemas = holdings(&[]).schemas;
            plan.is_outgrown(&holdings(held))
        };
        let held = [(ORDERS, Select), (future(20, 9), Select)];
        assert!(outgrown(&held, &held));
        let mut wanted = held.to_vec();
        wanted.extend([(TICKETS, Select), (future(21, 9), Select)]);
        assert!(outgrown(&wanted, &held));
        for other in [
            (ORDERS, Insert),
            (future(20, 9), Insert),
            (future(20, 8), Select),
            (SEQUENCE, Select),
            (APP, Privilege::Usage),
            (Object::Column(2, 1), Select),
        ] {
            let mut wanted = held.to_vec();
            wanted.push(other);
            assert!(!outgrown(&wanted, &held), "{other:?}");
        }
        // Less than it has, or without future objects: another request.
        assert!(!outgrown(&held[..1], &held));
        assert!(!outgrown(&wanted, &held[..1]));
    }

    #[test]
    fn plan_knows_the_columns_that_go_with_a_table() {
        use Privilege::{Insert, Select};
        let column = Object::Column(1, 2);
        let mut held = holdings(&[
            (ORDERS, Select),
            (ORDERS, Insert),
            (column, Select),
            (column, Insert),
            (Object::Column(2, 2), Select),
        ]);
        let table = [grant(ORDERS, Select)];
        assert_eq!(held.columns_lost_with(&table), [grant(column, Select)]);
        // Somebody else's grant of the column stays.
        held.grants
            .entry(grant(column, Select))
            .or_default()
            .insert(11);
        assert!(held.columns_lost_with(&table).is_empty());
        assert!(held.columns_lost_with(&[]).is_empty());
    }
}
