#!/usr/bin/env bash
# Bring promtool and prometheus into build/prometheus, for the tests of the alert rules and the dashboard. Exits 0 whatever comes of it:
# without them those tests are skipped and say so.
#
# They are on the PATH, or Debian's package is downloaded and unpacked there: nothing is installed, no service is started, no root is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=build/prometheus

missing() { printf '· no promtool (%s): tests of the alert rules are skipped\n' "$1" >&2; exit 0; }
fetch() { (cd "$1" && apt-get download -qq prometheus) >"$1/log" 2>&1; }

[ -x $folder/promtool ] || { command -v promtool && command -v prometheus; } >/dev/null && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || missing "install Prometheus, or put it on the PATH"
mkdir -p build
work=$(mktemp -d build/prometheus.XXXXXX)
trap 'rm -rf "$work"' EXIT
if ! fetch "$work"; then
  # A fresh machine has no package lists, and only root can fetch them.
  [ "$(id -u)" = 0 ] || missing "apt-get install prometheus"
  timeout 120 apt-get update -qq >"$work/log" 2>&1 && fetch "$work" || missing "$(tail -n 1 "$work/log")"
fi
dpkg-deb --extract "$work"/prometheus_*.deb "$work"
"$work/usr/bin/promtool" --version >/dev/null 2>&1 || missing "Debian's does not run here"
mkdir "$work/programs"
mv "$work"/usr/bin/prom* "$work/programs"
mv --no-target-directory "$work/programs" $folder 2>/dev/null || true # another run was quicker
