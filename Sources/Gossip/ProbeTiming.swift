/// The waits of one probe, as shares of a period, all times local health.
enum ProbeTiming {
    /// Second ping and the first relay.
    static let relays = 0.10
    /// Third ping, more relays and the connection.
    static let moreRelays = 0.25
    static let failed = 0.45
    static let relaysFirst = 1
    static let relaysSecond = 3
    /// A relay says nack after this long.
    static let relayPatience = 0.15
    /// A probe that is to confirm what another saw connects at once.
    static let connectFirst = 0.0
    /// A member that was heard this many periods ago needs no probe to clear it.
    static let heardLately = 0.4
    /// While too few have spoken, more confirmers are asked this often, in periods.
    static let askAgain = 0.7
    /// The last look begins this long before a verdict, in periods.
    static let lastLook = 0.5
    /// All have known a suspect for about 1.3 periods when the verdict comes; one that comes sooner after its suspicion
    /// than this is looked into.
    static let verdictAfter = 1.0
    /// A stalled suspect is looked at again this often, in periods.
    static let stalledLook = 3.0
    /// A bystander looks for itself when a verdict is this late, in periods.
    static let bystander = 1.5
}
