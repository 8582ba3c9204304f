#!/bin/sh
# The peers: unpacked below build/bench, so that no service of theirs is installed or started. Needs root or sudo once.
set -eu
cd "$(dirname "$0")/.."
sh lab/install.sh
root=$PWD/build/bench/root
peers="haproxy nginx libnginx-mod-stream ftp-proxy proftpd-mod-proxy"

unpack=
for package in $peers; do
    [ -d "$root/$package/usr" ] || unpack="$unpack $package"
done
[ -n "$unpack" ] || exit 0
if [ "$(id -u)" = 0 ]; then as_root=; else as_root=sudo; fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# shellcheck disable=SC2046,SC2086 - lists of words
$as_root apt-get install -qq -y --no-install-recommends \
    $(apt-cache depends $unpack | sed -n 's/^  Depends: \(lib[a-z0-9.+-]*\)$/\1/p' | grep -v '^libnginx' | sort -u) >/dev/null
mkdir -p build/bench/packages
for package in $unpack; do
    echo "unpacking: $package"
    (cd build/bench/packages && apt-get download -qq "$package" 2>/dev/null)
    rm -rf "$root/$package.part" && mkdir -p "$root/$package.part"
    dpkg -x build/bench/packages/"$package"_*.deb "$root/$package.part"
    mv "$root/$package.part" "$root/$package"
done
