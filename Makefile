# Each target is a script, which says what it does and installs what is missing; this file only names them.
.DEFAULT_GOAL := help
.PHONY: help demo demo-stop test asserts upgrade regress bench curves fuzz mutants lint all install package package-test package-twice release freeze env clean

PG ?=
ONLY ?=
ROOMS ?=
PG_CONFIG ?=
SUDO ?=
SECONDS ?= 60
FROM ?=
DESTDIR ?=
WITHOUT_PGBOUNCER ?=
export PG ONLY ROOMS PG_CONFIG SUDO DESTDIR FROM WITHOUT_PGBOUNCER

help: ## this list
	@echo 'scope_roles: scope roles, a JWT role switch that SQL cannot undo, certain expiry'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  PG=15              the server: 15 to 19, or /path/to/pg_config     (demo, test, regress, bench, mutants, lint, package…, env)'
	@echo '  ONLY=name          only what has this in its name                  (test, bench, fuzz, mutants)'
	@echo "  ROOMS='lock::'      of the tests with real sessions only these rooms        (test)"
	@echo '  SECONDS=60         how long, all targets together                  (fuzz)'
	@echo '  FROM=15 PG=18      the old server and the new one                  (upgrade)'
	@echo '  WITHOUT_PGBOUNCER=1  a run without the curve of clients is whole   (bench, curves)'
	@echo '  PG_CONFIG=/path    the pg_config of the server to install into     (all, install)'
	@echo '  SUDO=sudo          build as yourself, copy the files with sudo     (install)'
	@echo '  DESTDIR=/folder    put the files below it, as packagers do         (install)'

demo: ## the whole story in psql, on a throw-away server
	@pg_test/demo/demo.sh

demo-stop: ## stop that server and remove it
	@pg_test/demo/demo.sh stop

test: ## every test on one server, none of it touching the system's PostgreSQL
	@.ci/test.sh

asserts: ## the same on a server built with --enable-cassert: PG=/path/to/its/pg_config
	@ASSERTS=1 .ci/test.sh

upgrade: ## pg_upgrade of a cluster with live credentials, from FROM to PG
	@.ci/upgrade.sh

regress: ## PostgreSQL's own regression tests, with the library and without: the answers must be the same
	@.ci/regress.sh

bench: ## the release build against what people use instead, then the curves, into docs/, about 10 minutes
	@.ci/bench.sh

curves: ## how cost grows with roles, clients and tokens alone, about 5 minutes
	@CURVES=1 .ci/bench.sh

fuzz: ## fuzzing of tokens, claim paths and keys, for SECONDS
	@.ci/fuzz.sh $(SECONDS)

mutants: ## each defence of the lock taken away once: a test must fail, about half an hour
	@.ci/mutants.sh

lint: ## formatting, clippy, scripts, licences of dependencies: warnings are errors
	@.ci/lint.sh

all: ## a release build for a server of yours
	@.ci/install.sh build

install: ## a release build into a server of yours
	@.ci/install.sh install

package: ## Debian packages and tarballs of the release build, of PG or of all versions, in target/package
	@.ci/package.sh

package-test: ## the same, installed where there is nothing but PostgreSQL, and used
	@.ci/package_test.sh

package-twice: ## the packages built in two folders are the same to the byte
	@.ci/package_twice.sh

release: ## all files of a release, tested, with their checksums, in target/release-files
	@.ci/release.sh

freeze: ## for a release: keep what this version installs, for the tests of later ones
	@.ci/freeze.sh

env: ## print what cargo needs by hand: eval "$$(make -s env)"
	@.ci/env.sh

clean: ## remove this tree's builds and private servers
	@.ci/clean.sh
