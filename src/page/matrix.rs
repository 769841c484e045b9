//! Who can do what: roles by objects, a table for each schema. Pure.
//!
//! Roles that can do just the same on just the same objects of a schema share a row, objects on which every role can do
//! just the same share a column: so that each field is true of all of them.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Deserialize;

use super::names;
use crate::html::escaped;

/// Side by side; more stand below each other.
const COLUMNS: usize = 20;
/// What a role can do with an object.
#[derive(Debug, Clone, Deserialize)]
pub struct Access {
    pub role: String,
    /// The schema, or what takes its place.
    pub place: String,
    pub object: String,
    pub privileges: Vec<String>,
}

/// A letter for each privilege, most of them those of psql's `\dp`.
const LETTERS: [(&str, char); 15] = [
    ("SELECT", 'r'),
    ("INSERT", 'a'),
    ("UPDATE", 'w'),
    ("DELETE", 'd'),
    ("TRUNCATE", 'D'),
    ("REFERENCES", 'x'),
    ("TRIGGER", 't'),
    ("MAINTAIN", 'm'),
    ("EXECUTE", 'X'),
    ("USAGE", 'U'),
    ("CREATE", 'C'),
    ("CONNECT", 'c'),
    ("TEMPORARY", 'T'),
    ("SET", 's'),
    ("ALTER SYSTEM", 'A'),
];

fn letters(privileges: &[String]) -> String {
    let known = LETTERS
        .iter()
        .filter(|(word, _)| privileges.iter().any(|privilege| privilege == word));
    let mut letters: String = known.map(|(_, letter)| letter).collect();
    let is_known = |privilege: &String| LETTERS.iter().any(|(word, _)| privilege == word);
    if !privileges.iter().all(is_known) {
        letters.push('?');
    }
    letters
}

pub fn write(out: &mut String, access: &[Access]) {
    if access.is_empty() {
        *out += "<p>Only superusers hold anything.</p>";
        return;
    }
    let used: BTreeSet<&str> = access
        .iter()
        .flat_map(|one| one.privileges.iter().map(String::as_str))
        .collect();
    *out += "<p>What roles hold, by schema; without superusers, predefined roles, and what everyone has. ";
    for (word, letter) in LETTERS.iter().filter(|(word, _)| used.contains(word)) {
        let _ = write!(out, "<b>{letter}</b> {word} ");
    }
    *out += "</p>";
    let mut places: BTreeMap<&str, Vec<&Access>> = BTreeMap::new();
    for one in access {
        places.entry(&one.place).or_default().push(one);
    }
    for (place, access) in places {
        let _ = write!(out, "<div class=\"part\"><h3>{}</h3>", escaped(place));
        table(out, place, &access);
        *out += "</div>";
    }
}

/// Roles or objects that are alike, and what they have: by the number of the other.
type Alike<'a> = Vec<(Vec<&'a str>, BTreeMap<usize, &'a [String]>)>;

fn table(out: &mut String, place: &str, access: &[&Access]) {
    let objects = columns(access);
    let rows = rows(access, &objects);
    for (chunk, begin) in objects.chunks(COLUMNS).zip((0..).step_by(COLUMNS)) {
        let within = begin..begin + chunk.len();
        let _ = write!(
            out,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Access in {}\"><table class=\"matrix\"><thead><tr><th scope=\"col\">Role</th>",
            escaped(place)
        );
        for objects in chunk {
            *out += "<th scope=\"col\"><span>";
            *out += &match objects.as_slice() {
                [only] => escaped(only),
                many => format!(
                    "{} and {} more",
                    escaped(many.first().unwrap_or(&"")),
                    many.len() - 1
                ),
            };
            *out += "</span></th>";
        }
        *out += "</tr></thead><tbody>";
        for (roles, cells) in &rows {
            if !cells.keys().any(|column| within.contains(column)) {
                continue;
            }
            *out += "<tr><th scope=\"row\" class=\"names\">";
            names::few(out, roles, "roles");
            *out += "</th>";
            for column in within.clone() {
                match cells.get(&column) {
                    Some(privileges) => {
                        let _ = write!(
                            out,
                            "<td><abbr title=\"{}\">{}</abbr></td>",
                            escaped(&privileges.join(", ")),
                            letters(privileges)
                        );
                    }
                    None => *out += "<td></td>",
                }
            }
            *out += "</tr>";
        }
        *out += "</tbody></table></div>";
        for objects in chunk.iter().filter(|objects| objects.len() > 1) {
            let _ = write!(
                out,
                "<details><summary>{} and {} more</summary>",
                escaped(objects.first().unwrap_or(&"")),
                objects.len() - 1
            );
            names::all(out, objects);
            *out += "</details>";
        }
    }
}

/// The objects, those that are alike for every role together.
fn columns<'a>(access: &[&'a Access]) -> Vec<Vec<&'a str>> {
    let mut held: BTreeMap<&str, BTreeMap<&str, &[String]>> = BTreeMap::new();
    for one in access {
        held.entry(&one.object)
            .or_default()
            .insert(&one.role, &one.privileges);
    }
    let mut alike: BTreeMap<BTreeMap<&str, &[String]>, Vec<&str>> = BTreeMap::new();
    for (object, by) in held {
        alike.entry(by).or_default().push(object);
    }
    let mut columns: Vec<Vec<&str>> = alike.into_values().collect();
    columns.sort();
    columns
}

/// The roles, those that are alike on every object together.
fn rows<'a>(access: &[&'a Access], columns: &[Vec<&str>]) -> Alike<'a> {
    let column: BTreeMap<&str, usize> = columns
        .iter()
        .zip(0..)
        .flat_map(|(names, number)| names.iter().map(move |name| (*name, number)))
        .collect();
    let mut held: BTreeMap<&str, BTreeMap<usize, &[String]>> = BTreeMap::new();
    for one in access {
        if let Some(&column) = column.get(one.object.as_str()) {
            held.entry(&one.role)
                .or_default()
                .insert(column, &one.privileges);
        }
    }
    let mut alike: BTreeMap<BTreeMap<usize, &[String]>, Vec<&str>> = BTreeMap::new();
    for (role, cells) in held {
        alike.entry(cells).or_default().push(role);
    }
    let mut rows: Alike<'a> = alike
        .into_iter()
        .map(|(cells, names)| (names, cells))
        .collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(role: &str, object: &str, privileges: &[&str]) -> Access {
        Access {
            role: role.to_owned(),
            place: "app".to_owned(),
            object: object.to_owned(),
            privileges: privileges.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    #[test]
    fn page_matrix_folds_only_what_is_the_same() {
        let mut all = Vec::new();
        for role in ["a", "b"] {
            for table in ["t1", "t2"] {
                all.push(access(role, table, &["SELECT"]));
            }
        }
        // As many tables, but others.
        all.push(access("c", "t1", &["SELECT"]));
        all.push(access("c", "t3", &["SELECT"]));
        let all: Vec<&Access> = all.iter().collect();
        let columns = columns(&all);
        assert_eq!(columns, [["t1"], ["t2"], ["t3"]]);
        let rows = rows(&all, &columns);
        let names: Vec<_> = rows.iter().map(|(names, _)| names.join(" ")).collect();
        assert_eq!(names, ["a b", "c"]);
    }

    #[test]
    fn page_matrix_says_what_the_letters_mean() {
        let mut out = String::new();
        write(
            &mut out,
            &[access("<r>", "<t>", &["SELECT", "UPDATE", "new"])],
        );
        assert!(
            out.contains("<abbr title=\"SELECT, UPDATE, new\">rw?</abbr>"),
            "{out}"
        );
        assert!(out.contains("<b>r</b> SELECT") && !out.contains("<r>"));
    }

    #[test]
    fn page_matrix_of_a_large_cluster_stays_small() {
        let mut all = Vec::new();
        for role in 0..300 {
            for table in 0..100 {
                all.push(access(
                    &format!("role_{role}"),
                    &format!("t{table}"),
                    &["SELECT"],
                ));
            }
        }
        let mut out = String::new();
        write(&mut out, &all);
        assert!(out.len() < 20_000, "{}", out.len());
        assert!(out.contains("t0 and 99 more") && out.contains("300 roles"));
    }
}
