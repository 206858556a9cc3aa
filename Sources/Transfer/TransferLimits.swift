/// How long the two sides of a transfer wait for each other; tests use shorter times.
package struct TransferLimits: Sendable, Hashable {
    /// Longest silence of a holder that owes an answer.
    ///
    /// Longer than a busy machine or a lost packet takes; what is lost by it is one holder's share. A holder that
    /// serves others first says so several times within it.
    package var silence: Duration = .seconds(5)
    /// Over each such period without a whole answer a holder that owes one has to send at `leastRate`.
    package var ratePeriod: Duration = .seconds(15)
    /// Bytes a second, as they cross the link; zero is no limit.
    ///
    /// In a period it is less than one message of a pack, so that it adds nothing to what `silence` asks of a holder
    /// that sends whole messages: only those are given up that send drop by drop.
    package var leastRate = 16 << 10
    /// Longest time in which a puller that is served neither asks for anything nor takes what it is sent.
    ///
    /// A puller that has the manifest first looks for what it has of the layer; others wait for its turn to end.
    package var servedIdle: Duration = .seconds(60)

    package init() {}

    /// What a holder asks of a puller: a sign of life, and no rate.
    package var whileServing: TransferLimits {
        var limits = self
        (limits.silence, limits.leastRate) = (servedIdle, 0)
        return limits
    }
}
