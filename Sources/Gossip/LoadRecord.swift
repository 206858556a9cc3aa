internal import ClusterModel

/// How busy a member is and how much it holds; rides in each of its pings and acks.
package struct LoadRecord: Hashable, Sendable {
    /// Steps that may run at once.
    package var slots: UInt16 = 0
    package var running: UInt16 = 0
    package var queued: UInt16 = 0
    package var cacheKeys: UInt32 = 0
    package var cacheBytes: UInt64 = 0
    package var flags: Flags = []
    /// State of the member's cache-map digest, so that a lost last delta is noticed.
    package var cacheMapEpoch: UInt32 = 0
    package var cacheMapSequence: UInt32 = 0
    /// Grows with each change within a boot; set by `Membership`.
    package internal(set) var sequence: UInt32 = 0

    package init() {}

    package struct Flags: OptionSet, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Takes no new work; its cache stays readable.
        package static let draining = Flags(rawValue: 1)
    }

    package var isDraining: Bool { flags.contains(.draining) }

    /// What placement cares about at once: a change of class is pushed, other changes ride along.
    enum Class { case idle, busy, full, draining }

    var loadClass: Class {
        if isDraining { return .draining }
        if running == 0, queued == 0 { return .idle }
        return running < slots ? .busy : .full
    }

    /// Encoded size in bytes.
    static let byteCount = 31

    func encode(into writer: inout ByteWriter) {
        writer.append(sequence)
        writer.append(slots)
        writer.append(running)
        writer.append(queued)
        writer.append(cacheKeys)
        writer.append(cacheBytes)
        writer.append(flags.rawValue)
        writer.append(cacheMapEpoch)
        writer.append(cacheMapSequence)
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        sequence = try reader.read()
        slots = try reader.read()
        running = try reader.read()
        queued = try reader.read()
        cacheKeys = try reader.read()
        cacheBytes = try reader.read()
        flags = Flags(rawValue: try reader.read())
        cacheMapEpoch = try reader.read()
        cacheMapSequence = try reader.read()
    }
}
