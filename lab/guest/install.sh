#!/bin/sh
# What the guest needs: programs of its user land from the host (it runs over the host's own file system, read-only), an
# emulator, and Debian's kernel, which is unpacked below build/lab/guest and installed nowhere. No service is started or
# enabled. Without root and without sudo it says what is missing, and the tests that need it are skipped with that reason.
set -eu
cd "$(dirname "$0")/../.."
guest=$PWD/build/lab/guest

packages="qemu-system-x86 busybox-static cpio kmod procps iproute2 nftables iptables keepalived ipvsadm conntrack"
missing=
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || [ ! -s "$guest/initrd.gz" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=sudo
else
    echo "tests in the guest will be skipped; as root: apt-get install$missing linux-image-amd64 (unpacked)"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if [ -n "$missing" ]; then
    echo "installing:$missing"
    # A package must not start its service here: that is what this file tells invoke-rc.d (policy-rc.d(8)).
    guard=/usr/sbin/policy-rc.d
    if [ ! -e "$guard" ]; then
        trap '$as_root rm -f "$guard"' EXIT
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$guard" >/dev/null
        $as_root chmod 755 "$guard"
    fi
    $as_root apt-get update -qq
    # shellcheck disable=SC2086 - a list of words
    $as_root apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi

kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: linux-image-//p' | head -n 1)
if [ ! -d "$guest/kernel/boot" ]; then
    echo "unpacking: linux-image-$kernel"
    mkdir -p "$guest/packages"
    (cd "$guest/packages" && apt-get download -qq "linux-image-$kernel" 2>/dev/null)
    rm -rf "$guest/kernel.part"
    dpkg -x "$guest"/packages/linux-image-"$kernel"_*.deb "$guest/kernel.part"
    depmod -b "$guest/kernel.part" "$kernel"
    mv "$guest/kernel.part" "$guest/kernel"
fi
echo "$kernel" >"$guest/release"
sh lab/guest/initrd.sh "$guest" "$kernel"
