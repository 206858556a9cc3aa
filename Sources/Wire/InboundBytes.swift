internal import UVLoop

/// Bytes of the socket that are not taken yet, in one block.
///
/// Holds no block while there are none, so that quiet links cost no memory.
struct InboundBytes {
    private let pool: BlockPool
    private var block: ByteBlock?
    private var start = 0
    private var end = 0

    init(pool: BlockPool) { self.pool = pool }

    var count: Int { end - start }
    /// Nothing can be read before something is taken.
    var isFull: Bool { block.map { end == $0.capacity && start == 0 } ?? false }

    /// Memory for the next read; there is some unless `isFull`.
    mutating func room() -> ReadRoom {
        guard let block else {
            let fresh = pool.take()
            block = fresh
            return ReadRoom(fresh, from: 0)
        }
        // Nothing is moved for a little room: the rest of a long record may need all of it, and moving costs a copy.
        if start > 0, block.capacity - end < block.capacity / 4 {
            block.start.update(from: block.start + start, count: count)
            end -= start
            start = 0
        }
        return ReadRoom(block, from: end)
    }

    /// The last `room` was filled with so many bytes.
    mutating func filled(_ count: Int) {
        end += count
        dropIfEmpty()
    }

    /// Copies and takes `count` bytes, which must be there.
    mutating func take(_ count: Int) -> [UInt8] {
        guard let block else { return [] }
        let bytes = [UInt8](block.bytes(start..<start + count))
        start += count
        dropIfEmpty()
        return bytes
    }

    /// Places of the texts of the whole records at the front, and their bytes in all; at most `bytesMax` unless the
    /// first is longer.
    ///
    /// - Throws: `LinkFault` when a record announces a length that no record has.
    func records(bytesMax: Int) throws(LinkFault) -> (texts: [Range<Int>], bytes: Int) {
        guard let block else { return ([], 0) }
        var texts: [Range<Int>] = []
        var position = start
        while end - position >= RecordCipher.lengthBytes {
            let length = Int(
                FrameReader.number(block.bytes(position..<position + RecordCipher.lengthBytes), at: 0, bytes: 4))
            guard RecordCipher.ciphertextBytes.contains(length) else {
                throw .violation("a record of \(length) bytes")
            }
            let after = position + RecordCipher.lengthBytes + length
            guard after <= end, texts.isEmpty || after - start <= bytesMax else { break }
            let text = position + RecordCipher.lengthBytes
            texts.append(text..<text + length - (RecordCipher.overhead - RecordCipher.lengthBytes))
            position = after
        }
        return (texts, position - start)
    }

    /// Takes the block with its first `bytes` bytes; what follows is kept in another.
    mutating func detach(_ bytes: Int) -> (block: ByteBlock, end: Int)? {
        guard let taken = block else { return nil }
        let boundary = start + bytes
        let rest = end - boundary
        if rest > 0 {
            let fresh = pool.take()
            fresh.start.update(from: taken.start + boundary, count: rest)
            block = fresh
        } else {
            block = nil
        }
        start = 0
        end = rest
        return (taken, boundary)
    }

    private mutating func dropIfEmpty() {
        guard start == end, let block else { return }
        pool.give(block)
        self.block = nil
        start = 0
        end = 0
    }
}
