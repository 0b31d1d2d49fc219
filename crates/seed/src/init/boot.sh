# Stage 2, run once by init of the system: mounts what is volatile, reports, starts nothing.
B=/usr/bin/busybox
PATH=/usr/sbin:/usr/bin
export PATH
set -f

mount -t tmpfs -o mode=1777,nosuid,nodev tmp /tmp
mount -t tmpfs -o mode=0755,nosuid,nodev var /var
mkdir -p /var/lib /var/log /var/cache /var/tmp /run/lock /dev/pts /dev/shm
ln -s ../run /var/run
mount -t devpts -o gid=5,mode=0620 devpts /dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
ip link set lo up

# From here on the kernel must not write between our words.
dmesg -n 1
# Firmware may have left a line unended on a serial port that is no console of the kernel.
say
# kmod's modprobe by its full name: busybox' shell prefers its own, which knows fewer forms of modules.
modules=$(argument imager.modprobe)
while [ -n "$modules" ]; do
    module=${modules%%,*}
    case $modules in *,*) modules=${modules#*,} ;; *) modules= ;; esac
    case $module in '' | -* | *[!A-Za-z0-9_-]*) continue ;; esac
    if /usr/sbin/modprobe "$module"; then say "IMAGER-MODULE-OK $module"; else say "IMAGER-MODULE-FAIL $module"; fi
done

case $(uname -m) in
    x86_64) arch=amd64 ;;
    aarch64) arch=arm64 ;;
    *) arch=$(uname -m) ;;
esac
version=$(sed -n 's/^VERSION_ID="*\([^"]*\)"*$/\1/p' /etc/os-release)
say "IMAGER-BOOT-OK schematic=$(cat /run/imager/schematic) version=$version arch=$arch" \
    "extensions=$(cat /run/imager/extensions)"

if [ "$(argument imager.test)" = poweroff ]; then
    sync
    # The last words are still on their way through the serial port.
    sleep 1
    poweroff -f
fi

# Drivers of the devices that are there: without udev nobody else asks for them.
find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u | xargs -r /usr/sbin/modprobe -abq 2>/dev/null
