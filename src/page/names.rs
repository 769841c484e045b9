//! Lists of names: a few at once, the others on demand. Pure.
#![forbid(unsafe_code)]

use std::fmt::Write;

use crate::html::escaped;

/// Names shown without being asked for.
const NAMES: usize = 4;

/// A few names, and the others for who asks.
pub fn few(out: &mut String, names: &[&str], what: &str) {
    if names.len() <= NAMES {
        for name in names {
            let _ = write!(out, "<span>{}</span>", escaped(name));
        }
        return;
    }
    let _ = write!(
        out,
        "<details><summary>{} {what}: {} \u{2026}</summary>",
        names.len(),
        escaped(names.first().unwrap_or(&""))
    );
    all(out, names);
    *out += "</details>";
}

/// All of them.
pub fn all(out: &mut String, names: &[&str]) {
    *out += "<ul class=\"plain\">";
    for name in names {
        let _ = write!(out, "<li>{}</li>", escaped(name));
    }
    *out += "</ul>";
}
