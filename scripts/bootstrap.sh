#!/usr/bin/env bash
# Make .venv from nothing: Python 3.13, the pinned packages, PostgreSQL unpacked. Done once; afterwards it only compares a stamp.
#
#   Python    $SCALEOUT_PYTHON, pyenv's, the PATH's; where there is none, uv brings one.
#   packages  requirements-dev.txt, which holds all of requirements.txt; with uv, which takes seconds, or with pip where uv fails.
#   stamp     .venv/.scaleout holds a checksum of what went in and of where this checkout lies: change either and it is done again.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(cat .python-version)
python=.venv/bin/python
stamp=.venv/.scaleout
uv_pin=$(grep -E '^uv==' requirements-dev.in)
export UV_NATIVE_TLS=true UV_SYSTEM_CERTS=true # the machine's own certificates: a company's proxy is in them
export UV_HTTP_TIMEOUT=120 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '· %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
inputs() { { pwd; cat .python-version requirements.txt requirements-dev.txt scripts/bootstrap.sh; } | cksum; }
fits() { [ -x "$1" ] && "$1" -c "import sys; raise SystemExit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; }

find_python() {
  local candidate
  for candidate in "${SCALEOUT_PYTHON:-}" "${PYENV_ROOT:-$(pyenv root 2>/dev/null || echo "$HOME/.pyenv")}"/versions/"$version"*/bin/python \
    "$(command -v "python$version" || true)" "$(command -v python3 || true)" "$(command -v python || true)"; do
    if [ -n "$candidate" ] && fits "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

find_uv() { # an installed uv, or one of our own, in an environment of whatever Python there is
  command -v uv && return
  local some own=build/uv
  some=$(command -v python3 || command -v python) || return 1
  "$some" -m venv $own >/dev/null 2>&1 && $own/bin/pip install -q "$uv_pin" >/dev/null 2>&1 || return 1
  echo $own/bin/uv
}

make_environment() {
  local found uv
  rm -rf .venv
  if found=$(find_python); then
    say "a virtual environment with $("$found" --version) ($found)"
    "$found" -m venv .venv >/dev/null 2>&1 && return
    rm -rf .venv
    fail "$found has no venv module. Install it (Debian: apt-get install -y python$version-venv) and run this again."
  fi
  say "no Python $version here: uv brings one"
  uv=$(find_uv) && "$uv" venv --quiet --seed --managed-python --python "$version" .venv 2>build/uv.log && return
  fail "no Python $version here, and uv could not fetch one (build/uv.log). Install it (pyenv install $version) or set SCALEOUT_PYTHON to it."
}

install_packages() {
  say "the packages of requirements-dev.txt"
  if $python -m pip install -q "$uv_pin" && .venv/bin/uv pip install -q --python $python -r requirements-dev.txt; then
    return
  fi
  say "uv could not install them; pip tries (slower)"
  $python -m pip install -q -r requirements-dev.txt ||
    fail "the packages could not be installed: see above; is the package index reachable (pip config list)?"
}

mkdir -p build
if command -v flock >/dev/null; then # two at once would install into each other
  exec 9>build/bootstrap.lock
  flock 9
fi
if [ "$(cat $stamp 2>/dev/null)" = "$(inputs)" ] && [ -x $python ]; then
  exit 0
fi
started=$SECONDS
fits $python || make_environment
rm -f $stamp
install_packages
say "PostgreSQL"
$python -m local.postgres --prepare
inputs >$stamp
say "set up in $((SECONDS - started)) s"
