# shellcheck shell=sh
# Sourced: sums of what tests say in the end.

# closing: the sum of the lines `N passed, N failed[, N skipped]` on standard input, as another one. Fails when one has
# failed, or none has passed.
closing() {
    awk '
        function number(word) { return match($0, "[0-9]+ " word) ? substr($0, RSTART) + 0 : 0 }
        { passed += number("passed"); failed += number("failed"); skipped += number("skipped") }
        END {
            printf "%d passed, %d failed%s\n", passed, failed, skipped ? ", " skipped " skipped" : ""
            exit failed > 0 || passed == 0
        }'
}
