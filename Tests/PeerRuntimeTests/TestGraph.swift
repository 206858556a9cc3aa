import Foundation
import LLB
import OCI
import SwiftProtobuf

/// Definitions of steps over a client's directory, which is their root file system.
struct TestGraph {
    private var definition = Pb_Definition()

    mutating func directory() -> Pb_Input {
        add(.with { $0.source.identifier = "local://context" })
    }

    /// A shell command with the root as its output.
    ///
    /// `reading` is another tree that it sees at `/side`.
    mutating func run(
        _ script: String, on root: Pb_Input, secret: String? = nil, reading side: Pb_Input? = nil
    ) -> Pb_Input {
        add(
            .with {
                $0.inputs = [root] + (side.map { [$0] } ?? [])
                $0.exec.meta.args = ["/bin/sh", "-c", script]
                $0.exec.meta.cwd = "/"
                $0.exec.meta.env = ["PATH=/bin"]
                $0.exec.mounts = [.with { $0.dest = "/" }]
                if side != nil {
                    $0.exec.mounts.append(
                        .with {
                            $0.dest = "/side"
                            $0.input = 1
                            $0.output = -1
                            $0.readonly = true
                        })
                }
                guard let secret else { return }
                $0.exec.mounts.append(
                    .with {
                        $0.dest = "/run/secrets/" + secret
                        $0.input = -1
                        $0.output = -1
                        $0.mountType = .secret
                        $0.secretOpt.id = secret
                        $0.secretOpt.mode = 0o400
                    })
            })
    }

    private mutating func add(_ operation: Pb_Op) -> Pb_Input {
        let bytes: [UInt8] = (try? operation.serializedBytes()) ?? []
        definition.def.append(Data(bytes))
        return .with { $0.digest = Digest.of(bytes).description }
    }

    func definition(for target: Pb_Input) throws -> Pb_Definition {
        var whole = definition
        whole.def.append(try Pb_Op.with { $0.inputs = [target] }.serializedData())
        return whole
    }

    /// Steps one after the other.
    static func chain(_ scripts: [String], secret: String? = nil) throws -> Pb_Definition {
        var graph = TestGraph()
        var last = graph.directory()
        for script in scripts { last = graph.run(script, on: last, secret: secret) }
        return try graph.definition(for: last)
    }
}
