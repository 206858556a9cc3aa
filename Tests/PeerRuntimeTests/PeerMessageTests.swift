import CacheMap
import ClusterModel
import Foundation
import OCI
import Solver
import SwiftProtobuf
import Testing

@testable import PeerRuntime

struct PeerMessageTests {
    private func layer(_ seed: UInt64) -> LayerDescriptor {
        var random = SplitMix64(seed: seed)
        let blob = Descriptor(
            mediaType: "application/vnd.oci.image.layer.v1.tar+zstd",
            digest: Digest.of("\(random.next())".utf8.map { $0 }),
            size: Int64(random.next() >> 14), annotations: seed % 2 == 0 ? nil : ["a": "b"])
        return LayerDescriptor(
            id: Digest.of("\(random.next())".utf8.map { $0 }), bytes: Int64(random.next() >> 14),
            diffID: seed % 3 == 0 ? nil : Digest.of("\(random.next())".utf8.map { $0 }),
            blob: seed % 5 == 0 ? nil : blob)
    }

    private func record(_ seed: UInt64) -> FoundRecord {
        FoundRecord(
            canonicalKey: CacheKey(Digest.of([UInt8(seed % 256)])),
            result: VertexResult(
                outputs: [LayerChain((0..<seed % 4).map { layer(seed &* 10 &+ $0) }), nil, LayerChain.scratch],
                holders: [PeerID(rawValue: seed), PeerID(rawValue: .max)]))
    }

    @Test(arguments: UInt64(0)..<64)
    func `records survive the way`(seed: UInt64) throws {
        let record = record(seed)
        let bytes: [UInt8] = try PeerMessage.record(record).serializedBytes()
        #expect(try PeerMessage.record(try Peerbuild_Peer_V1_Record(serializedBytes: bytes)) == record)
    }

    @Test(arguments: UInt64(0)..<16)
    func `cut or flipped records are refused or are other records, and never more`(seed: UInt64) throws {
        let bytes: [UInt8] = try PeerMessage.record(record(seed)).serializedBytes()
        for count in bytes.indices {
            guard let message = try? Peerbuild_Peer_V1_Record(serializedBytes: Array(bytes.prefix(count))) else {
                continue
            }
            _ = try? PeerMessage.record(message)
        }
        for index in bytes.indices {
            var flipped = bytes
            flipped[index] ^= 1 << UInt8(index % 8)
            guard let message = try? Peerbuild_Peer_V1_Record(serializedBytes: flipped) else { continue }
            _ = try? PeerMessage.record(message)
        }
    }

    @Test func `counts and lengths are bounded`() throws {
        let good = PeerMessage.record(record(3))
        var hostile: [Peerbuild_Peer_V1_Record] = []
        hostile.append(
            .with {
                $0 = good; $0.holders = Array(repeating: 1, count: PeerMessage.holdersMax + 1)
            })
        hostile.append(
            .with {
                $0 = good; $0.outputs = Array(repeating: .init(), count: PeerMessage.outputsMax + 1)
            })
        let layers = Array(repeating: PeerMessage.layer(layer(1)), count: PeerMessage.layersMax + 1)
        hostile.append(
            .with {
                $0 = good; $0.outputs = [.with { $0.layers = layers }]
            })
        hostile.append(
            .with {
                $0 = good; $0.canonicalKey = Data(count: 31)
            })
        hostile.append(
            .with {
                $0 = good; $0.outputs = [.with { $0.layers = [.with { $0.id = Data(count: 33) }] }]
            })
        hostile.append(
            .with {
                $0 = good
                $0.outputs = [
                    .with {
                        $0.layers = [
                            .with {
                                $0 = PeerMessage.layer(layer(1))
                                $0.bytes = -1
                            }
                        ]
                    }
                ]
            })
        let above = LayerDescriptor.bytesMax + 1
        for (bytes, size) in [(above, 1), (.max, 1), (1, above)] as [(Int64, Int64)] {
            var large = PeerMessage.layer(layer(1))
            large.bytes = bytes
            large.blob.size = size
            hostile.append(
                .with {
                    $0 = good; $0.outputs = [.with { $0.layers = [large] }]
                })
        }
        for message in hostile { #expect(throws: PeerCallError.self) { try PeerMessage.record(message) } }
    }

    @Test func `what was moved survives the way, as far as it makes sense`() throws {
        var moved = MovedBytes()
        (moved.pulled, moved.prefetched, moved.deduplicated, moved.resumed) = (9, 4, 5, 6)
        (moved.leftOut, moved.registry) = (7, 8)
        moved.served = [PeerID(rawValue: 3): 2, PeerID(rawValue: .max): 7]
        var finished = Peerbuild_Peer_V1_ExecuteEvent.Finished()
        PeerMessage.set(moved, in: &finished)
        let bytes: [UInt8] = try finished.serializedBytes()
        #expect(PeerMessage.moved(try Peerbuild_Peer_V1_ExecuteEvent.Finished(serializedBytes: bytes)) == moved)
        // An export leaves nothing out and nothing of it comes early.
        (moved.leftOut, moved.prefetched) = (0, 0)
        var done = Peerbuild_Peer_V1_ExportEvent.Done()
        PeerMessage.set(moved, in: &done)
        let exported: [UInt8] = try done.serializedBytes()
        #expect(PeerMessage.moved(try Peerbuild_Peer_V1_ExportEvent.Done(serializedBytes: exported)) == moved)

        (finished.pulledBytes, finished.servedBytes) = (-1, [3: -5])
        #expect(PeerMessage.moved(finished).pulled == 0 && PeerMessage.moved(finished).served.values.first == 0)
        for peer in 0...PeerMessage.holdersMax { finished.servedBytes[UInt64(peer)] = 1 }
        #expect(PeerMessage.moved(finished).served.isEmpty)
    }

    @Test func `a failure keeps its exit code`() {
        for failure in [VertexFailure("no", exitCode: 3), VertexFailure("gone", isCancelled: true), VertexFailure("x")]
        {
            #expect(PeerMessage.failure(PeerMessage.failure(failure)) == failure)
        }
    }
}
