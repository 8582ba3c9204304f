#!/bin/sh
# What the guest needs. It runs over the host's own file system, read-only, so tools and libraries are installed on the
# host. Debian's kernel, and the packages that would leave a service enabled here, are unpacked below build/lab/guest and
# installed nowhere; the guest sees the latter as if they were installed. No service is started or enabled.
# Without root and without sudo it says what is missing, and the tests that need it are skipped with that reason.
set -eu
cd "$(dirname "$0")/../.."
guest=$PWD/build/lab/guest

tools="qemu-system-x86 busybox-static cpio kmod procps util-linux iproute2 nftables iptables conntrack openssl"
daemons="keepalived ipvsadm conntrackd"
format=2

is_installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

missing=
for package in $tools; do
    is_installed "$package" || missing="$missing $package"
done
[ "$(cat "$guest/complete" 2>/dev/null)" = "$format" ] && [ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    echo "tests in the guest will be skipped; as root: apt-get install$missing; then once more, for: $daemons"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq

# A daemon's libraries are installed, the daemon is not.
for package in $(apt-get install -s --no-install-recommends $daemons | awk '$1 == "Inst" { print $2 }'); do
    case " $daemons " in *" $package "*) ;; *) missing="$missing $package" ;; esac
done
if [ -n "$missing" ]; then
    echo "installing:$missing"
    # shellcheck disable=SC2086 - a list of words
    $as_root apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi

# unpack PACKAGE DIRECTORY
unpack() {
    echo "unpacking: $1"
    rm -rf "$guest/packages/new"
    mkdir -p "$guest/packages/new"
    (cd "$guest/packages/new" && apt-get download -qq "$1" 2>/dev/null)
    dpkg -x "$guest"/packages/new/*.deb "$2"
    rm -rf "$guest/packages"
}

if [ ! -d "$guest/kernel/boot" ]; then
    kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: linux-image-//p' | head -n 1)
    rm -rf "$guest/kernel.part"
    unpack "linux-image-$kernel" "$guest/kernel.part"
    depmod -b "$guest/kernel.part" "$kernel"
    mv "$guest/kernel.part" "$guest/kernel"
    echo "$kernel" >"$guest/release"
fi

rm -rf "$guest/programs" "$guest/programs.part"
mkdir -p "$guest/programs.part"
for package in $daemons; do
    unpack "$package" "$guest/programs.part"
done
# /sbin is a link to /usr/sbin on the host: a directory of that name would hide it in the guest.
for folder in bin sbin lib lib64; do
    [ -d "$guest/programs.part/$folder" ] || continue
    mkdir -p "$guest/programs.part/usr/$folder"
    cp -a "$guest/programs.part/$folder/." "$guest/programs.part/usr/$folder/"
    rm -rf "$guest/programs.part/$folder"
done
mv "$guest/programs.part" "$guest/programs"

sh lab/guest/initrd.sh "$guest" "$(cat "$guest/release")"
echo "$format" >"$guest/complete"
