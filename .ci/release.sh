#!/usr/bin/env bash
# make release: all that a release is made of, tested, into target/release-files: the Debian packages and their source, the tarballs,
# PGXN's archive, the bill of materials, and SHA256SUMS of it all.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

cd "$ROOT"
[ -z "$(git status --porcelain)" ] || die "there are changes that are not committed" "A release is what git has."
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
[ -e "pg_test/released/scope_roles--$VERSION.sql" ] || say "not frozen yet: before it is published, make freeze, and commit what that keeps"

env -u PG .ci/package_test.sh

find_cache
OUT=$CARGO_TARGET_DIR/package
FILES=$CARGO_TARGET_DIR/release-files
rm -rf -- "$FILES"
mkdir -p "$FILES"
for folder in "$OUT"/postgresql/*; do
  major=$(basename "$folder")
  cp "$OUT/postgresql-$major-scope-roles_$VERSION"-*.deb "$OUT/scope_roles-$VERSION-pg$major"-*.tar.gz "$FILES/"
done
cp "$OUT/source/debian/scope_roles.cdx.json" "$FILES/scope_roles-$VERSION.cdx.json"
git archive --format=zip --prefix="scope_roles-$VERSION/" --output="$FILES/scope_roles-$VERSION.zip" HEAD

say "Debian's source package"
SOURCE=$OUT/scope-roles-$VERSION
rm -rf -- "$SOURCE"
mkdir -p "$SOURCE"
git archive HEAD | tar -C "$SOURCE" -xf -
git archive --prefix="scope-roles-$VERSION/" HEAD . ':(exclude)debian' | xz -9 -T1 >"$FILES/scope-roles_$VERSION.orig.tar.xz"
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -S Timestamp)
export SOURCE_DATE_EPOCH
(cd "$FILES" && dpkg-source --build "$SOURCE" >&2)
rm -rf -- "$SOURCE"
check_with_lintian "$FILES"/*.dsc

(cd "$FILES" && sha256sum -- * >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS)
say "the release, in $FILES:"
cat "$FILES/SHA256SUMS"
