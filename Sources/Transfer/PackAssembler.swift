/// Puts the parts of packs together, as the puller gets them from one holder.
package struct PackAssembler: Sendable {
    private var open: TransferMessage.Pack?
    private var bytes: [UInt8] = []

    package init() {}

    /// Takes a message that is a pack or a part of one.
    ///
    /// `expected` gives the bytes of all chunks of a request; nil for one that was not made.
    /// - Returns: the whole pack, once it is; its size is what was asked for, and what it is encoded in is no longer.
    /// - Throws: `TransferError`; memory is taken for what has come, never for what is announced.
    package mutating func receive(
        _ message: TransferMessage, expected: (_ request: Int) -> Int?
    ) throws(TransferError) -> TransferMessage.Pack? {
        switch (message, open) {
        case (.failure(let why), _): throw .refused(why)
        case (.pack(let pack), nil):
            guard let size = expected(pack.request) else {
                throw .unexpectedMessage("a pack \(pack.request) that nobody asked for")
            }
            guard pack.plainBytes == size, pack.encodedBytes <= size, pack.coding == .zstd || pack.encodedBytes == size
            else { throw .malformedMessage("a pack of \(pack.plainBytes) bytes instead of \(size)") }
            bytes = Array(pack.bytes)
            open = pack
        case (.part(let more), .some):
            guard !more.isEmpty else { throw .malformedMessage("an empty part of a pack") }
            bytes += more
        default: throw .unexpectedMessage("a message that belongs to no pack")
        }
        guard var pack = open, bytes.count >= pack.encodedBytes else { return nil }
        guard bytes.count == pack.encodedBytes else { throw .malformedMessage("a pack longer than announced") }
        pack.bytes = bytes[...]
        open = nil
        bytes = []
        return pack
    }
}
