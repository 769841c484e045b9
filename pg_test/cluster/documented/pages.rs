//! The lists of the pages against what is there: links, functions, views, settings, reasons.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::sql::pages;
use crate::harness::*;

const README: &str = include_str!("../../../README.md");
const REFERENCE: &str = include_str!("../../../docs/reference.md");

/// A part of a page, from its heading to the next of the same or a higher level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no {heading}"));
    let text = &page[start + 1 + heading.len()..];
    let level = heading.split(' ').next().unwrap_or_default();
    let end = text
        .match_indices("\n#")
        .map(|(at, _)| at)
        .find(|at| {
            let marks = text[at + 1..].split(' ').next().unwrap_or_default();
            marks.len() <= level.len()
        })
        .unwrap_or(text.len());
    &text[..end]
}

// ---- links ---------------------------------------------------------------------------------------------------------

/// The page without its blocks of code.
fn prose(page: &str) -> String {
    let parts = page.split("\n```").enumerate();
    parts
        .filter(|(index, _)| index % 2 == 0)
        .map(|(_, part)| part)
        .collect()
}

/// What `](…)` leads to, without what stands in code.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let text: String = prose.split('`').step_by(2).collect::<Vec<_>>().join("code");
    text.split("](")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap_or_default().to_owned())
        .collect()
}

/// The anchors that GitHub and GitLab give to headings.
fn anchors(page: &str) -> Vec<String> {
    prose(page)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// Links of a page that lead nowhere.
fn broken(path: &Path, page: &str) -> Vec<String> {
    let folder = path.parent().expect("a folder");
    links(page)
        .into_iter()
        .filter(|link| !link.starts_with("https://"))
        .filter(|link| {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.to_owned()
            } else {
                folder.join(file)
            };
            let is_there = target.exists();
            let has_anchor = anchor.is_empty()
                || std::fs::read_to_string(&target)
                    .is_ok_and(|page| anchors(&page).iter().any(|known| known == anchor));
            !(is_there && has_anchor)
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut all = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).expect("a page");
        all += links(&page).len();
        assert_eq!(broken(&path, &page), [""; 0], "{}", path.display());
    }
    assert!(all > 30, "only {all} links were found");
}

/// Whoever reads the README finds every other page.
#[test]
fn every_page_is_linked() {
    let linked: String = pages()
        .iter()
        .map(|path| links(&std::fs::read_to_string(path).expect("a page")).join(" ") + " ")
        .collect();
    for path in pages().iter().skip(1) {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("a name");
        assert!(linked.contains(name), "nothing links {name}");
    }
}

/// The tests above fail when a link does.
#[test]
fn links_that_lead_nowhere_are_found() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = "# One two\n\n[a](docs/lock.md) [b](docs/lock.md#vectors) [c](#scopes) `[d](e)` [f](docs/no.md) [g](docs/lock.md#no)\n\
        ```text\n[h](i)\n```\n[j](#no) [k](https://example.org/)\n";
    assert_eq!(
        broken(&path, page),
        ["docs/no.md", "docs/lock.md#no", "#no"]
    );
}

// ---- the reference -------------------------------------------------------------------------------------------------

/// What the blocks of text in a part of the page list: one thing begins each line that is not indented.
fn listed(part: &str) -> BTreeSet<String> {
    let blocks = part.split("\n```");
    let text: Vec<&str> = blocks
        .filter_map(|block| block.strip_prefix("text\n"))
        .collect();
    text.join("\n")
        .replace("\n ", " ")
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect()
}

#[track_caller]
fn assert_same(there: Vec<String>, documented: &BTreeSet<String>) {
    let there = BTreeSet::from_iter(there);
    let missing: Vec<_> = there.difference(documented).collect();
    let stale: Vec<_> = documented.difference(&there).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "docs/reference.md lacks:\n{missing:#?}\nand has, but the server has not:\n{stale:#?}"
    );
}

#[test]
fn the_reference_lists_every_function_as_the_server_has_it() {
    let f = Fixture::new("reference_functions");
    // Without the type that PostgreSQL says again after a default.
    let there = f.admin().column(
        r"SELECT p.proname || '(' || regexp_replace(pg_get_function_arguments(p.oid), '(DEFAULT (NULL|''[^'']*''))::[a-z ]+(\[\])?', '\1', 'g')
                || ') RETURNS ' || pg_get_function_result(p.oid)
         FROM pg_proc p WHERE p.pronamespace = 'scope'::regnamespace",
    );
    let functions = section(REFERENCE, "## Functions");
    assert_same(there, &listed(functions));
    // And says of each what it does and for whom.
    let rows: String = functions
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for signature in listed(functions) {
        let name = signature.split('(').next().unwrap_or_default();
        assert!(rows.contains(&format!("`{name}`")), "no row on {name}");
    }
}

#[test]
fn the_reference_lists_every_view_as_the_server_has_it() {
    let f = Fixture::new("reference_views");
    let there = f.admin().column(
        "SELECT c.relname || '(' || string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) || ')'
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'scope'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
           AND c.relkind IN ('v', 'r')
         GROUP BY c.oid",
    );
    let views = section(REFERENCE, "## Views and tables");
    assert_same(there, &listed(views));
    for columns in listed(views) {
        let name = columns.split('(').next().unwrap_or_default();
        assert!(
            views.contains(&format!("\n| `{name}` |")),
            "no row on {name}"
        );
    }
}

/// What psql offers after `typed` and TAB: names that begin with `scope.`.
fn offered(server: &Server, typed: &str) -> BTreeSet<String> {
    let psql = server.client("psql");
    let quoted = |part: &std::ffi::OsStr| literal(part.to_str().expect("UTF-8"));
    let line: Vec<_> = std::iter::once(psql.get_program())
        .chain(psql.get_args())
        .map(quoted)
        .collect();
    let settings = std::env::temp_dir().join(format!("scope-inputrc-{}", std::process::id()));
    std::fs::write(
        &settings,
        "set show-all-if-ambiguous on\nset completion-query-items -1\nset page-completions off\nset completion-display-width 0\n",
    )
    .expect("readline's settings");
    // readline completes for terminals only, and `script` gives it one.
    let mut terminal = Command::new("script");
    for (name, value) in psql.get_envs() {
        terminal.env(name, value.unwrap_or_default());
    }
    let mut child = terminal
        .args(["-qefc", &format!("{} -X", line.join(" ")), "/dev/null"])
        .env("INPUTRC", &settings)
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of util-linux");
    let mut input = child.stdin.take().expect("its input");
    let mut output = child.stdout.take().expect("its output");
    let mut shown = Vec::new();
    // What is typed before the prompt is not readline's yet.
    while !shown.ends_with(b"=# ") {
        let mut byte = [0];
        output.read_exact(&mut byte).expect("a prompt");
        shown.extend(byte);
    }
    writeln!(input, "{typed}\t\x15\\q").expect("to type");
    output.read_to_end(&mut shown).expect("the rest");
    child.wait().expect("psql");
    let _ = std::fs::remove_file(settings);
    String::from_utf8_lossy(&shown)
        .lines()
        .filter_map(|line| line.trim().strip_prefix("scope."))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Nothing that no user calls or reads is in the way.
#[test]
fn completion_of_the_schema_offers_what_the_reference_lists() {
    let server = Server::start(Options::default());
    server.admin("postgres").run("CREATE EXTENSION scope_roles");
    let names = |heading| -> BTreeSet<String> {
        let name = |entry: String| entry.split('(').next().unwrap_or_default().to_owned();
        listed(section(REFERENCE, heading))
            .into_iter()
            .map(name)
            .collect()
    };
    assert_eq!(
        offered(&server, "TABLE scope."),
        names("## Views and tables")
    );
    assert_eq!(
        offered(&server, "DROP FUNCTION scope."),
        names("## Functions")
    );
    // Only one schema begins like this.
    assert_eq!(
        offered(&server, "TABLE sco\t"),
        names("## Views and tables")
    );
}

#[test]
fn the_reference_lists_every_setting_with_its_default() {
    // Nothing of it set but that the library is loaded.
    let server =
        Server::start(Options::without_preload().set("shared_preload_libraries", "scope_roles"));
    let mut admin = server.admin("postgres");
    let there = admin.rows(
        "SELECT name, current_setting(name) FROM pg_settings WHERE name LIKE 'scope\\_roles.%'
         UNION ALL SELECT 'scope_roles.jwt_secret', left(current_setting('scope_roles.jwt_secret'), 0)  -- never shown",
    );
    let there = there.into_iter().map(|row| {
        let mut cells = row.into_iter().flatten();
        let (name, value) = (
            cells.next().expect("a name"),
            cells.next().expect("a value"),
        );
        format!("{name} = {value}")
    });
    let documented = section(REFERENCE, "## Settings")
        .lines()
        .filter_map(|line| line.strip_prefix("| `scope_roles."))
        .map(|line| {
            let mut cells = line.split(" | ").map(|cell| cell.trim_matches('`'));
            let (name, default) = (
                cells.next().expect("a name"),
                cells.next().expect("a default"),
            );
            // A number and its unit, as people write them.
            let default = match default.split_once(' ') {
                _ if default == "none" => String::new(),
                Some((number, unit)) if number.parse::<u32>().is_ok() => format!("{number}{unit}"),
                _ => default.to_owned(),
            };
            format!("scope_roles.{name} = {default}")
        })
        .collect();
    assert_same(
        BTreeSet::from_iter(there).into_iter().collect(),
        &documented,
    );
}

/// Words in backticks.
fn words(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The reasons that the code can give are those that README and the reference list.
#[test]
fn every_reason_of_a_refusal_is_listed() {
    let arms = |source: &str| -> Vec<String> {
        let of_reason = source.split("fn reason(").skip(1);
        of_reason
            .flat_map(|body| body.split("\n    }").next().unwrap_or_default().lines())
            .filter_map(|line| line.split_once("=> \"")?.1.split_once('"'))
            .map(|(word, _)| word.to_owned())
            .collect()
    };
    let mut reasons: Vec<String> = [
        include_str!("../../../src/jwt/refusal.rs"),
        include_str!("../../../src/claim_path.rs"),
    ]
    .iter()
    .flat_map(|source| arms(source))
    .collect();
    // Those that need the catalogues begin the text of DETAIL itself.
    let errors = [
        include_str!("../../../src/switch/error.rs"),
        include_str!("../../../src/composite/error.rs"),
        include_str!("../../../src/verify/error.rs"),
        include_str!("../../../src/lock/error.rs"),
        include_str!("../../../src/exchange/error.rs"),
    ]
    .concat();
    reasons.extend(errors.split('"').filter_map(|text| {
        let (word, _) = text.split_once(": ")?;
        let is_word = word.starts_with("role_")
            || matches!(
                word,
                "revoked"
                    | "unknown_issuer"
                    | "withdrawn"
                    | "unknown"
                    | "claim_required"
                    | "issuer_not_taken"
                    | "composite_role"
                    | "not_bound"
                    | "bound_elsewhere"
                    | "keys_expired"
                    | "replayed"
                    | "issued_before_start"
                    | "standby"
                    | "no_room"
                    | "missing_sub"
                    | "too_long_to_keep"
            );
        (is_word && word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
            .then(|| word.to_owned())
    }));
    let reasons = BTreeSet::from_iter(reasons);
    assert!(reasons.len() > 25, "{reasons:?}");
    let table: String = section(REFERENCE, "## Refusals")
        .lines()
        .filter_map(|line| line.split(" | ").nth(1))
        .collect();
    assert_eq!(words(&table), reasons, "docs/reference.md");
    let list = section(README, "## Refusals");
    let list = list.split_once("\n- ").expect("a list").1;
    assert_eq!(words(list), reasons, "README.md");
}
