internal import ClusterModel

/// Where members say they see this node, when that is no address that it advertises.
///
/// One witness may sit behind a translator of its own; two make a notice.
struct AddressObservations: Hashable, Sendable {
    private var address: PeerAddress?
    private var witness: PeerID?
    private var quietUntil: MonotonicInstant?

    /// Least time between two notices.
    static let quiet: Duration = .seconds(600)

    /// Whether a second member saw this node at the same address, and nothing was said of it lately.
    mutating func note(_ seen: PeerAddress, by member: PeerID, at now: MonotonicInstant) -> Bool {
        if let quietUntil, now < quietUntil { return false }
        guard address == seen, let witness, witness != member else {
            address = seen
            witness = member
            return false
        }
        quietUntil = now + Self.quiet
        return true
    }
}
