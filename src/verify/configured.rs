//! The rules of `scope_roles.jwt_secret` and the settings around it, made once per configuration.

use std::cell::RefCell;
use std::rc::Rc;

use zeroize::Zeroizing;

use super::{Bound, Error, RolePath, Rules, combine};
use crate::claim_rules::RequiredClaims;
use crate::guc;
use crate::jwt::{KeySet, Policy};
use crate::pg::server;

thread_local! {
    static MADE: RefCell<Option<Made>> = const { RefCell::new(None) };
}

struct Made {
    /// When the configuration was read that these rules are of.
    configuration: i64,
    rules: Option<Rc<Rules>>,
}

/// The rules that are configured now; `None` without a secret. A reload counts at once, and is the
/// moment at which a file with keys is read again.
pub fn rules() -> Result<Option<Rc<Rules>>, Error> {
    let configuration = server::configuration_time();
    let made = MADE.with_borrow(|made| {
        made.as_ref()
            .filter(|made| made.configuration == configuration)
            .map(|made| made.rules.clone())
    });
    if let Some(rules) = made {
        return Ok(rules);
    }
    let rules = make()?.map(Rc::new);
    let kept = Made {
        configuration,
        rules: rules.clone(),
    };
    MADE.with_borrow_mut(|made| *made = Some(kept));
    Ok(rules)
}

fn make() -> Result<Option<Rules>, Error> {
    let Some(setting) = guc::jwt_secret() else {
        return Ok(None);
    };
    let is_base64 = guc::jwt_secret_is_base64();
    let text = match setting.strip_prefix('@') {
        Some(path) => read(path)?,
        None => Zeroizing::new(setting.as_bytes().to_vec()),
    };
    Ok(Some(Rules {
        name: None,
        keys_until: None,
        is_fetched: false,
        keys: KeySet::parse(&text, is_base64).map_err(Error::BadSecret)?,
        fingerprint: combine(&text, &[u8::from(is_base64)]),
        policy: Policy {
            issuer: guc::jwt_issuer(),
            audiences: guc::jwt_audiences(),
            algorithms: Vec::new(),
            types: Vec::new(),
            leeway: guc::jwt_leeway(),
            require_exp: guc::jwt_require_exp(),
            max_age: guc::jwt_max_age(),
        },
        role_claim: None,
        role_path: RolePath::of(None),
        allowed_roles: None,
        anon_role: None,
        role_map: None,
        single_use: false,
        required: RequiredClaims::default(),
        bound: Bound::default(),
    }))
}

/// Editors end files with one newline that is not part of the secret.
fn read(path: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| Error::SecretFile {
            path: path.to_owned(),
            kind: error.kind(),
        })?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}
