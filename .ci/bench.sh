#!/usr/bin/env bash
# make bench [PG=…] [ONLY=row]: the release build against what people use instead, on one private server, then how cost grows with
# roles, clients and tokens: docs/benchmark.md, docs/curves.md, docs/curves.svg. With ONLY some rows, and no document. Wants a quiet
# machine. Only Debian's server has all peers (pgaudit, set_user): on others it says what is missing, and fails.
# make curves [PG=…]: CURVES=1, the curves alone. Without PgBouncer one of them is missing, and it fails unless WITHOUT_PGBOUNCER=1.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

PG=${PG:-$DEFAULT_PG}
export ONLY=${ONLY:-} WITHOUT_PGBOUNCER=${WITHOUT_PGBOUNCER:-}

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
cargo test --ignore-rust-version --release --no-default-features --features "$PG_LABEL" --test bench --no-run >&2

# set_user is a peer, and the curves go through PgBouncer.
alone neighbours
name=bench
if [ -n "${CURVES:-}" ]; then name=curves; fi
if [ -z "$ONLY$WITHOUT_PGBOUNCER${SCOPE_ROLES_PGBOUNCER:-}" ]; then
  say "the curve of clients needs PgBouncer: WITHOUT_PGBOUNCER=1 does without, else this run will fail at its end"
fi
say "measuring, about 5 minutes for each half"
if cargo test --ignore-rust-version --quiet --release --no-default-features --features "$PG_LABEL" --test bench; then
  say "make $name: all of it measured, every target met"
else
  say "make $name: a target was missed, or something could not be measured"
  exit 1
fi
