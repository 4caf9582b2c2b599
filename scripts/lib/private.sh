# shellcheck shell=sh
# Sourced: a private directory and background processes, all gone when the script ends, however it ends.
#   private_dir          the directory, and TMPDIR for all that is started
#   start NAME COMMAND   a background process; its output goes to private_dir/NAME.out, its id is in pid_NAME
#   run COMMAND          a foreground command that a signal to the script ends at once
#   real_disk            says so where private_dir is not on a disk

# shellcheck disable=SC2034 # for the scripts that source this
root=$(cd "$(dirname "$0")/.." && pwd)
me=${0##*/}

say() { printf '%s: %s\n' "$me" "$*"; }
fail() { printf '%s: %s\n' "$me" "$*" >&2; exit 1; }

private_dir=$(mktemp -d "${TMPDIR:-/tmp}/offline-post.XXXXXX")
private_pids=
export TMPDIR="$private_dir" PYTHONUTF8=1

start() {
    start_name=$1
    shift
    "$@" >"$private_dir/$start_name.out" 2>&1 </dev/null &
    eval "pid_$start_name=$!"
    private_pids="$! $private_pids"
}

run() {
    run_others=$private_pids
    "$@" </dev/null &
    private_pids="$! $private_pids"
    run_result=0
    wait "$!" || run_result=$?
    private_pids=$run_others
    return $run_result
}

# The youngest first: ejabberd before its epmd. Each is asked, every 2 s because a node that is still booting
# may miss it, and forced after private_patience seconds.
private_patience=15
private_end() {
    trap '' HUP INT TERM
    for pid in $private_pids; do
        tenths=0
        while kill -0 "$pid" 2>/dev/null; do
            [ $((tenths % 20)) -ne 0 ] || kill "$pid" 2>/dev/null || break
            [ $tenths -lt $((private_patience * 10)) ] || kill -KILL "$pid" 2>/dev/null || break
            sleep 0.1
            tenths=$((tenths + 1))
        done
    done
    # What others left running, such as the nodes of an interrupted test, was told our TMPDIR.
    for environ in /proc/[0-9]*/environ; do
        ! grep -qsazF "TMPDIR=$private_dir" "$environ" || kill -KILL "$(basename "${environ%/environ}")" 2>/dev/null || true
    done
    rm -rf "$private_dir"
}

trap private_end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

real_disk() {
    case $(stat -f -c %T "$private_dir") in
        tmpfs | ramfs) say "the temporary directory is in memory: set TMPDIR to one on the disk that is to be measured" ;;
    esac
}

# free_ports N: N port numbers that nobody listens at, below those that the system gives to whoever connects.
free_ports() {
    /usr/bin/python3 -c '
import random, socket, sys
found = []
while len(found) < int(sys.argv[1]):
    s = socket.socket()
    try:
        s.bind(("127.0.0.1", random.randrange(10000, 32000)))
        found.append(s)
    except OSError:
        s.close()
print(*(s.getsockname()[1] for s in found))' "$1"
}
