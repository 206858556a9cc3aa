import Foundation
import LLB
import OCI
import SwiftProtobuf

/// Makes small definitions for tests.
struct GraphBuilder {
    private(set) var definition = Pb_Definition()

    mutating func add(_ operation: Pb_Op, ignoreCache: Bool = false) -> Edge {
        let bytes: [UInt8] = (try? operation.serializedBytes()) ?? []
        let digest = Digest.of(bytes)
        definition.def.append(Data(bytes))
        if ignoreCache { definition.metadata[digest.description, default: Pb_OpMetadata()].ignoreCache = true }
        return Edge(vertex: digest, output: 0)
    }

    mutating func source(_ identifier: String) -> Edge {
        add(.with { $0.source.identifier = identifier })
    }

    mutating func run(_ command: String, on root: Edge, reading mounts: [Edge] = [], ignoreCache: Bool = false) -> Edge
    {
        add(
            .with {
                $0.inputs = ([root] + mounts).map(Self.input)
                $0.exec.meta.args = [command]
                $0.exec.mounts = [
                    .with {
                        $0.dest = "/"
                        $0.input = 0
                        $0.output = 0
                    }
                ]
                for index in mounts.indices {
                    $0.exec.mounts.append(
                        .with {
                            $0.dest = "/in\(index)"
                            $0.input = Int64(index + 1)
                            $0.output = -1
                            $0.readonly = true
                        })
                }
            }, ignoreCache: ignoreCache)
    }

    mutating func copy(_ path: String, from source: Edge, onto base: Edge) -> Edge {
        add(
            .with {
                $0.inputs = [base, source].map(Self.input)
                $0.file.actions = [
                    .with {
                        $0.input = 0
                        $0.secondaryInput = 1
                        $0.output = 0
                        $0.copy.src = path
                        $0.copy.dest = "/"
                    }
                ]
            })
    }

    private static func input(_ edge: Edge) -> Pb_Input {
        .with {
            $0.digest = edge.vertex.description
            $0.index = Int64(edge.output)
        }
    }

    mutating func graph(for target: Edge) throws -> DefinitionGraph {
        var whole = definition
        let terminal = Pb_Op.with { $0.inputs = [Self.input(target)] }
        whole.def.append(try terminal.serializedData())
        return try DefinitionGraph(whole)
    }
}
