internal import Glibc
package import OCI
internal import Synchronization

/// A blob that is being written to a temporary file and hashed on the way.
package final class BlobWriter: Sendable {
    private struct State {
        var descriptor: Int32
        var hasher = DigestHasher()
        var written: Int64 = 0
    }

    private let store: ContentStore
    private let path: String
    private let state: Mutex<State>

    init(store: ContentStore, path: String) throws(ContentStoreError) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .last("open", path) }
        self.store = store
        self.path = path
        state = Mutex(State(descriptor: descriptor))
    }

    deinit { abort() }

    /// Bytes so far.
    package var written: Int64 { state.withLock { $0.written } }

    /// Appends bytes.
    ///
    /// - Throws: `.diskFull`, after which the writer can only be dropped.
    package func write(_ bytes: UnsafeRawBufferPointer) throws(ContentStoreError) {
        try state.withLock { state throws(ContentStoreError) in
            precondition(state.descriptor >= 0, "a blob writer was used after commit or abort")
            var done = 0
            while done < bytes.count {
                let count = Glibc.write(state.descriptor, bytes.baseAddress?.advanced(by: done), bytes.count - done)
                if count < 0, errno == EINTR { continue }
                guard count >= 0 else { throw .last("write", path) }
                done += count
            }
            state.hasher.update(bytes)
            state.written += Int64(bytes.count)
        }
    }

    package func write(_ bytes: some Sequence<UInt8>) throws(ContentStoreError) {
        let contiguous = [UInt8](bytes)
        let result = contiguous.withUnsafeBytes { raw in
            Result { () throws(ContentStoreError) in try write(raw) }
        }
        try result.get()
    }

    /// Bytes that were written already, from `offset`, at most `count` of them; nil once it was committed or aborted.
    package func bytes(at offset: Int64, count: Int) throws(ContentStoreError) -> [UInt8]? {
        try state.withLock { state throws(ContentStoreError) in
            guard state.descriptor >= 0 else { return nil }
            let wanted = Int(max(0, min(Int64(count), state.written - offset)))
            var result = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, filled in
                repeat {
                    result = pread(state.descriptor, buffer.baseAddress, wanted, off_t(offset))
                } while result < 0 && errno == EINTR
                filled = max(0, result)
            }
            guard result >= 0 else { throw .last("pread", path) }
            return bytes
        }
    }

    /// Verifies, makes durable and publishes the blob; harmless when the store already has it.
    ///
    /// - Throws: `.wrongContent` when the bytes are not those of `expected`; the bytes are dropped then.
    @discardableResult
    package func commit(expected: Digest? = nil) throws(ContentStoreError) -> Digest {
        let digest = state.withLock { $0.hasher.finish() }
        if let expected, expected != digest {
            abort()
            throw .wrongContent(expected: expected, actual: digest)
        }
        if store.contains(digest) {
            abort()
            return digest
        }
        try state.withLock { state throws(ContentStoreError) in
            precondition(state.descriptor >= 0, "a blob writer was used after commit or abort")
            guard store.disk.sync(state.descriptor) == 0 else { throw .last("fsync", path) }
            try store.adopt(path, as: digest)
            close(state.descriptor)
            state.descriptor = -1
        }
        return digest
    }

    /// Drops the bytes; harmless after `commit`.
    package func abort() {
        state.withLock { state in
            guard state.descriptor >= 0 else { return }
            close(state.descriptor)
            unlink(path)
            state.descriptor = -1
        }
    }
}
