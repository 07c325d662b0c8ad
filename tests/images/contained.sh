#!/bin/sh
# Runs a command as a container of an image would: contained.sh ROOT DIRECTORY COMMAND...
# DIRECTORY is what install.sh made, ROOT a Debian root that holds it, or / for this machine's. Root and DIRECTORY are
# read-only, /tmp is empty and in memory, the user is 10001 without capabilities. The process is the command itself, so
# signals reach it. Needs root; all mounts end with it.
set -eu
umask 022
if [ "${CONTAINED:-}" = "" ]; then
    CONTAINED=yes exec unshare --mount "$0" "$@"
fi
root=$1 directory=$2
shift 2
if [ "$root" = / ]; then
    # The directory may lie in /tmp, which is covered.
    mount --bind "$directory" /mnt
    mount -t tmpfs -o mode=1777,size=256m tmpfs /tmp
    mkdir -p "$directory"
    mount --bind /mnt "$directory"
    mount -o remount,bind,ro "$directory"
    mount -o remount,bind,ro /
    cd "$directory"
    enter=env
else
    mount --bind "$root" "$root"
    mount -t tmpfs -o mode=1777,size=256m tmpfs "$root/tmp"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -o remount,bind,ro "$root"
    enter="chroot $root env --chdir=$directory"
fi
unset CONTAINED
exec $enter PATH="$directory/bin:/usr/local/bin:/usr/bin:/bin" HOME=/tmp TMPDIR=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set -all "$@"
