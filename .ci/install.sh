#!/usr/bin/env bash
# make install PG_CONFIG=… [SUDO=sudo]: a release build into a server of yours.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

pg_config=$(command -v "${PG_CONFIG:-pg_config}") ||
  die "no ${PG_CONFIG:-pg_config} found" "Say where it is: make install PG_CONFIG=/path/to/pg_config"
[ -e "$("$pg_config" --includedir-server)/postgres.h" ] ||
  die "the server headers of $("$pg_config" --version) are missing" \
    "On Debian: apt-get install postgresql-server-dev-$("$pg_config" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')"

for folder in "$("$pg_config" --pkglibdir)" "$("$pg_config" --sharedir)/extension"; do
  if [ ! -w "$folder" ] && [ -z "${SUDO:-}" ]; then
    die "you may not write to $folder" \
      "To build as yourself and copy the files with sudo: make install PG_CONFIG=$pg_config SUDO=sudo"
  fi
done

find_cache
ensure_rust
alone ensure_packages
alone ensure_cargo_pgrx
export PGRX_PG_CONFIG_PATH=$pg_config

cd "$ROOT"
say "release build for $("$pg_config" --version) (the first takes 3 to 6 minutes)"
cargo pgrx install --release ${SUDO:+--sudo} --pg-config "$pg_config"

say "installed. Next:"
cat <<END
  1. Add to postgresql.conf, and restart the server (keep other libraries, separated by commas):
       shared_preload_libraries = 'scope_roles'
  2. In the database that needs it:
       CREATE EXTENSION scope_roles;
END
