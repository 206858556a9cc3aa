package import ClusterModel
internal import Foundation
package import OCI

/// Remembers which blob a layer is, so that nothing is pulled, unpacked or compressed twice.
///
/// One small file an entry below `directory`, replaced atomically; losing any costs only time. What an entry names may
/// have been collected since: callers check that before they rely on it.
package final class LayerBlobIndex: Sendable {
    /// A layer in one packing.
    package struct Packed: Sendable, Hashable, Codable {
        package var diffID: Digest
        package var blob: Descriptor

        package init(diffID: Digest, blob: Descriptor) {
            self.diffID = diffID
            self.blob = blob
        }
    }

    private let directory: String

    /// Opens the index below `directory`, which is made when it does not exist.
    package init(directory: String) throws {
        self.directory = directory
        for kind in ["imported", "packed"] {
            try FileManager.default.createDirectory(
                atPath: directory + "/" + kind, withIntermediateDirectories: true)
        }
    }

    /// The layer that an image's blob was unpacked to, by the OCI chain id up to it.
    ///
    /// The chain and not the blob alone: directories that an archive leaves out are those of the layers below.
    package func layer(forChainID chainID: Digest) -> LayerDescriptor? {
        read("imported/" + chainID.hex)
    }

    package func remember(_ layer: LayerDescriptor, forChainID chainID: Digest) throws {
        try write(layer, to: "imported/" + chainID.hex)
    }

    /// The blob that the layer became with this compression.
    package func packed(_ layer: Digest, _ compression: LayerCompression) -> Packed? {
        read(Self.name(layer, compression))
    }

    package func remember(_ packed: Packed, for layer: Digest, _ compression: LayerCompression) throws {
        try write(packed, to: Self.name(layer, compression))
    }

    private static func name(_ layer: Digest, _ compression: LayerCompression) -> String {
        "packed/\(layer.hex)-\(compression.algorithm.rawValue)-\(compression.level)"
    }

    private func read<Value: Decodable>(_ name: String) -> Value? {
        guard let data = FileManager.default.contents(atPath: directory + "/" + name) else { return nil }
        return try? JSONDecoder().decode(Value.self, from: data)
    }

    private func write(_ value: some Encodable, to name: String) throws {
        let data = try JSONEncoder().encode(value)
        try data.write(to: URL(fileURLWithPath: directory + "/" + name), options: .atomic)
    }
}
