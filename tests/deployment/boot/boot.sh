#!/bin/sh
# Starts systemd as the first process of new namespaces, on a copy of this machine's file system that is thrown away.
# Arguments: a folder of ours, the checkout, the prefix of Python. It is run by `unshare` as process 1.
set -e
place=$1 checkout=$2 python=$3
root=$place/root
mkdir "$place/changes" "$root"
mount -t tmpfs tmpfs "$place/changes"
mkdir "$place/changes/upper" "$place/changes/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$place/changes/upper,workdir=$place/changes/work" "$root"

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
for folder in run tmp var/tmp dev/shm; do mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"; done
chmod 755 "$root/run"

mkdir -p "$root/opt/python" "$root/opt/checkout" "$root/opt/test" "$root/opt/secagg"
mount --bind "$python" "$root/opt/python"
mount --bind "$checkout" "$root/opt/checkout"
mount --bind "$place/test" "$root/opt/test"
mount -t tmpfs -o mode=755 tmpfs "$root/opt/secagg"
cp -R "$place/bin" "$root/opt/secagg/bin"

# Our units and nothing of the machine's own but what makes users and folders: no kernel variables, no devices.
rm -rf "$root"/usr/lib/systemd/system/*.wants "$root"/lib/systemd/system/*.wants
rm -rf "$root/etc/systemd/system" "$root/etc/sysusers.d" "$root/etc/tmpfiles.d" "$root/etc/secagg" "$root/var/lib/secagg"
mkdir -p "$root/etc/systemd/system" "$root/etc/sysusers.d" "$root/etc/tmpfiles.d" "$root/etc/secagg"
cp -R "$place"/test/units/* "$root/etc/systemd/system/"

# A new root and no chroot: in a chroot the kernel makes no user namespaces (PrivateUsers=).
mkdir "$root/old"
cd "$root"
pivot_root . old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c 'umount -l /old; exec /lib/systemd/systemd --system \
    --log-level=info --log-target=journal --unit=test.target --show-status=no'
