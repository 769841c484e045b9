//! The tests that `docs/lock.md` and `docs/guards.md` name exist.

use std::path::Path;

fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *into += &std::fs::read_to_string(&path).expect("a source file");
        }
    }
}

#[test]
fn every_test_named_in_the_table_of_vectors_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/lock.md")).expect("docs/lock.md");
    let mut code = String::new();
    sources(&root.join("pg_test/cluster"), &mut code);
    let exists = |name: &str| {
        code.contains(&format!("fn {name}()")) || code.contains(&format!("\n    {name}:"))
    };
    let (mut named, mut of_tests) = (0, false);
    for row in page.lines() {
        let last = row
            .trim_matches('|')
            .rsplit('|')
            .next()
            .unwrap_or_default()
            .trim();
        if !row.starts_with('|') || last == "test" {
            of_tests = row.starts_with('|');
            continue;
        }
        for name in last.split('`').skip(1).step_by(2).filter(|_| of_tests) {
            assert!(exists(name), "docs/lock.md names {name}, which is no test");
            named += 1;
        }
    }
    assert!(named > 150, "only {named} tests are named");
    // And no attack on the lock goes undocumented.
    for module in ["attacks", "beyond", "claims", "leftovers", "wire"] {
        let source = root.join(format!("pg_test/cluster/lock/{module}.rs"));
        let source = std::fs::read_to_string(source).expect("a source file");
        let lines: Vec<&str> = source.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let name = match line
                .strip_prefix("fn ")
                .and_then(|rest| rest.strip_suffix("() {"))
            {
                Some(name) if index > 0 && lines[index - 1] == "#[test]" => name,
                _ => match line
                    .strip_prefix("    ")
                    .and_then(|rest| rest.split_once(':'))
                {
                    Some((name, _))
                        if module == "attacks"
                            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_') =>
                    {
                        name
                    }
                    _ => continue,
                },
            };
            assert!(
                page.contains(&format!("`{name}`")),
                "docs/lock.md does not name {name}"
            );
        }
    }
}

#[test]
fn every_test_named_in_the_description_of_guards_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/guards.md")).expect("docs/guards.md");
    let mut code = String::new();
    sources(&root.join("pg_test/cluster/guards"), &mut code);
    let names: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| {
            [
                "guard_",
                "window_",
                "class_",
                "reader_",
                "alert_",
                "export_by_",
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix))
                && name.matches('_').count() > 1
        })
        .collect();
    assert!(names.len() > 20, "only {} tests are named", names.len());
    for name in names {
        assert!(
            code.contains(&format!("fn {name}()")),
            "docs/guards.md names {name}, which is no test"
        );
    }
}
