#!/usr/bin/env bash
# Makes the Python environment of the Python-dependent tests and benchmarks, outside the checkout, and prints its python's path.
# Named by the digest of requirements.txt: made once, reused afterwards. $PYTHON chooses the interpreter (default python3).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/continuo"
digest=$(cksum < "$here/requirements.txt" | cut -d' ' -f1)
env="$cache/python-$digest"
if [ ! -x "$env/ready/python" ]; then
  mkdir -p "$cache"
  rm -rf "$env"
  "${PYTHON:-python3}" -m venv "$env" >&2
  "$env/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  mkdir "$env/ready"
  ln -s "$env/bin/python" "$env/ready/python"
fi
echo "$env/bin/python"
