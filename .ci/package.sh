#!/usr/bin/env bash
# make package [PG=…]: a Debian package and a plain tarball of the stripped release build, in target/package. Needs no root.
# DEBFULLNAME and DEBEMAIL, Debian's own variables, say who answers for the package.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

PG=${PG:-$DEFAULT_PG}
PROFILE=${PROFILE:-release}
case $PROFILE in
  release) profile=() place=package ;;
  # The build that the tests have anyway: for the test of the package, in a place where nobody looks for a release.
  dev) profile=(--debug) place=package-dev ;;
  *) die "PROFILE=$PROFILE: give release or dev" ;;
esac

prepare "$PG"
alone ensure_commands dpkg-deb:dpkg strip:binutils python3:python3
cd "$ROOT"

VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
NAME=postgresql-$PG_MAJOR-scope-roles
ARCH=$(dpkg --print-architecture)
HOST=$(rustc -vV | sed -n 's/^host: //p')
OUT=$CARGO_TARGET_DIR/$place
WORK=$OUT/$PG_LABEL
mkdir -p "$OUT"
rm -rf -- "$WORK"
mkdir -p "$WORK"

# The same build gives the same package, to the byte.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH

say "$PROFILE build for $("$PRIVATE_PG_CONFIG" --version) (the first release build takes 3 to 6 minutes)"
cargo pgrx package "${profile[@]}" --pg-config "$PRIVATE_PG_CONFIG" --out-dir "$WORK/build" >&2
LIBRARY=$WORK/build$("$PRIVATE_PG_CONFIG" --pkglibdir)/scope_roles.so
EXTENSION=$WORK/build$("$PRIVATE_PG_CONFIG" --sharedir)/extension
[ -e "$LIBRARY" ] && [ -e "$EXTENSION/scope_roles--$VERSION.sql" ] || die "the build has not left what it should in $WORK/build"
strip --strip-unneeded "$LIBRARY"

python3 .ci/licenses.py check "$HOST" >&2
python3 .ci/licenses.py texts "$HOST" >"$WORK/LICENSES"

# What the library needs of the C library, as its symbols say.
glibc=$(grep -ao 'GLIBC_2\.[0-9]*' "$LIBRARY" | sort -uV | tail -1)

# ---- the tarball ---------------------------------------------------------------------------------------------------

TARBALL=scope_roles-$VERSION-$PG_LABEL-$HOST
mkdir -p "$WORK/$TARBALL"/{lib,extension}
cp "$LIBRARY" "$WORK/$TARBALL/lib/"
cp "$EXTENSION"/scope_roles* "$WORK/$TARBALL/extension/"
cp -r README.md CHANGELOG.md LICENSE META.json docs "$WORK/$TARBALL/"
cp "$WORK/LICENSES" "$WORK/$TARBALL/LICENSES.dependencies"
cat >"$WORK/$TARBALL/INSTALL" <<END
For PostgreSQL $PG_MAJOR on $HOST, with a C library of at least ${glibc/GLIBC_/}:

  cp lib/scope_roles.so "\$(pg_config --pkglibdir)/"
  cp extension/* "\$(pg_config --sharedir)/extension/"

Then add scope_roles to shared_preload_libraries, restart the server, and in each database that needs it: CREATE EXTENSION scope_roles;
END

# ---- the Debian package --------------------------------------------------------------------------------------------

ROOTFS=$WORK/deb
DOC=$ROOTFS/usr/share/doc/$NAME
mkdir -p "$ROOTFS/DEBIAN" "$ROOTFS/usr/lib/postgresql/$PG_MAJOR/lib" "$ROOTFS/usr/share/postgresql/$PG_MAJOR/extension" "$DOC/docs"
cp "$LIBRARY" "$ROOTFS/usr/lib/postgresql/$PG_MAJOR/lib/"
cp "$EXTENSION"/scope_roles* "$ROOTFS/usr/share/postgresql/$PG_MAJOR/extension/"
cp README.md META.json "$DOC/"
cp -r docs/. "$DOC/docs/"
python3 .ci/licenses.py copyright "$HOST" LICENSE >"$DOC/copyright"
gzip -9n <CHANGELOG.md >"$DOC/changelog.gz"

maintainer="${DEBFULLNAME:-The scope_roles founders} <${DEBEMAIL:-founders@scope-roles.invalid}>"
gzip -9n >"$DOC/changelog.Debian.gz" <<END
${NAME} ($VERSION-1) unstable; urgency=medium

  * Built from the release of this version; changelog.gz says what is new.

 -- $maintainer  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
END

sed "s/@MAJOR@/$PG_MAJOR/g" .ci/debian/postinst >"$ROOTFS/DEBIAN/postinst"
cat >"$ROOTFS/DEBIAN/control" <<END
Package: $NAME
Version: $VERSION-1
Architecture: $ARCH
Maintainer: $maintainer
Installed-Size: $(du -sk --apparent-size "$ROOTFS/usr" | cut -f1)
Depends: postgresql-$PG_MAJOR, libc6 (>= ${glibc/GLIBC_/}), libgcc-s1
Section: database
Priority: optional
Description: least-privilege, short-lived access inside PostgreSQL $PG_MAJOR
 Scopes are roles with exactly the privileges that they were made with;
 credentials are logins that are members of them, checked at login and ended
 at their deadline, with their sessions, by a background worker.
 .
 A JSON Web Token switches a transaction to a role of its own, and no SQL can
 undo that before the transaction ends. Services log in as authenticators,
 which are nobody without a token.
 .
 The library must be named in shared_preload_libraries.
END
find "$ROOTFS" -type d -exec chmod 755 {} +
find "$ROOTFS" -type f -exec chmod 644 {} +
chmod 755 "$ROOTFS/DEBIAN/postinst"
(cd "$ROOTFS" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$ROOTFS/DEBIAN/md5sums"
chmod 644 "$ROOTFS/DEBIAN/md5sums"
find "$ROOTFS" "$WORK/$TARBALL" -exec touch --no-dereference -d "@$SOURCE_DATE_EPOCH" {} +

DEB=$OUT/${NAME}_$VERSION-1_$ARCH.deb
dpkg-deb --root-owner-group -Zxz --build "$ROOTFS" "$DEB" >&2
tar -C "$WORK" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$TARBALL" | gzip -9n >"$OUT/$TARBALL.tar.gz"

if (alone ensure_commands lintian:lintian) && have lintian; then
  say "lintian"
  # As it runs for a release: what it calls an error fails, the rest is shown.
  options=(--fail-on error)
  if is_root; then options+=(--allow-root); fi
  lintian "${options[@]}" "$DEB" >&2 || die "lintian found errors"
else
  say "lintian: SKIPPED, it cannot be had here"
fi

say "made:"
printf '%10s  %s\n' "$(numfmt --to=iec "$(stat -c %s "$LIBRARY")")" "the library, stripped, of the $PROFILE build" \
  "$(numfmt --to=iec "$(stat -c %s "$DEB")")" "$DEB" \
  "$(numfmt --to=iec "$(stat -c %s "$OUT/$TARBALL.tar.gz")")" "$OUT/$TARBALL.tar.gz"
