#!/usr/bin/env bash
# make upgrade [FROM=15] [PG=18]: pg_upgrade of a cluster with live credentials, issuers and revocations, from one private server to
# another, each with its own build of the library. Where one of them cannot be had it says so. make test PG=18 does the same when
# this tree has tested an older version before.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

FROM=${FROM:-$DEFAULT_PG}
PG=${PG:-18}

find_cache
if [ -z "${SCOPE_ROLES_TEST_LOCKED:-}" ]; then
  # make test installs its own build into the same servers.
  export SCOPE_ROLES_TEST_LOCKED=1
  flock --nonblock "$TREE/test.lock" true || say "waiting for a make test of this tree"
  exec flock --close "$TREE/test.lock" "${BASH_SOURCE[0]}"
fi

for version in "$FROM" "$PG"; do
  # In a shell of its own, because it ends when the server cannot be had.
  if ! (prepare "$version"); then
    say "make upgrade: SKIPPED, there is no PostgreSQL $version here"
    exit 0
  fi
done

prepare "$FROM"
install_private
older=$PG_MAJOR
export SCOPE_ROLES_OLDER_PG_CONFIG=$PRIVATE_PG_CONFIG
prepare "$PG"
((PG_MAJOR > older)) || die "PostgreSQL $PG_MAJOR is not newer than $older"
install_private

say "pg_upgrade from PostgreSQL $older to $PG_MAJOR"
cd "$ROOT"
cargo test --ignore-rust-version --no-default-features --features "$PG_LABEL" --test cluster -- a_cluster_of_an_older_version
