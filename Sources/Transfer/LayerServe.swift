/// The holder's side of a pull: gathers the want list and checks it.
package struct LayerServe: Sendable {
    private let manifest: LayerManifest
    private var wanted: [Int] = []

    package init(_ manifest: LayerManifest) { self.manifest = manifest }

    /// Takes one message of the puller.
    ///
    /// - Returns: the entries to send, in rising order, once the list is complete; nil before.
    /// - Throws: `TransferError` when the list names what has no content, or names it twice.
    package mutating func receive(_ message: TransferMessage) throws(TransferError) -> [Int]? {
        guard case .want(let ranges, let isLast) = message else {
            throw .unexpectedMessage("something other than a want list")
        }
        for range in ranges {
            guard !range.isEmpty, range.lowerBound > wanted.last ?? -1, range.upperBound <= manifest.entries.count
            else {
                throw .malformedMessage("a want list with entries \(range) of \(manifest.entries.count)")
            }
            for index in range {
                guard case .file(let size, _) = manifest.entries[index].kind, size > 0 else {
                    throw .malformedMessage("a want list with entry \(index), which has no content")
                }
                wanted.append(index)
            }
        }
        guard !ranges.isEmpty || isLast else { throw .malformedMessage("an empty want list") }
        return isLast ? wanted : nil
    }
}

/// Collects pieces of files until a message is full.
package struct ContentPacker: Sendable {
    private var pieces: [TransferMessage.Piece] = []
    private var bytes = 0
    /// What a piece costs beside its bytes, at most.
    private static let pieceOverhead = 24

    package init() {}

    /// How many bytes of a file fit before the message has to go.
    package var room: Int { max(0, TransferMessage.payloadBytesMax - bytes - Self.pieceOverhead) }

    package mutating func add(_ piece: TransferMessage.Piece) {
        pieces.append(piece)
        bytes += piece.bytes.count + Self.pieceOverhead
    }

    /// The message so far, which the next pieces are no part of; nil when it is empty.
    package mutating func flush() -> TransferMessage? {
        guard !pieces.isEmpty else { return nil }
        defer {
            pieces = []
            bytes = 0
        }
        return .content(pieces)
    }
}
