package import OCI

/// Where the blobs of one image come from: a registry, the client's content store or a directory.
package protocol BlobProvider: Sendable {
    /// For messages: the image, or the layout.
    var name: String { get }
    /// Annotations for the layers that come from here, so that an export knows where their blobs can be had again.
    var layerAnnotations: [String: String] { get }
    /// A manifest, index or config whole.
    func document(_ descriptor: Descriptor, bytesMax: Int) async throws -> [UInt8]
    /// A blob in pieces, in order. The caller verifies the digest.
    func read(_ descriptor: Descriptor, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void) async throws
}
