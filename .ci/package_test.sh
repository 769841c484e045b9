#!/usr/bin/env bash
# make package-test [PG=…] [PROFILE=dev]: builds the Debian package, of the development build unless told otherwise, and installs it
# where there is nothing but PostgreSQL: unpacked beside a private server; and by apt-get in a fresh Debian, where root, debootstrap
# and the network allow it and Debian has that version.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

export PG=${PG:-$DEFAULT_PG} PROFILE=${PROFILE:-dev}
"$ROOT/.ci/package.sh"

prepare "$PG"
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/Cargo.toml" | head -1)
NAME=postgresql-$PG_MAJOR-scope-roles
place=package
if [ "$PROFILE" = dev ]; then place=package-dev; fi
DEB=$CARGO_TARGET_DIR/$place/${NAME}_$VERSION-1_$(dpkg --print-architecture).deb
SCRATCH=$(mktemp -d /tmp/scope_roles-package.XXXXXX)
chmod 755 "$SCRATCH"

clean_up() {
  if [ -e "$SCRATCH/data/postmaster.pid" ]; then kill -QUIT "$(head -1 "$SCRATCH/data/postmaster.pid")" 2>/dev/null || true; fi
  rm -rf -- "$SCRATCH"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# What is done with it on either server. The last line is what the test looks for.
cat >"$SCRATCH/story.sql" <<'END'
\set ON_ERROR_STOP on
CREATE EXTENSION scope_roles;
CREATE TABLE orders (id int);
CREATE TABLE vault (id int);
INSERT INTO orders VALUES (1), (2);
SELECT role_name, password FROM scope.create_readonly_role('orders', valid_for => '1 hour') \gset
SELECT format('host=127.0.0.1 port=%s dbname=%s user=%s password=%s', current_setting('port'), current_database(),
              :'role_name', :'password') AS uri \gset
\connect :uri
SELECT count(*) AS orders FROM orders;
\set ON_ERROR_STOP off
SELECT * FROM vault;
\echo denied with :LAST_ERROR_SQLSTATE
DROP EXTENSION scope_roles;
\echo denied with :LAST_ERROR_SQLSTATE as :role_name
END

look_at() {
  local said=$1
  grep -q '^denied with 42501$' "$said" && grep -q '^denied with 42501 as orders_ro_' "$said" && grep -qx ' *2' "$said" || {
    cat "$said" >&2
    die "the package does not do what it should"
  }
}

# ---- unpacked ------------------------------------------------------------------------------------------------------

say "unpacked beside a private server"
copy_server "$PRIVATE_PG_CONFIG" "$SCRATCH/server" || die "this server cannot be copied"
pg_config=$(cat "$SCRATCH/server/pg_config_path")
lib=$("$pg_config" --pkglibdir) share=$("$pg_config" --sharedir) bin=$("$pg_config" --bindir)
rm -f -- "$lib"/scope_roles* "$share"/extension/scope_roles*
dpkg-deb -x "$DEB" "$SCRATCH/unpacked"
cp "$SCRATCH/unpacked/usr/lib/postgresql/$PG_MAJOR/lib"/* "$lib/"
cp "$SCRATCH/unpacked/usr/share/postgresql/$PG_MAJOR/extension"/* "$share/extension/"
install -d -m 700 "$SCRATCH/data"
if is_root; then chown "$SERVER_USER" "$SCRATCH/data"; fi
cd "$SCRATCH"
as_server_user "$bin/initdb" -D data -U postgres --auth-local=trust --auth-host=scram-sha-256 -E UTF8 --no-locale --no-sync >/dev/null
for try in {1..10}; do
  port=$((RANDOM % 12000 + 20000))
  as_server_user tee data/postgresql.auto.conf >/dev/null <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$SCRATCH/data'
fsync = off
shared_preload_libraries = 'scope_roles'
END
  if as_server_user "$bin/pg_ctl" start -w -t 30 -D data -l data/log </dev/null >/dev/null 2>&1; then break; fi
  if ((try == 10)) || ! grep -q 'could not bind' data/log; then
    cat data/log >&2
    die "the server does not start with the library of the package"
  fi
done
as_server_user "$bin/psql" -X -A -t -h "$SCRATCH/data" -p "$port" -U postgres postgres -f - <story.sql >unpacked.said 2>&1 || true
as_server_user "$bin/pg_ctl" stop -w -D data -m fast >/dev/null
look_at unpacked.said

# ---- a fresh Debian ------------------------------------------------------------------------------------------------

fresh_debian() {
  local suite base
  suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
  if ! is_root; then
    say "fresh Debian: SKIPPED, it needs root"
    return
  fi
  if [[ $(apt_candidate "$PG_MAJOR") == '' ]]; then
    say "fresh Debian: SKIPPED, it has no PostgreSQL $PG_MAJOR"
    return
  fi
  if ! (alone ensure_commands debootstrap:debootstrap) || ! unshare --mount --pid --fork true 2>/dev/null; then
    say "fresh Debian: SKIPPED, there is no debootstrap, or it may not mount"
    return
  fi
  base=$SCOPE_ROLES_CACHE/debian-$suite.tar
  if [ ! -e "$base" ]; then
    say "fetching Debian $suite (one to two minutes, once)"
    if ! debootstrap --variant=minbase "$suite" "$SCRATCH/base" http://deb.debian.org/debian >"$SCRATCH/debootstrap.log" 2>&1; then
      tail -3 "$SCRATCH/debootstrap.log" >&2
      say "fresh Debian: SKIPPED, it cannot be fetched here"
      return
    fi
    tar -C "$SCRATCH/base" --one-file-system -cf "$base.new" .
    mv "$base.new" "$base"
    rm -rf -- "$SCRATCH/base"
  fi
  mkdir "$SCRATCH/debian"
  tar -C "$SCRATCH/debian" -xf "$base"
  cp /etc/resolv.conf "$SCRATCH/debian/etc/"
  cp "$DEB" "$SCRATCH/story.sql" "$SCRATCH/debian/tmp/"
  say "installing it with apt-get in a fresh Debian $suite (about a minute)"
  cat >"$SCRATCH/debian/tmp/story.sh" <<END
set -e
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt-get update -qq
apt-get install -y -qq --no-install-recommends /tmp/$(basename "$DEB")
conf=/etc/postgresql/$PG_MAJOR/main
before=\$(cat \$conf/*.conf | md5sum)
dpkg-reconfigure $NAME >/dev/null
test "\$before" = "\$(cat \$conf/*.conf | md5sum)"
! grep -rq scope_roles \$conf
echo "shared_preload_libraries = 'scope_roles'" >\$conf/conf.d/scope_roles.conf
pg_ctlcluster $PG_MAJOR main start
cd /tmp
setpriv --reuid postgres --regid postgres --init-groups psql -X -A -t -f /tmp/story.sql
pg_ctlcluster $PG_MAJOR main stop -m fast
apt-get purge -y -qq $NAME
! find /usr -name 'scope_roles*' | grep .
END
  # Its processes end with the namespace, and so do its mounts.
  if ! unshare --mount --pid --fork --kill-child sh -c "
    mount -t proc proc '$SCRATCH/debian/proc' && mount -t tmpfs tmpfs '$SCRATCH/debian/dev/shm' || exit 1
    exec chroot '$SCRATCH/debian' sh /tmp/story.sh" </dev/null >"$SCRATCH/debian.said" 2>&1; then
    if grep -q 'Failed to fetch\|Temporary failure resolving\|Unable to locate package' "$SCRATCH/debian.said"; then
      say "fresh Debian: SKIPPED, its packages cannot be fetched here"
      return
    fi
    tail -60 "$SCRATCH/debian.said" >&2
    die "the package does not install in a fresh Debian"
  fi
  grep -q "shared_preload_libraries = 'scope_roles'" "$SCRATCH/debian.said" || die "postinst does not say what to do"
  look_at "$SCRATCH/debian.said"
  say "a fresh Debian with nothing but PostgreSQL runs it"
}
fresh_debian
say "make package-test: passed"
