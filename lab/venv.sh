#!/bin/sh
# venv.sh DIRECTORY WHAT: a virtual environment with this package in it, and the versions of constraints.txt. On Debian python3-venv is a package of its own.
set -eu
venv=$1 what=$2
python=${PYTHON:-python3}
mkdir -p build

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    echo "ftpdirector needs Python 3.11 to 3.13; $python is $("$python" --version 2>&1). Try: make PYTHON=python3.11" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ]; then root=; elif command -v sudo >/dev/null; then root=sudo; else
        echo "python3-venv is missing; as root: apt-get install python3-venv" >&2
        exit 1
    fi
    echo "installing python3-venv"
    $root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $root apt-get install -qq -y --no-install-recommends python3-venv
fi
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --constraint constraints.txt --editable "$what"
