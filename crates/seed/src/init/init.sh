# Stage 1, /init of the initramfs: stacks the base and the extensions, then starts the system.
#
#   /rootfs.sqsh              the base, at the bottom
#   /<n>.sqsh …               the layers that /extensions.yaml lists, each over the one before it
#   /usr/lib/firmware         what extensions bring for devices; hides the base's
#   /.extra                   what systemd-stub hands over
#
# All of it is read-only. The initramfs stays where it is, below the system: the loop devices and the two
# bind mounts keep using it.
B=/bin/busybox
set -f

fail() {
    say "IMAGER-BOOT-FAIL $*"
    $B sleep 1
    [ "$(argument imager.test)" != poweroff ] || $B poweroff -f
    # The kernel panics over the end of its init, and `panic=` says what then.
    exit 1
}

layer() {
    $B mkdir -p "/layers/$2" && $B mount -t squashfs -o ro,loop "/$1" "/layers/$2" || fail "cannot mount $1"
}

$B mount -t devtmpfs dev /dev || exit 1
$B mount -t proc proc /proc || exit 1
$B mount -t sysfs sys /sys || exit 1
exec </dev/console >/dev/console 2>&1

while read -r module; do
    $B insmod "/modules/$module" || say "cannot load $module"
done </modules/order

layer rootfs.sqsh base
lower=/layers/base
schematic=
extensions=
if [ -e /extensions.yaml ]; then
    $B awk -f /layers.awk /extensions.yaml >/list || fail "cannot read /extensions.yaml"
    count=0
    while read -r image name version; do
        layer "$image" "$count"
        lower=/layers/$count:$lower
        count=$((count + 1))
        case $name in
            schematic) schematic=$version ;;
            modules.dep | embedded-config) ;;
            *) extensions=$extensions${extensions:+,}$name@$version ;;
        esac
    done </list
fi
if [ "$lower" = /layers/base ]; then
    $B mount --move /layers/base /root || fail "cannot mount the root"
else
    # The first directory is the topmost: the last layer of the list.
    $B mount -t overlay -o "ro,lowerdir=$lower" root /root || fail "cannot mount the root"
fi

if [ -d /usr/lib/firmware ]; then
    $B mount -o bind /usr/lib/firmware /root/usr/lib/firmware &&
        $B mount -o remount,bind,ro /root/usr/lib/firmware || fail "cannot mount the firmware"
fi
if [ -d /.extra ]; then
    $B mount -o bind /.extra /root/.extra || fail "cannot mount /.extra"
fi
if [ -e /extensions.yaml ]; then
    $B mount -o bind /extensions.yaml /root/etc/extensions.yaml &&
        $B mount -o remount,bind,ro /root/etc/extensions.yaml || fail "cannot mount /etc/extensions.yaml"
fi
$B mount -t tmpfs -o mode=0755,nosuid,nodev run /root/run || fail "cannot mount /run"
$B mkdir /root/run/imager
echo "$schematic" >/root/run/imager/schematic
echo "$extensions" >/root/run/imager/extensions

for dir in dev proc sys; do
    $B mount --move "/$dir" "/root/$dir" || fail "cannot move /$dir"
done
# What switch_root does, but for its deleting: the firmware, /.extra and the list are still in use.
cd /root || fail "no root"
$B rm -rf /bin /modules /init /layers.awk /list
./usr/bin/busybox mount --move . / || exit 1
exec ./usr/bin/busybox chroot . /usr/sbin/init
