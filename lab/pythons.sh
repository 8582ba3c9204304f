#!/bin/sh
# pythons.sh PYTHON: the tests that need nothing but this package, on every other Python that is here and that the package
# supports: a quick run each, without the suites of pure tables, where a Python makes no difference.
# What is not here is said and is no failure: it is the machine's lack, not a skipped test.
set -eu
cd "$(dirname "$0")/.."
own=$("$1" -c 'import sys; print(sys.version.split()[0])')
leave_out="tests/nft tests/engines/nftables tests/engines/ipvs tests/explain tests/firewalls tests/ftpd tests/guest tests/netns tests/real"

ignore=
for directory in $leave_out; do ignore="$ignore --ignore=$directory"; done
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
        # shellcheck disable=SC2086 - a list of options
        "$venv/bin/pytest" -q -n "${WORKERS:-4}" -p no:cacheprovider -m "not real and not long and not slow" $ignore tests || failed="$failed $version"
    done
    [ -n "$found" ] || echo "Python 3.$minor: not tested, it is not on this machine"
done
[ -z "$failed" ] || { echo "failed on Python$failed"; exit 1; }
