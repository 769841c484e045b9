//! Every SQL block of README.md and docs/*.md runs, in the order of the page, by psql, on a server and a database of the page's own.
//!
//! The database has the extension, unless the page itself creates it. A block runs as the superuser in a session of its own. What a
//! reader would have and the page does not show stands in an HTML comment right before the block:
//!
//! ````text
//! <!-- test as=alice token={"role": "web_user"}
//! CREATE ROLE alice LOGIN;
//! -->
//! ```sql
//! SELECT * FROM orders;        -- any remark
//! DROP TABLE orders;           -- ERROR: must be owner of table orders
//! ```
//! ````
//!
//! `as=`, who runs the block; `token=`, to the end of the line, claims of the token that takes the place of `'eyJ…'`; the other lines
//! are SQL that the superuser runs before it. The last JSON block is in the file `roles.json`. `{"keys": [ … ]}` stands for a key set. A statement fails, or warns, exactly where a
//! comment on its last line says `ERROR:` or `WARNING:` and how the message begins.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::*;

/// A block, with what the comment before it says.
#[derive(Debug, Default, PartialEq)]
struct Block {
    line: usize,
    role: Option<String>,
    claims: Option<String>,
    before: String,
    sql: String,
    /// The last JSON block before it: the file that it reads.
    json: String,
}

/// What a block may be. A misspelt `sql` would else drop out unnoticed.
const KINDS: [&str; 8] = ["sql", "json", "", "text", "ini", "sh", "rust", "python"];

fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let (mut next, mut json) = (Block::default(), String::new());
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(options) = line.strip_prefix("<!-- test") {
            let (options, closed) = match options.strip_suffix("-->") {
                Some(options) => (options, true),
                None => (options, false),
            };
            let (words, claims) = match options.split_once("token=") {
                Some((words, claims)) => (words, Some(claims.trim().to_owned())),
                None => (options, None),
            };
            next.claims = claims;
            for word in words.split_whitespace() {
                let role = word.strip_prefix("as=");
                next.role = Some(
                    role.unwrap_or_else(|| panic!("line {}: {word}", index + 1))
                        .into(),
                );
            }
            if !closed {
                next.before = up_to("-->", &mut lines);
            }
        } else if line.trim_start().starts_with("```") {
            let fence = line.trim_start().trim_start_matches('`').trim();
            assert!(
                KINDS.contains(&fence),
                "line {}: a block of {fence:?}, which nothing knows to run or to leave alone",
                index + 1
            );
            let is_sql = fence == "sql";
            next.line = index + 1;
            next.sql = up_to("```", &mut lines);
            if fence == "json" {
                json.clone_from(&next.sql);
            }
            if is_sql {
                next.json.clone_from(&json);
                found.push(std::mem::take(&mut next));
            } else {
                assert!(next.before.is_empty(), "line {}: no SQL block", index + 1);
                next = Block::default();
            }
        } else if !line.trim().is_empty() {
            assert_eq!(
                (&next.role, &next.claims, next.before.as_str()),
                (&None, &None, ""),
                "line {}: the comment before it belongs right before a block",
                index + 1
            );
        }
    }
    found
}

fn up_to<'a>(end: &str, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> String {
    let mut text = String::new();
    for (_, line) in lines {
        if line.trim() == end {
            return text;
        }
        text += &format!("{line}\n");
    }
    panic!("the page ends before {end}");
}

/// What a page's readers put in the place of what it leaves out.
fn filled_in(block: &Block) -> String {
    let mut sql = block.sql.replace(
        r#"{"keys": [ … ]}"#,
        &jwks(&[&Key::p256("documents"), &Key::rsa("documents-rsa")]),
    );
    if let Some(claims) = &block.claims {
        let mut claims: Value = serde_json::from_str(claims).expect("the claims of a token");
        if claims.get("exp").is_none() {
            claims["exp"] = json!(now() + 600);
        }
        let token = sign(&claims);
        let mut rest = sql.as_str();
        let mut with = String::new();
        while let Some((text, after)) = rest.split_once("'eyJ") {
            let (_, after) = after.split_once('\'').expect("the end of a token");
            with += &format!("{text}'{token}'");
            rest = after;
        }
        sql = with + rest;
    }
    for line in sql.lines() {
        let code = line.split("--").next().unwrap_or_default();
        assert!(!code.contains('…'), "what does … stand for in: {line}");
    }
    sql
}

/// The lines where a block says that its statement fails or warns, and how.
fn announced(sql: &str) -> Vec<(usize, String)> {
    let of_line = |(index, line): (usize, &str)| {
        let (_, remark) = line.split_once("-- ")?;
        let is_one = remark.starts_with("ERROR:") || remark.starts_with("WARNING:");
        is_one.then(|| (index + 1, remark.trim().to_owned()))
    };
    sql.lines().enumerate().filter_map(of_line).collect()
}

/// What psql reported, in the same form. Notices are fine.
fn reported(said: &str) -> Vec<(usize, String)> {
    let of_line = |line: &str| {
        let (line, message) = line.strip_prefix("psql:block:")?.split_once(": ")?;
        let (severity, message) = message.split_once(':')?;
        let is_one = matches!(severity, "ERROR" | "WARNING" | "FATAL" | "error");
        is_one.then(|| {
            let line = line.parse().unwrap_or_default();
            (line, format!("{severity}: {}", message.trim()))
        })
    };
    said.lines().filter_map(of_line).collect()
}

/// What a page got wrong; nothing when all of it is so.
fn verdict(announced: &[(usize, String)], reported: &[(usize, String)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (line, message) in reported {
        let foreseen = announced
            .iter()
            .any(|(at, text)| at == line && message.starts_with(text.as_str()));
        if !foreseen {
            wrong.push(format!("{line}: {message}"));
        }
    }
    for (line, text) in announced {
        if !reported.iter().any(|(at, _)| at == line) {
            wrong.push(format!("{line}: it succeeds and should say {text}"));
        }
    }
    wrong
}

fn psql(server: &Server, role: &str, name: &str, sql: &str, json: &str) -> Vec<String> {
    let folder = server.data().with_file_name("psql");
    make_dir(&folder);
    std::fs::write(folder.join(name), sql).expect("a script");
    std::fs::write(folder.join("roles.json"), json).expect("a spec");
    let done = server
        .client("psql")
        .args(["-X", "-q", "-o", "/dev/null", "-f", name])
        .env("PGUSER", role)
        .env("PGDATABASE", "shop")
        .current_dir(&folder)
        .output()
        .expect("psql");
    let said = String::from_utf8_lossy(&done.stderr);
    let mut wrong = verdict(&announced(sql), &reported(&said));
    if !wrong.is_empty() || !done.status.success() {
        wrong.push(format!("psql, {}:\n{said}", done.status));
    }
    wrong
}

/// Runs the blocks of a page; what went wrong.
fn run(page: &str) -> Vec<String> {
    let blocks = blocks(page);
    if blocks.is_empty() {
        return Vec::new();
    }
    let server = Server::start(Options::default().set("statement_timeout", "30s"));
    server.admin("postgres").run("CREATE DATABASE shop");
    if !blocks
        .iter()
        .any(|block| block.sql.contains("CREATE EXTENSION scope_roles"))
    {
        server.admin("shop").run("CREATE EXTENSION scope_roles");
    }
    let mut wrong = Vec::new();
    for block in blocks {
        let before = server.admin("shop").attempt(&block.before);
        if let Err(refusal) = before {
            wrong.push(format!(
                "before the block at line {}: {refusal}",
                block.line
            ));
            break;
        }
        let role = block.role.as_deref().unwrap_or("postgres");
        let of_block = psql(&server, role, "block", &filled_in(&block), &block.json);
        wrong.extend(
            of_block
                .into_iter()
                .map(|text| format!("the block at line {}, {text}", block.line)),
        );
    }
    wrong
}

/// README.md, then docs/*.md.
pub fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).expect("docs");
    let mut pages: Vec<PathBuf> = docs
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    pages.insert(0, root.join("README.md"));
    pages
}

#[test]
fn every_sql_block_of_the_pages_runs() {
    let mut wrong = String::new();
    let mut count = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).expect("a page");
        count += blocks(&page).len();
        for text in run(&page) {
            wrong += &format!("{}: {text}\n", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 40, "only {count} blocks were found");
}

/// The test above fails when a page is wrong.
#[test]
fn a_page_that_says_what_is_not_so_is_found() {
    let page = "Words.\n\n<!-- test as=reader\nCREATE ROLE reader LOGIN;\nCREATE TABLE things (x int);\n-->\n```sql\n\
        SELECT 1;\n\
        SELECT * FROM things;  -- ERROR:  permission denied for table\n\
        SELECT 2;  -- ERROR: division by zero\n\
        SELECT no_such_column;\n\
        SELECT 1\n  / 0;  -- ERROR: something else\n\
        COMMIT;  -- WARNING: there is no transaction\n\
        ```\n";
    let page = page.replace("ERROR:  ", "ERROR: ");
    let wrong = run(&page);
    let begins = [
        "the block at line 7, 4: ERROR: column",
        "the block at line 7, 6: ERROR: division by zero",
        "the block at line 7, 3: it succeeds and should say ERROR: division by zero",
        "the block at line 7, psql",
    ];
    assert_eq!(wrong.len(), begins.len(), "{wrong:#?}");
    for (text, begin) in wrong.iter().zip(begins) {
        assert!(text.starts_with(begin), "{text}\nis not: {begin}");
    }
}

#[test]
#[should_panic(expected = "line 3: a block of \"postgresql\"")]
fn a_block_of_an_unknown_kind_is_found() {
    blocks("Words.\n\n```postgresql\nSELECT 1;\n```\n");
}

#[test]
fn the_comment_before_a_block_is_read() {
    let page = "<!-- test as=ann token={\"role\": \"a\"}\nSELECT 1;\n-->\n\n```sql\nSELECT 'eyJh.…';\n```\n\
        ```\nno SQL\n```\n```sql\nSELECT 2;\n```\n";
    let found = blocks(page);
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0],
        Block {
            line: 5,
            role: Some("ann".into()),
            claims: Some("{\"role\": \"a\"}".into()),
            before: "SELECT 1;\n".into(),
            sql: "SELECT 'eyJh.…';\n".into(),
            json: String::new(),
        }
    );
    assert!(filled_in(&found[0]).starts_with("SELECT 'eyJ"));
    assert!(!filled_in(&found[0]).contains('…'));
    assert_eq!(found[1].before, "");
}
