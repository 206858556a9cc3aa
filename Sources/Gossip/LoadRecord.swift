internal import ClusterModel

/// How busy a member is; rides in each of its pings and acks.
///
/// Twelve bytes on the wire: counts and sizes are rounded down to the steps of `LogScale`, at this node too, so that all
/// nodes see the same record.
package struct LoadRecord: Hashable, Sendable {
    /// Steps that may run at once.
    package var slots: UInt16 = 0
    package var running: UInt16 = 0
    package var queued: UInt16 = 0
    /// Share of the processors' time that is used, in 255ths.
    package var cpuBusy: UInt8 = 0
    /// Bytes of memory that processes could still get.
    package var memoryFree: UInt64 = 0
    /// Bytes that the node's file system still takes.
    package var diskFree: UInt64 = 0
    package var flags: Flags = []
    /// Which of the platforms in the member's metadata runs natively.
    package var platform: UInt8 = 0
    /// Short hash of the keys that the member's keyring holds: shows when a new key has reached all.
    package var keySet: UInt16 = 0
    /// Grows with each change within a boot, modulo 65,536; set by `Membership`.
    package internal(set) var sequence: UInt16 = 0

    package init() {}

    package struct Flags: OptionSet, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Takes no new work; its cache stays readable.
        package static let draining = Flags(rawValue: 1)
        /// Its own loop was stopped or overloaded lately.
        package static let stalled = Flags(rawValue: 2)
        /// It believes that its datagrams do not get through; streams do.
        package static let udpBlocked = Flags(rawValue: 4)
        /// It believes that the address which it advertises does not lead to it.
        package static let addressDoubtful = Flags(rawValue: 8)
        /// These the membership sets itself; what a caller puts there is ignored.
        static let own: Flags = [.draining, .stalled, .udpBlocked, .addressDoubtful]
    }

    package var isDraining: Bool { flags.contains(.draining) }

    /// What placement cares about at once: a change of class is pushed, other changes of `isNews` ride along.
    enum Class { case idle, busy, full, diskLow, draining }

    /// Below this a node runs no more steps; the others should hear of it at once.
    static let diskLowBytes: UInt64 = 1 << 30

    var loadClass: Class {
        if isDraining { return .draining }
        if diskFree > 0, diskFree < Self.diskLowBytes { return .diskLow }
        if running == 0, queued == 0 { return .idle }
        return running < slots ? .busy : .full
    }

    /// Whether others should hear of the difference before the member's next ping or ack to them.
    ///
    /// Not of processors, memory and disk within a class: they change all the time, and with each change passed on by
    /// all, bytes would grow with the cluster.
    func isNews(after other: LoadRecord) -> Bool {
        loadClass != other.loadClass || slots != other.slots || running != other.running || queued != other.queued
            || flags != other.flags || platform != other.platform || keySet != other.keySet
    }

    /// Whether this record is newer than `other` of the same boot (serial numbers, RFC 1982).
    func isNewer(than other: LoadRecord) -> Bool { Int16(bitPattern: sequence &- other.sequence) > 0 }

    // MARK: Codec

    /// Encoded size in bytes.
    static let byteCount = 12
    /// Sizes are counted in these.
    private static let sizeUnit: UInt64 = 1 << 20

    /// A count that is a step of the scale also where the scale goes beyond 16 bits.
    private static func count(_ code: UInt8) -> UInt16 {
        let value = min(LogScale.decode(code), UInt64(UInt16.max))
        return UInt16(LogScale.decode(LogScale.encode(value)))
    }

    /// The record as others will read it.
    var rounded: LoadRecord {
        var record = self
        record.slots = Self.count(LogScale.encode(UInt64(slots)))
        record.running = Self.count(LogScale.encode(UInt64(running)))
        record.queued = Self.count(LogScale.encode(UInt64(queued)))
        record.memoryFree = LogScale.decode(LogScale.encode(memoryFree / Self.sizeUnit)) * Self.sizeUnit
        record.diskFree = LogScale.decode(LogScale.encode(diskFree / Self.sizeUnit)) * Self.sizeUnit
        return record
    }

    func encode(into writer: inout ByteWriter) {
        writer.append(sequence)
        writer.append(LogScale.encode(UInt64(slots)))
        writer.append(LogScale.encode(UInt64(running)))
        writer.append(LogScale.encode(UInt64(queued)))
        writer.append(cpuBusy)
        writer.append(LogScale.encode(memoryFree / Self.sizeUnit))
        writer.append(LogScale.encode(diskFree / Self.sizeUnit))
        writer.append(flags.rawValue)
        writer.append(platform)
        writer.append(keySet)
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        sequence = try reader.read()
        slots = Self.count(try reader.read())
        running = Self.count(try reader.read())
        queued = Self.count(try reader.read())
        cpuBusy = try reader.read()
        memoryFree = LogScale.decode(try reader.read()) * Self.sizeUnit
        diskFree = LogScale.decode(try reader.read()) * Self.sizeUnit
        flags = Flags(rawValue: try reader.read())
        platform = try reader.read()
        keySet = try reader.read()
    }
}
