internal import Sodium
internal import UVLoop

/// Some records of one direction, on their way through its cipher, on the loop's thread or beside it.
///
/// The cipher travels with the records, so that no two batches of a direction can be at work, and order is kept.
// @unchecked: handed from the loop's thread to one of the pool's and back; one of them has it at a time.
final class RecordBatch: @unchecked Sendable {
    let block: ByteBlock
    /// Bytes of the block up to the end of the last record.
    let end: Int
    /// Places of the texts in the block; lengths lie before them, tags behind.
    private let texts: [Range<Int>]
    private(set) var cipher: RecordCipher
    /// Why it could not be sealed or opened.
    private(set) var failure: (any Error)?

    init(block: ByteBlock, texts: [Range<Int>], end: Int, cipher: RecordCipher) {
        self.block = block
        self.texts = texts
        self.end = end
        self.cipher = cipher
    }

    var textBytes: Int { texts.reduce(0) { $0 + $1.count } }

    func seal() {
        do {
            for text in texts {
                try cipher.seal(block.start + text.lowerBound - RecordCipher.lengthBytes, textBytes: text.count)
            }
        } catch {
            failure = error
        }
    }

    func open() {
        do {
            for text in texts {
                let record = block.start + text.lowerBound - RecordCipher.lengthBytes
                guard try cipher.open(record, textBytes: text.count) else { throw LinkFault.damaged }
            }
        } catch {
            failure = error
        }
    }

    /// The opened texts in order.
    func forEachText<Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        for text in texts { try body(block.bytes(text)) }
    }
}
