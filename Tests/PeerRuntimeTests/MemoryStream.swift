import ClusterModel
import Synchronization

/// Two ends of a peer stream in memory.
final class MemoryStream: PeerStream {
    private struct Broken: Error {}

    private let incoming: AsyncThrowingStream<[UInt8], any Error>
    private let inbox: AsyncThrowingStream<[UInt8], any Error>.Continuation
    private let other = Mutex<Weak>(Weak())

    private struct Weak {
        weak var stream: MemoryStream?
    }

    private init() { (incoming, inbox) = AsyncThrowingStream.makeStream() }

    static func pair() -> (MemoryStream, MemoryStream) {
        let (left, right) = (MemoryStream(), MemoryStream())
        left.other.withLock { $0.stream = right }
        right.other.withLock { $0.stream = left }
        return (left, right)
    }

    private var peer: MemoryStream? { other.withLock { $0.stream } }

    func send(_ message: [UInt8]) async throws {
        guard let peer else { throw Broken() }
        if case .terminated = peer.inbox.yield(message) { throw Broken() }
    }

    func receive() async throws -> [UInt8]? {
        var iterator = incoming.makeAsyncIterator()
        return try await iterator.next()
    }

    func finish() async { peer?.inbox.finish() }

    func reset() {
        inbox.finish(throwing: Broken())
        peer?.inbox.finish(throwing: Broken())
    }
}
