# Printing where somebody may read it. Used by both stages; needs busybox's sh and $B, a busybox.

# Each device once: the kernel's consoles, then the first serial port of either architecture. An image whose
# command line names only `tty0` would otherwise be mute wherever nobody looks at a screen.
consoles() {
    seen=' '
    for c in $($B cat /sys/class/tty/console/active 2>/dev/null) ttyS0 ttyAMA0; do
        case $seen in *" $c "*) continue ;; esac
        seen="$seen$c "
        [ -c "/dev/$c" ] || continue
        # The kernel makes nodes for ports that no machine has; their type is 0.
        [ "$($B cat "/sys/class/tty/$c/type" 2>/dev/null)" != 0 ] || continue
        echo "$c"
    done
}

# One line, written at once on each, so that nothing comes between its words.
say() {
    for c in $(consoles); do
        (echo "$*" >"/dev/$c") 2>/dev/null
    done
}

# The value of the kernel argument $1; the last one counts.
argument() {
    value=
    for a in $($B cat /proc/cmdline); do
        case $a in "$1="*) value=${a#*=} ;; esac
    done
    echo "$value"
}
