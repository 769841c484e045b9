#!/usr/bin/env bash
# make package [PG=…]: of each supported version, or of that one, a Debian package and a tarball of the release build, in
# target/package. Needs no root. What it makes depends on the sources alone, to the byte.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

cd "$ROOT"
find_cache
ensure_rust
alone ensure_packages
alone ensure_cargo_pgrx
alone ensure_commands dh:debhelper dpkg-buildpackage:dpkg-dev pg_buildext:postgresql-common python3:python3

VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
ARCH=$(dpkg --print-architecture)
HOST=$(rustc -vV | sed -n 's/^host: //p')
OUT=$CARGO_TARGET_DIR/package
SOURCE=$OUT/source
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -S Timestamp)
export SOURCE_DATE_EPOCH

# ---- the servers ---------------------------------------------------------------------------------------------------

# Debian's tools look for each version where Debian has it. Ours lie elsewhere, so a folder of pg_configs that answer as Debian's do
# is mounted there, seen by the build alone.
mkdir -p "$OUT"
rm -rf -- "$OUT"/{postgresql,source}
PG_SUPPORTED_VERSIONS=''
for choice in ${PG:-$(supported_versions)}; do
  if ! found=$(prepare "$choice" >&2 && echo "$PG_MAJOR $PRIVATE_PG_CONFIG"); then
    [ -z "${PG:-}" ] || die "there is no package without the server's headers"
    say "package for PostgreSQL $choice: SKIPPED, its headers cannot be had here"
    continue
  fi
  read -r major config <<<"$found"
  PG_SUPPORTED_VERSIONS+=" $major"
  rm -rf -- "$OUT/postgresql-$major-scope-roles"_* "$OUT"/scope_roles-*-pg"$major"-*
  mkdir -p "$OUT/postgresql/$major/bin"
  echo "$config" >"$OUT/postgresql/$major/copy"
  cat >"$OUT/postgresql/$major/bin/pg_config" <<END
#!/bin/sh
case \$1 in
  --pkglibdir) echo /usr/lib/postgresql/$major/lib ;;
  --sharedir) echo /usr/share/postgresql/$major ;;
  *) exec $config "\$@" ;;
esac
END
  chmod 755 "$OUT/postgresql/$major/bin/pg_config"
done
[ -n "$PG_SUPPORTED_VERSIONS" ] || die "there is no server to build for"
[ -d /usr/lib/postgresql ] || die "Debian's packages of PostgreSQL are not here" "As root: apt-get install postgresql-common postgresql-$DEFAULT_PG"

# ---- the Debian packages -------------------------------------------------------------------------------------------

copy_sources "$SOURCE"

say "release builds for PostgreSQL$PG_SUPPORTED_VERSIONS (the first takes 3 to 6 minutes, each further one 1 to 2)"
# Build dependencies are not asked for: Rust need not be Debian's.
(
  cd "$SOURCE"
  export PG_SUPPORTED_VERSIONS PG_UPDATECONTROL=yes
  # shellcheck disable=SC2016 # for that shell
  unshare --map-root-user --mount sh -ec 'mount --bind "$0" /usr/lib/postgresql; exec "$@"' "$OUT/postgresql" \
    dpkg-buildpackage --build=binary --no-sign --no-check-builddeps >&2
)

# ---- the tarballs --------------------------------------------------------------------------------------------------

MADE=()
for major in $PG_SUPPORTED_VERSIONS; do
  package=postgresql-$major-scope-roles
  installed=$SOURCE/debian/$package/usr
  library=$installed/lib/postgresql/$major/lib/scope_roles.so
  for folder in "$ROOT" "$CARGO_TARGET_DIR" "$(realpath "${CARGO_HOME:-$HOME/.cargo}")" "$SCOPE_ROLES_CACHE"; do
    if LC_ALL=C grep -qaP -- "(?<![\\w.-])\\Q$folder/\\E" "$library"; then die "the library says where it was built: $folder"; fi
  done
  minor=$("$OUT/postgresql/$major/bin/pg_config" --version | sed -E 's/^PostgreSQL ([0-9.]+(beta|rc)?[0-9]*).*/\1/')
  # What the library needs of the C library, as its symbols say.
  glibc=$(grep -ao 'GLIBC_2\.[0-9]*' "$library" | sort -uV | tail -1)
  tarball=scope_roles-$VERSION-pg$major-$HOST
  into=$OUT/$tarball
  rm -rf -- "$into"
  mkdir -p "$into"/{lib,share,licenses}
  cp "$library" "$into/lib/"
  cp -r "$installed/share/postgresql/$major/extension" "$into/share/"
  cp LICENSE "$into/licenses/scope_roles"
  python3 -B .ci/licenses.py texts "$HOST" >"$into/licenses/dependencies"
  cp "$SOURCE/debian/scope_roles.cdx.json" META.json "$into/"
  ways=.ci/tarball/copied.md
  if ((major >= 18)); then ways=.ci/tarball/mounted.md; fi
  sed -e "s/@MAJOR@/$major/g; s/@HOST@/$HOST/g; s/@GLIBC@/${glibc#GLIBC_}/g; s/@MINOR@/$minor/g; s/@NAME@/$tarball/g" "$ways" >"$into/README.md"
  chmod -R u=rwX,go=rX "$into"
  tar -C "$OUT" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$tarball" | gzip -9n >"$into.tar.gz"
  rm -rf -- "$into"
  MADE+=("$OUT/${package}_$VERSION-1_$ARCH.deb" "$into.tar.gz")
done

check_with_lintian "${MADE[@]}"

say "made:"
for file in "${MADE[@]}"; do printf '%10s  %s\n' "$(numfmt --to=iec "$(stat -c %s "$file")")" "$file"; done
