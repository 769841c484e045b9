#!/usr/bin/env bash
# make mutants [PG=…] [ONLY=name]: takes the lock's defences away, one at a time, in a copy of the tree, and requires that a test
# fails each time. About half a minute each, so it is no part of make test.
#
# A mutant is a file in pg_test/mutants:
#   what it takes away, on a line
#   tests: filters of the tests that are meant to fail (all others are tried after them)
#   file: src/…
#   <<<<
#   text that occurs once in the file
#   ====
#   what it becomes
#   >>>>
# with as many files and replacements as it takes.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

PG=${PG:-$DEFAULT_PG}
# What is tried when the tests that a mutant names have passed.
FILTERS=(lock:: jwt::)

prepare "$PG"
# A test that is skipped misses nothing.
neighbours
[ -n "$PRIVATE_ROOT" ] || die "this server cannot be copied, and a mutant must not be installed into it"

mutants=()
for file in "$ROOT"/pg_test/mutants/*.mutant; do
  name=$(basename "$file" .mutant)
  if [[ $name == *"${ONLY:-}"* ]]; then mutants+=("$name"); fi
done
((${#mutants[@]})) || die "no mutant has ${ONLY:-} in its name"

WORK=$CARGO_TARGET_DIR/mutants
COPY=$WORK/tree
export CARGO_TARGET_DIR=$WORK/target
mkdir -p "$WORK"
exec {lock}>"$WORK/lock"
flock --nonblock "$lock" || die "another make mutants of this tree is running"
rm -rf -- "$COPY" "$WORK/server"
mkdir -p "$COPY"
# With the time of now: to cargo the library of an earlier run's last mutant would be newer than the files that were there before it.
tar -C "$ROOT" --exclude=./target --exclude=./.git --exclude=./pg_test/fuzz -cf - . | tar -C "$COPY" --touch -xf -
# The tree may be worked on meanwhile.
rm -rf -- "$WORK/pristine"
cp -a -- "$COPY" "$WORK/pristine"
cp -a -- "$PRIVATE_ROOT" "$WORK/server"
pg_config=$WORK/server${PRIVATE_PG_CONFIG#"$PRIVATE_ROOT"}
export PGRX_PG_CONFIG_PATH=$pg_config SCOPE_ROLES_PG_CONFIG=$pg_config
features=(--no-default-features --features "$PG_LABEL")
cd "$COPY"

say "building the tests (the first build takes 1 to 3 minutes, later ones seconds)"
cargo pgrx install --pg-config "$pg_config" "${features[@]}" >"$WORK/build.log" 2>&1 || die "the build failed: $WORK/build.log"
cargo test --ignore-rust-version "${features[@]}" --test cluster --no-run >"$WORK/build.log" 2>&1 || die "the build failed: $WORK/build.log"
tests=$(sed -nE 's/.*Executable.*\((.*)\)$/\1/p' "$WORK/build.log" | tail -1)
library=$("$pg_config" --pkglibdir)/scope_roles.so

# Runs the tests that have one of the filters in their names; what failed is in $failed.
run_tests() {
  local status=0
  # Not in a pipe: whoever reads it would wait for servers that outlive the tests. Without the timer statements never end.
  timeout --kill-after=10 240 "$tests" --test-threads=8 "$@" >"$WORK/test.log" 2>&1 || status=1
  failed=$(sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$WORK/test.log" | sort)
  return "$status"
}

# Unit tests of the lock's own rooms. Not those in a server, whose names have "lock::" in pg_test::clock::, too: they would install
# a library of their own, with which all that follow fail.
run_unit_tests() {
  local status=0
  cargo test --ignore-rust-version "${features[@]}" --lib -- lock:: --skip pg_test:: >"$WORK/test.log" 2>&1 || status=1
  failed=$(sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$WORK/test.log" | sort)
  return "$status"
}

say "the tests without a mutation"
run_tests "${FILTERS[@]}" || die "they fail already: $WORK/test.log"

table=()
broken=0
for name in "${mutants[@]}"; do
  file=$WORK/pristine/pg_test/mutants/$name.mutant
  read -ra likely < <(sed -n 's/^tests: //p' "$file")
  failed='' start=$SECONDS
  if ! changed=$(perl "$ROOT/.ci/mutate.pl" "$file" "$COPY" 2>"$WORK/mutate.log"); then
    verdict="STALE: $(cat "$WORK/mutate.log")"
    broken=1
  elif ! cargo build --ignore-rust-version "${features[@]}" --lib >"$WORK/build.log" 2>&1; then
    verdict="DOES NOT BUILD: $(grep -m1 '^error' "$WORK/build.log")"
    broken=1
  else
    # A server that starts meanwhile must not see half a library.
    cp "$CARGO_TARGET_DIR/debug/libscope_roles.so" "$library.new"
    mv "$library.new" "$library"
    if { ((${#likely[@]})) && ! run_tests "${likely[@]}"; } || ! run_tests "${FILTERS[@]}" || ! run_unit_tests; then
      count=$(grep -c . <<<"$failed") || true
      verdict="killed by $(head -1 <<<"$failed")"
      if ((count > 1)); then verdict+=" and $((count - 1)) more"; fi
      if ((count == 0)); then verdict="killed: the tests did not finish"; fi
    else
      verdict=SURVIVED
      broken=1
    fi
  fi
  # Newer than the mutation, so that cargo sees the change back.
  while read -r each; do
    if [ -f "$COPY/$each" ]; then cp -- "$WORK/pristine/$each" "$COPY/$each"; fi
  done <<<"$changed"
  table+=("$(printf '%-38s %3d s  %s' "$name" $((SECONDS - start)) "$verdict")")
  printf '%s\n' "${table[-1]}"
done

printf '\n%d mutants\n' "${#mutants[@]}"
printf '%s\n' "${table[@]}" >"$WORK/table"
if ((broken)); then
  grep -vE ' s  killed' "$WORK/table" >&2 || true
  die "a defence that no test misses: write the test, or take the defence out"
fi
say "make mutants: every defence is missed by a test"
