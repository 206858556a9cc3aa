internal import ContentStore
internal import Glibc
internal import OCI
internal import Synchronization
internal import Testing

/// A directory that is removed with the test.
private final class Directory {
    let path: String
    private static let numbers = Atomic<Int>(0)

    init() {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp"
        path = base + "/peerbuild-blobs-\(getpid())-\(Self.numbers.add(1, ordering: .relaxed).newValue)"
    }

    deinit { system("rm -rf '\(path)'") }
}

@Suite struct ContentStoreTests {
    @Test func `blobs are stored once, read and deleted`() throws {
        let directory = Directory()
        let store = try ContentStore(root: directory.path)
        let content = (0..<700_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let digest = try store.put(content)
        #expect(digest == Digest.of(content))
        #expect(try store.put(content, expected: digest) == digest)
        #expect(try store.list() == [digest])
        #expect(try store.size(of: digest) == 700_000)
        #expect(try store.read(digest) == content)
        let reader = try store.reader(of: digest)
        #expect(try reader.bytes(at: 699_990, count: 100) == Array(content.suffix(10)))
        try store.delete(digest)
        try store.delete(digest)
        #expect(!store.contains(digest))
        #expect(try reader.bytes(at: 0, count: 3) == Array(content.prefix(3)))
        #expect(throws: ContentStoreError.notFound(digest)) { try store.read(digest) }
        #expect(throws: ContentStoreError.notFound(digest)) { try store.size(of: digest) }
    }

    @Test func `content with another digest is refused`() throws {
        let directory = Directory()
        let store = try ContentStore(root: directory.path)
        let wrong = Digest.of([1])
        #expect(throws: ContentStoreError.wrongContent(expected: wrong, actual: Digest.of([2]))) {
            try store.put([2], expected: wrong)
        }
        #expect(try store.list().isEmpty)
    }

    @Test func `a blob is not read into memory beyond the limit`() throws {
        let directory = Directory()
        let store = try ContentStore(root: directory.path)
        let digest = try store.put([1, 2, 3])
        #expect(throws: ContentStoreError.tooLarge(digest, size: 3, maximum: 2)) { try store.read(digest, maximum: 2) }
    }

    @Test func `partial files are dropped by the writer and at the next start`() throws {
        let directory = Directory()
        let store = try ContentStore(root: directory.path)
        do {
            let writer = try store.ingest()
            try writer.write([1, 2])
            #expect(writer.written == 2)
        }
        #expect(access(directory.path + "/ingest/1", F_OK) != 0)
        // As a crash leaves it.
        close(open(directory.path + "/ingest/77", O_CREAT | O_WRONLY, 0o600))
        let next = try ContentStore(root: directory.path)
        #expect(access(directory.path + "/ingest/77", F_OK) != 0)
        #expect(try next.list().isEmpty)
    }

    @Test func `many writers of one blob agree`() async throws {
        let directory = Directory()
        let store = try ContentStore(root: directory.path)
        let content = [UInt8](repeating: 5, count: 100_000)
        let digests = try await withThrowingTaskGroup(of: Digest.self) { group in
            for _ in 0..<16 { group.addTask { try store.put(content) } }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(digests == [Digest.of(content)])
        #expect(try store.list().count == 1)
    }

    /// Overwrites a byte of the blob's file in place.
    private func damage(_ digest: Digest, in store: ContentStore, at offset: Int) throws {
        let file = open(store.path(of: digest), O_WRONLY)
        try #require(file >= 0)
        defer { close(file) }
        let byte: [UInt8] = [7]
        #expect(pwrite(file, byte, 1, off_t(offset)) == 1)
    }

    @Test func `a blob that has changed on the disk is told from a whole one, and deleted`() throws {
        let directory = Directory()
        let store = try ContentStore(root: directory.path)
        let digest = try store.put([UInt8](repeating: 5, count: 1_300_000))
        #expect(try store.reader(of: digest).damage() == nil)
        try damage(digest, in: store, at: 1_200_000)
        let reader = try store.reader(of: digest)
        let found = try #require(try reader.damage())
        #expect(found.digest == digest && found.size == 1_300_000 && found.path == store.path(of: digest))
        #expect(try found.actual == Digest.of(store.read(digest)))
        try store.delete(reader)
        #expect(!store.contains(digest))
        try store.delete(reader)
    }

    @Test func `a blob that has come again is not deleted for its damaged predecessor`() throws {
        let directory = Directory()
        let store = try ContentStore(root: directory.path)
        let content = [UInt8](repeating: 5, count: 100)
        let digest = try store.put(content)
        try damage(digest, in: store, at: 50)
        let old = try store.reader(of: digest)
        try store.delete(digest)
        try store.put(content)
        try store.delete(old)
        #expect(try store.read(digest) == content)
    }

    @Test func `a store that is opened for reading leaves what is being written`() throws {
        let directory = Directory()
        let store = try ContentStore(root: directory.path)
        let digest = try store.put([1, 2, 3])
        let writer = try store.ingest()
        try writer.write([1, 2])
        #expect(try ContentStore(reading: directory.path).list() == [digest])
        #expect(try writer.commit() == Digest.of([1, 2]))
    }
}
