#!/usr/bin/env bash
# eval "$(make -s env PG=…)": the settings that make test builds with, for cargo commands by hand.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

prepare "${PG:-$DEFAULT_PG}"
alone neighbours
for name in PATH PGRX_HOME PGRX_PG_CONFIG_PATH SCOPE_ROLES_PG_CONFIG SCOPE_ROLES_PGBOUNCER SCOPE_ROLES_PYTHON_DRIVERS SCOPE_ROLES_JDBC \
  CARGO_TARGET_DIR CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND PGRX_BUILD_FLAGS; do
  if [ -z "${!name:-}" ]; then continue; fi
  printf 'export %s=%q\n' "$name" "${!name}"
done
