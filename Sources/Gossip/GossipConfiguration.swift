internal import ClusterModel

/// The settings of a node's membership protocol.
///
/// All waits are multiples of `period`.
package struct GossipConfiguration: Sendable {
    /// Protocol period T: one probe each.
    package var period: Duration = .seconds(1)
    /// Largest UDP payload, sealed, in bytes; 512 works.
    package var packetLimit = 1_200
    /// What the seal adds to a datagram, in bytes.
    package var sealOverheadBytes = 44
    /// Unix time minus the monotonic clock: lets all nodes number the periods alike (see `ProbeSchedule`).
    package var wallClockOffset: Duration = .zero
    /// Shortest time from the first accusation to a verdict, in periods.
    ///
    /// A host that was frozen for less can still refute.
    package var suspicionPeriodsMin = 2.0
    /// The same when too few confirm the accusation, before the share that grows with the cluster.
    package var suspicionPeriodsMax = 4.0
    /// How long dead and departed members are remembered; the dead are tried again all the while.
    package var tombstoneLifetime: Duration = .seconds(24 * 3_600)
    /// Rate at which news and repairs by datagram may leave, in bytes per second; bursts are twice as long.
    ///
    /// Probes, accusations and refutations are never held back.
    package var bytesPerSecond = 64_000
    /// Least time between two snapshots for rejoin.
    package var persistInterval: Duration = .seconds(5)

    package init() {}

    /// (max + 2 · log2 n) periods.
    func suspicionPeriodsMax(membersUp: Int) -> Double {
        suspicionPeriodsMax + 2 * Double(Int.bitWidth - membersUp.leadingZeroBitCount - 1)
    }

    /// Smallest `packetLimit` that carries one probe with one member record.
    static let packetLimitMin = 512

    /// Plaintext bytes of a datagram.
    package var datagramBytesMax: Int { packetLimit - sealOverheadBytes }

    /// The first fault, nil when the values fit together.
    var fault: GossipConfigurationError? {
        if packetLimit < Self.packetLimitMin || packetLimit > 65_507 {
            return .outOfRange(key: "packetLimit", value: "\(packetLimit)", allowed: "\(Self.packetLimitMin)...65507")
        }
        if sealOverheadBytes < 0 || sealOverheadBytes > 64 {
            return .outOfRange(key: "sealOverheadBytes", value: "\(sealOverheadBytes)", allowed: "0...64")
        }
        if period < .milliseconds(20) || period > .seconds(60) {
            return .outOfRange(key: "period", value: "\(period)", allowed: "20 ms ... 60 s")
        }
        if suspicionPeriodsMin < 1 || suspicionPeriodsMax < suspicionPeriodsMin || suspicionPeriodsMax > 1_000 {
            return .outOfRange(
                key: "suspicionPeriodsMin, suspicionPeriodsMax",
                value: "\(suspicionPeriodsMin), \(suspicionPeriodsMax)",
                allowed: "1 ≤ min ≤ max ≤ 1000")
        }
        return nil
    }
}

/// Why a node's membership cannot start.
package enum GossipConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    case outOfRange(key: String, value: String, allowed: String)
    /// The node's name, platforms, labels and version do not fit the gossiped member record.
    case metadataTooLarge(bytes: Int, limit: Int)
    case metadataInvalid(field: String)

    package var description: String {
        switch self {
        case .outOfRange(let key, let value, let allowed): "gossip: \(key) is \(value), allowed is \(allowed)"
        case .metadataTooLarge(let bytes, let limit):
            "gossip: name, platforms, labels and version take \(bytes) bytes, \(limit) are allowed: shorten or drop labels"
        case .metadataInvalid(let field):
            "gossip: \(field) of this node is empty, too long or has control characters"
        }
    }
}
