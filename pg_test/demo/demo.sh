#!/usr/bin/env bash
# make demo, make demo-stop: builds the extension, starts a throw-away server in a folder of its own, and tells what
# scope_roles does in psql. Every result is checked; the first surprise ends the demo with a non-zero status.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../../.ci/setup.sh"
# shellcheck source=pg_test/demo/server.sh
. "$ROOT/pg_test/demo/server.sh"
# shellcheck source=pg_test/demo/session.sh
. "$ROOT/pg_test/demo/session.sh"
# shellcheck source=pg_test/demo/token.sh
. "$ROOT/pg_test/demo/token.sh"

CHARGES=stripe_charges_v1_d50b
CUSTOMERS=stripe_customers_v1_fa4d

find_cache
if [ "${1:-}" = stop ]; then
  stop_demo
  exit 0
fi

# The first time takes minutes.
if ! have cc || ! apt_server_is_there "${PG:-$DEFAULT_PG}"; then STEPS+=(60:packages); fi
if ! [ -x "$SCOPE_ROLES_CACHE/cargo-pgrx-$PGRX_VERSION/bin/cargo-pgrx" ]; then STEPS+=(90:cargo-pgrx); fi
if ! [ -e "$CARGO_TARGET_DIR/debug/libscope_roles.so" ]; then STEPS+=("100:the extension"); fi
STEPS+=('45:the story')

prepare "${PG:-$DEFAULT_PG}"
ensure_commands openssl:openssl
stop_demo
install_private

SECRET=$(openssl rand -hex 32)
trap 'clean_up $?' EXIT
trap 'exit 130' INT TERM
step 'the story'
start_demo "$SECRET"

# ---- 1 ---------------------------------------------------------------------------------------------------------------

heading '1. A database with two tables'
open_session dba "$DBA_URI"
note 'You are the DBA, on the Unix socket. postgresql.conf has shared_preload_libraries = '\''scope_roles'\''.'
works dba 'CREATE EXTENSION scope_roles;'
works dba "CREATE TABLE $CHARGES (id text PRIMARY KEY, customer text, cents bigint, paid boolean);"
works dba "INSERT INTO $CHARGES VALUES ('ch_1', 'cus_A', 1999, true), ('ch_2', 'cus_B', 4900, true), ('ch_3', 'cus_A', 250, false);"
works dba "CREATE TABLE $CUSTOMERS (id text PRIMARY KEY, name text, email text);"
works dba "INSERT INTO $CUSTOMERS VALUES ('cus_A', 'Ada', 'ada@example.com'), ('cus_B', 'Ben', 'ben@example.com');"

# ---- 2 ---------------------------------------------------------------------------------------------------------------

pause
heading '2. A login for one table, for 8 seconds'
note 'One call: a role, a password that is shown this once, a deadline, and the URI to connect with.'
works dba "SELECT * FROM scope.create_readonly_role('$CHARGES', valid_for => '8 seconds') \\gx" 'role_name'
credential=$(field role_name)
password=$(field password)
uri=$(field connection_uri)
if [[ $uri != *"$password"* ]]; then
  # The URI names the login; whoever connects adds the secret.
  export PGPASSWORD=$password
fi
[[ $uri == *"127.0.0.1:$PORT"* ]] || surprise "a URI over TCP to 127.0.0.1:$PORT" "$uri"

note 'Connect with it, over TCP. A wrong password first, to see that it is asked for at all.'
no_login "${uri/"$password"/wrong}" wrong 'password authentication failed'
open_session credential "$uri"
unset PGPASSWORD
works credential 'SELECT current_user, inet_server_addr() AS over_tcp_to;' "$credential"
note 'Charges can be read ...'
works credential "SELECT * FROM $CHARGES;" '3 rows'
note '... and nothing else: not the customers, and nothing can be written.'
refused credential 42501 "SELECT * FROM $CUSTOMERS;"
refused credential 42501 "INSERT INTO $CHARGES VALUES ('ch_4', 'cus_A', 1, true);"
refused credential 42501 "UPDATE $CHARGES SET paid = true;"
refused credential 42501 "DROP TABLE $CHARGES;"

note 'The DBA at a glance: who has access to what, until when. The credential is a member of the scope role.'
works dba 'SELECT role, kind, state, scopes, time_left FROM scope.roles;' "$credential"
note "TCP asks for SCRAM here, and the server keeps no password, only the verifier."
works dba "SELECT type, user_name, address, auth_method FROM pg_hba_file_rules;" 'host .*scram-sha-256'
works dba "SELECT rolname, left(rolpassword, 18) AS verifier FROM pg_authid WHERE rolname = '$credential';" 'SCRAM-SHA-256'

# ---- 3 ---------------------------------------------------------------------------------------------------------------

pause "the 8 seconds run on meanwhile; that session stays open"
heading '3. A role by JWT, for one transaction, with no way back'
web_password=$(openssl rand -hex 16)
keep dba web_password "$web_password"
note 'A web server logs in as web_api. It may become "support", but only with a token signed with the server'\''s secret.'
works dba 'CREATE ROLE support NOLOGIN;'
works dba "GRANT SELECT ON $CUSTOMERS TO support;"
works dba "CREATE ROLE web_api LOGIN NOINHERIT PASSWORD :'web_password';"
works dba 'GRANT support TO web_api;'

now=$(date +%s)
claims="\"role\":\"support\",\"sub\":\"alice\",\"iat\":$now"
PGPASSWORD=$web_password open_session web_api "$WEB_URI"
keep web_api token "$(jwt "$SECRET" "{$claims,\"exp\":$((now + 3600))}")"
keep web_api forged "$(jwt "$(openssl rand -hex 32)" "{$claims,\"exp\":$((now + 3600))}")"
keep web_api expired "$(jwt "$SECRET" "{$claims,\"exp\":$((now - 3600))}")"
note 'By itself web_api can read nothing.'
refused web_api 42501 "SELECT * FROM $CUSTOMERS;"
note "With a token (role: support, sub: alice) it is \"support\", until the transaction ends."
works web_api 'BEGIN;'
works web_api "SELECT scope.set_jwt_role(:'token', 'role');" support
works web_api "SELECT current_user, current_setting('request.jwt.claims')::json ->> 'sub' AS subject;" 'support.*alice'
works web_api "SELECT * FROM $CUSTOMERS;" '2 rows'
works web_api 'SAVEPOINT before_mischief;'
note 'What "support" was not granted stays closed ...'
refused web_api 42501 "SELECT * FROM $CHARGES;"
works web_api 'ROLLBACK TO before_mischief;'
note '... and no SQL leads back to web_api or on to another role.'
refused web_api 42501 'RESET ROLE;'
works web_api 'ROLLBACK TO before_mischief;'
refused web_api 42501 "SELECT set_config('role', 'none', false);"
works web_api 'ROLLBACK TO before_mischief;'
refused web_api 42501 'SET SESSION AUTHORIZATION DEFAULT;'
works web_api 'ROLLBACK TO before_mischief;'
works web_api 'SELECT current_user;' support
works web_api 'COMMIT;'
works web_api 'SELECT current_user;' web_api
note 'A token signed with another secret.'
works web_api 'BEGIN;'
refused web_api 28000 "SELECT scope.set_jwt_role(:'forged', 'role');" bad_signature
works web_api 'ROLLBACK;'
note 'A token that expired an hour ago.'
works web_api 'BEGIN;'
refused web_api 28000 "SELECT scope.set_jwt_role(:'expired', 'role');" expired
works web_api 'ROLLBACK;'

# ---- 4 ---------------------------------------------------------------------------------------------------------------

pause
heading '4. The deadline passes while the session is open'
note "The session of part 2 is still there. It goes on reading, once a second, and nobody calls anything."
watch_end credential "SELECT to_char(clock_timestamp(), 'HH24:MI:SS') AS clock, count(*) AS charges_read FROM $CHARGES;"
note 'Nobody called anything: the background worker ended the session. A new login:'
no_login "$uri" "$password" 'connection refused by login policy|password authentication failed|role .* does not exist'
wait_until_gone "$credential"
note 'And the role no longer exists. The scope role stays, ready for the next credential.'
works dba 'SELECT role, kind, state, scopes, time_left FROM scope.roles;' '' "$credential"
works dba "SELECT rolname FROM pg_roles WHERE rolname = '$credential';" '0 rows'

# ---- 5 ---------------------------------------------------------------------------------------------------------------

pause
heading '5. Access on request'
ann_password=$(openssl rand -hex 16)
carl_password=$(openssl rand -hex 16)
keep dba ann_password "$ann_password"
keep dba carl_password "$carl_password"
note 'The tables are the shop'\''s. Developers may ask for its role, for two hours at most; one of the leads must say yes.'
works dba 'CREATE ROLE shop NOLOGIN;'
works dba "ALTER TABLE $CHARGES OWNER TO shop;"
works dba 'CREATE ROLE developers NOLOGIN;'
works dba 'CREATE ROLE leads NOLOGIN;'
works dba "CREATE ROLE ann LOGIN PASSWORD :'ann_password' IN ROLE developers, leads;"
works dba "CREATE ROLE carl LOGIN PASSWORD :'carl_password' IN ROLE leads;"
works dba "SELECT scope.create_request_policy('debugging', '{shop}', '{developers}', '[{\"role\": \"leads\"}]', max_duration => '2 hours');"
PGPASSWORD=$ann_password open_session ann "${WEB_URI/web_api/ann}"
PGPASSWORD=$carl_password open_session carl "${WEB_URI/web_api/carl}"
refused ann 42501 "UPDATE $CHARGES SET paid = true WHERE id = 'ch_3';"
works ann "SELECT * FROM scope.request_access('shop', '1 hour', 'ch_3 was paid, ticket 99');" 'pending .*1 of leads'
note 'ann is one of the leads herself. Nobody decides on the own request.'
refused ann 42501 'SELECT scope.approve(1);'
works carl 'SELECT * FROM scope.request_board;' 'ann .*shop .*ticket 99'
works carl "SELECT scope.approve(1, 'go on');" 'active: lasts until'
works ann "UPDATE $CHARGES SET paid = true WHERE id = 'ch_3';" 'UPDATE 1'
note 'Done before the hour is over, it is given back.'
works ann 'SELECT scope.withdraw(1);' revoked
refused ann 42501 "UPDATE $CHARGES SET paid = false;"
works dba 'SELECT event, login, note FROM scope.request_log ORDER BY at;' 'asked .*ann.*approved .*carl .*go on.*started.*withdrawn .*ann'

# ---- 6 ---------------------------------------------------------------------------------------------------------------

pause
heading '6. Somebody leaves'
bob_password=$(openssl rand -hex 16)
keep dba bob_password "$bob_password"
note 'bob is in, owns nothing, has a role for an hour, and has issued a login for a table of the shop.'
works dba "CREATE ROLE bob LOGIN PASSWORD :'bob_password' IN ROLE shop;"
works dba 'GRANT EXECUTE ON FUNCTION scope.create_readonly_role TO bob;'
PGPASSWORD=$bob_password open_session bob "${WEB_URI/web_api/bob}"
works bob "SELECT role_name, valid_until FROM scope.create_readonly_role('$CHARGES', 'dashboard');" dashboard
works dba "SELECT scope.grant_temporary('support', 'bob', '1 hour', 'incident 4711');"
note 'What there is, and the SQL that ends it. Nothing is done yet.'
works dba "SELECT kind, name, action FROM scope.offboard('bob');" 'login .*ALTER ROLE bob NOLOGIN.*sessions .*membership .*dashboard'
note 'And its end: what he has made is the shop'\''s, and a password that he knows is no longer good.'
works dba "SELECT kind, name, done, new_login FROM scope.offboard('bob', reason => 'left', apply => true, successor => 'shop', overlap => '0 seconds');" \
  'login +\| bob +\| t .*password +\| dashboard +\| t '
no_login "${WEB_URI/web_api/bob}" "$bob_password" 'not permitted to log in'
works dba "SELECT role, state, created_by, rotated_at FROM scope.credentials WHERE role = 'dashboard';" 'dashboard +\| active +\| shop'
note 'Again: what is left is for people to decide.'
works dba "SELECT kind, name, action, detail FROM scope.offboard('bob', reason => 'left', apply => true, successor => 'shop');" 'membership .*REVOKE shop FROM bob'

# ---- the end ---------------------------------------------------------------------------------------------------------

for name in web_api ann carl bob dba; do close_session "$name"; done
trap - EXIT
heading 'That was all'
cat <<END
Every result above was checked. The server is still running, for you:

  open psql on it   $PSQL '$DBA_URI'
  its log           $DEMO/log
  stop, remove it   make demo-stop
END
