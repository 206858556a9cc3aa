package import CacheMap
package import LLB
package import OCI
internal import SwiftProtobuf

/// Derives cache keys: digests that are equal on every node for the same work on the same inputs.
package enum CacheKeyAlgebra {
    /// Raised when what a key covers changes, so that nodes of different versions never share wrong records.
    private static let version: UInt8 = 1

    private enum Label: UInt8 {
        case definition = 1
        case content = 2
        case source = 3
    }

    /// What one input adds to a key.
    package enum InputTerm: Hashable, Sendable {
        case key(CacheKey, output: Int)
        case content(Digest)
    }

    /// The key of a vertex from the keys of all its inputs: known without running anything.
    package static func definitionKey(of vertex: Vertex, inputs: [InputTerm]) -> CacheKey {
        key(.definition, vertex, inputs)
    }

    /// The key of a vertex that takes the content of some inputs; what they were made from does not count.
    package static func contentKey(of vertex: Vertex, inputs: [InputTerm]) -> CacheKey {
        key(.content, vertex, inputs)
    }

    /// The key of a source from what identifies its content: an image's manifest digest, a file's checksum.
    package static func sourceKey(kind: String, identity: [String]) -> CacheKey {
        var hasher = DigestHasher()
        hasher.update([version, Label.source.rawValue])
        for part in [kind] + identity { update(&hasher, with: Array(part.utf8)) }
        return CacheKey(hasher.finish())
    }

    private static func key(_ label: Label, _ vertex: Vertex, _ inputs: [InputTerm]) -> CacheKey {
        var hasher = DigestHasher()
        hasher.update([version, label.rawValue])
        update(&hasher, with: identity(of: vertex.operation))
        for input in inputs {
            switch input {
            case .key(let key, let output):
                hasher.update([1])
                update(&hasher, with: Array(String(output).utf8))
                hasher.update(key.digest.bytes)
            case .content(let digest):
                hasher.update([2])
                hasher.update(digest.bytes)
            }
        }
        return CacheKey(hasher.finish())
    }

    /// The op without what does not change its result: input digests (the terms stand for them), proxies, addresses of
    /// extra hosts, names of cache volumes.
    private static func identity(of operation: Pb_Op) -> [UInt8] {
        var bare = operation
        bare.inputs = []
        bare.clearConstraints()
        if case .exec(var exec) = bare.op {
            exec.meta.clearProxyEnv()
            for index in exec.meta.extraHosts.indices { exec.meta.extraHosts[index].ip = "" }
            for index in exec.mounts.indices { exec.mounts[index].clearCacheOpt() }
            bare.exec = exec
        }
        var options = BinaryEncodingOptions()
        options.useDeterministicOrdering = true
        // Serialising a decoded message fails only for required fields, which proto3 does not have.
        guard let bytes: [UInt8] = try? bare.serializedBytes(options: options) else { return [] }
        return bytes
    }

    private static func update(_ hasher: inout DigestHasher, with bytes: [UInt8]) {
        withUnsafeBytes(of: UInt64(bytes.count).littleEndian) { hasher.update($0) }
        hasher.update(bytes)
    }
}
