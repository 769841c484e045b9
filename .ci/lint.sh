#!/usr/bin/env bash
# make lint: formatting, clippy, the scripts, the licences of dependencies. Every warning is an error.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

cd "$ROOT"
mapfile -t scripts < <(find .ci pg_test debian -type f \( -name '*.sh' -o -path .ci/run -o -path debian/tests/story -o -name 'postinst.in' \) | sort)
say "bash -n: ${scripts[*]}"
for script in "${scripts[@]}"; do bash -n "$script"; done
if have shellcheck; then
  say "shellcheck"
  shellcheck --external-sources --severity=warning "${scripts[@]}"
else
  say "shellcheck: SKIPPED, it is not installed"
fi

say "mutants that no longer fit the sources"
for mutant in pg_test/mutants/*.mutant; do perl .ci/mutate.pl --check "$mutant" .; done

say "SQL that does not go through src/pg/spi.rs, which pins the settings"
if grep -rnE 'Spi::|SPI_(exec|prepare)' src --include='*.rs' | grep -vE '^src/(pg/spi|audit/log).rs:'; then
  die "names in it are looked for in the path of whoever calls"
fi

find_cache
alone ensure_commands python3:python3
say "floors of the house, licences and duplicates of dependencies, META.json, debian/"
for script in .ci/floors.py .ci/licenses.py .ci/sbom.py .ci/meta.py; do python3 -B -m doctest "$script"; done
python3 .ci/floors.py
python3 .ci/meta.py
if have pg_buildext; then
  PG_SUPPORTED_VERSIONS=$(supported_versions) PG_UPDATECONTROL=no pg_buildext checkcontrol
else
  say "debian/control: SKIPPED, pg_buildext is not installed"
fi

prepare "${PG:-$DEFAULT_PG}"
# Offline, but the sources must be there.
cargo fetch --locked --quiet --target "$(rustc -vV | sed -n 's/^host: //p')"
python3 .ci/licenses.py check "$(rustc -vV | sed -n 's/^host: //p')"
say "cargo fmt --check"
cargo fmt --check
say "cargo clippy on $PG_LABEL, tests included (the first run checks every dependency: about 2 minutes)"
cargo clippy --ignore-rust-version --all-targets --no-default-features --features "$PG_LABEL pg_test" -- -D warnings
# Cargo leaves targets with `test = false` out of "all".
cargo clippy --ignore-rust-version --test cluster --test bench --no-default-features --features "$PG_LABEL pg_test" -- -D warnings
# A package of its own, which nothing else here builds.
alone ensure_commands cc:gcc c++:g++
say "cargo check of the fuzz targets"
(cd pg_test/fuzz && CARGO_TARGET_DIR=$CARGO_TARGET_DIR/fuzz-check cargo check --quiet --locked)
