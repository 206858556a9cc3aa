package import OCI

/// Gathers a layer's manifest from the packs of one holder.
package struct ManifestPull: Sendable {
    package let id: Digest
    private var total: Int?
    private var bytes: [UInt8] = []
    private var next = 0

    package init(_ id: Digest) { self.id = id }

    /// Takes the holder's announcement.
    ///
    /// - Throws: `TransferError` for one that no layer has, before memory is taken for it.
    package mutating func begin(total: Int64) throws(TransferError) {
        guard self.total == nil else { throw .unexpectedMessage("a second manifest") }
        guard (1...Int64(LayerManifest.encodedBytesMax)).contains(total) else {
            throw .malformedMessage("a manifest of \(total) bytes; \(LayerManifest.encodedBytesMax) is the limit")
        }
        self.total = Int(total)
    }

    /// How many bytes the pack called `request` has to have; nil when it is not its turn.
    package func expected(_ request: Int) -> Int? {
        guard let total, request == next, bytes.count < total else { return nil }
        return min(TransferMessage.packBytesMax, total - bytes.count)
    }

    /// Takes a pack's bytes; returns the manifest when it is whole.
    package mutating func receive(_ plain: some Collection<UInt8>) throws(TransferError) -> LayerManifest? {
        bytes.append(contentsOf: plain)
        next += 1
        guard bytes.count == total else { return nil }
        let actual = Digest.of(bytes)
        guard actual == id else { throw .wrongManifest(expected: id, actual: actual) }
        do throws(ManifestError) { return try LayerManifest(decoding: bytes) } catch { throw .manifest(error) }
    }
}
