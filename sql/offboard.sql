-- A person leaves.

CREATE FUNCTION scope.offboard(role name DEFAULT NULL, subject text DEFAULT NULL, reason text DEFAULT NULL, apply boolean DEFAULT false,
    successor name DEFAULT NULL, issuer text DEFAULT NULL, overlap interval DEFAULT '1 hour')
RETURNS TABLE (kind text, name text, action text, done boolean, detail text, new_login name, password text, connection_uri text)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'offboard_wrapper';
COMMENT ON FUNCTION scope.offboard(name, text, text, boolean, name, text, interval) IS
'What a person has and has made, a row for each thing, with the SQL that ends it; apply: that SQL is run, as the caller, each thing by itself. done: whether it is done; detail: why not, or more about it. Again, and only what is left is there.
role: the person''s login; subject: the sub of their tokens, of one issuer (its name or iss) or of any. Exactly one of the two.
Of a role: the login gets NOLOGIN, or is revoked if it is a managed one; its sessions end, those that come in before the commit too; its temporary memberships and requests for access end; the logins and temporary memberships that it has granted end, or are handed to the successor, as its scopes are; other memberships and objects are listed. Of a subject: its tokens are refused for good, its sessions, its requests and the logins for its tokens end; the logins that it has issued end, or go on with a new password where a successor is named.
Passwords that the person has seen, of logins that go on, are rotated; overlap: how long the old one goes on beside the new one (new_login, password, connection_uri), as for scope.rotate_password().
reason: needed with apply; at most 200 bytes.
Callers: those with EXECUTE; each row asks for the authority that its action asks for. Nobody offboards themselves; superusers are offboarded by superusers.
Errors: 22023 neither or both of role and subject, an issuer of a role, an empty text, the person as successor, a reason that is too long; 22004 NULL, or no reason; 42501 oneself, or a superuser; 42704 no such role; 42809 a managed role that is nobody''s login; 25006 read-only, with apply; 55000 not preloaded.';
