//! `docs/audit.md` as a schema: its tables are what the lines are judged by.

use std::sync::LazyLock;

use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/audit.md");

struct Field {
    name: String,
    kind: String,
    optional: bool,
}

struct Event {
    name: String,
    outcomes: Vec<String>,
    fields: Vec<Field>,
}

static COMMON: LazyLock<Vec<Field>> = LazyLock::new(|| {
    rows("## Fields of every line")
        .into_iter()
        .map(|cells| field(&format!("{} {}", cells[0], cells[1])))
        .collect()
});

static EVENTS: LazyLock<Vec<Event>> = LazyLock::new(|| {
    rows("## Events")
        .into_iter()
        .map(|cells| {
            let fields = cells[3].split(", ").filter(|text| !text.is_empty());
            Event {
                name: cells[0].trim_matches('`').to_owned(),
                outcomes: cells[2].split(", ").map(str::to_owned).collect(),
                fields: fields.map(field).collect(),
            }
        })
        .collect()
});

/// The cells of the first table below a heading, without its head.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let (_, below) = DOCUMENT.split_once(heading).expect("the heading");
    below
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let line = line.trim_matches('|');
            line.split(" | ")
                .map(|cell| cell.trim_matches(['|', ' ']).to_owned())
                .collect()
        })
        .collect()
}

/// "`name` type?", or "`name`* type?".
fn field(text: &str) -> Field {
    let (name, kind) = text
        .split_once(' ')
        .unwrap_or_else(|| panic!("no type: {text}"));
    assert!(name.starts_with('`'), "no field: {text}");
    Field {
        name: name.trim_end_matches('*').trim_matches('`').to_owned(),
        kind: kind.trim_end_matches('?').to_owned(),
        optional: kind.ends_with('?') || name.ends_with('*'),
    }
}

/// The names of the events, in the document's order.
pub fn events() -> Vec<String> {
    EVENTS.iter().map(|event| event.name.clone()).collect()
}

/// Panics unless the line is as the document says: all fields, of their types, none null, and no other.
#[track_caller]
pub fn check(line: &Value) {
    let members = line.as_object().expect("an object");
    let name = line["event"].as_str().expect("an event");
    let outcome = line["outcome"].as_str().expect("an outcome");
    let event = EVENTS
        .iter()
        .find(|event| event.name == name && event.outcomes.iter().any(|known| known == outcome))
        .unwrap_or_else(|| panic!("{name} {outcome} is not in the schema: {line}"));
    let fields = || COMMON.iter().chain(&event.fields);
    for field in fields() {
        match members.get(&field.name) {
            None => assert!(field.optional, "{} is missing: {line}", field.name),
            Some(value) => assert!(
                is(value, &field.kind),
                "{} is no {}: {line}",
                field.name,
                field.kind
            ),
        }
    }
    for member in members.keys() {
        let known = fields().any(|field| &field.name == member);
        assert!(known, "{member} is not in the schema: {line}");
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "text" => value.is_string(),
        "number" => value.is_i64(),
        "bool" => value.is_boolean(),
        "texts" => value
            .as_array()
            .is_some_and(|list| list.iter().all(Value::is_string)),
        "time" => value.as_str().is_some_and(is_time),
        _ => panic!("the schema knows no type {kind}"),
    }
}

fn is_time(text: &str) -> bool {
    let shape = "0000-00-00T00:00:00.000000Z";
    text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, wanted)| match wanted {
                b'0' => byte.is_ascii_digit(),
                _ => byte == wanted,
            })
}
