package import ClusterKeys
internal import ClusterModel

/// A key of a simulated cluster: a number; what it seals is marked with its name instead.
package struct SimulatedKey: RingKey, Hashable {
    package let number: UInt64

    package init(_ number: UInt64) { self.number = number }

    package var fingerprint: KeyFingerprint { KeyFingerprint(rawValue: SplitMix64.mix(number ^ 0x6B65_7920)) }
}

/// What a simulated node does about keys.
package struct SimulatedKeys: Sendable {
    package internal(set) var rotation: KeyRotation<SimulatedKey>
    var dial: DialKeys
    /// What its disk has.
    package internal(set) var kept: KeyRing<SimulatedKey>
    /// How the orders given to it ended.
    package internal(set) var finished: [KeyOrderError?] = []
    /// Counts the wakes, so that one that was replaced is told apart.
    var wakes: UInt64 = 0

    init(ring: KeyRing<SimulatedKey>, settings: KeyRotation<SimulatedKey>.Settings) {
        rotation = KeyRotation(ring: ring, settings: settings)
        kept = ring
        dial = DialKeys(addressesMax: 1_024)
    }
}
