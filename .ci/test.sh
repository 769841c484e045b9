#!/usr/bin/env bash
# make test, make asserts [PG=…] [ONLY=name] [ROOMS='room:: room::']: the in-server tests, then the tests with real sessions and clusters, on one server;
# of those, the ones of some rooms only.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

PG=${PG:-$DEFAULT_PG}
ONLY=${ONLY:-}
read -ra ROOMS <<<"${ROOMS:-}"

find_cache
if [ -z "${SCOPE_ROLES_TEST_LOCKED:-}" ]; then
  # Two runs in one tree would install over each other. --close: servers that outlive a run must not keep the lock.
  export SCOPE_ROLES_TEST_LOCKED=1
  flock --nonblock "$TREE/test.lock" true || say "waiting for another make test of this tree"
  ROOMS="${ROOMS[*]}" exec flock --close "$TREE/test.lock" "${BASH_SOURCE[0]}"
fi

prepare "$PG"
if [ -n "${ASSERTS:-}" ] && [[ "$("$PRIVATE_PG_CONFIG" --configure)" != *--enable-cassert* ]]; then
  die "$PG is not built with --enable-cassert" "CONTRIBUTING.md says how to build one. Then: make asserts PG=/path/to/its/pg_config"
fi
alone neighbours
cd "$ROOT"

# The in-server tests keep their data and socket here: a socket's path has room for 107 bytes only.
SCRATCH=$(mktemp -d /tmp/scope_roles-test.XXXXXX)

# pgrx stops its servers itself, but not when it is killed.
clean_up() {
  local pid
  for pid in "$SCRATCH"/*/postmaster.pid; do
    if [ -e "$pid" ]; then kill -QUIT "$(head -1 "$pid")" 2>/dev/null || true; fi
  done
  rm -rf -- "$SCRATCH"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

in_server_tests() {
  # What `cargo pgrx test` runs. It passes on no --ignore-rust-version: with the same flag it asks for metadata, which has none.
  local command=(env PGRX_MANIFEST_PATH="$ROOT/Cargo.toml" PGRX_FEATURES="$PG_LABEL pg_test" PGRX_NO_DEFAULT_FEATURES=true
    PGRX_ALL_FEATURES=false PGRX_NO_SCHEMA=false PGRX_BUILD_PROFILE=dev CARGO_PGRX_TEST_PGDATA="$SCRATCH"
    cargo test --ignore-rust-version --no-default-features --features "$PG_LABEL pg_test")
  if [ -n "$ONLY" ]; then command+=("$ONLY"); fi
  if ! is_root; then
    USER=$(id -un) "${command[@]}"
  elif unshare --user --map-user="$SERVER_USER" --map-group="$SERVER_USER" true 2>/dev/null; then
    # Root by another name: initdb and postgres accept it, and it still owns root's files.
    unshare --user --map-user="$SERVER_USER" --map-group="$SERVER_USER" \
      env USER="$SERVER_USER" LOGNAME="$SERVER_USER" "${command[@]}"
  else
    # No user namespaces here, as in many containers: pgrx can change the user itself, by sudo.
    ensure_commands sudo:sudo
    chown "$SERVER_USER" "$SCRATCH"
    CARGO_PGRX_TEST_RUNAS=$SERVER_USER "${command[@]}"
  fi
}

say "in-server tests on $("$PRIVATE_PG_CONFIG" --version) (the first build takes 1 to 3 minutes, later ones seconds)"
status=0
in_server_tests || status=1

# The tests above left a build with their own schema in it: real sessions get the plain one.
install_private

# The test of pg_upgrade needs a server of an older version, with the library that a run for that version has left there.
for ((older = 15; older < PG_MAJOR; older++)); do
  if [ -e "$TREE/pg$older/copied_from" ]; then
    SCOPE_ROLES_OLDER_PG_CONFIG=$(cat "$TREE/pg$older/pg_config_path")
    export SCOPE_ROLES_OLDER_PG_CONFIG
    break
  fi
done

say "tests with real sessions and clusters on $("$PRIVATE_PG_CONFIG" --version)"
# More threads than cores: most of these tests wait for a server most of the time.
cargo test --ignore-rust-version --no-default-features --features "$PG_LABEL" --test cluster -- --test-threads=8 ${ONLY:+"$ONLY"} "${ROOMS[@]}" || status=1

if ((${#ROOMS[@]})); then say "other rooms than ${ROOMS[*]}: SKIPPED"; fi
if ((status)); then say "make test PG=$PG: FAILED"; else say "make test PG=$PG: passed"; fi
exit "$status"
