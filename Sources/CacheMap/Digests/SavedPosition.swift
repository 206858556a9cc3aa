package import ClusterModel

/// What a node remembers of its digest over a restart: 25 bytes.
package struct SavedPosition: Hashable, Sendable {
    package var position: MapPosition
    package var rate: FalseHitRate

    private static let version: UInt8 = 1

    package init(position: MapPosition, rate: FalseHitRate) {
        self.position = position
        self.rate = rate
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter()
        writer.append(Self.version)
        position.encode(into: &writer)
        writer.append(UInt64(rate.oneIn))
        return writer.bytes
    }

    package init(decoding bytes: [UInt8]) throws(CodecError) {
        var reader = ByteReader(bytes)
        guard try reader.read() == Self.version else { throw .invalid(field: "saved position") }
        position = try MapPosition(from: &reader)
        let oneIn: UInt64 = try reader.read()
        guard position.epoch > 0, position.epoch < .max, (2...UInt64(FalseHitRate.oneInMax)).contains(oneIn) else {
            throw .outOfRange(field: "saved position")
        }
        rate = FalseHitRate(oneIn: Int(oneIn))
        try reader.finish()
    }
}
