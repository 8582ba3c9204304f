#!/bin/sh
# What the tests with real programs need. Clients and libraries are installed; the three FTP servers, which conflict with
# one another as packages, and firewalls are unpacked below build/lab. Nothing is started, and no service is left enabled.
# Without root and without sudo it says what is missing, and the tests that need it are skipped with that reason.
set -eu
cd "$(dirname "$0")/.."
root=$PWD/build/lab/root

clients="curl wget lftp tnftp ncftp logrotate"
libraries="libhiredis0.14 libmemcached11 libmemcachedutil2 libwrap0 libsodium23 libpcre2-posix3"
servers="vsftpd proftpd-core pure-ftpd"
# Firewalls that run in network namespaces; as packages they would leave a service enabled here. And what they run on.
firewalls="ufw firewalld python3-firewall python3-nftables"
beside="iptables dbus-daemon python3-dbus python3-gi gir1.2-glib-2.0"

missing=
for package in $clients $libraries $beside; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
unpack=
for package in $servers $firewalls; do
    [ -d "$root/$package/usr" ] || unpack="$unpack $package"
done
[ -n "$missing$unpack" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    echo "tests with real programs will be skipped; as root: apt-get install$missing; then once more, for:$unpack"
    exit 0
fi

export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
if [ -n "$missing" ]; then
    echo "installing:$missing"
    # shellcheck disable=SC2086 - a list of words
    $as_root apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi
mkdir -p build/lab/packages
for package in $unpack; do
    echo "unpacking: $package"
    (cd build/lab/packages && apt-get download -qq "$package" 2>/dev/null)
    rm -rf "$root/$package.part" && mkdir -p "$root/$package.part"
    dpkg -x build/lab/packages/"$package"_*.deb "$root/$package.part"
    mv "$root/$package.part" "$root/$package"
done
