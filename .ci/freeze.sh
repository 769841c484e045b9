#!/usr/bin/env bash
# make freeze: for a release. Keeps what this version installs in pg_test/released, where a test holds later versions against it.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

prepare "$DEFAULT_PG"
install_private
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml" | head -1)
INSTALLED=$("$PRIVATE_PG_CONFIG" --sharedir)/extension/scope_roles--$VERSION.sql
KEPT=$ROOT/pg_test/released/scope_roles--$VERSION.sql
mkdir -p "$ROOT/pg_test/released"
[ ! -e "$KEPT" ] || die "$VERSION is released already" "Move the version in Cargo.toml and META.json, and write sql/scope_roles--$VERSION--NEXT.sql."
# Where each part stands in the source is of no use to a server.
sed -E 's|^-- src/([^:]*):[0-9]+$|-- src/\1|' "$INSTALLED" >"$KEPT"
say "kept $KEPT: commit it with the release"
