#!/bin/sh
# pythons.sh PYTHON: a quick run on every other Python that is here and that the package supports: what reads files and
# bytes, what words errors, and a director with its workers. Tables and kernels are the same for every Python.
# What is not here is said and is no failure: it is the machine's lack, not a skipped test.
set -eu
cd "$(dirname "$0")/.."
own=$("$1" -c 'import sys; print(sys.version.split()[0])')
tests="tests/cli tests/config tests/ftp tests/health tests/status tests/verify tests/loopback/test_transfers.py tests/daemon/test_run.py"
tested=" $own "
failed=
for minor in 11 12 13; do
    found=
    for python in "python3.$minor" /usr/bin/python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python3; do
        version=$("$python" -c 'import sys; print(sys.version.split()[0])' 2>/dev/null) || continue
        case $version in 3.$minor.*) found=yes ;; *) continue ;; esac
        case $tested in *" $version "*) continue ;; esac
        tested="$tested$version "
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "Python $version ($python): not tested, it has no venv (python3-venv)"
            continue
        fi
        echo "Python $version ($python)"
        venv=build/pythons/$version
        mkdir -p build/pythons
        if [ ! -e "$venv/.made" ] || [ pyproject.toml -nt "$venv/.made" ] || [ constraints.txt -nt "$venv/.made" ]; then
            [ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
            "$venv/bin/pip" install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
            touch "$venv/.made"
        fi
        # shellcheck disable=SC2086 - a list of paths
        "$venv/bin/pytest" -q -n "${WORKERS:-4}" -p no:cacheprovider -m "not real and not slow" $tests || failed="$failed $version"
    done
    [ -n "$found" ] || echo "Python 3.$minor: not tested, it is not on this machine"
done
[ -z "$failed" ] || { echo "failed on Python$failed"; exit 1; }
