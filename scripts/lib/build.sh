# shellcheck shell=sh
# shellcheck disable=SC2154 # root, private_dir: private.sh's
# Sourced after private.sh.
#   build_library             what a user installs, into build/native: as the README builds it, and rebar3
#   build_optimised TARGET    of the proofs, into build/proof

build_library() {
    say "building"
    building env CMAKE_GENERATOR=Ninja cmake -S "$root" -B "$root/build/native" &&
        building cmake --build "$root/build/native" --parallel "$(nproc)"
}

build_optimised() {
    building cmake -S "$root" --preset proof && building cmake --build "$root/build/proof" --target "$1"
}

building() {
    run "$@" >"$private_dir/build.out" 2>&1 || {
        cat "$private_dir/build.out"
        fail "the build failed"
    }
}
