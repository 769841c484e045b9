//! Reading a spec. Pure.
#![forbid(unsafe_code)]

use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::check::Bad;
use super::document::{Document, policy_at};

impl Document {
    /// Reads a text; keys that no spec has, or twice, are refused.
    pub fn parse(text: &str) -> Result<Self, Bad> {
        let value = serde_json::from_str(text).map_err(|error| Bad::at("", error.to_string()))?;
        objects("", &value)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let document: Self = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| Bad::at(pointer(error.path()), error.inner().to_string()))?;
        document.check()?;
        Ok(document)
    }
}

/// Serde takes an array for an object's values in their order. Nobody should write a spec so.
fn objects(at: &str, value: &Value) -> Result<(), Bad> {
    const LISTS: [&str; 9] = [
        "scopes",
        "grants",
        "future",
        "memberships",
        "authenticators",
        "logins",
        "guards",
        "issuers",
        "approvals",
    ];
    let Value::Object(members) = value else {
        return Err(Bad::at(at, "invalid type: expected an object"));
    };
    for list in LISTS {
        let items = members.get(list).and_then(Value::as_array);
        for (index, item) in items.into_iter().flatten().enumerate() {
            objects(&format!("{at}/{list}/{index}"), item)?;
        }
    }
    let policies = members.get("request_policies").and_then(Value::as_object);
    for (name, policy) in policies.into_iter().flatten() {
        let at = policy_at(name);
        objects(&at, policy)?;
        if let Some(conditions @ Value::Array(_)) = policy.get("auto_approve") {
            objects(&format!("{at}/auto_approve"), conditions)?;
        }
    }
    Ok(())
}

/// `scopes[0].name` as a JSON pointer.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer += &format!("/{index}"),
            Segment::Map { key } => {
                pointer.push('/');
                pointer += &key.replace('~', "~0").replace('/', "~1");
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::document::Mode;

    fn bad(text: &str) -> (String, String) {
        match Document::parse(text) {
            Ok(_) => (String::from("valid"), String::new()),
            Err(bad) => (bad.pointer, bad.problem),
        }
    }

    #[test]
    fn spec_with_defaults_is_read_and_written_short() {
        let text = r#"{"version":1,"mode":"authoritative","scopes":[{"name":"a","grants":[{"privileges":["SELECT"],"tables":["app.t"]}]}],"memberships":[{"role":"a","member":"b"}]}"#;
        let document = Document::parse(text);
        assert_eq!(
            document.map(|document| serde_json::to_string(&document).unwrap_or_default()),
            Ok(text.to_owned())
        );
        let smallest = Document::parse("{\"version\":1}").map(|document| document.mode);
        assert_eq!(smallest, Ok(Mode::Additive));
    }

    #[test]
    fn spec_errors_name_their_place() {
        for (text, pointer, problem) in [
            ("", "", "EOF"),
            ("[]", "", "invalid type"),
            (
                "[1,\"additive\",[],[],[],[],[],[],[],[],[]]",
                "",
                "expected an object",
            ),
            (
                r#"{"version":1,"scopes":[["a",null,[],false]]}"#,
                "/scopes/0",
                "expected an object",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","grants":["SELECT"]}]}"#,
                "/scopes/0/grants/0",
                "expected an object",
            ),
            (
                r#"{"version":1,"scopes":{"name":"a"}}"#,
                "/scopes",
                "invalid type",
            ),
            ("{}", "", "missing field `version`"),
            ("{\"version\":1} 2", "", "trailing"),
            ("{\"version\":2}", "/version", "version 2 is not known"),
            ("{\"version\":\"1\"}", "/version", "invalid type"),
            (
                "{\"version\":1,\"version\":1}",
                "",
                "duplicate field `version`",
            ),
            (
                "{\"version\":1,\"scops\":[]}",
                "/scops",
                "unknown field `scops`",
            ),
            (
                "{\"version\":1,\"mode\":\"both\"}",
                "/mode",
                "unknown variant",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a"},{"name":"b","grants":[{"privileges":["SELECT"],"table":["x.y"]}]}]}"#,
                "/scopes/1/grants/0/table",
                "unknown field `table`",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","name":"b"}]}"#,
                "/scopes/0",
                "duplicate field `name`",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a"},{"name":"a"}]}"#,
                "/scopes/1",
                "declared already, at /scopes/0",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","grants":[{"privileges":["SELECT"],"tables":["orders"]}]}]}"#,
                "/scopes/0/grants/0/tables/0",
                "schema.name",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","grants":[{"privileges":["SELECT"],"tables":["a.b","\"a\".B"]}]}]}"#,
                "/scopes/0/grants/0/tables/1",
                "declared already",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","grants":[{"privileges":["SELECT","select"]}]}]}"#,
                "/scopes/0/grants/0/privileges/1",
                "declared already",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","absent":true}]}"#,
                "/scopes/0/absent",
                "additive",
            ),
            (
                r#"{"version":1,"scopes":[{"name":"a","grants":[{"privileges":["CONNECT"],"database":true}]}]}"#,
                "/scopes/0/grants/0/database",
                "exact",
            ),
            (
                r#"{"version":1,"memberships":[{"role":"a","member":"b"},{"role":"a","member":"b","grantor":"c"}]}"#,
                "/memberships/0",
                "grantor",
            ),
            (
                r#"{"version":1,"authenticators":[{"name":"a","roles":[]}]}"#,
                "/authenticators/0/roles",
                "at least one",
            ),
            (
                r#"{"version":1,"issuers":[{"name":"a","issuer":"x","keys":"k"}]}"#,
                "/issuers/0/keys",
                "unknown field `keys`",
            ),
            (
                r#"{"version":1,"request_policies":["p"]}"#,
                "/request_policies",
                "expected an object",
            ),
            (
                r#"{"version":1,"request_policies":{"p":["membership",["a"],["b"],[]]}}"#,
                "/request_policies/p",
                "expected an object",
            ),
            (
                r#"{"version":1,"request_policies":{"p":{"kind":"membership","targets":["a"],"requesters":["b"],"approvals":[["c",1]]}}}"#,
                "/request_policies/p/approvals/0",
                "expected an object",
            ),
            (
                r#"{"version":1,"request_policies":{"p":{"kind":"membership","targets":["a"],"requesters":["b"],"approvals":[{"role":"c"}],"auto_approve":["1 hour"]}}}"#,
                "/request_policies/p/auto_approve",
                "expected an object",
            ),
            (
                r#"{"version":1,"request_policies":{"a/b":{"kind":"membership","requesters":["b"],"approvals":[]}}}"#,
                "/request_policies/a~1b",
                "missing field `targets`",
            ),
            (
                r#"{"version":1,"request_policies":{"p":{"kind":"membership","targets":["a"],"requesters":["b"],"approvals":[],"creator":"c"}}}"#,
                "/request_policies/p/creator",
                "unknown field `creator`",
            ),
            (
                r#"{"version":1,"request_policies":{"p":{"kind":"membership","targets":["a"],"requesters":["b"],"approvals":[]},"p":{"kind":"membership","targets":["a"],"requesters":["b"],"approvals":[]}}}"#,
                "/request_policies",
                "declared already",
            ),
            (
                r#"{"version":1,"request_policies":{"":{"kind":"membership","targets":["a"],"requesters":["b"],"approvals":[]}}}"#,
                "/request_policies/",
                "empty",
            ),
            (
                r#"{"version":1,"request_policies":{"p":{"kind":"membership","targets":["a","a"],"requesters":["b"],"approvals":[]}}}"#,
                "/request_policies/p/targets/1",
                "declared already",
            ),
            (
                r#"{"version":1,"request_policies":{"p":{"kind":"membership","targets":["a"],"requesters":["b"],"approvals":[{"role":"c"},{"role":"c","n":2}]}}}"#,
                "/request_policies/p/approvals/1",
                "declared already",
            ),
            (
                r#"{"version":1,"request_policies":{"p":{"kind":"membership","targets":["a"],"requesters":["b"],"approvals":[],"hours":["8-18"],"time_zone":"UTC"}}}"#,
                "/request_policies/p/hours/0",
                "are not hours",
            ),
            (
                r#"{"version":1,"request_policies":{"p":{"kind":"membership","targets":["a"],"requesters":["b"],"approvals":[],"auto_approve":{"max_duration":"1 h","hours":["daily 08:00-18:00"]}}}}"#,
                "/request_policies/p/auto_approve/hours",
                "time_zone",
            ),
            (
                r#"{"version":1,"request_policies":{"p":{"kind":"membership","targets":["a"],"requesters":["b"],"approvals":[],"auto_approve":{"hours":[]}}}}"#,
                "/request_policies/p/auto_approve",
                "missing field `max_duration`",
            ),
            (r#"{"version":1,"a/b~c":1}"#, "/a~1b~0c", "unknown field"),
            (
                r#"{"version":1,"guards":[["a","block",5]]}"#,
                "/guards/0",
                "expected an object",
            ),
            (
                r#"{"version":1,"guards":[{"max_rows":5}]}"#,
                "/guards/0",
                "missing field `role`",
            ),
            (
                r#"{"version":1,"guards":[{"role":"","max_rows":5}]}"#,
                "/guards/0/role",
                "empty",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","rows":5}]}"#,
                "/guards/0/rows",
                "unknown field `rows`",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":"5"}]}"#,
                "/guards/0/max_rows",
                "invalid type",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":-1}]}"#,
                "/guards/0/max_rows",
                "invalid value",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":9223372036854775808}]}"#,
                "/guards/0/max_rows",
                "more than",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","window_rows":5}]}"#,
                "/guards/0/window_rows",
                "go together",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":1,"window":5}]}"#,
                "/guards/0/window",
                "go together",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","window_rows":5,"window":0}]}"#,
                "/guards/0/window",
                "between 1 and 31622400",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","window_rows":5,"window":31622401}]}"#,
                "/guards/0/window",
                "between 1 and 31622400",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","forbid":["ddl","select"]}]}"#,
                "/guards/0/forbid/1",
                "unknown variant",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","forbid":["ddl","do","ddl"]}]}"#,
                "/guards/0/forbid/2",
                "declared already, at /guards/0/forbid/0",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":1,"action":"log"}]}"#,
                "/guards/0/action",
                "unknown variant",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","action":"alert"}]}"#,
                "/guards/0",
                "limits nothing",
            ),
            (
                r#"{"version":1,"guards":[{"role":"a","max_rows":1},{"role":"a","max_rows":1,"action":"alert"},{"role":"a","forbid":["do"],"action":"block"}]}"#,
                "/guards/2",
                "declared already, at /guards/0",
            ),
            (
                r#"{"version":1,"mode":"authoritative","scopes":[{"name":"a","absent":true}],"guards":[{"role":"a","max_rows":1}]}"#,
                "/guards/0/role",
                "absent",
            ),
            (
                r#"{"version":1,"writing_functions":["app.f"]}"#,
                "/writing_functions/0",
                "schema.name(types)",
            ),
            (
                r#"{"version":1,"writing_functions":["app.f()","App.F()"]}"#,
                "/writing_functions/1",
                "declared already",
            ),
            (
                r#"{"version":1,"logins":[{"role":"a","hours":[]}]}"#,
                "/logins/0/hours",
                "unknown field `hours`",
            ),
            (
                r#"{"version":1,"logins":[{"role":"a","allowed_hours":"daily 08:00-18:00"}]}"#,
                "/logins/0/allowed_hours",
                "invalid type",
            ),
            (
                r#"{"version":1,"logins":[{"role":"a","allowed_hours":["daily 08:00-18:00","8-18"],"time_zone":"UTC"}]}"#,
                "/logins/0/allowed_hours/1",
                "are not hours",
            ),
            (
                r#"{"version":1,"logins":[{"role":"a","allowed_hours":["daily 08:00-18:00","Mon-Sun 08:00-18:00"],"time_zone":"UTC"}]}"#,
                "/logins/0/allowed_hours/1",
                "declared already",
            ),
            (
                r#"{"version":1,"logins":[{"role":"a","allowed_hours":["daily 08:00-18:00"]}]}"#,
                "/logins/0/allowed_hours",
                "time_zone",
            ),
            (
                r#"{"version":1,"authenticators":[{"name":"a","roles":["b"],"time_zone":"UTC"}]}"#,
                "/authenticators/0/time_zone",
                "there are none",
            ),
        ] {
            let (at, why) = bad(text);
            assert_eq!(at, pointer, "{text}: {why}");
            assert!(why.contains(problem), "{text}: {why}");
        }
    }

    #[test]
    fn spec_nested_deeper_than_any_is_an_error_and_no_crash() {
        assert_ne!(bad(&"[".repeat(100_000)).0, "valid");
        assert_ne!(
            bad(&format!(
                "{{\"version\":1,\"scopes\":{}",
                "[".repeat(100_000)
            ))
            .0,
            "valid"
        );
    }
}
