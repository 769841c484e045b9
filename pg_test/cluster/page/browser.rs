//! The page as a person sees it: in a browser, on a telephone, on paper.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::page;
use crate::harness::*;

/// What is wrong with what the browser shows: a list of sentences.
const FAULTS: &str = r#"
const faults = [];
const say = (text) => { if (faults.length < 20) faults.push(text); };
const root = document.scrollingElement;
if (root.scrollWidth > innerWidth) say(`the page is ${root.scrollWidth} wide, the window ${innerWidth}`);
// Nothing outside a region that scrolls leaves the window.
for (const element of document.querySelectorAll("h1, h2, h3, p, li, summary, label, .scroll")) {
  const box = element.getBoundingClientRect();
  if (box.width && !element.parentElement.closest(".scroll, ul.plain") && box.right > innerWidth + 1) say(`cut off: ${element.textContent.slice(0, 60)}`);
}
// No word is broken.
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const range = document.createRange();
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (node.parentElement.closest("script, style, svg, pre, thead")) continue;
  for (const word of node.data.matchAll(/[^\s-]+/g)) {
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
    if (lines.size > 1) say(`broken: ${word[0]}`);
  }
}
for (const figure of document.querySelectorAll("figure")) {
  const boxes = [...figure.querySelectorAll(".node rect")].map((rect) => ({ of: rect.parentElement, at: rect.getBoundingClientRect() }));
  boxes.forEach(({ of, at }, index) => {
    for (const text of of.querySelectorAll("text")) {
      const inside = text.getBoundingClientRect();
      if (inside.left < at.left || inside.right > at.right || inside.top < at.top - 1 || inside.bottom > at.bottom + 1) say(`out of its box: ${text.textContent}`);
    }
    for (const other of boxes.slice(index + 1)) {
      if (at.left < other.at.right && other.at.left < at.right && at.top < other.at.bottom && other.at.top < at.bottom) say(`boxes overlap: ${of.textContent}`);
    }
  });
  // No box stands on an arrow but those at its ends.
  for (const path of figure.querySelectorAll("path.edge")) {
    const matrix = path.getScreenCTM();
    const view = path.ownerSVGElement.getBoundingClientRect();
    const length = path.getTotalLength();
    for (let at = 4; at < length - 4; at += 7) {
      const point = path.getPointAtLength(at).matrixTransform(matrix);
      if (point.y < view.top || point.y > view.bottom) continue;
      const hit = boxes.find(({ at }) => point.x > at.left + 2 && point.x < at.right - 2 && point.y > at.top + 2 && point.y < at.bottom - 2);
      if (hit) { say(`an arrow crosses ${hit.of.textContent}`); break; }
    }
  }
}
return faults;
"#;

/// Columns from left to right, and which kinds stand in which.
const COLUMNS: &str = r#"
const left = (selector) => [...document.querySelectorAll(selector)].map((rect) => rect.x.baseVal.value);
const furthest = (selector) => Math.max(-1, ...left(selector));
const nearest = (selector) => Math.min(1e9, ...left(selector));
return furthest(".login rect, .credential rect, .authenticator rect") < nearest(".scope rect");
"#;

/// A server with about so many roles: logins, teams, scopes on tables in several schemas, credentials, and some that hang by nothing.
fn populated(name: &str, roles: usize) -> (Server, String) {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, name);
    let mut admin = f.admin();
    let scopes = (roles / 10).max(1);
    admin.run(&format!(
        "DO $$ DECLARE team text; s int; BEGIN
           CREATE SCHEMA sales; CREATE SCHEMA accounting_and_controlling;
           FOR s IN 1..{scopes} LOOP
             EXECUTE format('CREATE TABLE %s.%s (id int)', CASE WHEN s % 2 = 0 THEN 'sales' ELSE 'accounting_and_controlling' END, 'ledger_of_region_' || s);
             PERFORM scope.create_scope('read_ledger_' || s, tables => ARRAY[format('%s.%s', CASE WHEN s % 2 = 0 THEN 'sales' ELSE 'accounting_and_controlling' END,
               'ledger_of_region_' || s)::regclass]);
           END LOOP;
           FOR s IN 1..greatest({scopes} / 3, 1) LOOP
             EXECUTE format('CREATE ROLE team_%s', s);
             EXECUTE format('GRANT read_ledger_%s TO team_%s', s, s);
             EXECUTE format('GRANT read_ledger_%s TO team_%s', 1 + s * 2 % {scopes}, s);
           END LOOP;
           FOR s IN 1..{roles} * 4 / 10 LOOP
             PERFORM scope.create_credential(ARRAY['read_ledger_' || 1 + s % {scopes}]::name[], 'service_number_' || s, '8 hours');
           END LOOP;
           FOR s IN 1..{roles} * 3 / 10 LOOP
             EXECUTE format('CREATE ROLE person_%s LOGIN', s);
             IF s % 3 > 0 THEN EXECUTE format('GRANT team_%s TO person_%s', 1 + s % greatest({scopes} / 3, 1), s); END IF;
             IF s % 7 = 0 THEN EXECUTE format('GRANT read_ledger_%s TO person_%s', 1 + s % {scopes}, s); END IF;
           END LOOP;
           PERFORM scope.create_authenticator('web_api', ARRAY['read_ledger_1']::name[]);
           CREATE ROLE a_name_of_sixty_three_letters_that_goes_on_and_on_and_on_until_i LOGIN IN ROLE team_1;
         END $$"
    ));
    let html = page(&mut admin);
    drop(admin);
    drop(f);
    (server, html)
}

fn look_at(name: &str, roles: usize) {
    let Some(browser) = Browser::start() else {
        return;
    };
    let (_server, html) = populated(name, roles);
    browser.open(&html);
    for (width, height) in [(1_280, 900), (390, 844)] {
        browser.resize(width, height);
        assert_eq!(
            browser.run(FAULTS),
            serde_json::json!([]),
            "{roles} roles at {width}"
        );
        keep(&format!("{name}-{width}.png"), &browser.screenshot());
    }
    assert_eq!(browser.run(COLUMNS), true);
    filter(&browser);
    // What is folded away is read when somebody opens it, and not cut off there.
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true");
    assert_eq!(
        browser.run(FAULTS),
        serde_json::json!([]),
        "{roles} roles, all open"
    );
    on_paper(&browser, name);
}

/// The box filters findings, map and access, and gives all back.
fn filter(browser: &Browser) {
    let type_in = |text: &str| {
        browser.run(&format!(
            "const input = document.querySelector('.filter input'); input.value = '{text}'; input.dispatchEvent(new Event('input'));"
        ));
    };
    let shown = "return [...document.querySelectorAll('.findings tbody tr, .matrix tbody tr, figure')].filter((one) => one.offsetParent !== null).length";
    let all = browser.run(shown).as_i64();
    type_in("web_api");
    let some = browser.run(shown).as_i64();
    assert!(Some(0) < some && some < all, "{some:?} of {all:?}");
    type_in("no such thing anywhere");
    assert_eq!(browser.run(shown).as_i64(), Some(0));
    type_in("");
    assert_eq!(browser.run(shown).as_i64(), all);
}

/// Every role is on the printed pages, whole, and nothing leaves the paper.
fn on_paper(browser: &Browser, name: &str) {
    let wanted: BTreeSet<String> = browser
        .run("return [...document.querySelectorAll('ul.plain li, .names span, svg .first')].map((one) => one.textContent)")
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|text| text.as_str())
        .flat_map(str::split_whitespace)
        .filter(|word| word.contains('_') && word.is_ascii())
        .map(str::to_owned)
        .collect();
    assert!(wanted.contains("web_api"), "{wanted:?}");
    let pdf = browser.print();
    keep(&format!("{name}.pdf"), &pdf);
    let Some(words) = words(&pdf) else {
        return;
    };
    assert!(
        words.cut_off.is_empty(),
        "what leaves the paper: {:?}",
        words.cut_off
    );
    let missing: Vec<_> = wanted
        .iter()
        .filter(|name| !words.all.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "not whole on paper: {missing:?}");
}

struct Words {
    all: BTreeSet<String>,
    cut_off: Vec<(usize, String)>,
}

/// The words of a PDF and where they stand, by pdftotext.
fn words(pdf: &[u8]) -> Option<Words> {
    use std::io::Write;
    let child = Command::new("pdftotext")
        .args(["-bbox", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        skip("there is no pdftotext here");
        return None;
    };
    let mut input = child.stdin.take().expect("its input");
    let pdf = pdf.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&pdf));
    let text = child.wait_with_output().expect("pdftotext").stdout;
    writer.join().expect("a thread").expect("the PDF");
    let text = String::from_utf8_lossy(&text);
    let number = |line: &str, key: &str| -> f64 {
        line.split_once(&format!("{key}=\""))
            .and_then(|(_, rest)| rest.split_once('"'))
            .and_then(|(number, _)| number.parse().ok())
            .unwrap_or_default()
    };
    let (mut pages, mut size) = (0, (0., 0.));
    let mut words = Words {
        all: BTreeSet::new(),
        cut_off: Vec::new(),
    };
    for line in text.lines().map(str::trim) {
        if line.starts_with("<page ") {
            pages += 1;
            size = (number(line, "width"), number(line, "height"));
        }
        let Some(word) = line.strip_prefix("<word ").and_then(|rest| {
            let (_, word) = rest.split_once('>')?;
            word.strip_suffix("</word>")
        }) else {
            continue;
        };
        if number(line, "xMax") > size.0
            || number(line, "yMax") > size.1
            || number(line, "xMin") < 0.
        {
            words.cut_off.push((pages, word.to_owned()));
        }
        words
            .all
            .insert(word.trim_matches([',', ';', ':']).to_owned());
    }
    Some(words)
}

/// To be looked at.
fn keep(name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("SCOPE_ROLES_PAGES") {
        std::fs::write(std::path::Path::new(&folder).join(name), bytes).expect("a picture");
    }
}

#[test]
fn the_page_with_five_roles_in_a_browser() {
    look_at("page_5", 5);
}

#[test]
fn the_page_with_fifty_roles_in_a_browser() {
    look_at("page_50", 50);
}

#[test]
fn the_page_with_three_hundred_roles_in_a_browser() {
    look_at("page_300", 300);
}

/// Without script all is there: the box that would do nothing is not.
#[test]
fn attack_names_that_are_markup_in_a_browser() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "page_hostile");
    let mut admin = f.admin();
    let names = [
        "</script><script>document.title='x'</script>",
        "<img src=x onerror=document.title='x'>",
        "\"><svg onload=document.title='x'>",
        "--><b>bold</b><!--",
        "\u{202e}gnp.exe",
        "\u{6f22}\u{5b57}\u{306e}\u{540d}\u{524d}",
    ];
    for name in names {
        admin.run(&format!(
            "CREATE ROLE {0} LOGIN; GRANT SELECT ON orders TO {0}; CREATE SCHEMA {0}; CREATE TABLE {0}.{0} (x int); GRANT SELECT ON {0}.{0} TO {0};
             CREATE ROLE {1}; GRANT {1} TO {0}",
            ident(name),
            ident(&format!("team {name}"))
        ));
    }
    browser.open(&admin.text("SELECT scope.review_html()"));
    browser.resize(1_280, 900);
    let title = browser.run("return document.title");
    assert_eq!(title, "Roles of page_hostile");
    // A browser breaks markup that is text after a slash.
    let faults = browser.run(FAULTS);
    let is_of_markup = |fault: &serde_json::Value| {
        let fault = fault.as_str().unwrap_or_default();
        fault.starts_with("broken: ") && fault.contains('<')
    };
    let faults = faults.as_array().expect("a list");
    assert!(faults.iter().all(is_of_markup), "{faults:?}");
    assert_eq!(
        browser.run("return document.querySelectorAll('img, b.x, main script, iframe').length"),
        0
    );
    let text = browser.run("return document.body.textContent");
    let text = text.as_str().unwrap_or_default();
    for name in names.iter().filter(|name| name.is_ascii()) {
        assert!(text.contains(name), "{name}");
    }
    assert!(!text.contains('\u{202e}'));
}
