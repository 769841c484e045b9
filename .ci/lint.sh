#!/usr/bin/env bash
# make lint: formatting, clippy and the shell scripts. Every warning is an error.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

cd "$ROOT"
mapfile -t scripts < <(find .ci pg_test -type f \( -name '*.sh' -o -path .ci/run \) | sort)
say "bash -n: ${scripts[*]}"
for script in "${scripts[@]}"; do bash -n "$script"; done
if have shellcheck; then
  say "shellcheck"
  shellcheck --external-sources --severity=warning "${scripts[@]}"
else
  say "shellcheck: SKIPPED, it is not installed"
fi

prepare "${PG:-$DEFAULT_PG}"
say "cargo fmt --check"
cargo fmt --check
say "cargo clippy on $PG_LABEL, tests included (the first run checks every dependency: about 2 minutes)"
cargo clippy --all-targets --no-default-features --features "$PG_LABEL pg_test" -- -D warnings
# Cargo leaves targets with `test = false` out of "all".
cargo clippy --test cluster --test bench --no-default-features --features "$PG_LABEL pg_test" -- -D warnings
