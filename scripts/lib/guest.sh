# shellcheck shell=sh
# shellcheck disable=SC2154 # root, private_dir: private.sh's
# Sourced after private.sh: bare Debians of other releases, each in a directory, the guest. Needs root.
#   guest_suite RELEASE        Debian's name for 12, 13 or unstable; nothing for others
#   guest_ready                fails where no guest can be made
#   guest_make SUITE GUEST     debootstrap
#   guest_sources GUEST        its checkout is from now on what the tar file on standard input holds, and what was
#                              built there before
#   guest_run GUEST COMMAND    in its checkout
#   guest_test GUEST COMMAND   the same without a network but its own loopback: tests on other releases, side by side,
#                              may choose the same ports
#
# The mirror and apt's settings are this machine's own; DEBIAN_MIRROR names another mirror.

guest_suite() {
    case $1 in
        12) echo bookworm ;;
        13) echo trixie ;;
        unstable) echo sid ;;
    esac
}

guest_ready() {
    [ "$(id -u)" -eq 0 ] || fail "needs root, for debootstrap and chroot: sudo $0"
    { [ -n "$(command -v debootstrap)" ] && [ -n "$(command -v ip)" ]; } || "$root/scripts/setup" debootstrap iproute2
    # shellcheck disable=SC2016 # for apt-get
    guest_mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Label: Debian' 'Component: main' | head -n 1)}
    [ -n "$guest_mirror" ] || fail "this machine's apt knows no Debian mirror (apt-get update, or set DEBIAN_MIRROR)"
    # shellcheck disable=SC2034 # private.sh's: what a guest runs ends with its namespace, at once
    private_patience=1
}

# Mounts and processes of the guest live in namespaces of their own and end with them, however that comes.
guest_isolated() {
    run unshare --mount --pid --fork --kill-child "$@"
}

guest_make() {
    say "debootstrap $1"
    guest_isolated debootstrap --variant=minbase "$1" "$2" "$guest_mirror" >"$private_dir/debootstrap.out" 2>&1 || {
        tail -n 20 "$private_dir/debootstrap.out"
        fail "debootstrap failed"
    }
    {
        apt-config dump | grep -E '^Acquire::(https?|Retries|Check-Date|Check-Valid-Until)\b' || true
        # A mirror's copy of unstable may be older than its index says is good.
        [ "$1" != sid ] || echo 'Acquire::Check-Valid-Until "false";'
        # Packages are installed once, in a guest that is made anew when the machine crashes meanwhile.
        echo 'Binary::apt-get::APT::Keep-Downloaded-Packages "false";'
    } >"$2/etc/apt/apt.conf.d/99guest"
    echo force-unsafe-io >"$2/etc/dpkg/dpkg.cfg.d/99guest"
}

guest_sources() {
    cp /etc/resolv.conf "$1/etc/resolv.conf"
    guest_checkout=$1/root/checkout
    mkdir -p "$guest_checkout"
    rm -rf "$guest_checkout.new"
    mkdir "$guest_checkout.new"
    tar -x -m -C "$guest_checkout.new"
    # What differs is new, whatever its date here: builds go by dates.
    (cd "$guest_checkout.new" && find . -type f) | while read -r guest_file; do
        ! cmp -s "$guest_checkout/$guest_file" "$guest_checkout.new/$guest_file" ||
            touch -r "$guest_checkout/$guest_file" "$guest_checkout.new/$guest_file"
    done
    for guest_built in build _build priv; do
        [ ! -e "$guest_checkout/$guest_built" ] || mv "$guest_checkout/$guest_built" "$guest_checkout.new/"
    done
    rm -rf "$guest_checkout"
    mv "$guest_checkout.new" "$guest_checkout"
}

guest_run() {
    guest_entered "$@"
}

guest_test() {
    guest_entered "$@" --net
}

# guest_entered GUEST COMMAND [OPTION]: an option of unshare's.
guest_entered() {
    # shellcheck disable=SC2016,SC2086 # for the inner shell; no word, or one
    guest_isolated ${3-} sh -euc '
        [ -z "$3" ] || ip link set lo up
        mount -t proc proc "$1/proc"
        mount -t sysfs -o ro sysfs "$1/sys"
        mount -t devpts devpts "$1/dev/pts"
        mount -t tmpfs tmpfs "$1/dev/shm"
        exec chroot "$1" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            sh -c "cd /root/checkout && exec $2"' guest "$1" "$2" "${3-}"
}
