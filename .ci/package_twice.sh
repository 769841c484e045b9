#!/usr/bin/env bash
# make package-twice [PG=…]: builds the packages of one version here and once more in another folder, with another target, another
# home of cargo and another time zone. They must be the same, to the byte.
# shellcheck source=.ci/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

export PG=${PG:-$DEFAULT_PG}
"$ROOT/.ci/package.sh"
find_cache

ELSEWHERE=$(mktemp -d /tmp/scope_roles-elsewhere.XXXXXX)
trap 'rm -rf -- "$ELSEWHERE"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$ELSEWHERE/cargo"
copy_sources "$ELSEWHERE/a/longer/name"
cargo_home=${CARGO_HOME:-$HOME/.cargo}
for file in registry config.toml; do
  if [ -e "$cargo_home/$file" ]; then ln -s "$cargo_home/$file" "$ELSEWHERE/cargo/"; fi
done
(
  cd "$ELSEWHERE/a/longer/name"
  git init -q && git add --all
  env TZ=Pacific/Kiritimati LC_ALL=C CARGO_HOME="$ELSEWHERE/cargo" CARGO_TARGET_DIR="$ELSEWHERE/target" .ci/package.sh
)
same=0
for file in "$CARGO_TARGET_DIR"/package/*.deb "$CARGO_TARGET_DIR"/package/*.tar.gz; do
  again=$ELSEWHERE/target/package/$(basename "$file")
  if [ ! -e "$again" ]; then continue; fi
  cmp "$file" "$again" || die "$(basename "$file") is not the same when it is built in another folder"
  same=$((same + 1))
done
((same == 2)) || die "$same files were compared instead of the package and the tarball"
say "make package-twice: both are the same, to the byte"
