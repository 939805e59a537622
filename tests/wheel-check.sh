#!/usr/bin/env bash
# A wheel built from the tree installs in a clean environment, far from any checkout, and decodes a file.
# Usage: tests/wheel-check.sh TORCH   (the requirement that installs torch)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$root/.venv/bin/python" -m build --quiet --wheel --outdir "$work" "$root"
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
pip "$1"
pip -c "$root/constraints.txt" "$work"/boostnerv-*.whl

# The file is made by the checkout, the frames by the wheel.
"$root/.venv/bin/python" "$root/tests/make_file.py" "$work/x.bnv" "$work/expected.npy"
cd "$work"
env -i PATH="$work/venv/bin:/usr/bin:/bin" boostnerv decode x.bnv --output decoded.npy --threads 1 >/dev/null
cmp decoded.npy expected.npy
env -i PATH="$work/venv/bin:/usr/bin:/bin" boostnerv info x.bnv
commit=$(env -i PATH="$work/venv/bin" python -c 'from boostnerv.provenance import commit; print(commit())')
test "$commit" = unknown || { echo "the commit of a wheel reads '$commit', not 'unknown'" >&2; exit 1; }
echo "wheel: installed, decoded, commit $commit"
