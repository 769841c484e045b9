#!/usr/bin/env bash
# make regress [PG=…]: PostgreSQL's own regression tests, on a server without the library and on one with it. Every answer must be
# the same. See docs/regression.md.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

PG=${PG:-$DEFAULT_PG}

find_cache
if [ -z "${SCOPE_ROLES_TEST_LOCKED:-}" ]; then
  # make test installs its own build into the same server.
  export SCOPE_ROLES_TEST_LOCKED=1
  flock --nonblock "$TREE/test.lock" true || say "waiting for a make test of this tree"
  exec flock --close "$TREE/test.lock" "${BASH_SOURCE[0]}"
fi

prepare "$PG"
SCRATCH=$(mktemp -d /tmp/scope_roles-regress.XXXXXX)
BIN=$("$PRIVATE_PG_CONFIG" --bindir)

clean_up() {
  if [ -e "$SCRATCH/data/postmaster.pid" ]; then kill -QUIT "$(head -1 "$SCRATCH/data/postmaster.pid")" 2>/dev/null || true; fi
  rm -rf -- "$SCRATCH"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# ---- PostgreSQL's source -------------------------------------------------------------------------------------------

# Sets SOURCE: the folders with the tests, out of Debian's source package of this major version.
find_source() {
  SOURCE=$SCOPE_ROLES_CACHE/source/postgresql-$PG_MAJOR
  if [ -d "$SOURCE" ]; then return; fi
  have apt-get || die "the source of PostgreSQL $PG_MAJOR comes from Debian, and there is no apt-get here"
  say "fetching the source of PostgreSQL $PG_MAJOR (Debian), under a minute, once"
  local suite archive new
  suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
  # The newest first. A mirror may list what it no longer has.
  local from found=''
  for from in "$suite-security" "$suite" trixie-security trixie forky experimental; do
    if download_source "$from"; then
      found=$from
      break
    fi
  done
  [ -n "$found" ] ||
    die "the source of PostgreSQL $PG_MAJOR cannot be had: Debian's $suite, trixie, forky and experimental were asked for postgresql-$PG_MAJOR" \
      "Debian has 15 (bookworm), 17 (trixie), 18 (forky) and 19 (experimental)."
  archive=$(find "$SCRATCH/get" -name '*.orig.tar.*' ! -name '*.asc')
  mkdir -p "$SCOPE_ROLES_CACHE/source"
  new=$(mktemp -d "$SCOPE_ROLES_CACHE/source/new.XXXXXX")
  chmod 755 "$new"
  tar -xf "$archive" -C "$new" --strip-components=1 --wildcards '*/src/test/regress' '*/contrib/spi'
  basename "$archive" >"$new/version"
  mv -T "$new" "$SOURCE"
}

# With apt-get's lists in a place of our own: few machines have source packages in theirs.
download_source() {
  rm -rf -- "$SCRATCH/apt" "$SCRATCH/get"
  mkdir "$SCRATCH/get"
  apt_apart "$SCRATCH/apt" "$1"
  (cd "$SCRATCH/get" && "${APT[@]}" update && "${APT[@]}" source --download-only "postgresql-$PG_MAJOR") </dev/null >/dev/null 2>&1
}

# ---- the two runs --------------------------------------------------------------------------------------------------

# The C functions that tests call; pg_regress itself comes with the server.
build_modules() {
  local include file
  include=$("$PRIVATE_PG_CONFIG" --includedir-server)
  mkdir -p "$SCRATCH/lib"
  for file in src/test/regress/regress contrib/spi/autoinc contrib/spi/refint; do
    cc -O1 -fPIC -shared -fno-strict-aliasing -w -I "$include" -o "$SCRATCH/lib/$(basename "$file").so" "$SOURCE/$file.c"
  done
}

# run NAME LIBRARIES: leaves the answers in $SCRATCH/NAME. Paths are in them, so both runs use the same ones.
run() {
  local name=$1 libraries=$2 start=$SECONDS data=$SCRATCH/data out=$SCRATCH/out
  rm -rf -- "$data" "$out"
  as_server_user "$BIN/initdb" --no-sync --no-locale --encoding=UTF8 --auth=trust --pgdata "$data" >"$SCRATCH/initdb.log"
  cat >>"$data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$SCRATCH'
port = 5432
fsync = off
max_prepared_transactions = 2
shared_preload_libraries = '$libraries'
END
  as_server_user "$BIN/pg_ctl" --pgdata "$data" --log "$SCRATCH/$name.log" --wait start >/dev/null ||
    die "the server does not start" "$(tail -5 "$SCRATCH/$name.log")"
  as_server_user mkdir "$out"
  say "running them $name (about two minutes)"
  # Its status tells of differences from what PostgreSQL expects on its own build machines; ours is another question.
  (cd "$out" && as_server_user env -u LANG LC_ALL=C "$("$PRIVATE_PG_CONFIG" --pgxs | xargs dirname)/../test/regress/pg_regress" \
    --bindir="$BIN" --host="$SCRATCH" --port=5432 --dlpath="$SCRATCH/lib" --inputdir="$SOURCE/src/test/regress" \
    --outputdir="$out" --schedule="$SOURCE/src/test/regress/parallel_schedule" --max-concurrent-tests=20 \
    >"$SCRATCH/$name.report" 2>&1) || true
  as_server_user "$BIN/pg_ctl" --pgdata "$data" --mode immediate stop >/dev/null || true
  [ -d "$out/results" ] || die "pg_regress did not run" "$(tail -20 "$SCRATCH/$name.report")"
  mv "$out" "$SCRATCH/$name"
  local total failed
  total=$(find "$SCRATCH/$name/results" -name '*.out' | wc -l)
  # From 18 on there is no such file where nothing differs.
  touch "$SCRATCH/$name/regression.diffs"
  failed=$(sed -n 's/^diff .*expected\/\([^ ]*\)\.out.*/\1/p' "$SCRATCH/$name/regression.diffs" | sort -u | tr '\n' ' ')
  say "$name: $total tests in $((SECONDS - start)) s; not as PostgreSQL expects on this machine: ${failed:-none}"
  ((total > 150)) || die "too few tests ran" "$(tail -20 "$SCRATCH/$name.report")"
}

alone find_source
alone ensure_commands cc:gcc
install_private
chmod 755 "$SCRATCH"
if is_root; then chown "$SERVER_USER" "$SCRATCH"; fi
build_modules

say "PostgreSQL's regression tests ($(cat "$SOURCE/version")) on $("$PRIVATE_PG_CONFIG" --version)"
run without ''
run with scope_roles

if diff -ru "$SCRATCH/without/results" "$SCRATCH/with/results"; then
  say "make regress PG=$PG: passed, the same answers with the library as without it"
else
  say "make regress PG=$PG: FAILED, these answers differ"
  exit 1
fi
