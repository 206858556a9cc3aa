/// A pack that has come whole.
package struct ReceivedPack: Sendable {
    package let request: Int
    package let coding: TransferMessage.Coding
    /// Bytes of all chunks together.
    package let plainBytes: Int
    /// Bytes that crossed the link.
    package let encodedBytes: Int
    /// Where they are: in the messages that brought them, without a copy.
    package let parts: [ArraySlice<UInt8>]

    /// All parts in one piece, copied unless there is only one.
    package var bytes: ArraySlice<UInt8> { parts.count == 1 ? parts[0] : Self.inOnePiece(parts)[...] }

    /// Copies part by part; the standard library's `joined()` would copy byte by byte.
    package static func inOnePiece(_ parts: [ArraySlice<UInt8>]) -> [UInt8] {
        if parts.count == 1 { return Array(parts[0]) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(parts.reduce(0) { $0 + $1.count })
        for part in parts { bytes.append(contentsOf: part) }
        return bytes
    }
}

/// Puts the parts of packs together, as the puller gets them from one holder.
package struct PackAssembler: Sendable {
    private var open: TransferMessage.Pack?
    private var parts: [ArraySlice<UInt8>] = []
    private var count = 0

    package init() {}

    /// Takes a message that is a pack or a part of one.
    ///
    /// `expected` gives the bytes of all chunks of a request; nil for one that was not made.
    /// - Returns: the whole pack, once it is; its size is what was asked for, and what it is encoded in is no longer.
    /// - Throws: `TransferError`; memory is taken for what has come, never for what is announced.
    package mutating func receive(
        _ message: TransferMessage, expected: (_ request: Int) -> Int?
    ) throws(TransferError) -> ReceivedPack? {
        switch (message, open) {
        case (.failure(let why), _): throw .refused(why)
        case (.pack(let pack), nil):
            guard let size = expected(pack.request) else {
                throw .unexpectedMessage("a pack \(pack.request) that nobody asked for")
            }
            guard pack.plainBytes == size, pack.encodedBytes <= size, pack.coding == .zstd || pack.encodedBytes == size
            else { throw .malformedMessage("a pack of \(pack.plainBytes) bytes instead of \(size)") }
            (parts, count) = ([pack.bytes], pack.bytes.count)
            open = pack
        case (.part(let more), .some):
            guard !more.isEmpty else { throw .malformedMessage("an empty part of a pack") }
            parts.append(more)
            count += more.count
        default: throw .unexpectedMessage("a message that belongs to no pack")
        }
        guard let pack = open, count >= pack.encodedBytes else { return nil }
        guard count == pack.encodedBytes else { throw .malformedMessage("a pack longer than announced") }
        defer { (open, parts, count) = (nil, [], 0) }
        return ReceivedPack(
            request: pack.request, coding: pack.coding, plainBytes: pack.plainBytes, encodedBytes: pack.encodedBytes,
            parts: parts)
    }
}
