internal import Dispatch
internal import Glibc
internal import OCI
internal import Synchronization

/// Work on all processors of the machine: hashing is bounded by them when the page cache has the bytes.
enum ParallelWork {
    /// Ranges of one buffer below this many are hashed where they are: waking another thread takes longer.
    private static let rangesMin = 8

    /// Calls `body` once for each index in `0..<count`, on several threads; the first error ends the work and is thrown.
    static func forEach(
        _ count: Int, _ body: @Sendable (Int) throws(SnapshotError) -> Void
    ) throws(SnapshotError) {
        let failure = Mutex<SnapshotError?>(nil)
        DispatchQueue.concurrentPerform(iterations: count) { index in
            guard failure.withLock({ $0 == nil }) else { return }
            do throws(SnapshotError) { try body(index) } catch {
                failure.withLock { $0 = $0 ?? error }
            }
        }
        if let failure = failure.withLock({ $0 }) { throw failure }
    }

    /// The digests of ranges of a buffer.
    static func hash(_ bytes: UnsafeRawBufferPointer, _ ranges: [Range<Int>]) -> [Digest] {
        guard ranges.count >= rangesMin else {
            return ranges.map { Digest.of(UnsafeRawBufferPointer(rebasing: bytes[$0])) }
        }
        let source = SharedBytes(bytes: bytes)
        let results = Mutex([Digest?](repeating: nil, count: ranges.count))
        DispatchQueue.concurrentPerform(iterations: ranges.count) { index in
            let digest = Digest.of(UnsafeRawBufferPointer(rebasing: source.bytes[ranges[index]]))
            results.withLock { $0[index] = digest }
        }
        return results.withLock { $0 }.compactMap { $0 }
    }
}

/// Bytes that several threads read while the one that owns them waits.
private struct SharedBytes: @unchecked Sendable {
    let bytes: UnsafeRawBufferPointer
}
