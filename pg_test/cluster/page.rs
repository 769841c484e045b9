//! `scope.review_html`: one page that needs nothing else, and in which a name is a name.

mod browser;

use crate::harness::*;

/// The page, which is ASCII and has no script but its own, and every element of which is closed.
#[track_caller]
fn page(session: &mut Session) -> String {
    let html = session.text("SELECT scope.review_html()");
    assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    assert!(html.is_ascii() && html.contains("default-src 'none'"));
    assert_eq!(html.matches("<script").count(), 1);
    for forbidden in [
        "javascript:",
        "<iframe",
        "<link",
        "<img",
        " onclick",
        " onload",
        "@import",
        "url(http",
    ] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    for element in [
        "section", "table", "tr", "td", "th", "div", "svg", "g", "pre", "span", "text",
    ] {
        let opened = html.matches(&format!("<{element}>")).count()
            + html.matches(&format!("<{element} ")).count();
        assert_eq!(
            opened,
            html.matches(&format!("</{element}>")).count(),
            "{element}"
        );
    }
    // To be looked at in a browser.
    if let Some(folder) = std::env::var_os("SCOPE_ROLES_PAGES") {
        let name = session.text("SELECT current_database() || '.html'");
        std::fs::write(std::path::Path::new(&folder).join(name), &html).expect("the page");
    }
    html
}

#[test]
fn the_page_of_a_small_server_shows_findings_map_and_access() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "page_small");
    let mut admin = f.admin();
    admin.run(
        "CREATE SCHEMA app; CREATE TABLE app.invoices (id int); CREATE ROLE root2 SUPERUSER LOGIN;
         CREATE ROLE team; CREATE ROLE ana LOGIN; GRANT team TO ana WITH ADMIN OPTION;
         SELECT scope.create_scope('orders_read', tables => '{orders}'); GRANT orders_read TO team;
         SELECT scope.create_scope('billing', '{SELECT,INSERT}', schemas => '{app}', future_tables => true);
         SELECT scope.create_credential('{orders_read,billing}', 'report_svc', '8 hours');
         SELECT scope.create_authenticator('web_api', '{orders_read}')",
    );
    let html = page(&mut admin);
    for part in [
        "<h1>Roles of page_small</h1>",
        "ALTER ROLE root2 NOSUPERUSER;",
        "<span class=\"critical\">critical</span>",
        ">report_svc</text>",
        "edge by-token",
        "<span>billing</span>",
        "<abbr title=\"INSERT, SELECT\">ra</abbr>",
        "No signature is overdue",
    ] {
        assert!(html.contains(part), "no {part} in\n{html}");
    }
}

#[test]
fn the_page_of_a_large_server_stays_one_that_opens() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "page_large");
    let mut admin = f.admin();
    admin.run(
        "DO $$ BEGIN
           FOR s IN 1..4 LOOP
             EXECUTE format('CREATE SCHEMA s%s', s);
             FOR t IN 1..20 LOOP
               EXECUTE format('CREATE TABLE s%s.t%s (x int)', s, t);
               PERFORM scope.create_scope(format('read_s%s_t%s', s, t), tables => ARRAY[format('s%s.t%s', s, t)::regclass]);
               PERFORM scope.create_credential(ARRAY[format('read_s%s_t%s', s, t)::name]) FROM generate_series(1, 5);
             END LOOP;
           END LOOP;
           FOR p IN 1..200 LOOP EXECUTE format('CREATE ROLE person_%s LOGIN', p); END LOOP;
         END $$",
    );
    let html = page(&mut admin);
    assert!(html.len() < 2_000_000, "{}", html.len());
    assert!(html.contains("<summary>200 logins</summary>"));
}

#[test]
fn names_on_the_page_inject_nothing() {
    let server = Server::start(Options::default());
    let f = Fixture::on(&server, "page_inject");
    let mut admin = f.admin();
    let evil = "</td></text><script>alert(1)</script>\"'>";
    admin.run(&format!(
        "CREATE ROLE {0} SUPERUSER LOGIN; CREATE ROLE {1}; GRANT SELECT ON orders TO {1}; CREATE SCHEMA {0}; CREATE TABLE {0}.{0} (x int);
         GRANT SELECT ON {0}.{0} TO {1}; GRANT {1} TO {0}",
        ident(evil),
        ident(&format!("2{evil}")),
    ));
    let html = page(&mut admin);
    assert!(html.matches("&lt;script&gt;alert(1)").count() > 3, "{html}");
}

#[test]
fn the_page_is_for_monitors() {
    let f = Fixture::new("page_monitor");
    let nobody = f.role("nobody", "LOGIN");
    f.login(&nobody)
        .denied("SELECT scope.review_html()", "42501");
}
