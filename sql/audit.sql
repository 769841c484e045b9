-- Written by the extension alone, in the transaction of what it records. Dumped by pg_dump.
CREATE TABLE scope.audit_log (
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    event text NOT NULL,
    function text NOT NULL,
    object text NOT NULL,
    login name NOT NULL,
    role name NOT NULL,
    issuer text,
    subject text,
    jti text,
    client inet,
    application_name text NOT NULL,
    details json NOT NULL,
    pid integer NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    -- No sequence: members of pg_write_all_data could set it back, and what is recorded would fail.
    id uuid DEFAULT pg_catalog.gen_random_uuid() PRIMARY KEY
);
COMMENT ON TABLE scope.audit_log IS
'Administrative events of this database: what was done (event, function), to what (object), by whom (login, acting role, issuer, subject and jti of the token), from where. details: the fields that the event has in the server log. The worker deletes rows older than scope_roles.audit_retention.';
CREATE INDEX audit_log_at ON scope.audit_log (at);

SELECT pg_catalog.pg_extension_config_dump('scope.audit_log', '');

-- No samples.
ALTER TABLE scope.audit_log
    ALTER id SET STATISTICS 0, ALTER event SET STATISTICS 0, ALTER function SET STATISTICS 0,
    ALTER object SET STATISTICS 0, ALTER login SET STATISTICS 0, ALTER role SET STATISTICS 0,
    ALTER issuer SET STATISTICS 0, ALTER subject SET STATISTICS 0, ALTER jti SET STATISTICS 0,
    ALTER client SET STATISTICS 0, ALTER application_name SET STATISTICS 0, ALTER pid SET STATISTICS 0,
    ALTER xid SET STATISTICS 0, ALTER details SET STATISTICS 0;
