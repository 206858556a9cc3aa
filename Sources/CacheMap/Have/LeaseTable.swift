package import ClusterModel
package import OCI

/// What was promised to others for a while: layers that must not be collected, and keys that are being collected.
package struct LeaseTable: Sendable {
    /// A confirmed key is kept this long, so that the asker can fetch it.
    package static let lifetime: Duration = .seconds(30)
    /// Layers under lease; beyond it no lease is given.
    package static let layersMax = 262_144

    private var layers: [Digest: MonotonicInstant] = [:]
    private var condemned: Set<Digest> = []

    package init() {}

    /// Pins `layers` for the lifetime of a lease; false when one of them is being collected, or too many are pinned.
    package mutating func grant(_ wanted: [Digest], at now: MonotonicInstant) -> Bool {
        guard !wanted.contains(where: condemned.contains) else { return false }
        if layers.count + wanted.count > Self.layersMax { layers = layers.filter { $0.value > now } }
        guard layers.count + wanted.count <= Self.layersMax else { return false }
        for layer in wanted { layers[layer] = now + Self.lifetime }
        return true
    }

    /// Begins the collection of those that nobody has a lease on; no lease is given on them until `finish`.
    package mutating func condemn(_ wanted: [Digest], at now: MonotonicInstant) -> [Digest] {
        let free = wanted.filter { layer in !condemned.contains(layer) && (layers[layer].map { $0 <= now } ?? true) }
        condemned.formUnion(free)
        return free
    }

    /// The collection of these is over, whatever came of it.
    package mutating func finish(_ collected: [Digest]) {
        condemned.subtract(collected)
        for layer in collected { layers[layer] = nil }
    }

    package func isPinned(_ layer: Digest, at now: MonotonicInstant) -> Bool { layers[layer].map { $0 > now } ?? false }

    package func isCondemned(_ layer: Digest) -> Bool { condemned.contains(layer) }
}
