#!/bin/sh
# Installs what lint and the tests use beyond Python's packages, from Debian's or Ubuntu's archive: only what is missing,
# with sudo where this is not root.
set -eu

has_python() {
  for name in python3.13 python3.12 python3.11 python3; do
    "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
  done
  return 1
}

missing=
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
need git git
need oathtool oathtool
need zbarimg zbar-tools
need rsvg-convert librsvg2-bin
need chromium chromium
need npm npm
need setpriv util-linux
need ps procps
has_python || missing="$missing python3 python3-venv"

if [ -n "$missing" ]; then
  as_root=
  [ "$(id -u)" -eq 0 ] || as_root=sudo
  $as_root apt-get update -q
  # shellcheck disable=SC2086 # a list of words
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi
