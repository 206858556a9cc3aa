package import OCI

/// A stable digest that says "this edge, from these inputs"; equal on every node that derives it.
package struct CacheKey: Hashable, Sendable, Comparable, Codable {
    package let digest: Digest

    package init(_ digest: Digest) { self.digest = digest }

    package static func < (left: CacheKey, right: CacheKey) -> Bool { left.digest < right.digest }

    // One string in JSON, as the digest itself.
    package init(from decoder: any Decoder) throws { digest = try Digest(from: decoder) }

    package func encode(to encoder: any Encoder) throws { try digest.encode(to: encoder) }
}

extension CacheKey: CustomStringConvertible {
    package var description: String { digest.description }
}
