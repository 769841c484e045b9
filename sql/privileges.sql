-- Every GRANT of the extension. It starts closed: what is granted neither here nor by tokens.sql, a superuser grants.
REVOKE ALL ON ALL TABLES IN SCHEMA scope, _scope FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA scope, _scope FROM PUBLIC;
REVOKE ALL ON SCHEMA scope, _scope FROM PUBLIC;

GRANT USAGE ON SCHEMA scope, _scope TO PUBLIC;
-- Each sees what is theirs: the views and the function look for membership in pg_monitor for the rest.
GRANT SELECT ON scope.roles, scope.credentials, scope.scopes, scope.scope_declarations, scope.guarded_logins, scope.sessions TO PUBLIC;
GRANT EXECUTE ON FUNCTION _scope.home(jsonb, oid), _scope.creator(jsonb, oid), _scope.system_identifier(), _scope.login_facts(), _scope.present() TO PUBLIC;
GRANT SELECT ON scope.jwt_issuers, scope.audit_log, scope.guards TO pg_monitor;
GRANT EXECUTE ON FUNCTION scope.role_map(text), scope.review_html() TO pg_monitor;
-- Each sees what is theirs; the functions ask for membership in pg_monitor for the rest.
GRANT EXECUTE ON FUNCTION scope.effective_access(regrole, text), scope.who_can(text, text) TO PUBLIC;
-- scope.roles calls it.
GRANT EXECUTE ON FUNCTION scope.is_preloaded() TO PUBLIC;
-- Whoever a policy lets ask may ask, and whoever it names decides: the functions see to it.
GRANT SELECT ON scope.requests, scope.request_board TO PUBLIC;
GRANT EXECUTE ON FUNCTION scope.request_access(name, interval, text, text, timestamptz, text, boolean),
    scope.alter_request(bigint, interval, text, text, timestamptz), scope.extend(bigint, interval, text, text), scope.withdraw(bigint, text),
    scope.approve(bigint, text), scope.deny(bigint, text), scope.revoke(bigint, text), scope.sign(bigint, text),
    scope.take_credential(bigint), scope.request_statement(name, text, text[], bigint, text, text, timestamptz, text),
    scope.explain_request(bigint), scope.run_approved(bigint), scope.my_options(), _scope.visible_requests() TO PUBLIC;
GRANT SELECT ON scope.request_policies, scope.request_log, scope.request_outbox TO pg_monitor;
GRANT EXECUTE ON FUNCTION scope.acknowledge(uuid[]) TO pg_monitor;
-- pg_dump locks what it dumps and reads it. The database's owner could dump before there was the extension, and can after it.
DO $dumped$
DECLARE
    dumped pg_catalog.regclass;
BEGIN
    FOR dumped IN
        SELECT c.oid FROM pg_catalog.pg_class c
         WHERE c.relkind OPERATOR(pg_catalog.=) 'r'
           AND c.relnamespace OPERATOR(pg_catalog.=) ANY ('{scope,_scope}'::pg_catalog.regnamespace[])
    LOOP
        EXECUTE pg_catalog.format('CREATE TRIGGER only_superusers BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %1$s
                                       FOR EACH STATEMENT EXECUTE FUNCTION _scope.only_superusers();
                                   ALTER TABLE %1$s ENABLE ALWAYS TRIGGER only_superusers', dumped);
        IF dumped OPERATOR(pg_catalog.<>) '_scope.jwt_issuer_secret'::pg_catalog.regclass THEN
            EXECUTE pg_catalog.format('GRANT SELECT ON %s TO pg_database_owner', dumped);
        END IF;
    END LOOP;
END
$dumped$;
