internal import ClusterModel
internal import Synchronization

/// Counts what moves on behalf of one piece of work: a step, an export.
///
/// It travels with the task, so that all that the work calls counts in it, however deep.
final class TransferTally: Sendable {
    @TaskLocal static var current: TransferTally?

    private let bytes = Mutex(MovedBytes())

    var value: MovedBytes { bytes.withLock { $0 } }

    func add(_ kind: any WritableKeyPath<MovedBytes, Int64> & Sendable, _ amount: Int64) {
        bytes.withLock { $0[keyPath: kind] &+= amount }
    }

    func add(pulled amount: Int64, from peer: PeerID) {
        bytes.withLock {
            $0.pulled &+= amount
            $0.served[peer, default: 0] &+= amount
        }
    }

    func add(_ moved: MovedBytes) { bytes.withLock { $0 = $0 + moved } }

    /// Runs `body` and says what it moved.
    static func counting<T>(_ body: () async throws -> T) async rethrows -> (T, MovedBytes) {
        let tally = TransferTally()
        let value = try await $current.withValue(tally) { try await body() }
        return (value, tally.value)
    }
}
