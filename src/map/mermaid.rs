//! The map for Mermaid, as Markdown pages show it. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::Write;

use super::fold::{Folded, Kind};
use crate::text::is_unseen;

pub fn text(map: &Folded) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut write = |line: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = out.write_fmt(line);
        out.push('\n');
    };
    let mut groups: BTreeMap<(Kind, Option<&str>), Vec<usize>> = BTreeMap::new();
    for (index, node) in map.nodes.iter().enumerate() {
        let database = node
            .database
            .as_deref()
            .filter(|_| node.kind == Kind::Scope);
        groups.entry((node.kind, database)).or_default().push(index);
    }
    for (number, ((kind, database), nodes)) in groups.into_iter().enumerate() {
        let (_, title) = kind.words();
        let title = match database {
            Some(database) => format!("{title} of database {database}"),
            None => title.to_owned(),
        };
        write(format_args!(
            "  subgraph g{number}[\"{}\"]",
            escaped(&title)
        ));
        for index in nodes {
            let Some(node) = map.nodes.get(index) else {
                continue;
            };
            let lines: Vec<String> = node.lines().iter().map(|line| escaped(line)).collect();
            let label = lines.join("<br/>");
            let (open, close) = match kind {
                Kind::Scope => ("[(", ")]"),
                Kind::Credential | Kind::Login | Kind::Superuser => ("([", "])"),
                Kind::Authenticator => ("{{", "}}"),
                Kind::Temporary => (">", "]"),
                Kind::Group | Kind::Predefined => ("[", "]"),
            };
            write(format_args!("    n{index}{open}\"{label}\"{close}"));
        }
        write(format_args!("  end"));
    }
    for edge in &map.edges {
        let (member, role) = (edge.member, edge.role);
        if edge.options.is_empty() {
            write(format_args!("  n{member} --> n{role}"));
        } else {
            let options = escaped(&edge.options);
            write(format_args!("  n{member} -. \"{options}\" .-> n{role}"));
        }
    }
    out
}

/// Inside double quotes: whatever could mean something to Mermaid, HTML or Markdown is a number.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        let is_plain = character.is_alphanumeric() || " .,:()=…".contains(character);
        // A soft break inside words that would stay one is not needed: `_` alone is no markup here.
        if is_plain || (character == '_' || character == '-') {
            out.push(character);
        } else if is_unseen(character) {
            out.push('\u{FFFD}');
        } else {
            let _ = write!(out, "#{};", u32::from(character));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn mermaid_names_end_no_label() {
        assert_eq!(escaped("orders_ro 2"), "orders_ro 2");
        assert_eq!(
            escaped("a\"] --> b;<script>`x`&#1;\n"),
            "a#34;#93; --#62; b#59;#60;script#62;#96;x#96;#38;#35;1#59;\u{FFFD}"
        );
    }
}
