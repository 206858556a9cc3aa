# Counts primes with a sieve.
BEGIN {
    n = 400000
    for (i = 2; i < n; i++) {
        if (i in composite) continue
        primes++
        for (j = i * i; j < n; j += i) composite[j] = 1
    }
    print primes " primes below " n
}
