internal import Synchronization

/// Counts of a node since its start.
final class RuntimeCounters: Sendable {
    private let values = Mutex(NodeCounters())

    func add(_ counter: any WritableKeyPath<NodeCounters, UInt64> & Sendable, _ amount: UInt64) {
        values.withLock { $0[keyPath: counter] &+= amount }
    }

    var current: NodeCounters { values.withLock { $0 } }
}
