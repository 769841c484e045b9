#!/usr/bin/env bash
# make fuzz [SECONDS=60] [ONLY=target]: coverage-guided fuzzing of the rooms that read what strangers send, SECONDS in all.
# What a run finds new stays in target/fuzz/corpus and is where the next run begins; pg_test/fuzz/corpus holds the seeds.
# An input that broke a rule is in target/fuzz/findings: give its path to the program again to reproduce it, and once the
# cause is gone keep it as a seed.
# Not a variable of the environment: bash counts its own SECONDS.
seconds=${1:-60}
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "SECONDS=$seconds: give a whole number of seconds"
FUZZ=$ROOT/pg_test/fuzz
targets=()
for file in "$FUZZ"/targets/*.rs; do
  target=$(basename "$file" .rs)
  if [[ $target == *"${ONLY:-}"* ]]; then targets+=("$target"); fi
done
((${#targets[@]})) || die "no fuzz target has $ONLY in its name"

find_cache
ensure_rust
# libFuzzer comes as C++.
alone ensure_commands cc:gcc c++:g++

OUT=$CARGO_TARGET_DIR/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# LLVM's coverage pass, which stable Rust has. Naming the platform keeps it out of build scripts. No address sanitizer: the rooms
# forbid unsafe code, and it would need nightly.
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares)
say "building the fuzz targets (the first build takes about 2 minutes, later ones seconds)"
(cd "$FUZZ" && RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$OUT \
  cargo build --locked --release --target "$host" "${targets[@]/#/--bin=}") >&2

status=0
share=$(((seconds + ${#targets[@]} - 1) / ${#targets[@]}))
for target in "${targets[@]}"; do
  mkdir -p "$OUT/corpus/$target" "$OUT/findings"
  log=$OUT/$target.log
  say "fuzzing $target for $share s"
  # A token may be 64 kB, but the fuzzer gets further with short ones; it lengthens them only when that brings something new.
  if "$OUT/$host/release/$target" -max_total_time="$share" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
    -dict="$FUZZ/dict/$target.dict" -artifact_prefix="$OUT/findings/$target-" -print_final_stats=1 \
    "$OUT/corpus/$target" "$FUZZ/corpus/$target" >"$log" 2>&1; then
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    say "$target: $runs inputs, coverage ${coverage:-0}, no rule broken"
  else
    status=1
    tail -n 40 "$log" >&2
    say "$target: BROKEN, see above and $log"
    finding=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
    if [ -n "$finding" ]; then say "again: $OUT/$host/release/$target $finding"; fi
  fi
done
if ((status)); then say "make fuzz: FAILED"; else say "make fuzz: passed"; fi
exit "$status"
