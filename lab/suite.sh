#!/bin/sh
# pyftpdlib's own tests, which its installed package leaves out: the source of the very version that is installed.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
version=$("$python" -c 'from importlib.metadata import version; print(version("pyftpdlib"))')
suite=build/lab/pyftpdlib
[ "$(cat "$suite/.version" 2>/dev/null)" != "$version" ] || exit 0

echo "fetching: pyftpdlib's tests"
rm -rf "$suite" "$suite.part"
mkdir -p "$suite.part" build/lab/packages
"$python" -m pip download -q --disable-pip-version-check --no-deps --no-binary pyftpdlib -d build/lab/packages \
    "pyftpdlib==$version"
tar -xzf "build/lab/packages/pyftpdlib-$version.tar.gz" -C "$suite.part" --strip-components=1
echo "$version" >"$suite.part/.version"
mv "$suite.part" "$suite"
