import ClusterModel
import Foundation
import OCI
import Testing

@Suite struct LayerChainTests {
    private static func layer(_ bytes: Int64) -> LayerDescriptor { LayerDescriptor(id: Digest.of([1]), bytes: bytes) }

    @Test func `a sum of layers saturates instead of trapping`() {
        #expect(LayerChain([Self.layer(.max), Self.layer(.max)]).bytes == .max)
        #expect([Self.layer(3), Self.layer(4)].totalBytes == 7)
        #expect(LayerChain.scratch.bytes == 0)
    }

    @Test(
        arguments: [(Int64.min, 0), (-1, 0), (5, 5), (Int64.max, LayerDescriptor.bytesMax)] as [(Int64, Int64)])
    func `a stored layer has no more bytes than a layer can have, and is read all the same`(
        stored: Int64, read: Int64
    ) throws {
        let json = try JSONEncoder().encode(Self.layer(stored))
        #expect(try JSONDecoder().decode(LayerDescriptor.self, from: json) == Self.layer(read))
    }

    @Test func `a stored layer comes back with all that is known of it`() throws {
        let blob = Descriptor(mediaType: "application/x", digest: Digest.of([2]), size: 9, annotations: ["a": "b"])
        let layer = LayerDescriptor(id: Digest.of([1]), bytes: 8, diffID: Digest.of([3]), blob: blob)
        #expect(try JSONDecoder().decode(LayerDescriptor.self, from: JSONEncoder().encode(layer)) == layer)
    }
}
