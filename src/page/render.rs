//! The page's HTML. Every text of the database goes through [`escaped`]. Pure.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Deserialize;

use crate::html::{ascii, escaped};

/// More columns are no table that one can read.
const PLACES: usize = 10;
const ROWS: usize = 150;

#[derive(Debug, Default, Deserialize)]
pub struct Place {
    pub database: String,
    pub server: String,
    pub reviewer: String,
    /// UTC, to the minute.
    pub at: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Finding {
    pub severity: String,
    pub code: String,
    #[serde(default)]
    pub role: String,
    #[serde(default)]
    pub object: String,
    pub finding: String,
    #[serde(default)]
    pub since: String,
    #[serde(default)]
    pub mend: String,
    pub accepted: Option<String>,
    #[serde(default)]
    pub accepted_by: String,
    #[serde(default)]
    pub accepted_until: String,
}

/// What a role can do in a schema.
#[derive(Debug, Clone, Deserialize)]
pub struct Access {
    pub role: String,
    pub place: String,
    pub objects: u64,
    pub privileges: Vec<String>,
}

#[derive(Debug, Default)]
pub struct Page {
    pub place: Place,
    pub findings: Vec<Finding>,
    pub drawing: Option<String>,
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
        let mut out = String::from(HEAD);
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
                <a href=\"#map\">Map</a> <a href=\"#access\">Access</a></nav></header><main>";
        out += "<section id=\"findings\"><h2>Findings</h2>";
        findings(&mut out, &open, "Nothing was found.");
        if !accepted.is_empty() {
            out += "<h3>Accepted</h3>";
            findings(&mut out, &accepted, "");
        }
        out += "</section><section id=\"changes\"><h2>Since the last signatures</h2>";
        findings(
            &mut out,
            &signed,
            "No signature is overdue, and nothing has changed since the last ones.",
        );
        out += "</section><section id=\"map\"><h2>Map</h2>";
        match &self.drawing {
            Some(drawing) => {
                out += "<p>From logins to what they reach. Roles that are alike are one box; dashed lines have options of their own.</p>\
                        <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Map of roles\">";
                out += drawing;
                out += "</div>";
            }
            None => out += "<p>There is nothing to draw.</p>",
        }
        out += "</section><section id=\"access\"><h2>Access</h2>";
        access(&mut out, &self.access);
        out += "</section></main></body></html>\n";
        ascii(&out)
    }
}

fn findings(out: &mut String, list: &[&Finding], none: &str) {
    if list.is_empty() {
        let _ = write!(out, "<p>{}</p>", escaped(none));
        return;
    }
    *out += "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Findings\"><table><thead><tr><th scope=\"col\">Severity</th>\
             <th scope=\"col\">Role and object</th><th scope=\"col\">Finding</th><th scope=\"col\">Since</th></tr></thead><tbody>";
    // The same of many roles is one row.
    let mut rows: Vec<Vec<&Finding>> = Vec::new();
    let mut known: BTreeMap<[&str; 5], usize> = BTreeMap::new();
    for one in list.iter().copied() {
        let accepted = one.accepted.as_deref().unwrap_or_default();
        let key = [
            &one.severity,
            &one.code,
            &one.object,
            &one.finding,
            accepted,
        ];
        let row = *known.entry(key).or_insert(rows.len());
        match rows.get_mut(row) {
            Some(row) => row.push(one),
            None => rows.push(vec![one]),
        }
    }
    for row in rows {
        self::row(out, &row);
    }
    *out += "</tbody></table></div>";
}

fn row(out: &mut String, findings: &[&Finding]) {
    const SHOWN: usize = 4;
    let Some(one) = findings.first() else {
        return;
    };
    let more = findings.len().saturating_sub(SHOWN);
    let several = |texts: Vec<&str>, separator: &str| {
        let texts = texts.into_iter().filter(|text| !text.is_empty());
        texts.map(escaped).collect::<Vec<_>>().join(separator)
    };
    let shown = || findings.iter().take(SHOWN);
    let severity = match one.severity.as_str() {
        known @ ("critical" | "high" | "medium" | "low") => known,
        _ => "low",
    };
    let _ = write!(
        out,
        "<tr><td><span class=\"{severity}\">{severity}</span><br><code>{}</code></td><td>",
        escaped(&one.code)
    );
    let roles = several(shown().map(|one| one.role.as_str()).collect(), "<br>");
    if !roles.is_empty() {
        let _ = write!(out, "<b>{roles}</b><br>");
    }
    if more > 0 {
        let _ = write!(out, "\u{2026} {more} more<br>");
    }
    let _ = write!(
        out,
        "{}</td><td>{}",
        escaped(&one.object),
        escaped(&one.finding)
    );
    if let Some(reason) = &one.accepted {
        let _ = write!(
            out,
            "<br>Accepted by {} until {}: {}",
            escaped(&one.accepted_by),
            escaped(&one.accepted_until),
            escaped(reason)
        );
    }
    let mends = several(shown().map(|one| one.mend.as_str()).collect(), "\n");
    if !mends.is_empty() {
        let _ = write!(out, "<pre>{mends}");
        if more > 0 {
            let _ = write!(
                out,
                "\n-- {more} more: SELECT mend FROM scope.review() WHERE code = {};",
                escaped(&format!("'{}'", one.code.replace('\'', "''")))
            );
        }
        *out += "</pre>";
    }
    let since = findings.iter().map(|one| one.since.as_str());
    let first = since.filter(|since| !since.is_empty()).min();
    let _ = write!(
        out,
        "</td><td>{}</td></tr>",
        escaped(first.unwrap_or_default())
    );
}

/// Roles by schemas. Roles that can do the same are one row.
fn access(out: &mut String, list: &[Access]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut roles: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for one in list {
        *counts.entry(&one.place).or_default() += 1;
        let objects = match one.objects {
            1 => String::new(),
            many => format!(" ({many})"),
        };
        let cell = format!("{}{objects}", one.privileges.join(", "));
        roles.entry(&one.role).or_default().insert(&one.place, cell);
    }
    if roles.is_empty() {
        *out += "<p>Only superusers hold anything.</p>";
        return;
    }
    let mut places: Vec<&str> = counts.keys().copied().collect();
    places.sort_by_key(|place| {
        (
            std::cmp::Reverse(counts.get(place).copied().unwrap_or_default()),
            *place,
        )
    });
    let beyond: BTreeSet<&str> = places
        .split_off(places.len().min(PLACES))
        .into_iter()
        .collect();
    let mut rows: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
    for (role, cells) in &roles {
        let mut row: Vec<String> = places
            .iter()
            .map(|place| cells.get(place).cloned().unwrap_or_default())
            .collect();
        let others = cells.keys().filter(|place| beyond.contains(*place)).count();
        row.push(if others > 0 {
            format!("{others} more")
        } else {
            String::new()
        });
        rows.entry(row).or_default().push(role);
    }
    *out += "<p>Without superusers and what everyone has; the number of objects in brackets. Roles with the same privileges on as many objects share a row.</p>\
             <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Access\"><table><thead><tr><th scope=\"col\">Role</th>";
    for place in &places {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(place));
    }
    if !beyond.is_empty() {
        let _ = write!(out, "<th scope=\"col\">{} other places</th>", beyond.len());
    }
    *out += "</tr></thead><tbody>";
    let mut sorted: Vec<(Vec<String>, Vec<&str>)> = rows.into_iter().collect();
    sorted.sort_by(|(_, one), (_, other)| one.cmp(other));
    let more = sorted.len().saturating_sub(ROWS);
    for (cells, names) in sorted.into_iter().take(ROWS) {
        const NAMES: usize = 4;
        let shown: Vec<String> = names.iter().take(NAMES).map(|name| escaped(name)).collect();
        let _ = write!(out, "<tr><th scope=\"row\">{}", shown.join("<br>"));
        if names.len() > NAMES {
            let _ = write!(out, "<br>\u{2026} {} more", names.len() - NAMES);
        }
        *out += "</th>";
        let shown = if beyond.is_empty() {
            places.len()
        } else {
            places.len() + 1
        };
        for cell in cells.iter().take(shown) {
            let _ = write!(out, "<td>{}</td>", escaped(cell));
        }
        *out += "</tr>";
    }
    *out += "</tbody></table></div>";
    if more > 0 {
        let _ = write!(
            out,
            "<p>{more} more rows: see <code>scope.effective_access()</code>.</p>"
        );
    }
}

/// No script, nothing from elsewhere: the policy makes the browser hold to that.
const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><style>\
:root{--bg:#fff;--fg:#1b1f24;--dim:#57606a;--line:#d0d7de;--soft:#f6f8fa;--link:#0a58ca;--crit:#a40e26;--high:#b35900;--med:#7a6200;--low:#3d5a80;\
--scope:#e3f0ff;--login:#e9f7ec;--cred:#fdf3dc;--auth:#f3e8fd}\
@media(prefers-color-scheme:dark){:root{--bg:#0f1318;--fg:#e6edf3;--dim:#9da7b3;--line:#3a424c;--soft:#1a2028;--link:#7ab7ff;--crit:#ff8b94;--high:#ffb066;\
--med:#e6cf5c;--low:#9cc0ee;--scope:#15304d;--login:#16351f;--cred:#3b3113;--auth:#32204a}}\
*{box-sizing:border-box}body{margin:0 auto;max-width:80rem;padding:1.5rem;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}\
h1{font-size:1.6rem;margin:0}h2{font-size:1.25rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}h3{font-size:1rem}\
header p{margin:.25rem 0;color:var(--dim)}a{color:var(--link)}nav a{margin-right:1rem}a:focus-visible,.scroll:focus-visible{outline:3px solid var(--link);outline-offset:2px}\
.skip{position:absolute;left:-99rem}.skip:focus{position:static}.scroll{overflow:auto;max-width:100%;border:1px solid var(--line);border-radius:6px}\
table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid var(--line)}\
thead th{background:var(--soft);position:sticky;top:0}tbody th{font-weight:600;min-width:11rem}td,th{overflow-wrap:anywhere}pre{margin:.4rem 0 0;padding:.4rem .6rem;background:var(--soft);\
white-space:pre-wrap;font-size:.85rem}.critical,.high,.medium,.low{font-weight:600}.critical{color:var(--crit)}.high{color:var(--high)}.medium{color:var(--med)}.low{color:var(--low)}\
.counts span{margin-right:1rem}svg.map{display:block;max-width:none;background:var(--bg)}svg text{fill:var(--fg);font:12px system-ui,sans-serif;text-anchor:middle}svg .first{font-weight:600}\
svg .option{fill:var(--dim);font-size:11px;paint-order:stroke;stroke:var(--bg);stroke-width:4px}svg rect{fill:var(--soft);stroke:var(--dim)}svg .scope rect{fill:var(--scope)}svg .login rect{fill:var(--login)}\
svg .credential rect,svg .temporary rect{fill:var(--cred)}svg .authenticator rect{fill:var(--auth)}svg .superuser rect{stroke:var(--crit);stroke-width:2}\
svg .edge{fill:none;stroke:var(--dim)}svg .tip{fill:var(--dim)}\
@media print{:root{--bg:#fff;--fg:#000;--dim:#444;--line:#bbb;--soft:#f3f3f3;--scope:#fff;--login:#fff;--cred:#fff;--auth:#fff}body{max-width:none;padding:0;font-size:11px}\
nav,.skip{display:none}.scroll{overflow:visible;border:0}tr,svg .node{break-inside:avoid}thead{display:table-header-group}thead th{position:static}\
svg.map{width:100%;height:auto;max-height:24cm}}</style>";

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
            mend: evil(),
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
            drawing: None,
            access: vec![Access {
                role: evil(),
                place: evil(),
                objects: 2,
                privileges: vec![evil()],
            }],
        };
        let html = page.html();
        assert!(
            !html.contains("<script") && !html.contains("\"'&"),
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
            mend: format!("ALTER ROLE person_{role} \u{2026};"),
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
        assert!(html.contains(">200 medium<") && html.contains("196 more<br>"));
        assert!(html.contains("WHERE code = &#39;no_deadline&#39;;"));
    }

    #[test]
    fn page_of_a_large_cluster_stays_a_page() {
        let access = |role: usize, place: usize| Access {
            role: format!("role_{role}"),
            place: format!("schema_{place}"),
            objects: 3,
            privileges: vec!["SELECT".to_owned()],
        };
        let page = Page {
            access: (0..2_000)
                .flat_map(|role| (0..3).map(move |place| access(role, (role + place) % 40)))
                .collect(),
            ..Page::default()
        };
        let html = page.html();
        assert!(html.len() < 200_000, "{}", html.len());
        assert!(html.contains("30 other places") && html.contains("\u{26}#8230; "));
    }
}
