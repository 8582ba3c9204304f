#!/bin/sh
# initrd.sh GUEST RELEASE: the first file system of the guest. It mounts the host's root (9p, read-only) under a layer in
# memory and goes on with the job's own init.
set -eu
guest=$1 release=$2
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/modules" "$work/proc" "$work/sys" "$work/dev" "$work/newroot" "$work/lower" "$work/programs" \
    "$work/upper"
cp /bin/busybox "$work/bin/busybox"
cp "$here/initrd-init" "$work/init"
chmod 755 "$work/init"
number=0
for module in virtio_pci 9pnet_virtio 9p overlay; do
    modprobe -d "$guest/kernel" -S "$release" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/list"
while read -r file; do
    number=$((number + 1))
    name=$(printf '%02d_%s' "$number" "$(basename "$file")")
    cp "$file" "$work/modules/$name"
    echo "$name" >>"$work/modules.list"
done <"$work/list"
(cd "$work" && find . | cpio -o -H newc --quiet | gzip -1) >"$guest/initrd.gz.part"
mv "$guest/initrd.gz.part" "$guest/initrd.gz"
