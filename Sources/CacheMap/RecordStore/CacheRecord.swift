package import ClusterModel

/// A stored result: what a cache key gave.
package struct CacheRecord: Hashable, Sendable {
    package var key: CacheKey
    /// The key under which the result is known to all nodes when several keys lead to it; else `key` itself.
    package var canonicalKey: CacheKey
    /// One tree per output of the op, by output index; nil for an output that was not made.
    package var outputs: [LayerChain?]
    /// Unix time in seconds.
    package var created: Int64
    /// Unix time in seconds.
    package var lastUsed: Int64
    /// Seconds that executing it took: what a hit saves.
    package var cost: Double
    /// The op in words, for `du` and `explain`.
    package var description: String

    package init(
        key: CacheKey, canonicalKey: CacheKey, outputs: [LayerChain?], created: Int64, lastUsed: Int64, cost: Double,
        description: String
    ) {
        self.key = key
        self.canonicalKey = canonicalKey
        self.outputs = outputs
        self.created = created
        self.lastUsed = lastUsed
        self.cost = cost
        self.description = description
    }

    /// Bytes of the layers that it names, each counted once.
    package var bytes: Int64 {
        var seen: [LayerDescriptor] = []
        for layer in outputs.compactMap(\.self).flatMap(\.layers) where !seen.contains(where: { $0.id == layer.id }) {
            seen.append(layer)
        }
        return seen.reduce(0) { $0 + $1.bytes }
    }
}
