# Finds the start with the longest Collatz sequence.
BEGIN {
    n = 20000
    for (start = 1; start < n; start++) {
        x = start
        for (steps = 0; x != 1; steps++) x = x % 2 ? 3 * x + 1 : x / 2
        if (steps > most) { most = steps; best = start }
    }
    print "longest Collatz sequence below " n ": " most " steps from " best
}
