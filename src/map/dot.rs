//! The map for Graphviz. Pure.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::fold::{Folded, Kind};
use crate::text::is_unseen;

pub fn text(map: &Folded) -> String {
    let mut out = String::from(
        "digraph roles {\n  rankdir=LR;\n  node [fontname=\"Helvetica\", fontsize=10, style=filled, fillcolor=white];\n  edge [fontname=\"Helvetica\", fontsize=9];\n",
    );
    let mut write = |line: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = out.write_fmt(line);
        out.push('\n');
    };
    for (index, node) in map.nodes.iter().enumerate() {
        let lines: Vec<String> = node.lines().iter().map(|line| escaped(line)).collect();
        let shape = match node.kind {
            Kind::Scope => "cylinder",
            Kind::Credential | Kind::Login | Kind::Superuser => "ellipse",
            Kind::Authenticator => "hexagon",
            Kind::Temporary => "cds",
            Kind::Group | Kind::Predefined => "box",
        };
        let label = lines.join("\\n");
        write(format_args!(
            "  n{index} [shape={shape}, label=\"{label}\"];"
        ));
    }
    for edge in &map.edges {
        let (member, role) = (edge.member, edge.role);
        if edge.options.is_empty() {
            write(format_args!("  n{member} -> n{role};"));
        } else {
            let options = escaped(&edge.options);
            write(format_args!(
                "  n{member} -> n{role} [style=dashed, label=\"{options}\"];"
            ));
        }
    }
    out.push_str("}\n");
    out
}

/// Inside double quotes. A backslash would be an escape of Graphviz's.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            // Graphviz reads HTML entities in labels.
            '&' => out.push_str("&amp;"),
            other if is_unseen(other) => out.push('\u{FFFD}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn dot_names_end_no_label() {
        assert_eq!(escaped("orders_ro"), "orders_ro");
        assert_eq!(
            escaped("a\"]; b [label=\"\\N\n&lt;"),
            "a\\\"]; b [label=\\\"\\\\N\u{FFFD}&amp;lt;"
        );
    }
}
