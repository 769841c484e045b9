# shellcheck shell=bash
# The demo's throw-away server: everything that it is lies in one folder, $DEMO.

start_demo() {
  local secret=$1 owner bin
  DEMO=$(mktemp -d "${TMPDIR:-/tmp}/scope_roles-demo.XXXXXX")
  # A socket's path has room for 107 bytes.
  if ((${#DEMO} > 80)); then
    rmdir "$DEMO"
    DEMO=$(mktemp -d /tmp/scope_roles-demo.XXXXXX)
  fi
  printf '%s\n' "$DEMO" >"$TREE/demo"
  # Others pass through, on their way to the data and socket folders that are the owner's alone.
  chmod 711 "$DEMO"
  cd -- "$DEMO" || exit

  # A copy of its own: tests of this tree may replace the build while the demo's server runs.
  if [ -n "$PRIVATE_ROOT" ]; then
    cp -R --preserve=mode,timestamps "$PRIVATE_ROOT" server
    bin=$(dirname "$DEMO/server${PRIVATE_PG_CONFIG#"$PRIVATE_ROOT"}")
  else
    bin=$(dirname "$PRIVATE_PG_CONFIG")
  fi
  ln -s "$bin" bin
  PSQL=$DEMO/bin/psql

  owner=$(id -un)
  if is_root; then owner=$SERVER_USER; fi
  install -d -m 700 -o "$owner" data socket
  : >log
  if is_root; then chown "$owner" log; fi

  say "starting PostgreSQL $PG_MAJOR in $DEMO"
  as_server_user bin/initdb -D data -U postgres --auth-local=peer --auth-host=scram-sha-256 -E UTF8 --no-locale \
    --no-sync >>log 2>&1 || server_failed initdb
  as_server_user tee data/pg_hba.conf >/dev/null <<END
# The Unix socket is for the server's owner alone; everybody else brings a password, never sent in the clear.
local all postgres peer map=owner
host  all all 127.0.0.1/32 scram-sha-256
END
  as_server_user tee data/pg_ident.conf >/dev/null <<END
owner $owner postgres
owner root postgres
END

  local try
  for try in {1..10}; do
    # Below the range from which the system picks ports by itself.
    PORT=$((RANDOM % 12000 + 20000))
    as_server_user tee data/postgresql.auto.conf >/dev/null <<END
listen_addresses = '127.0.0.1'
port = $PORT
unix_socket_directories = '$DEMO/socket'
fsync = off
log_line_prefix = '%m [%p] %u@%d '
shared_preload_libraries = 'scope_roles'
scope_roles.jwt_secret = '$secret'
scope_roles.connection_host = '127.0.0.1'
scope_roles.connection_port = $PORT
END
    if as_server_user bin/pg_ctl start -w -t 30 -D data -l log </dev/null >/dev/null 2>&1; then break; fi
    # Another server's port? Then try the next one.
    if ((try == 10)) || ! grep -q 'could not bind' log; then server_failed 'pg_ctl start'; fi
    : >log
  done

  DBA_URI="postgresql:///shop?host=$DEMO/socket&port=$PORT&user=postgres"
  # shellcheck disable=SC2034 # for the story
  WEB_URI="postgresql://web_api@127.0.0.1:$PORT/shop"
  "$PSQL" -X -q "${DBA_URI/shop/postgres}" -c 'CREATE DATABASE shop'
}

server_failed() {
  tail -20 log >&2
  die "$1 failed" "the whole log: $DEMO/log"
}

# Stops and removes the demo of this tree, if there is one.
stop_demo() {
  local dir pid
  if [ ! -e "$TREE/demo" ]; then return; fi
  dir=$(cat "$TREE/demo")
  if [[ $dir == */scope_roles-demo.* ]] && [ -d "$dir" ]; then
    say "stopping the demo's server and removing $dir"
    pid=$(as_server_user head -1 "$dir/data/postmaster.pid" 2>/dev/null || true)
    # After a restart of the machine that number may be anything's.
    if [ -n "$pid" ] && grep -qs postgres "/proc/$pid/cmdline"; then
      (cd "$dir" && as_server_user bin/pg_ctl stop -w -D data -m immediate >/dev/null 2>&1) || true
    fi
    rm -rf -- "$dir"
  fi
  rm -f "$TREE/demo"
}

# A demo that did not reach its end leaves nothing behind.
clean_up() {
  local status=$1
  trap - EXIT
  if ((status != 0 && status != 130)); then
    printf '\nthe end of the server log:\n' >&2
    tail -15 "$DEMO/log" >&2 || true
  fi
  cd -- "$ROOT" || exit
  stop_demo
  exit "$status"
}
