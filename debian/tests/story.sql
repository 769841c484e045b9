-- What is done with each package, in each server that has it. Whoever runs it looks for the last line.
\set ON_ERROR_STOP on
CREATE EXTENSION scope_roles;
CREATE TABLE orders (id int);
CREATE TABLE vault (id int);
INSERT INTO orders VALUES (1), (2);
SELECT role_name, password FROM scope.create_readonly_role('orders', valid_for => '1 hour') \gset
SELECT format('host=127.0.0.1 port=%s dbname=%s user=', current_setting('port'), current_database()) AS target \gset
SELECT :'target' || format('%s password=%s', :'role_name', :'password') AS uri \gset
-- A token of HS256, and a login that takes its role.
SELECT encode(sha256(random()::text::bytea), 'hex') AS secret \gset
CREATE FUNCTION pg_temp.padded(key bytea, pad int) RETURNS bytea LANGUAGE sql AS $$
  SELECT string_agg(set_byte('\x00', 0, (CASE WHEN i < length(key) THEN get_byte(key, i) ELSE 0 END) # pad), '' ORDER BY i) FROM generate_series(0, 63) i $$;
CREATE FUNCTION pg_temp.base64url(bytes bytea) RETURNS text LANGUAGE sql AS $$
  SELECT translate(encode(bytes, 'base64'), E'+/=\n', '-_') $$;
CREATE FUNCTION pg_temp.sign(claims json, secret text) RETURNS text LANGUAGE sql AS $$
  WITH t(message) AS (SELECT pg_temp.base64url('{"alg":"HS256"}') || '.' || pg_temp.base64url(convert_to(claims::text, 'UTF8')))
  SELECT message || '.' || pg_temp.base64url(sha256(pg_temp.padded(secret::bytea, 92) || sha256(pg_temp.padded(secret::bytea, 54) || message::bytea))) FROM t $$;
CREATE ROLE web;
CREATE ROLE person LOGIN PASSWORD :'secret' IN ROLE web;
GRANT SELECT ON orders TO web;
GRANT EXECUTE ON FUNCTION scope.exchange_token TO person;
SELECT scope.add_jwt_issuer('story', 'https://id.example.org', :'secret');
SELECT pg_temp.sign(json_build_object('iss', 'https://id.example.org', 'role', 'web', 'sub', 'ann',
                                      'exp', extract(epoch FROM now())::int + 600), :'secret') AS token \gset
\connect :uri
SELECT count(*) AS rows FROM orders \gset
\set ON_ERROR_STOP off
SELECT * FROM vault;
\set vault :LAST_ERROR_SQLSTATE
DROP EXTENSION scope_roles;
\set extension :LAST_ERROR_SQLSTATE
SELECT current_user LIKE 'orders\_ro\_%' AND (:'rows', :'vault', :'extension') = ('2', '42501', '42501') AS reader \gset
SELECT :'target' || format('person password=%s', :'secret') AS uri \gset
\connect :uri
BEGIN;
SELECT scope.set_jwt_role(:'token') AS switched \gset
RESET ROLE;
\set locked :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT scope.set_jwt_session(:'token');
SELECT current_user AS during \gset
SELECT scope.end_jwt_session(:'token');
SELECT current_user AS after \gset
SELECT (:'switched', :'locked', :'during', :'after') = ('web', '42501', 'web', 'person') AS switch \gset
SELECT role_name, password FROM scope.exchange_token(:'token') \gset
SELECT :'target' || format('%s password=%s', :'role_name', :'password') AS uri \gset
\connect :uri
SELECT 'the story is true' WHERE :'reader' AND :'switch' AND current_user = 'web' AND (SELECT count(*) FROM orders) = 2;
