package import OCI

/// One pull of a blob: a head, parts, and the digest of all.
package struct BlobPull: Sendable {
    package let digest: Digest
    private var hasher = DigestHasher()
    private var total: Int64?
    private var received: Int64 = 0

    package init(_ digest: Digest) { self.digest = digest }

    /// Takes one message; returns the bytes to append and whether they are the last.
    ///
    /// - Throws: `TransferError`, `.wrongBlob` when all have come and are not those of `digest`.
    package mutating func receive(
        _ message: TransferMessage
    ) throws(TransferError) -> (
        bytes: ArraySlice<UInt8>, isLast: Bool
    ) {
        let bytes: ArraySlice<UInt8>
        switch message {
        case .failure(let why): throw .refused(why)
        case .head(let size, let first) where total == nil:
            total = size
            bytes = first
        case .part(let next) where total != nil:
            guard !next.isEmpty else { throw .malformedMessage("an empty part of a blob") }
            bytes = next
        default: throw .unexpectedMessage("a message that is no part of the blob")
        }
        let size = total ?? 0
        guard Int64(bytes.count) <= size - received else { throw .malformedMessage("a blob longer than announced") }
        received += Int64(bytes.count)
        hasher.update(bytes)
        guard received == size else { return (bytes, false) }
        let actual = hasher.finish()
        guard actual == digest else { throw .wrongBlob(expected: digest, actual: actual) }
        return (bytes, true)
    }
}
