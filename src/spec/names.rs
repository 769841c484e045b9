//! Names as SQL writes them: `app.orders`, `"My App"."Orders"`, `app.f(integer)`. Pure.
#![forbid(unsafe_code)]

/// A name with its schema, unquoted, and what follows: the types of a function's arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Qualified<'a> {
    pub schema: String,
    pub name: String,
    pub rest: &'a str,
}

/// `None` for anything but `schema.name` or `schema.name(…)`.
pub fn qualified(text: &str) -> Option<Qualified<'_>> {
    let (schema, rest) = identifier(text)?;
    let (name, rest) = identifier(rest.strip_prefix('.')?)?;
    let is_call = rest.starts_with('(') && rest.ends_with(')');
    (rest.is_empty() || is_call).then_some(Qualified { schema, name, rest })
}

/// The name behind an identifier as `quote_ident` writes it.
pub fn unquoted(text: &str) -> String {
    match identifier(text) {
        Some((name, "")) => name,
        _ => text.to_owned(),
    }
}

/// One identifier at the beginning: quoted, or folded to lower case as PostgreSQL folds it.
fn identifier(text: &str) -> Option<(String, &str)> {
    if let Some(inside) = text.strip_prefix('"') {
        let mut name = String::new();
        let mut rest = inside;
        loop {
            let end = rest.find('"')?;
            name += rest.get(..end)?;
            rest = rest.get(end + 1..)?;
            match rest.strip_prefix('"') {
                Some(more) => {
                    name.push('"');
                    rest = more;
                }
                None => return (!name.is_empty() && !name.contains('\0')).then_some((name, rest)),
            }
        }
    }
    let inner = |c: char| c == '_' || c == '$' || c.is_ascii_alphanumeric() || !c.is_ascii();
    let end = text.find(|c| !inner(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let first = name.chars().next()?;
    (!first.is_ascii_digit() && first != '$').then(|| (name.to_ascii_lowercase(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<(String, String, String)> {
        qualified(text).map(|name| (name.schema, name.name, name.rest.to_owned()))
    }

    fn some(schema: &str, name: &str, rest: &str) -> Option<(String, String, String)> {
        Some((schema.into(), name.into(), rest.into()))
    }

    #[test]
    fn names_are_read_as_sql_reads_them() {
        assert_eq!(parts("app.orders"), some("app", "orders", ""));
        assert_eq!(parts("App.Orders"), some("app", "orders", ""));
        assert_eq!(
            parts("\"My App\".\"a\"\"b.c\""),
            some("My App", "a\"b.c", "")
        );
        assert_eq!(
            parts("app.f(integer, \"X\".t)"),
            some("app", "f", "(integer, \"X\".t)")
        );
        assert_eq!(parts("caf\u{e9}.t$1"), some("caf\u{e9}", "t$1", ""));
    }

    #[test]
    fn names_of_another_shape_are_none() {
        for text in [
            "", "orders", ".orders", "app.", "a.b.c", "a b.c", "a.b;", "a.b --", "1a.b", "$a.b",
            "\"a.b", "\"\".b", "a.\"b", "a.b(", "a.b)x(", "a .b",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn names_lose_their_quotes() {
        assert_eq!(unquoted("app"), "app");
        assert_eq!(unquoted("\"My \"\"App\""), "My \"App");
    }
}
