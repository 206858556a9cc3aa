/// A piece of memory that bytes pass through on their way between a socket and a message.
///
/// It has one owner at a time and is handed on whole: socket, cipher, multiplexer.
// @unchecked: only the present owner touches the bytes; handing on happens through the loop's queue or libuv's.
package final class ByteBlock: @unchecked Sendable {
    package let start: UnsafeMutablePointer<UInt8>
    package let capacity: Int

    package init(capacity: Int) {
        start = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { start.deallocate() }

    /// A part of the block.
    package func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        precondition(range.upperBound <= capacity, "bytes \(range) of a block of \(capacity)")
        return UnsafeRawBufferPointer(start: start + range.lowerBound, count: range.count)
    }
}

/// Memory that the next read may fill.
///
/// It belongs to whoever lends it and is written until the read's callback.
// @unchecked: lent and filled on the loop's thread.
package struct ReadRoom: @unchecked Sendable {
    package let start: UnsafeMutablePointer<UInt8>
    package let count: Int

    /// The free end of a block, from `offset`; not empty.
    package init(_ block: ByteBlock, from offset: Int) {
        precondition(offset < block.capacity, "no room in a block of \(block.capacity) from \(offset)")
        start = block.start + offset
        count = block.capacity - offset
    }
}
