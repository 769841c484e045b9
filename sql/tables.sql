-- Only the extension and superusers write these. pg_dump dumps them, so those who may dump the database read them: its owner and members of
-- pg_read_all_data. None has row security, which makes pg_dump fail. What they must not read is in jwt_issuer_secret, and in no dump.

-- Members of pg_write_all_data have every right to write. Access lists don't stop them; this does, and it stops those who were granted rights by hand.
CREATE FUNCTION _scope.only_superusers() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'only_superusers_wrapper';
COMMENT ON FUNCTION _scope.only_superusers() IS 'Trigger function of the extension''s own tables. Errors: 42501 not a superuser.';

CREATE TABLE _scope.jwt_issuer (
    name text PRIMARY KEY,
    issuer text NOT NULL UNIQUE,
    keys text,
    audiences text[] NOT NULL DEFAULT '{}',
    algorithms text[] NOT NULL DEFAULT '{}',
    role_claim text,
    allowed_roles text[],
    anon_role text,
    leeway interval,
    require_exp boolean NOT NULL DEFAULT true,
    max_age interval,
    token_types text[] NOT NULL DEFAULT '{}',
    required_claims jsonb NOT NULL DEFAULT '{}',
    role_map jsonb,
    bound text NOT NULL DEFAULT 'if_present',
    single_use boolean NOT NULL DEFAULT false,
    changed_at timestamptz NOT NULL DEFAULT now(),
    keys_url text,
    discover boolean NOT NULL DEFAULT false,
    ca_file text,
    bearer_token_file text,
    keys_stale_for interval,
    key_count integer NOT NULL DEFAULT 0,
    kids text[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE _scope.jwt_issuer IS 'Registered issuers with their public keys; see scope.add_jwt_issuer(). Keys with a secret are in _scope.jwt_issuer_secret.';

-- In no dump. Row security without a policy: only superusers read it.
CREATE TABLE _scope.jwt_issuer_secret (
    name text PRIMARY KEY,
    keys text NOT NULL
);
-- Members of pg_read_all_data read TOAST tables and statistics, where row security doesn't reach: keys stay in the row (see
-- add_jwt_issuer), and no sample of them is kept.
ALTER TABLE _scope.jwt_issuer_secret ALTER keys SET STORAGE MAIN, ALTER keys SET STATISTICS 0, ALTER name SET STATISTICS 0;
ALTER TABLE _scope.jwt_issuer_secret ENABLE ROW LEVEL SECURITY;
COMMENT ON TABLE _scope.jwt_issuer_secret IS 'The keys of issuers that hold a secret, by the issuer''s name. pg_dump leaves them out: after a restore, scope.set_jwt_keys() brings them back.';

-- In no dump: what has been fetched long ago is no key in another server. Written by the worker alone; not watched, so that a fetch which brings
-- nothing new costs no session anything.
CREATE TABLE _scope.jwt_issuer_fetch (
    name text PRIMARY KEY,
    attempted_at timestamptz,
    finished_at timestamptz,
    fetched_at timestamptz,
    keys_changed_at timestamptz,
    fresh_until timestamptz,
    stale_until timestamptz,
    next_fetch timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    last_error text,
    etag text,
    weak_keys integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE _scope.jwt_issuer_fetch IS 'When the keys of issuers were fetched, and how long they hold; see the view scope.jwt_issuers.';

CREATE TABLE _scope.jwt_revoked_token (
    jti text NOT NULL,
    issuer text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (jti, issuer)
);
COMMENT ON TABLE _scope.jwt_revoked_token IS 'Tokens revoked by scope.revoke_token(); an empty issuer stands for any.';

CREATE TABLE _scope.jwt_revoked_subject (
    sub text NOT NULL,
    issuer text NOT NULL,
    issued_before timestamptz NOT NULL,
    PRIMARY KEY (sub, issuer)
);
COMMENT ON TABLE _scope.jwt_revoked_subject IS 'Subjects revoked by scope.revoke_subject(); an empty issuer stands for any.';

-- What a dump brings to another database is found there by name; OIDs count in the database that origin names.
CREATE TABLE _scope.scope_declaration (
    scope name NOT NULL,
    scope_oid oid NOT NULL,
    class text NOT NULL,
    object text NOT NULL,
    object_oid oid NOT NULL,
    part text NOT NULL,
    part_oid oid NOT NULL,
    privilege text NOT NULL,
    stance text NOT NULL,
    origin text NOT NULL,
    declared_at timestamptz NOT NULL DEFAULT now(),
    declared_as text
);
CREATE INDEX scope_declaration_scope ON _scope.scope_declaration (scope);
CREATE INDEX scope_declaration_scope_oid ON _scope.scope_declaration (scope_oid);
COMMENT ON TABLE _scope.scope_declaration IS
'What the scopes of this database were given by the functions of scope_roles, which alone write it: a row for each privilege; see the view scope.scope_declarations.
class: table, column, sequence, function, schema, database, future tables, future sequences, future functions. object: as SQL names it; of columns the table, of the future the schema. part: the column; of the future, the role that creates. The names are of when they were last looked at; origin is the server and database that the OIDs are of; declared_as is the name that the object had when it was declared, where it has another by now.';

SELECT pg_catalog.pg_extension_config_dump('_scope.scope_declaration', '');
SELECT pg_catalog.pg_extension_config_dump('_scope.jwt_issuer', '');
SELECT pg_catalog.pg_extension_config_dump('_scope.jwt_revoked_token', '');
SELECT pg_catalog.pg_extension_config_dump('_scope.jwt_revoked_subject', '');

-- No samples of the extension's tables are kept in pg_statistic: they would outlive what has been deleted.
ALTER TABLE _scope.scope_declaration
    ALTER scope SET STATISTICS 0, ALTER scope_oid SET STATISTICS 0, ALTER class SET STATISTICS 0,
    ALTER object SET STATISTICS 0, ALTER object_oid SET STATISTICS 0, ALTER part SET STATISTICS 0,
    ALTER part_oid SET STATISTICS 0, ALTER privilege SET STATISTICS 0, ALTER stance SET STATISTICS 0,
    ALTER origin SET STATISTICS 0, ALTER declared_at SET STATISTICS 0,
    ALTER declared_as SET STATISTICS 0;
ALTER TABLE _scope.jwt_issuer
    ALTER name SET STATISTICS 0, ALTER issuer SET STATISTICS 0, ALTER audiences SET STATISTICS 0,
    ALTER algorithms SET STATISTICS 0, ALTER keys SET STATISTICS 0, ALTER role_claim SET STATISTICS 0, ALTER allowed_roles SET STATISTICS 0,
    ALTER anon_role SET STATISTICS 0, ALTER leeway SET STATISTICS 0, ALTER require_exp SET STATISTICS 0,
    ALTER max_age SET STATISTICS 0, ALTER token_types SET STATISTICS 0, ALTER required_claims SET STATISTICS 0,
    ALTER role_map SET STATISTICS 0, ALTER bound SET STATISTICS 0, ALTER single_use SET STATISTICS 0, ALTER changed_at SET STATISTICS 0,
    ALTER keys_url SET STATISTICS 0, ALTER discover SET STATISTICS 0,
    ALTER ca_file SET STATISTICS 0, ALTER bearer_token_file SET STATISTICS 0, ALTER keys_stale_for SET STATISTICS 0,
    ALTER key_count SET STATISTICS 0, ALTER kids SET STATISTICS 0;
ALTER TABLE _scope.jwt_issuer_fetch
    ALTER name SET STATISTICS 0, ALTER attempted_at SET STATISTICS 0, ALTER finished_at SET STATISTICS 0,
    ALTER fetched_at SET STATISTICS 0, ALTER keys_changed_at SET STATISTICS 0, ALTER fresh_until SET STATISTICS 0,
    ALTER stale_until SET STATISTICS 0, ALTER next_fetch SET STATISTICS 0, ALTER failures SET STATISTICS 0,
    ALTER failing_since SET STATISTICS 0, ALTER last_error SET STATISTICS 0, ALTER etag SET STATISTICS 0, ALTER weak_keys SET STATISTICS 0;
ALTER TABLE _scope.jwt_revoked_token
    ALTER jti SET STATISTICS 0, ALTER issuer SET STATISTICS 0, ALTER until SET STATISTICS 0;
ALTER TABLE _scope.jwt_revoked_subject
    ALTER sub SET STATISTICS 0, ALTER issuer SET STATISTICS 0, ALTER issued_before SET STATISTICS 0;

-- Tells every backend, and every standby, that a table has changed. ALWAYS: also when replication or a restore writes.
CREATE FUNCTION _scope.jwt_tables_changed() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'jwt_tables_changed_wrapper';
COMMENT ON FUNCTION _scope.jwt_tables_changed() IS 'Trigger function of the extension''s own tables.';

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _scope.jwt_issuer
    FOR EACH STATEMENT EXECUTE FUNCTION _scope.jwt_tables_changed();
ALTER TABLE _scope.jwt_issuer ENABLE ALWAYS TRIGGER changed;
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _scope.jwt_revoked_token
    FOR EACH STATEMENT EXECUTE FUNCTION _scope.jwt_tables_changed();
ALTER TABLE _scope.jwt_revoked_token ENABLE ALWAYS TRIGGER changed;
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _scope.jwt_revoked_subject
    FOR EACH STATEMENT EXECUTE FUNCTION _scope.jwt_tables_changed();
ALTER TABLE _scope.jwt_revoked_subject ENABLE ALWAYS TRIGGER changed;
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _scope.jwt_issuer_secret
    FOR EACH STATEMENT EXECUTE FUNCTION _scope.jwt_tables_changed();
ALTER TABLE _scope.jwt_issuer_secret ENABLE ALWAYS TRIGGER changed;
