//! What a review looks for among issuers whose keys are fetched, or never change.

use super::check::{Check, Severity};

pub const CHECKS: &[Check] = &[
    Check {
        code: "issuer_broken_key",
        severity: Severity::Critical,
        stops: "",
        sql: "
SELECT NULL, format('issuer %I', i.name),
       format('publishes %s key(s) that others can sign with: a private part that is there for all to read, or an RSA key that can be computed. They are left out here', f.weak_keys),
       f.fetched_at, '-- have the identity provider withdraw the key, and everything else that trusts it'
  FROM _scope.jwt_issuer i JOIN _scope.jwt_issuer_fetch f ON f.name = i.name
 WHERE f.weak_keys > 0",
    },
    Check {
        code: "issuer_keys_stale",
        severity: Severity::High,
        stops: "",
        sql: "
SELECT NULL, format('issuer %I', i.name),
       CASE WHEN f.fetched_at IS NULL THEN 'has no keys yet: its tokens are refused'
            WHEN f.stale_until < now() THEN 'has keys that are too old: its tokens are refused'
            ELSE format('has keys past their time: its tokens are refused from %s on', f.stale_until) END,
       coalesce(f.fresh_until, f.failing_since, i.changed_at), format('SELECT * FROM scope.refresh_jwt_keys(%L);', i.name)
  FROM _scope.jwt_issuer i LEFT JOIN _scope.jwt_issuer_fetch f ON f.name = i.name
 WHERE (i.keys_url IS NOT NULL OR i.discover) AND coalesce(f.fresh_until, f.failing_since, i.changed_at + interval '1 minute') < now()",
    },
    Check {
        code: "issuer_without_keys",
        severity: Severity::High,
        stops: "",
        sql: "
SELECT NULL, format('issuer %I', i.name), 'has no keys: its tokens are refused. A secret is in no dump', i.changed_at,
       format('-- scope.set_jwt_keys(%L, …), with the keys that its tokens are signed by', i.name)
  FROM scope.jwt_issuers i
 WHERE i.keys_url IS NULL AND NOT i.discover AND i.key_count = 0",
    },
    Check {
        code: "issuer_unreachable",
        severity: Severity::Medium,
        stops: "",
        sql: "
SELECT NULL, format('issuer %I', i.name), 'has given no keys for a day: ' || coalesce(f.last_error, 'no attempt came to its end'),
       f.failing_since, format('SELECT * FROM scope.refresh_jwt_keys(%L);', i.name)
  FROM _scope.jwt_issuer i JOIN _scope.jwt_issuer_fetch f ON f.name = i.name
 WHERE f.failing_since < now() - interval '1 day'",
    },
    Check {
        code: "issuer_no_rotation",
        severity: Severity::Low,
        stops: "tokens signed with the old key only",
        sql: "
SELECT NULL, format('issuer %I', i.name), 'has had the same keys for a year: whoever has got hold of one signs tokens to this day',
       CASE WHEN i.keys_url IS NULL AND NOT i.discover THEN i.changed_at ELSE f.keys_changed_at END,
       '-- have the identity provider sign with a new key; where keys are pasted, pass both to scope.set_jwt_keys(), later the new one alone'
  FROM _scope.jwt_issuer i LEFT JOIN _scope.jwt_issuer_fetch f ON f.name = i.name
 WHERE CASE WHEN i.keys_url IS NULL AND NOT i.discover THEN i.changed_at ELSE f.keys_changed_at END < now() - interval '1 year'",
    },
];
