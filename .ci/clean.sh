#!/usr/bin/env bash
# make clean: the builds and private servers of this tree. The downloads in the cache stay.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

"$ROOT/pg_test/demo/demo.sh" stop
find_cache
say "removing $ROOT/target and $TREE"
rm -rf -- "$ROOT/target" "$TREE"
