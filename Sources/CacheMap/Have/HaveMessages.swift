package import ClusterModel
internal import OCI

/// "Do you really hold these?": exact cache keys, before anyone relies on a digest's hit.
package struct HaveRequest: Hashable, Sendable {
    /// Chosen by the asker; the answer repeats it.
    package var number: UInt32
    package var keys: [CacheKey]

    /// Keys in one datagram of 1,200 B.
    package static let keysPerDatagramMax = 35
    /// Keys in one message of a stream.
    package static let keysMax = 8_192

    package init(number: UInt32, keys: [CacheKey]) {
        precondition(keys.count <= Self.keysMax, "more keys than one message takes")
        self.number = number
        self.keys = keys
    }

    /// Keys that fit a datagram with so many bytes for the request.
    package static func keysPerDatagram(bytes: Int) -> Int {
        max(0, min(keysPerDatagramMax, (bytes - headerBytesMax) / Digest.byteCount))
    }

    private static let headerBytesMax = 4 + 2

    /// Encoded size in bytes, at most.
    var byteCount: Int { Self.headerBytesMax + keys.count * Digest.byteCount }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: byteCount)
        writer.append(number)
        writer.appendVarint(keys.count)
        for key in keys { writer.append(contentsOf: key.digest.bytes) }
        return writer.bytes
    }

    package init(decoding bytes: [UInt8]) throws(CodecError) {
        var reader = ByteReader(bytes)
        number = try reader.read()
        let count = try reader.readVarint("keys", limit: Self.keysMax)
        guard reader.remaining == count * Digest.byteCount else { throw .truncated }
        keys = []
        keys.reserveCapacity(count)
        for _ in 0..<count {
            guard let digest = Digest(bytes: try reader.read(count: Digest.byteCount)) else { throw .truncated }
            keys.append(CacheKey(digest))
        }
    }
}

/// The exact answer to a `HaveRequest`, key by key in its order.
package struct HaveAnswer: Hashable, Sendable {
    package var number: UInt32
    /// Bytes of the result's layers for a key that is held, nil for one that is not.
    package var sizes: [UInt64?]
    /// How long the held results are pinned against collection, in milliseconds.
    package var leaseMilliseconds: UInt32
    /// The holder's exact load now.
    package var running: UInt16
    package var queued: UInt16

    package init(number: UInt32, sizes: [UInt64?], leaseMilliseconds: UInt32, running: UInt16, queued: UInt16) {
        precondition(sizes.count <= HaveRequest.keysMax, "more keys than one message takes")
        self.number = number
        self.sizes = sizes
        self.leaseMilliseconds = leaseMilliseconds
        self.running = running
        self.queued = queued
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 32 + sizes.count * 8)
        writer.append(number)
        writer.append(leaseMilliseconds)
        writer.append(running)
        writer.append(queued)
        writer.appendVarint(sizes.count)
        var bitmap = [UInt8](repeating: 0, count: (sizes.count + 7) / 8)
        for (index, size) in sizes.enumerated() where size != nil { bitmap[index / 8] |= 1 << UInt8(index % 8) }
        writer.append(contentsOf: bitmap)
        for size in sizes.compactMap(\.self) { writer.append(size) }
        return writer.bytes
    }

    package init(decoding bytes: [UInt8]) throws(CodecError) {
        var reader = ByteReader(bytes)
        number = try reader.read()
        leaseMilliseconds = try reader.read()
        running = try reader.read()
        queued = try reader.read()
        let count = try reader.readVarint("keys", limit: HaveRequest.keysMax)
        let bitmap = try reader.read(count: (count + 7) / 8)
        sizes = []
        sizes.reserveCapacity(count)
        for index in 0..<count {
            let isHeld = bitmap[index / 8] & (1 << UInt8(index % 8)) != 0
            sizes.append(isHeld ? try reader.read(UInt64.self) : nil)
        }
        if count % 8 != 0, let last = bitmap.last, last >> UInt8(count % 8) != 0 { throw .invalid(field: "bitmap") }
        try reader.finish()
    }
}
