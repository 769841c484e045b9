//! The page's HTML. Every text of the database goes through [`escaped`]. Pure.
#![forbid(unsafe_code)]

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;

use super::findings::{self, Finding};
use super::matrix::{self, Access};
use super::names;
use crate::html::{ascii, escaped};
use crate::map::Drawing;

const STYLE: &str = include_str!("page.css");
/// It filters what is there; without it all is shown.
const SCRIPT: &str = include_str!("page.js");

#[derive(Debug, Default, Deserialize)]
pub struct Place {
    pub database: String,
    pub server: String,
    pub reviewer: String,
    /// UTC, to the minute.
    pub at: String,
}

#[derive(Debug, Default)]
pub struct Page {
    pub place: Place,
    pub findings: Vec<Finding>,
    pub drawing: Drawing,
    pub access: Vec<Access>,
}

impl Page {
    pub fn html(&self) -> String {
        let Place {
            database,
            server,
            reviewer,
            at,
        } = &self.place;
        let (accepted, open): (Vec<&Finding>, Vec<&Finding>) = self
            .findings
            .iter()
            .partition(|finding| finding.accepted.is_some());
        let (signed, open): (Vec<&Finding>, Vec<&Finding>) = open
            .into_iter()
            .partition(|finding| finding.code.starts_with("attest"));
        let mut out = head();
        let _ = write!(
            out,
            "<title>Roles of {0}</title></head><body><a class=\"skip\" href=\"#findings\">To the findings</a>\
             <header><h1>Roles of {0}</h1><p>PostgreSQL {1}, {2} UTC, for {3}</p><p class=\"counts\">",
            escaped(database),
            escaped(server),
            escaped(at),
            escaped(reviewer)
        );
        for severity in ["critical", "high", "medium", "low"] {
            let count = open.iter().filter(|one| one.severity == severity).count();
            let _ = write!(out, "<span class=\"{severity}\">{count} {severity}</span> ");
        }
        out += "</p><nav aria-label=\"Parts\"><a href=\"#findings\">Findings</a> <a href=\"#changes\">Signatures</a> \
                <a href=\"#map\">Map</a> <a href=\"#access\">Access</a></nav></header><main>\
                <label class=\"filter\" hidden>Filter <input type=\"search\" placeholder=\"role, table, finding\" autocomplete=\"off\">\
                <output></output></label>";
        out += "<section id=\"findings\"><h2>Findings</h2>";
        findings::write(&mut out, &open, "Nothing was found.");
        if !accepted.is_empty() {
            out += "<h3>Accepted</h3>";
            findings::write(&mut out, &accepted, "");
        }
        out += "</section><section id=\"changes\"><h2>Since the last signatures</h2>";
        findings::write(
            &mut out,
            &signed,
            "No signature is overdue, and nothing has changed since the last ones.",
        );
        out += "</section><section id=\"map\"><h2>Map</h2>";
        map(&mut out, &self.drawing);
        out += "</section><section id=\"access\"><h2>Access</h2>";
        matrix::write(&mut out, &self.access);
        let _ = writeln!(
            out,
            "</section></main><script>{SCRIPT}</script></body></html>"
        );
        ascii(&out)
    }
}

fn map(out: &mut String, drawing: &Drawing) {
    if *drawing == Drawing::default() {
        *out += "<p>There is nothing to draw.</p>";
        return;
    }
    if !drawing.parts.is_empty() {
        *out += "<p>From logins on the left to the roles and scopes that they are members of. Roles that are alike in every arrow are one box. \
                 Dashes: only by token, or not with both INHERIT and SET. Bold: with ADMIN.</p><div class=\"parts part\">";
        for slices in &drawing.parts {
            *out += "<figure class=\"scroll\" tabindex=\"0\">";
            *out += &slices.concat();
            *out += "</figure>";
        }
        *out += "</div>";
    }
    for (title, list, names) in [
        ("Who is in which box", "box", &drawing.folded),
        ("Without memberships and members", "alone", &drawing.alone),
    ] {
        if names.is_empty() {
            continue;
        }
        let _ = write!(out, "<div class=\"part {list}\"><h3>{title}</h3>");
        for (kind, names) in names {
            let _ = write!(out, "<details open><summary>{}</summary>", escaped(kind));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            names::all(out, &names);
            *out += "</details>";
        }
        *out += "</div>";
    }
}

/// Nothing from elsewhere, and no script and no style but ours: the policy makes the browser hold to that.
fn head() -> String {
    let hash = |text: &str| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <style>{STYLE}</style>",
        hash(STYLE),
        hash(SCRIPT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evil() -> String {
        "</td><script>alert(1)</script>\"'&".to_owned()
    }

    #[test]
    fn page_shows_names_as_text() {
        let finding = Finding {
            severity: evil(),
            code: evil(),
            role: evil(),
            object: evil(),
            finding: evil(),
            since: evil(),
            fix: evil(),
            accepted: Some(evil()),
            accepted_by: evil(),
            accepted_until: evil(),
        };
        let open = Finding {
            accepted: None,
            ..finding.clone()
        };
        let page = Page {
            place: Place {
                database: evil(),
                server: evil(),
                reviewer: evil(),
                at: evil(),
            },
            findings: vec![finding, open],
            drawing: Drawing::default(),
            access: vec![Access {
                role: evil(),
                place: evil(),
                object: evil(),
                privileges: vec![evil()],
            }],
        };
        let html = page.html();
        assert!(
            html.matches("<script").count() == 1 && !html.contains("\"'&"),
            "{html}"
        );
        assert!(html.matches("&lt;script&gt;").count() > 10);
        assert!(html.is_ascii());
    }

    #[test]
    fn page_has_one_row_for_the_same_finding_of_many() {
        let finding = |role: usize| Finding {
            severity: "medium".to_owned(),
            code: "no_deadline".to_owned(),
            role: format!("person_{role}"),
            object: String::new(),
            finding: "logs in without a deadline".to_owned(),
            since: String::new(),
            fix: format!("ALTER ROLE person_{role} \u{2026};"),
            accepted: None,
            accepted_by: String::new(),
            accepted_until: String::new(),
        };
        let page = Page {
            findings: (0..200).map(finding).collect(),
            ..Page::default()
        };
        let html = page.html();
        assert_eq!(html.matches("logs in without").count(), 1);
        assert!(html.contains(">200 medium<") && html.contains("SQL for 196 more"));
        assert!(html.contains("200 roles: person_0"));
    }

    /// What the browser is told to run is what is there.
    #[test]
    fn page_allows_its_own_script_and_style_only() {
        let html = Page::default().html();
        for (element, text) in [("script", SCRIPT), ("style", STYLE)] {
            let hash = BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
            assert!(html.contains(&format!("{element}-src 'sha256-{hash}'")));
            assert!(html.contains(&format!("<{element}>{text}</{element}>")));
        }
        assert!(SCRIPT.is_ascii() && STYLE.is_ascii());
    }
}
