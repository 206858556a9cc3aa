internal import BuildSession

/// Cuts what is written into pieces that fit a message.
struct PieceSink: ByteSink {
    let pieceBytesMax: Int
    let send: @Sendable (ArraySlice<UInt8>) async throws -> Void

    init(pieceBytesMax: Int, _ send: @escaping @Sendable (ArraySlice<UInt8>) async throws -> Void) {
        self.pieceBytesMax = pieceBytesMax
        self.send = send
    }

    func write(_ bytes: [UInt8]) async throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            try await send(rest.prefix(pieceBytesMax))
            rest = rest.dropFirst(pieceBytesMax)
        }
    }
}
