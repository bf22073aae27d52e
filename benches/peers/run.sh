#!/usr/bin/env bash
# Sets up one virtual environment for each peer, times both, one after the other.
#
#   run.sh [--bootstrap[=OPTIONS]] OUT_DIR [VENV_DIR] [-- OPTION...]
#
# OUT_DIR gets openfhe.json, tenseal.json and the printed tables (openfhe.txt, tenseal.txt).
# --bootstrap times one bootstrapping of OpenFHE too (minutes, 17 GiB), into openfhe_bootstrap.json; OPTIONS, in one
# word and separated by spaces, go to openfhe_bootstrap.py.
# VENV_DIR is kept and used again; without it the environments go to a temporary folder, removed at the end.
# OPTION... goes to both scripts (--rings, --min-reps, --budget). PYTHON names a Python 3.10 (default: python3.10).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3.10}

usage() {
    echo "usage: run.sh [--bootstrap[=OPTIONS]] OUT_DIR [VENV_DIR] [-- OPTION...]" >&2
    exit 2
}

bootstrap=
bootstrap_options=()
if [[ $# -ge 1 && ( $1 == --bootstrap || $1 == --bootstrap=* ) ]]; then
    bootstrap=yes
    [[ $1 == --bootstrap ]] || read -ra bootstrap_options <<<"${1#--bootstrap=}"
    shift
fi
[[ $# -ge 1 && $1 != -* ]] || usage
out=$1
shift
venvs=
if [[ $# -ge 1 && $1 != -- ]]; then
    venvs=$1
    shift
fi
if [[ $# -ge 1 ]]; then
    [[ $1 == -- ]] || usage
    shift
fi

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || {
    echo "run.sh: $python does not run. Install Python 3.10, or name one: PYTHON=/path/to/python3.10" >&2
    exit 2
}
if [[ $version != 3.10 ]]; then
    echo "run.sh: $python is Python $version; OpenFHE's wheel needs 3.10. Name one: PYTHON=/path/to/python3.10" >&2
    exit 2
fi

if [[ -z $venvs ]]; then
    venvs=$(mktemp -d)
    trap 'rm -rf "$venvs"' EXIT
fi
mkdir -p "$out" "$venvs"

for peer in openfhe tenseal; do
    if [[ ! -x $venvs/$peer/bin/python ]]; then
        "$python" -m venv "$venvs/$peer"
    fi
    "$venvs/$peer/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements-$peer.txt"
done

for peer in openfhe tenseal; do
    "$venvs/$peer/bin/python" -B "$here/${peer}_bench.py" --json "$out/$peer.json" "$@" | tee "$out/$peer.txt"
    echo
done

if [[ -n $bootstrap ]]; then
    "$venvs/openfhe/bin/python" -B "$here/openfhe_bootstrap.py" "${bootstrap_options[@]}" \
        --json "$out/openfhe_bootstrap.json"
fi
