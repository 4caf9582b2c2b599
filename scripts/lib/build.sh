# shellcheck shell=sh
# shellcheck disable=SC2154 # root, private_dir: private.sh's
# Sourced after private.sh.
#   build_library   what a user installs, into build/native: as the README builds it, and rebar3

build_library() {
    say "building"
    {
        run env CMAKE_GENERATOR=Ninja cmake -S "$root" -B "$root/build/native" &&
            run cmake --build "$root/build/native" --parallel "$(nproc)"
    } >"$private_dir/build.out" 2>&1 || {
        cat "$private_dir/build.out"
        fail "the build failed"
    }
}
