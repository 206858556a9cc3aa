internal import ContentStore
internal import Synchronization

/// A blob that is on its way to this node: others follow it while it arrives.
final class BlobFlight: Sendable {
    private struct State {
        var phase = Phase.owner
        var written: Int64 = 0
        var outcome: Bool?
        var tickets: UInt64 = 0
        var waiting: [UInt64: CheckedContinuation<Void, Never>] = [:]
    }

    /// What it is doing.
    enum Phase {
        /// Waits for the blob's owner, who may wait for nobody; peers that follow have to be sure of that.
        case owner
        case holders
        case registry
    }

    let writer: BlobWriter
    /// Longest that the blob may be.
    private let bytesMax: Int64
    private let state = Mutex(State())

    init(writer: BlobWriter, bytesMax: Int64) {
        self.writer = writer
        self.bytesMax = bytesMax
    }

    var written: Int64 { state.withLock { $0.written } }
    /// Whether the registry gives it right now.
    var isFromRegistry: Bool { state.withLock { $0.phase == .registry } }
    /// Whether peers may wait for it without ever waiting for themselves: it does not wait for an owner, or bytes come.
    var canBeFollowed: Bool { state.withLock { $0.phase != .owner || $0.written > 0 || $0.outcome != nil } }

    func enter(_ phase: Phase) { wake { $0.phase = phase } }

    /// Waits until it can be followed.
    func waitUntilFollowable() async throws {
        while !canBeFollowed {
            _ = await progress(beyond: 0)
            try Task.checkCancellation()
        }
    }

    /// Appends bytes and tells the followers.
    func write(_ bytes: [UInt8]) throws {
        guard written + Int64(bytes.count) <= bytesMax else {
            throw ShareError.malformed("more than the \(bytesMax) bytes of the blob")
        }
        try writer.write(bytes)
        wake { $0.written += Int64(bytes.count) }
    }

    /// It is over: the blob is in the store, or will not be.
    func end(_ isThere: Bool) { wake { $0.outcome = isThere } }

    private func wake(_ change: (inout State) -> Void) {
        let waiting = state.withLock { state in
            change(&state)
            defer { state.waiting = [:] }
            return state.waiting
        }
        for continuation in waiting.values { continuation.resume() }
    }

    /// Waits until more than `offset` bytes are written or it is over: the outcome, nil while it goes on.
    func progress(beyond offset: Int64) async -> Bool? {
        let ticket = state.withLock { state in
            state.tickets += 1
            return state.tickets
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isDue = state.withLock { state in
                    if state.outcome != nil || state.written > offset || Task.isCancelled { return true }
                    state.waiting[ticket] = continuation
                    return false
                }
                if isDue { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiting.removeValue(forKey: ticket) }?.resume()
        }
        return state.withLock { $0.outcome }
    }

    /// Waits for the end: whether the blob is there.
    func outcome() async throws -> Bool {
        while true {
            if let outcome = await progress(beyond: .max) { return outcome }
            try Task.checkCancellation()
        }
    }
}

/// Why a peer did not give a blob.
enum ShareError: Error, CustomStringConvertible {
    case refused(String)
    case malformed(String)
    case stalled
    case ended

    var description: String {
        switch self {
        case .refused(let why): "the node refused: \(why)"
        case .malformed(let what): "the node sent \(what)"
        case .stalled: "the node fell silent"
        case .ended: "the node ended the stream early"
        }
    }
}
