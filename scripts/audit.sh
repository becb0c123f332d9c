#!/usr/bin/env bash
# Ask the public database for known vulnerabilities of what Azure deploys. pip-audit lives in an environment of its own: it needs
# packages that the app must not get. Exit 1 with a finding; where packages could not be looked up, say how many and exit 0.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
place=.venv-audit
if [ ! -x $place/bin/pip-audit ]; then
  .venv/bin/python -m venv $place
  $place/bin/python -m pip install -q "pip-audit==2.10.1" 2>build/audit.log ||
    { echo "audit: not done, pip-audit could not be installed (build/audit.log)"; rm -rf $place; exit 0; }
fi
$place/bin/pip-audit --requirement requirements.txt --no-deps --disable-pip --progress-spinner off --timeout 20 \
  --format json --output build/audit.json >build/audit.log 2>&1 || [ -s build/audit.json ] ||
  { echo "audit: not done, the database could not be asked (build/audit.log)"; exit 0; }
.venv/bin/python - <<'PYTHON'
import json

packages = json.load(open("build/audit.json"))["dependencies"]
unknown = [package["name"] for package in packages if "skip_reason" in package]
found = [(package["name"], package["version"], flaw) for package in packages for flaw in package.get("vulns", ())]
for name, version, flaw in found:
    print(f"{name} {version}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no version yet'}")
print(f"audit: {len(packages) - len(unknown)} of {len(packages)} packages looked up, {len(found)} known vulnerabilities")
if unknown:
    print(f"audit: nothing is known of the other {len(unknown)}: the package index in use did not answer for them")
raise SystemExit(bool(found))
PYTHON
