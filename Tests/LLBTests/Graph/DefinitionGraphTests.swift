import Foundation
import LLB
import OCI
import SwiftProtobuf
import Testing

@Suite struct DefinitionGraphTests {
    private func marshal(_ operation: Pb_Op) -> Data { (try? operation.serializedData()) ?? Data() }

    private func input(_ bytes: Data, index: Int64 = 0) -> Pb_Input {
        .with {
            $0.digest = Digest.of(bytes).description
            $0.index = index
        }
    }

    private func definition(_ operations: [Data], target: Data) -> Pb_Definition {
        .with { $0.def = operations + [marshal(.with { $0.inputs = [input(target)] })] }
    }

    private let source = Pb_Op.with { $0.source.identifier = "docker-image://x" }

    @Test func `the empty definition is scratch`() throws {
        #expect(try DefinitionGraph(Pb_Definition()).target == nil)
    }

    @Test func `digests are those of the received bytes`() throws {
        // The image source of the wire's test vectors: a client orders fields as swift-protobuf would not.
        let hex =
            "520e0a05616d64363412056c696e75785a001a2e0a2c646f636b65722d696d6167653a2f2f3132372e302e302e313a353936312f62757379626f783a6c6174657374"
        let bytes = Data(
            stride(from: 0, to: hex.count, by: 2).compactMap { offset in
                UInt8(hex.dropFirst(offset).prefix(2), radix: 16)
            })
        let graph = try DefinitionGraph(definition([bytes], target: bytes))
        #expect(
            graph.target?.vertex.description
                == "sha256:878f98e6da8087129cc091f9a9cee25767bb88b6eb0e4555f70bec8cadd88735")
        #expect(graph.vertices[0].name == "docker-image://127.0.0.1:5961/busybox:latest")
    }

    @Test func `a single op is no definition`() {
        let lone = Pb_Definition.with { $0.def = [marshal(source)] }
        #expect { try DefinitionGraph(lone) } throws: { "\($0)" == "invalid LLB with 1 vertexes" }
    }

    @Test func `an input that comes later is unknown`() {
        let base = marshal(source)
        let step = marshal(
            .with {
                $0.inputs = [input(base)]
                $0.exec.meta.args = ["x"]
                $0.exec.mounts = [.with { $0.dest = "/" }]
            })
        #expect { try DefinitionGraph(definition([step, base], target: step)) } throws: {
            "\($0)".contains("unknown input")
        }
        #expect(throws: Never.self) { try DefinitionGraph(definition([base, step], target: step)) }
    }

    @Test(arguments: [
        Pb_Op.with { $0.exec.mounts = [.with { $0.dest = "/" }] },
        .with { $0.exec.meta.args = ["x"] },
        .with {
            $0.exec.meta.args = ["x"]
            $0.exec.mounts = [
                .with {
                    $0.dest = "/"
                    $0.input = 3
                }
            ]
        },
        .with { $0.file = Pb_FileOp() },
        .with { $0.file.actions = [Pb_FileAction()] },
        .with { $0.source.identifier = "no scheme" },
        .with { $0.merge.inputs = [.with { $0.input = 0 }] },
        .with { $0.diff = Pb_DiffOp() },
        Pb_Op(),
    ])
    func `ops that make no sense are refused with their digest`(operation: Pb_Op) {
        let bytes = marshal(operation)
        #expect { try DefinitionGraph(definition([bytes], target: bytes)) } throws: {
            "\($0)".hasPrefix("invalid LLB")
        }
    }

    @Test(arguments: UInt8(0)..<64)
    func `damaged definitions give a graph or an error`(seed: UInt8) {
        var bytes = [UInt8](marshal(source))
        let index = Int(seed) % bytes.count
        bytes[index] ^= 1 << (seed % 8)
        let damaged = Data(bytes)
        _ = try? DefinitionGraph(definition([damaged], target: damaged))
        _ = try? DefinitionGraph(definition([damaged.dropLast(Int(seed) % 8)], target: damaged))
    }

    @Test func `places in the sources are found by vertex`() throws {
        let bytes = marshal(source)
        var whole = definition([bytes], target: bytes)
        whole.source.infos = [.with { $0.filename = "Dockerfile" }]
        whole.source.locations[Digest.of(bytes).description] = .with {
            $0.locations = [.with { $0.ranges = [.with { $0.start.line = 3 }] }, .with { $0.sourceIndex = 9 }]
        }
        let graph = try DefinitionGraph(whole)
        let found = graph.locations(of: Digest.of(bytes))
        #expect(found.map(\.info.filename) == ["Dockerfile"])
        #expect(found.first?.ranges.first?.start.line == 3)
    }
}
