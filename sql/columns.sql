-- What each column of the views and tables says.

COMMENT ON COLUMN scope.roles.role IS 'The role.';
COMMENT ON COLUMN scope.roles.kind IS 'scope, credential, authenticator or temporary (a membership that ends).';
COMMENT ON COLUMN scope.roles.state IS 'active; ending: it has ended and is being removed; quarantined: it has ended but owns objects; unchecked: active, but the server runs without the library.';
COMMENT ON COLUMN scope.roles.time_left IS 'Until valid_until; negative once that has passed; NULL without a deadline.';
COMMENT ON COLUMN scope.roles.valid_until IS 'When it ends: the earlier of the recorded deadline and VALID UNTIL; NULL: never.';
COMMENT ON COLUMN scope.roles.last_error IS 'Why one that should be gone is still here, or what the last step of its end failed on.';
COMMENT ON COLUMN scope.roles.scopes IS 'The roles that it is a member of.';
COMMENT ON COLUMN scope.roles.purpose IS 'What it is for, as its creator said.';
COMMENT ON COLUMN scope.roles.created_by IS 'Who asked for it, by the name at that time.';
COMMENT ON COLUMN scope.roles.created_at IS 'When it was made.';
COMMENT ON COLUMN scope.roles.database IS 'The database in which it was made; of a scope, the one with its objects.';

COMMENT ON COLUMN scope.scopes.scope IS 'The role that holds the privileges.';
COMMENT ON COLUMN scope.scopes.state IS 'active; ending: it is being dropped.';
COMMENT ON COLUMN scope.scopes.members IS 'How many roles are members of it: its logins, mostly.';
COMMENT ON COLUMN scope.scopes.privileges IS 'What it holds in this database, in words; NULL for a scope of another database.';
COMMENT ON COLUMN scope.scopes.last_error IS 'Why one that should be gone is still here.';
COMMENT ON COLUMN scope.scopes.purpose IS 'What it is for, as its creator said.';
COMMENT ON COLUMN scope.scopes.created_by IS 'Who made it, by the name at that time.';
COMMENT ON COLUMN scope.scopes.created_at IS 'When it was made.';
COMMENT ON COLUMN scope.scopes.database IS 'The database in which it was made.';
COMMENT ON COLUMN scope.scopes.databases IS 'The databases that declare a part of it.';

COMMENT ON COLUMN scope.credentials.role IS 'The login; of a temporary membership, the role that stands for it.';
COMMENT ON COLUMN scope.credentials.kind IS 'credential, authenticator (acts by tokens only) or temporary (a membership that ends).';
COMMENT ON COLUMN scope.credentials.state IS 'As in scope.roles: active, ending, quarantined, unchecked.';
COMMENT ON COLUMN scope.credentials.time_left IS 'Until valid_until; negative once that has passed; NULL without a deadline.';
COMMENT ON COLUMN scope.credentials.valid_until IS 'When it ends: the earlier of the recorded deadline and VALID UNTIL; NULL: never.';
COMMENT ON COLUMN scope.credentials.scopes IS 'The roles that it is a member of; of an authenticator, those that its tokens may take.';
COMMENT ON COLUMN scope.credentials.sessions IS 'How many sessions it has at this moment.';
COMMENT ON COLUMN scope.credentials.last_login IS 'When it last logged in to this server; NULL: never, or not known.';
COMMENT ON COLUMN scope.credentials.last_error IS 'Why one that should be gone is still here, or what the last step of its end failed on.';
COMMENT ON COLUMN scope.credentials.purpose IS 'What it is for, as its issuer said.';
COMMENT ON COLUMN scope.credentials.created_by IS 'Who issued it, by the name at that time: they can renew, rotate and revoke it.';
COMMENT ON COLUMN scope.credentials.granted_to IS 'The login of a temporary membership; NULL for others.';
COMMENT ON COLUMN scope.credentials.logins IS 'How often it has logged in to this server; NULL: not known.';
COMMENT ON COLUMN scope.credentials.last_address IS 'From where it last came: an address, or local for Unix sockets.';
COMMENT ON COLUMN scope.credentials.addresses IS 'From where it has come in the last 30 days, the latest first, with the hour; eight at most.';
COMMENT ON COLUMN scope.credentials.last_refusal IS 'When its last login was refused by the rules of the extension.';
COMMENT ON COLUMN scope.credentials.last_refusal_reason IS 'Why, in a word: label, state, kind, deadline, local, address, tls, hours or replication.';
COMMENT ON COLUMN scope.credentials.rotated_at IS 'Since when it has its password.';
COMMENT ON COLUMN scope.credentials.replaced_by IS 'The login that has taken its place, while a rotation overlaps.';
COMMENT ON COLUMN scope.credentials.reason IS 'Why it was revoked, or granted.';
COMMENT ON COLUMN scope.credentials.changed_by_hand IS 'What ALTER ROLE has changed past the extension: VALID UNTIL, NOLOGIN, LOGIN; NULL: nothing.';
COMMENT ON COLUMN scope.credentials.waiting_for IS 'The databases that still hold grants to one that has ended.';
COMMENT ON COLUMN scope.credentials.allowed_ips IS 'The networks that it may log in from; NULL: all.';
COMMENT ON COLUMN scope.credentials.allow_local IS 'Whether it may log in by Unix socket.';
COMMENT ON COLUMN scope.credentials.require_tls IS 'Whether its TCP connections must use TLS.';
COMMENT ON COLUMN scope.credentials.allowed_hours IS 'When it may log in, by the clock of time_zone; NULL: at any time.';
COMMENT ON COLUMN scope.credentials.time_zone IS 'The time zone of allowed_hours.';
COMMENT ON COLUMN scope.credentials.connection_limit IS 'How many sessions it may have at once; NULL: no limit.';
COMMENT ON COLUMN scope.credentials.settings IS 'What its sessions start with (ALTER ROLE ... SET); NULL: nothing.';
COMMENT ON COLUMN scope.credentials.created_at IS 'When it was issued.';
COMMENT ON COLUMN scope.credentials.database IS 'The database in which it was issued.';

COMMENT ON COLUMN scope.guarded_logins.role IS 'The login, which is not managed otherwise.';
COMMENT ON COLUMN scope.guarded_logins.in_force IS 'False once it has become a superuser: superusers are never refused.';
COMMENT ON COLUMN scope.guarded_logins.last_login IS 'When it last logged in to this server; NULL: never since it was guarded, or not known.';
COMMENT ON COLUMN scope.guarded_logins.logins IS 'How often it has logged in to this server since it was guarded; NULL: not known.';
COMMENT ON COLUMN scope.guarded_logins.last_address IS 'From where it last came: an address, or local for Unix sockets.';
COMMENT ON COLUMN scope.guarded_logins.addresses IS 'From where it has come in the last 30 days, the latest first, with the hour; eight at most.';
COMMENT ON COLUMN scope.guarded_logins.last_refusal IS 'When its last login was refused by its rules.';
COMMENT ON COLUMN scope.guarded_logins.last_refusal_reason IS 'Why, in a word: local, address, tls or hours.';
COMMENT ON COLUMN scope.guarded_logins.allowed_ips IS 'The networks that it may log in from; NULL: all.';
COMMENT ON COLUMN scope.guarded_logins.allow_local IS 'Whether it may log in by Unix socket.';
COMMENT ON COLUMN scope.guarded_logins.require_tls IS 'Whether its TCP connections must use TLS.';
COMMENT ON COLUMN scope.guarded_logins.allowed_hours IS 'When it may log in, by the clock of time_zone; NULL: at any time.';
COMMENT ON COLUMN scope.guarded_logins.time_zone IS 'The time zone of allowed_hours.';
COMMENT ON COLUMN scope.guarded_logins.guarded_by IS 'Who has guarded it, by the name at that time.';
COMMENT ON COLUMN scope.guarded_logins.guarded_at IS 'When it was first guarded.';

COMMENT ON COLUMN scope.guards.role IS 'The role that is guarded: a scope guards all who have its rights.';
COMMENT ON COLUMN scope.guards.action IS 'block refuses and reports; alert reports only.';
COMMENT ON COLUMN scope.guards.max_rows IS 'Rows that one statement may return to the client; NULL: any number.';
COMMENT ON COLUMN scope.guards.window_rows IS 'Rows that may be returned in a window; NULL: any number.';
COMMENT ON COLUMN scope.guards."window" IS 'The length of the window.';
COMMENT ON COLUMN scope.guards.forbid IS 'Classes of statements that are refused: ddl, copy_program, copy_to, listen, lock, do, temp, large_objects, set.';
COMMENT ON COLUMN scope.guards.by_superuser IS 'Whether a superuser has set it, so that superusers alone change it.';

COMMENT ON COLUMN scope.scope_declarations.scope IS 'The scope.';
COMMENT ON COLUMN scope.scope_declarations.class IS 'table, column, sequence, function, schema, database, future tables, future sequences or future functions.';
COMMENT ON COLUMN scope.scope_declarations.object IS 'The object as SQL names it; of columns the table, of the future the schema.';
COMMENT ON COLUMN scope.scope_declarations.part IS 'The column; of the future, the role that creates; NULL otherwise.';
COMMENT ON COLUMN scope.scope_declarations.privileges IS 'What the scope was given on it.';
COMMENT ON COLUMN scope.scope_declarations.stance IS 'required; spare: the scope works without; withheld: taken away from it, while future objects of the schema are declared.';
COMMENT ON COLUMN scope.scope_declarations.declared_at IS 'When the first of these privileges was declared.';

COMMENT ON COLUMN scope.jwt_issuers.name IS 'The name that administrators call it by.';
COMMENT ON COLUMN scope.jwt_issuers.issuer IS 'The iss claim of its tokens, which picks it.';
COMMENT ON COLUMN scope.jwt_issuers.audiences IS 'The aud of a token must name one of them; empty: aud is not checked.';
COMMENT ON COLUMN scope.jwt_issuers.algorithms IS 'What its tokens may be signed with; empty: whatever its keys are for.';
COMMENT ON COLUMN scope.jwt_issuers.role_claim IS 'The claim that names the role; NULL: scope_roles.jwt_role_claim, or the one that the caller names.';
COMMENT ON COLUMN scope.jwt_issuers.allowed_roles IS 'The roles that its tokens may take; NULL: each that the login is a member of.';
COMMENT ON COLUMN scope.jwt_issuers.anon_role IS 'The role of its tokens that name none; NULL: such tokens are refused.';
COMMENT ON COLUMN scope.jwt_issuers.leeway IS 'Tolerance for exp, nbf and iat; NULL: scope_roles.jwt_leeway.';
COMMENT ON COLUMN scope.jwt_issuers.require_exp IS 'Whether a token must have an exp claim.';
COMMENT ON COLUMN scope.jwt_issuers.max_age IS 'How old a token may be, counted from iat; NULL: any age.';
COMMENT ON COLUMN scope.jwt_issuers.changed_at IS 'When it was last changed, keys included.';

COMMENT ON COLUMN scope.writing_function.function IS 'The function, by name and argument types.';
COMMENT ON COLUMN scope.writing_function.allowed_by IS 'Who has allowed it.';
COMMENT ON COLUMN scope.writing_function.allowed_at IS 'When.';

COMMENT ON COLUMN scope.audit_log.at IS 'When it was done.';
COMMENT ON COLUMN scope.audit_log.event IS 'The kind of event, as in the server log.';
COMMENT ON COLUMN scope.audit_log.function IS 'The function of the extension that was called.';
COMMENT ON COLUMN scope.audit_log.object IS 'The role or object that it was done to.';
COMMENT ON COLUMN scope.audit_log.login IS 'The login.';
COMMENT ON COLUMN scope.audit_log.role IS 'The role they acted as.';
COMMENT ON COLUMN scope.audit_log.issuer IS 'The issuer of the token that had switched the session; NULL without one.';
COMMENT ON COLUMN scope.audit_log.subject IS 'The subject of that token.';
COMMENT ON COLUMN scope.audit_log.jti IS 'The id of that token.';
COMMENT ON COLUMN scope.audit_log.client IS 'The client''s address; NULL for Unix sockets and workers.';
COMMENT ON COLUMN scope.audit_log.application_name IS 'What the client calls itself.';
COMMENT ON COLUMN scope.audit_log.details IS 'The fields that the event has in the server log.';
COMMENT ON COLUMN scope.audit_log.pid IS 'The server process.';
COMMENT ON COLUMN scope.audit_log.xid IS 'The transaction.';
COMMENT ON COLUMN scope.audit_log.id IS 'Identifies the row; ids have no order.';

COMMENT ON COLUMN _scope.jwt_issuer_secret.name IS 'The name of the issuer.';
COMMENT ON COLUMN _scope.jwt_issuer_secret.keys IS 'Its keys, where one of them is a secret.';

COMMENT ON COLUMN _scope.jwt_issuer.name IS 'The name that administrators call it by.';
COMMENT ON COLUMN _scope.jwt_issuer.issuer IS 'The iss claim of its tokens, which picks it.';
COMMENT ON COLUMN _scope.jwt_issuer.audiences IS 'The aud of a token must name one of them; empty: aud is not checked.';
COMMENT ON COLUMN _scope.jwt_issuer.algorithms IS 'What its tokens may be signed with; empty: whatever its keys are for.';
COMMENT ON COLUMN _scope.jwt_issuer.role_claim IS 'The claim that names the role; NULL: scope_roles.jwt_role_claim, or the one that the caller names.';
COMMENT ON COLUMN _scope.jwt_issuer.allowed_roles IS 'The roles that its tokens may take; NULL: each that the login is a member of.';
COMMENT ON COLUMN _scope.jwt_issuer.anon_role IS 'The role of its tokens that name none; NULL: such tokens are refused.';
COMMENT ON COLUMN _scope.jwt_issuer.leeway IS 'Tolerance for exp, nbf and iat; NULL: scope_roles.jwt_leeway.';
COMMENT ON COLUMN _scope.jwt_issuer.require_exp IS 'Whether a token must have an exp claim.';
COMMENT ON COLUMN _scope.jwt_issuer.max_age IS 'How old a token may be, counted from iat; NULL: any age.';
COMMENT ON COLUMN _scope.jwt_issuer.changed_at IS 'When it was last changed, keys included.';
COMMENT ON COLUMN _scope.jwt_issuer.keys IS 'The keys that verify its tokens; NULL: a secret is among them, and _scope.jwt_issuer_secret has them.';

COMMENT ON COLUMN _scope.jwt_revoked_token.jti IS 'The jti claim of the token.';
COMMENT ON COLUMN _scope.jwt_revoked_token.issuer IS 'The iss claim; empty: any.';
COMMENT ON COLUMN _scope.jwt_revoked_token.until IS 'When the token would have ended by itself: the row can go.';

COMMENT ON COLUMN _scope.jwt_revoked_subject.sub IS 'The sub claim.';
COMMENT ON COLUMN _scope.jwt_revoked_subject.issuer IS 'The iss claim; empty: any.';
COMMENT ON COLUMN _scope.jwt_revoked_subject.issued_before IS 'Tokens issued before are refused.';

COMMENT ON COLUMN _scope.scope_declaration.scope IS 'The scope, by name.';
COMMENT ON COLUMN _scope.scope_declaration.scope_oid IS 'The scope, by OID, of origin.';
COMMENT ON COLUMN _scope.scope_declaration.class IS 'As in scope.scope_declarations.';
COMMENT ON COLUMN _scope.scope_declaration.object IS 'As in scope.scope_declarations.';
COMMENT ON COLUMN _scope.scope_declaration.object_oid IS 'The object, by OID, of origin.';
COMMENT ON COLUMN _scope.scope_declaration.part IS 'The column, or the role that creates; empty otherwise.';
COMMENT ON COLUMN _scope.scope_declaration.part_oid IS 'The same, by OID or number.';
COMMENT ON COLUMN _scope.scope_declaration.privilege IS 'The privilege.';
COMMENT ON COLUMN _scope.scope_declaration.stance IS 'As in scope.scope_declarations.';
COMMENT ON COLUMN _scope.scope_declaration.origin IS 'The server and database that the OIDs are of.';
COMMENT ON COLUMN _scope.scope_declaration.declared_at IS 'When it was declared.';
COMMENT ON COLUMN _scope.scope_declaration.declared_as IS 'The name that the object had then, where it has another by now.';

COMMENT ON COLUMN _scope.accepted_finding.code IS 'The finding, as scope.review() has it.';
COMMENT ON COLUMN _scope.accepted_finding.role IS 'Its role; empty: none.';
COMMENT ON COLUMN _scope.accepted_finding.object IS 'Its object; empty: none.';
COMMENT ON COLUMN _scope.accepted_finding.reason IS 'Why it is accepted.';
COMMENT ON COLUMN _scope.accepted_finding.until IS 'Until when.';
COMMENT ON COLUMN _scope.accepted_finding.accepted_by IS 'Who has accepted it.';
COMMENT ON COLUMN _scope.accepted_finding.accepted_at IS 'When.';

COMMENT ON COLUMN _scope.attestation.role IS 'The role, by the name at that time.';
COMMENT ON COLUMN _scope.attestation.role_oid IS 'The role.';
COMMENT ON COLUMN _scope.attestation.note IS 'The signer''s note.';
COMMENT ON COLUMN _scope.attestation.attested_by IS 'Who signed.';
COMMENT ON COLUMN _scope.attestation.attested_at IS 'When.';
COMMENT ON COLUMN _scope.attestation.access IS 'What the role could do then, a line for each privilege.';
