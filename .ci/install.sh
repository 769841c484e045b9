#!/usr/bin/env bash
# make all|install PG_CONFIG=… [DESTDIR=…] [SUDO=sudo]: a release build, and its files into a server of yours, or below DESTDIR as
# packagers have it. The same sources give the same files, to the byte, in whatever folder they are built.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

# Puts what has been built where a server looks for it, below DESTDIR.
copy() {
  local from=$1 to=${DESTDIR:-}$2
  ${SUDO:-} mkdir -p "$to"
  ${SUDO:-} install -m 644 "$from"/scope_roles* "$to/"
}

pg_config=$(command -v "${PG_CONFIG:-pg_config}") ||
  die "no ${PG_CONFIG:-pg_config} found" "Say where it is: make $1 PG_CONFIG=/path/to/pg_config"
[ -e "$("$pg_config" --includedir-server)/postgres.h" ] ||
  die "the server headers of $("$pg_config" --version) are missing" \
    "On Debian: apt-get install postgresql-server-dev-$("$pg_config" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')"
library=$("$pg_config" --pkglibdir) share=$("$pg_config" --sharedir)/extension

if [ "$1" = install ] && [ -z "${DESTDIR:-}" ] && [ -z "${SUDO:-}" ]; then
  for folder in "$library" "$share"; do
    [ -w "$folder" ] || die "you may not write to $folder" \
      "To build as yourself and copy the files with sudo: make install PG_CONFIG=$pg_config SUDO=sudo"
  done
fi

find_cache
ensure_rust
alone ensure_packages
alone ensure_cargo_pgrx
export PGRX_PG_CONFIG_PATH=$pg_config

# Where crates and what is made of them lie is no part of what they say; our own sources have relative names.
cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
for pair in "$CARGO_TARGET_DIR=target" "$cargo_home=cargo"; do
  export RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }--remap-path-prefix=$pair" CFLAGS="${CFLAGS:+$CFLAGS }-ffile-prefix-map=$pair"
done

cd "$ROOT"
built=$CARGO_TARGET_DIR/release/built-for$(printf %s "$pg_config" | tr -c 'A-Za-z0-9\n' -)
say "release build for $("$pg_config" --version) (the first takes 3 to 6 minutes)"
rm -rf -- "$built"
# More than the build alone would fetch: the licences and the bill of materials are read from all of it.
cargo fetch --locked --quiet --target "$(rustc -vV | sed -n 's/^host: //p')" >&2
cargo pgrx package --pg-config "$pg_config" --out-dir "$built" >&2
if [ "$1" != install ]; then exit; fi

copy "$built$library" "$library"
copy "$built$share" "$share"
if [ -n "${DESTDIR:-}" ]; then exit; fi
say "installed. Next:"
cat <<'NEXT'
  1. Add to postgresql.conf, and restart the server (keep other libraries, separated by commas):
       shared_preload_libraries = 'scope_roles'
  2. In the database that needs it:
       CREATE EXTENSION scope_roles;
NEXT
