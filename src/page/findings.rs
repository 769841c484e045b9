//! Findings as a table: the same of many roles is one row. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

use super::names;
use crate::html::escaped;

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
    pub fix: String,
    pub accepted: Option<String>,
    #[serde(default)]
    pub accepted_by: String,
    #[serde(default)]
    pub accepted_until: String,
}

pub fn write(out: &mut String, list: &[&Finding], none: &str) {
    if list.is_empty() {
        let _ = write!(out, "<p>{}</p>", escaped(none));
        return;
    }
    *out += "<div class=\"scroll findings\" tabindex=\"0\" role=\"region\" aria-label=\"Findings\"><table><thead><tr><th scope=\"col\">Severity</th>\
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
    let Some(one) = findings.first() else {
        return;
    };
    let severity = match one.severity.as_str() {
        known @ ("critical" | "high" | "medium" | "low") => known,
        _ => "low",
    };
    let _ = write!(
        out,
        "<tr><td><span class=\"{severity}\">{severity}</span><br><code>{}</code></td><td class=\"names\">",
        escaped(&one.code)
    );
    let texts = |of: fn(&Finding) -> &str| -> Vec<&str> {
        findings
            .iter()
            .map(|one| of(one))
            .filter(|text| !text.is_empty())
            .collect()
    };
    let roles = texts(|one| &one.role);
    if !roles.is_empty() {
        *out += "<b>";
        names::few(out, &roles, "roles");
        *out += "</b>";
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
    proposals(out, &texts(|one| &one.fix), &one.code);
    let since = texts(|one| &one.since);
    let first = since.into_iter().min().unwrap_or_default();
    let _ = write!(out, "</td><td class=\"names\">{}</td></tr>", escaped(first));
}

/// The first few at once, the others on demand, and of thousands the way to them.
fn proposals(out: &mut String, proposals: &[&str], code: &str) {
    const SHOWN: usize = 4;
    const MOST: usize = 400;
    let block = |out: &mut String, proposals: &[&str]| {
        let texts: Vec<String> = proposals.iter().map(|text| escaped(text)).collect();
        let _ = write!(out, "<pre>{}</pre>", texts.join("\n"));
    };
    let (shown, more) = proposals.split_at(proposals.len().min(SHOWN));
    if !shown.is_empty() {
        block(out, shown);
    }
    if more.is_empty() {
        return;
    }
    let (listed, beyond) = more.split_at(more.len().min(MOST));
    let _ = write!(
        out,
        "<details><summary>SQL for {} more</summary>",
        more.len()
    );
    block(out, listed);
    if !beyond.is_empty() {
        let _ = write!(
            out,
            "<p>and {} more: <code>SELECT fix FROM scope.review() WHERE code = {};</code></p>",
            beyond.len(),
            escaped(&format!("'{}'", code.replace('\'', "''")))
        );
    }
    *out += "</details>";
}
