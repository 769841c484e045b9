#!/usr/bin/env bash
# make package-test [PG=…]: builds the packages and uses them where there is nothing but PostgreSQL: the tarball with a private
# server, as its own README says; the Debian package, with apt-get, in a bare root of the suite that has the version, where root,
# debootstrap and the network allow it.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

"$ROOT/.ci/package.sh"

find_cache
OUT=$CARGO_TARGET_DIR/package
STORY=$ROOT/debian/tests/story.sql
SCRATCH=$(mktemp -d /tmp/scope_roles-package.XXXXXX)
chmod 755 "$SCRATCH"

clean_up() {
  local pid
  for pid in "$SCRATCH"/*/data/postmaster.pid; do
    if [ -e "$pid" ]; then kill -QUIT "$(head -1 "$pid")" 2>/dev/null || true; fi
  done
  rm -rf -- "$SCRATCH"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

look_at() {
  grep -qx 'the story is true' "$1" && return
  cat "$1" >&2
  die "the package does not do what it should"
}

# ---- the tarball ---------------------------------------------------------------------------------------------------

# The first block of this language, which may be empty, in the README.
block() {
  awk -v fence="\`\`\`$1" '/^```/ { if (take) exit; inside = !inside; take = inside && $0 == fence; next } take' "$2"
}

use_tarball() {
  local major=$1 place=$SCRATCH/$1 tarball unpacked pg_config bin try port file
  tarball=$(echo "$OUT"/scope_roles-*-pg"$major"-*.tar.gz)
  unpacked=$place/$(basename "$tarball" .tar.gz)
  mkdir -p "$place"
  tar -C "$place" -xzf "$tarball"

  copy_server "$(cat "$OUT/postgresql/$major/copy")" "$place/server" || die "this server cannot be copied"
  pg_config=$(cat "$place/server/pg_config_path")
  bin=$("$pg_config" --bindir)
  rm -f -- "$("$pg_config" --pkglibdir)"/scope_roles* "$("$pg_config" --sharedir)"/extension/scope_roles*
  (cd "$unpacked" && PATH=$bin:$PATH bash -ec "$(block sh README.md)")

  install -d -m 700 "$place/data"
  if is_root; then chown "$SERVER_USER" "$place/data"; fi
  cd "$place"
  as_server_user "$bin/initdb" -D data -U postgres --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --no-locale --no-sync >/dev/null
  for try in {1..10}; do
    port=$((RANDOM % 12000 + 20000))
    as_server_user tee data/postgresql.auto.conf >/dev/null <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$place/data'
fsync = off
$(block '' "$unpacked/README.md" | sed "s:/opt/:$place/:g")
END
    if as_server_user "$bin/pg_ctl" start -w -t 60 -D data -l data/log </dev/null >/dev/null 2>&1; then break; fi
    if ((try == 10)) || ! grep -q 'could not bind' data/log; then
      cat data/log >&2
      die "the server does not start with the library of the tarball"
    fi
  done
  as_server_user "$bin/psql" -X -A -t -h "$place/data" -p "$port" -U postgres postgres <"$STORY" >tarball.said 2>&1 || true
  as_server_user "$bin/pg_ctl" stop -w -D data -m fast >/dev/null
  look_at tarball.said

  # What the Debian package brings is the same.
  dpkg-deb -x "$OUT/postgresql-$major-scope-roles"_*.deb deb
  diff -r "deb/usr/share/postgresql/$major" "$unpacked/share" && cmp "deb/usr/lib/postgresql/$major/lib/scope_roles.so" "$unpacked/lib/scope_roles.so" ||
    die "the tarball and the Debian package differ"
  for file in "$unpacked/scope_roles.cdx.json" "deb/usr/share/doc/postgresql-$major-scope-roles/scope_roles.cdx.json"; do look_at_bill "$file"; done
  cd "$ROOT"
  say "PostgreSQL $major: its own server runs what the tarball has"
}

# The schema comes with CycloneDX's own library.
look_at_bill() {
  local folder=$SCOPE_ROLES_CACHE/wheels/cyclonedx-11.12.0
  if [ ! -d "$folder" ]; then
    if ! python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder.new" \
      'cyclonedx-python-lib[json-validation]==11.12.0' >&2; then
      rm -rf -- "$folder.new"
      say "schema of the bill of materials: SKIPPED, it cannot be had here"
      return
    fi
    mv -T "$folder.new" "$folder"
  fi
  PYTHONPATH=$folder python3 - "$1" <<'END' || die "$1 is no bill of materials"
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
with open(sys.argv[1], encoding="utf-8") as file:
    sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read()))
END
}

# ---- bare roots ----------------------------------------------------------------------------------------------------

# The suite that has a version, and what must be asked for by name where it isn't the suite's own.
suite_of() {
  case $1 in
    15) echo bookworm ;;
    17) echo trixie ;;
    18) echo forky ;;
    19) echo forky postgresql-19/experimental postgresql-client-19/experimental libpq5/experimental ;;
  esac
}

use_deb() {
  local major=$1 suite wanted base root=$SCRATCH/$1/debian
  local package=postgresql-$major-scope-roles
  read -r suite wanted <<<"$(suite_of "$major")"
  if ! is_root; then
    say "PostgreSQL $major in a bare root: SKIPPED, it needs root"
    return
  fi
  if [ -z "$suite" ]; then
    say "PostgreSQL $major in a bare root: SKIPPED, no suite of Debian has it"
    return
  fi
  if ! { have debootstrap || (alone ensure_commands debootstrap:debootstrap); } || ! unshare --mount --pid --fork true 2>/dev/null; then
    say "PostgreSQL $major in a bare root: SKIPPED, there is no debootstrap, or it may not mount"
    return
  fi
  base=$SCOPE_ROLES_CACHE/debian-$suite.tar
  if [ ! -e "$base" ]; then
    say "fetching Debian $suite (one to two minutes, once)"
    # Its steps are those of every suite; this debootstrap may be older than the name.
    if ! debootstrap --variant=minbase "$suite" "$SCRATCH/base" http://deb.debian.org/debian /usr/share/debootstrap/scripts/sid \
      >"$SCRATCH/debootstrap.log" 2>&1; then
      tail -3 "$SCRATCH/debootstrap.log" >&2
      say "PostgreSQL $major in a bare root: SKIPPED, Debian $suite cannot be fetched here"
      return
    fi
    tar -C "$SCRATCH/base" --one-file-system -cf "$base.new" .
    mv "$base.new" "$base"
    rm -rf -- "$SCRATCH/base"
  fi
  mkdir -p "$root"
  tar -C "$root" -xf "$base"
  cp /etc/resolv.conf "$root/etc/"
  cp -r "$OUT/$package"_*.deb "$ROOT/debian/tests" "$root/tmp/"
  # A mirror may stand still: what it has is good enough for this.
  echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/still"
  # Stable suites get new minor versions there, which packages may be built with.
  case $suite in
    bookworm | trixie) echo "deb http://deb.debian.org/debian-security $suite-security main" >"$root/etc/apt/sources.list.d/security.list" ;;
  esac
  if [ -n "$wanted" ]; then echo 'deb http://deb.debian.org/debian experimental main' >"$root/etc/apt/sources.list.d/experimental.list"; fi
  say "PostgreSQL $major in a bare Debian $suite (about a minute)"
  cat >"$root/tmp/story.sh" <<END
set -e
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt-get update -qq
apt-get install -y -qq --no-install-recommends $wanted /tmp/$package*.deb
conf=/etc/postgresql/$major/main
before=\$(cat \$conf/*.conf | md5sum)
dpkg-reconfigure $package >/dev/null
test "\$before" = "\$(cat \$conf/*.conf | md5sum)"
! grep -rq scope_roles \$conf
sh /tmp/tests/story
apt-get purge -y -qq $package
! find /usr -name 'scope_roles*' | grep .
echo purged
END
  # Its processes end with the namespace, and so do its mounts.
  if ! unshare --mount --pid --fork --kill-child sh -c "
    mount -t proc proc '$root/proc' && mount -t tmpfs tmpfs '$root/dev/shm' || exit 1
    exec chroot '$root' sh /tmp/story.sh" </dev/null >"$SCRATCH/$major/deb.said" 2>&1; then
    if grep -q 'Failed to fetch\|Temporary failure resolving\|Unable to locate package' "$SCRATCH/$major/deb.said"; then
      say "PostgreSQL $major in a bare root: SKIPPED, its packages cannot be fetched here"
      return
    fi
    tail -60 "$SCRATCH/$major/deb.said" >&2
    die "the package does not install in a bare Debian $suite"
  fi
  grep -q "shared_preload_libraries = 'scope_roles'" "$SCRATCH/$major/deb.said" || die "postinst does not say what to do"
  look_at "$SCRATCH/$major/deb.said"
  grep -qx purged "$SCRATCH/$major/deb.said" || die "the package leaves files behind"
  rm -rf -- "$root"
  say "PostgreSQL $major: a bare Debian $suite with nothing but PostgreSQL runs the package"
}

for folder in "$OUT"/postgresql/*; do
  use_tarball "$(basename "$folder")"
  use_deb "$(basename "$folder")"
done
say "make package-test: passed"
