internal import ClusterModel
internal import Glibc
internal import LLB
internal import OCI
internal import Synchronization

/// Persistent directories that steps share by name (`RUN --mount=type=cache`).
///
/// A name has one directory, and further ones while PRIVATE users need them at the same time. Content that it starts
/// with is part of the name, so that two steps with other initial content never meet.
final class CacheMounts: Sendable {
    /// A directory that a step may use until it releases it.
    struct Lease: Sendable {
        let path: String
        fileprivate let key: String
        fileprivate let index: Int
        fileprivate let isShared: Bool
    }

    private enum Use {
        case shared(Int)
        case exclusive
    }

    private struct State {
        /// By key, then by the number of the directory.
        var uses: [String: [Int: Use]] = [:]
        var waiters: [Int: (key: String, resume: CheckedContinuation<Void, any Error>)] = [:]
        /// Cancelled before they began to wait.
        var cancelled: Set<Int> = []
        var nextWaiter = 0
    }

    private let root: String
    private let state = Mutex(State())

    init(root: String) throws(OperationError) {
        self.root = root
        guard mkdir(root, 0o700) == 0 || errno == EEXIST else { throw .system(call: "mkdir \(root)", code: errno) }
        for name in DirectoryListing.names(root) ?? [] where name.hasPrefix(Self.unfinishedPrefix) {
            FileTree.remove("\(root)/\(name)")
        }
    }

    private static let unfinishedPrefix = "new-"

    /// Takes a directory of that name, waiting while a LOCKED one is in use.
    func acquire(
        _ id: String, sharing: Pb_CacheSharingOpt, initial: LayerChain?, selector: String
    ) async throws -> Lease {
        let origin = initial.map { "\($0.id) \(selector)" } ?? ""
        let key = Digest.of(Array("\(id)\0\(origin)".utf8)).hex
        while true {
            try Task.checkCancellation()
            if let lease = take(key, sharing) { return lease }
            try await waitForRelease(of: key)
        }
    }

    func release(_ lease: Lease) {
        let resumed = state.withLock { state in
            switch state.uses[lease.key]?[lease.index] {
            case .shared(let count) where count > 1: state.uses[lease.key]?[lease.index] = .shared(count - 1)
            default: state.uses[lease.key]?[lease.index] = nil
            }
            if state.uses[lease.key]?.isEmpty == true { state.uses[lease.key] = nil }
            let waiting = state.waiters.filter { $0.value.key == lease.key }.keys.sorted()
            return waiting.compactMap { state.waiters.removeValue(forKey: $0)?.resume }
        }
        for continuation in resumed { continuation.resume() }
    }

    /// Makes the leased directory if it is new, whole or not at all; `fill` gives it its first content and owner.
    func populate(_ lease: Lease, fill: (_ path: String) throws -> Void) throws {
        var status = stat()
        if lstat(lease.path, &status) == 0 { return }
        let unfinished = "\(root)/\(Self.unfinishedPrefix)\(lease.key)-\(lease.index)"
        FileTree.remove(unfinished)
        guard mkdir(unfinished, 0o755) == 0 else {
            throw OperationError.system(call: "mkdir \(unfinished)", code: errno)
        }
        chmod(unfinished, 0o755)
        try fill(unfinished)
        guard rename(unfinished, lease.path) == 0 else {
            throw OperationError.system(call: "rename \(unfinished)", code: errno)
        }
    }

    private func take(_ key: String, _ sharing: Pb_CacheSharingOpt) -> Lease? {
        state.withLock { state in
            let uses = state.uses[key] ?? [:]
            for index in 0...uses.count {
                switch (uses[index], sharing) {
                case (nil, .locked) where index > 0 || !uses.isEmpty: return nil
                case (nil, .shared):
                    state.uses[key, default: [:]][index] = .shared(1)
                    return lease(key, index, isShared: true)
                case (nil, _):
                    state.uses[key, default: [:]][index] = .exclusive
                    return lease(key, index, isShared: false)
                case (.shared(let count), .shared):
                    state.uses[key]?[index] = .shared(count + 1)
                    return lease(key, index, isShared: true)
                case (.exclusive, .locked), (.shared, .locked): return nil
                default: continue
                }
            }
            return nil
        }
    }

    private func lease(_ key: String, _ index: Int, isShared: Bool) -> Lease {
        Lease(path: "\(root)/\(key)-\(index)", key: key, index: index, isShared: isShared)
    }

    private func waitForRelease(of key: String) async throws {
        let number = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let isOver = state.withLock { state in
                    // Released in the meantime, or cancelled: there is nothing to wait for.
                    if state.cancelled.remove(number) != nil || state.uses[key] == nil { return true }
                    state.waiters[number] = (key, continuation)
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let continuation = state.withLock { state in
                let waiter = state.waiters.removeValue(forKey: number)
                if waiter == nil { state.cancelled.insert(number) }
                return waiter?.resume
            }
            continuation?.resume(throwing: CancellationError())
        }
        state.withLock { _ = $0.cancelled.remove(number) }
    }
}
