import BuildSession
import Foundation
import OCI

/// Collects what an exporter writes.
actor MemorySink: ByteSink {
    private(set) var bytes: [UInt8] = []
    func write(_ piece: [UInt8]) { bytes += piece }

    /// Writes what was collected into a file.
    func save(to path: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }
}

/// A client's content store in memory.
actor MemoryContentStore: SessionContentStore {
    private(set) var blobs: [Digest: [UInt8]] = [:]
    /// Upload names in order.
    private(set) var names: [String] = []

    func set(_ bytes: [UInt8]) { blobs[Digest.of(bytes)] = bytes }

    func size(of digest: Digest) -> Int64? { blobs[digest].map { Int64($0.count) } }

    func read(
        _ digest: Digest, from offset: Int64, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws {
        try await piece(Array((blobs[digest] ?? []).dropFirst(Int(offset))))
    }

    func write(
        _ digest: Digest, size: Int64, name: String, _ body: @escaping @Sendable (any ByteSink) async throws -> Void
    ) async throws {
        let sink = MemorySink()
        try await body(sink)
        blobs[digest] = await sink.bytes
        names.append(name)
    }
}
