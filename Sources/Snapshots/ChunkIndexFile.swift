internal import Glibc
internal import OCI
internal import Transfer

/// A layer's chunks by digest, in a file beside its manifest: where on this node a chunk's bytes are, without a second
/// copy of them.
///
/// 8 bytes of magic, then a record of 24 bytes for each chunk, sorted: the digest's first 8 bytes, the index of the entry
/// and the chunk's length (4 bytes each), its offset in the file (8 bytes), all little-endian. A hint: it is not synced,
/// and what is read through it is hashed again.
enum ChunkIndexFile {
    struct Record {
        var key: UInt64
        var entry: UInt32
        var length: UInt32
        var offset: UInt64
    }

    private static let magic = Array("PBCI\u{1}\0\0\0".utf8)
    private static let recordBytes = 24

    /// What the index knows a digest by.
    static func key(_ digest: Digest) -> UInt64 { digest.bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }

    static func write(_ table: ChunkTable, to path: String) throws(SnapshotError) {
        guard !table.chunks.isEmpty else { return }
        let records = table.chunks.map { chunk in
            Record(
                key: key(chunk.digest), entry: UInt32(chunk.place.entry), length: UInt32(chunk.length),
                offset: UInt64(chunk.place.offset))
        }.sorted { $0.key < $1.key }
        var bytes = [UInt8](repeating: 0, count: magic.count + records.count * recordBytes)
        bytes.withUnsafeMutableBytes { raw in
            raw.copyBytes(from: magic)
            for (index, record) in records.enumerated() {
                let start = magic.count + index * recordBytes
                raw.storeBytes(of: record.key.littleEndian, toByteOffset: start, as: UInt64.self)
                raw.storeBytes(of: record.entry.littleEndian, toByteOffset: start + 8, as: UInt32.self)
                raw.storeBytes(of: record.length.littleEndian, toByteOffset: start + 12, as: UInt32.self)
                raw.storeBytes(of: record.offset.littleEndian, toByteOffset: start + 16, as: UInt64.self)
            }
        }
        let file = try FileDescriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        let written = bytes.withUnsafeBytes { raw in
            Result { () throws(SnapshotError) in try file.write(raw, path) }
        }
        try written.get()
    }

    /// Calls `found` for each of `keys`, which are sorted, that the index at `path` has.
    ///
    /// The file is mapped, so that it takes no memory beyond the page cache. One that cannot be read has nothing.
    static func search(_ path: String, keys: [UInt64], found: (_ position: Int, Record) -> Void) {
        guard let file = try? FileDescriptor.open(path, O_RDONLY) else { return }
        var status = stat()
        let size = fstat(file.raw, &status) == 0 ? Int(status.st_size) : 0
        guard size > magic.count, (size - magic.count) % recordBytes == 0,
            let base = mmap(nil, size, PROT_READ, MAP_SHARED, file.raw, 0), base != MAP_FAILED
        else { return }
        defer { munmap(base, size) }
        let bytes = UnsafeRawBufferPointer(start: base, count: size)
        guard bytes.starts(with: magic) else { return }
        let count = (size - magic.count) / recordBytes
        var low = 0
        for (position, key) in keys.enumerated() {
            low = firstRecord(atLeast: key, bytes, low, count)
            guard low < count else { return }
            let start = magic.count + low * recordBytes
            guard UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: start, as: UInt64.self)) == key else {
                continue
            }
            found(
                position,
                Record(
                    key: key,
                    entry: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 8, as: UInt32.self)),
                    length: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 12, as: UInt32.self)),
                    offset: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 16, as: UInt64.self))))
        }
    }

    /// Galloping from `start`: near when the keys are dense, logarithmic when they are not.
    private static func firstRecord(
        atLeast key: UInt64, _ bytes: UnsafeRawBufferPointer, _ start: Int, _ count: Int
    ) -> Int {
        func isBelow(_ index: Int) -> Bool {
            let offset = magic.count + index * recordBytes
            return UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) < key
        }
        var low = start
        var step = 1
        while low + step <= count, isBelow(low + step - 1) {
            low += step
            step *= 2
        }
        var high = min(count, low + step)
        while low < high {
            let middle = (low + high) / 2
            if isBelow(middle) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
