/// The waits of one probe, as shares of a period, all times local health.
enum ProbeTiming {
    /// Second ping and the first relays.
    static let relays = 0.10
    /// Third ping and more relays.
    static let moreRelays = 0.25
    static let failed = 0.45
    static let relaysFirst = 2
    static let relaysSecond = 3
    /// A relay says nack after this long.
    static let relayPatience = 0.15
}
