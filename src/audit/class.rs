//! Classes of audit events, which the setting `scope_roles.audit` picks. Pure.
#![forbid(unsafe_code)]

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Class {
    Login = 1,
    Switch = 2,
    Admin = 4,
    Expire = 8,
    Lock = 16,
    Ddl = 32,
    Denied = 64,
    Export = 128,
    Statement = 256,
}

const NAMES: [(&str, Class); 9] = [
    ("login", Class::Login),
    ("switch", Class::Switch),
    ("admin", Class::Admin),
    ("expire", Class::Expire),
    ("lock", Class::Lock),
    ("ddl", Class::Ddl),
    ("denied", Class::Denied),
    ("export", Class::Export),
    ("statement", Class::Statement),
];

/// The bits of the classes that a list names, separated by commas; `all` and `none` are lists too.
/// `None` when a name is unknown, or when `none` is not alone.
pub fn parse(list: &str) -> Option<u32> {
    let mut bits = 0;
    let is_none = |name: &str| name.trim().eq_ignore_ascii_case("none");
    if list.split(',').any(is_none)
        && list
            .split(',')
            .filter(|name| !name.trim().is_empty())
            .count()
            > 1
    {
        return None;
    }
    for name in list.split(',').map(str::trim) {
        bits |= match name.to_ascii_lowercase().as_str() {
            "" | "none" => 0,
            "all" => NAMES.iter().fold(0, |all, (_, class)| all | *class as u32),
            name => NAMES.iter().find(|(known, _)| *known == name)?.1 as u32,
        };
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_classes_are_read_from_a_list() {
        assert_eq!(parse(""), Some(0));
        assert_eq!(parse("none"), Some(0));
        assert_eq!(parse("all"), Some(511));
        assert_eq!(parse("login"), Some(1));
        assert_eq!(parse(" Login , STATEMENT,"), Some(257));
        assert_eq!(parse("login,logout"), None);
        assert_eq!(parse("none, all"), None);
        assert_eq!(parse("login,NONE"), None);
        assert_eq!(parse("none,"), Some(0));
        assert_eq!(parse("login switch"), None);
    }
}
