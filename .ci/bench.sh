#!/usr/bin/env bash
# make curves [PG=…]: CURVES=1, how cost grows with roles, clients and tokens, into docs/curves.md and docs/curves.svg.
# make bench [PG=…] [ONLY=row]: the release build against what people use instead, on one private server. Wants a quiet machine.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

PG=${PG:-$DEFAULT_PG}
export ONLY=${ONLY:-}

find_cache
if [ -z "${SCOPE_ROLES_TEST_LOCKED:-}" ]; then
  # make test installs its own build into the same server.
  export SCOPE_ROLES_TEST_LOCKED=1
  flock --nonblock "$TREE/test.lock" true || say "waiting for a make test of this tree"
  exec flock --close "$TREE/test.lock" "${BASH_SOURCE[0]}"
fi

prepare "$PG"
# Some rows count instructions.
(alone ensure_commands valgrind:valgrind) || say "valgrind cannot be had here: the rows that need it will say so"
cd "$ROOT"

say "release build for $("$PRIVATE_PG_CONFIG" --version) (the first takes about 3 minutes)"
cargo pgrx install --release --pg-config "$PRIVATE_PG_CONFIG" >&2

# The bare verifications that rows compare with run in the benchmark itself, so it is a release build as well.
say "building the benchmark (the first build takes about 2 minutes)"
cargo test --release --no-default-features --features "$PG_LABEL" --test bench --no-run >&2

# set_user is a peer, and the curves go through PgBouncer.
alone neighbours
if [ -n "${CURVES:-}" ]; then
  say "measuring, about 4 minutes"
  exec cargo test --quiet --release --no-default-features --features "$PG_LABEL" --test bench
fi

say "measuring, about 4 minutes"
if cargo test --quiet --release --no-default-features --features "$PG_LABEL" --test bench; then
  say "make bench: every target met"
else
  say "make bench: a target was missed"
  exit 1
fi
