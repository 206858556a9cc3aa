internal import ClusterModel

/// What a member's cache holds in sum, and where its cache map stands.
///
/// Too large for every ping and of no haste: a member sends its own to a peer that has not had the present one, behind a
/// ping or an ack that goes there anyway, and in each exchange.
package struct Holdings: Hashable, Sendable {
    package var cacheKeys: UInt32 = 0
    package var cacheBytes: UInt64 = 0
    /// State of the member's cache-map digest, so that a lost last delta is noticed.
    package var mapEpoch: UInt32 = 0
    package var mapSequence: UInt32 = 0

    package init() {}

    func encode(into writer: inout ByteWriter) {
        writer.append(cacheKeys)
        writer.append(cacheBytes)
        writer.append(mapEpoch)
        writer.append(mapSequence)
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        cacheKeys = try reader.read()
        cacheBytes = try reader.read()
        mapEpoch = try reader.read()
        mapSequence = try reader.read()
    }
}
