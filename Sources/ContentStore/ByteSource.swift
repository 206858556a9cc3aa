/// Bytes that are read once, from first to last.
package protocol ByteSource: Sendable {
    /// Fills the start of `buffer`; returns how many bytes, 0 only at the end. May block.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int
}
