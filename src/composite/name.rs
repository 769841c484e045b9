//! What a composite role is called: by the names of its roles where these fit and tell it apart, else by a hash, too. Pure.
#![forbid(unsafe_code)]

use aws_lc_rs::digest::{Context, SHA256};

/// NAMEDATALEN - 1.
const MOST: usize = 63;
const HASH_BYTES: usize = 8;

/// The roles are in the order of their names.
pub fn name(roles: &[String]) -> String {
    let names = roles.join("+");
    if names.len() <= MOST && !roles.iter().any(|role| role.contains('+')) {
        return names;
    }
    let mut context = Context::new(&SHA256);
    for role in roles {
        context.update(role.as_bytes());
        // No name has one.
        context.update(&[0]);
    }
    let hash = context.finish();
    let hash = hash.as_ref().iter().take(HASH_BYTES);
    let hash: String = hash.map(|byte| format!("{byte:02x}")).collect();
    let end = names.floor_char_boundary(MOST - 1 - hash.len());
    format!("{}~{hash}", names.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::name;

    fn of(roles: &[&str]) -> String {
        let roles: Vec<String> = roles.iter().map(|&role| role.to_owned()).collect();
        name(&roles)
    }

    #[test]
    fn a_composite_role_is_called_by_its_roles() {
        assert_eq!(of(&["orders", "reporting"]), "orders+reporting");
    }

    #[test]
    fn two_sets_of_roles_have_two_names() {
        let long = "a".repeat(40);
        let longer = "é".repeat(31);
        let sets: [&[&str]; 8] = [
            &["a", "b+c"],
            &["a+b", "c"],
            &["a+b+c", "d"],
            &["a", "b", "c"],
            &[&long, "b", "c", "dddddddddddddddddddd"],
            &[&long, "b+c", "dddddddddddddddddddd"],
            &[&long, &longer],
            &[&longer, "é"],
        ];
        let names: std::collections::BTreeSet<String> = sets.iter().map(|set| of(set)).collect();
        assert_eq!(names.len(), sets.len());
        assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
    }
}
