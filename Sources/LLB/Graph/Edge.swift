package import OCI

/// One output of a vertex: what other vertices take as an input.
package struct Edge: Hashable, Sendable {
    /// Digest of the vertex's marshalled op.
    package var vertex: Digest
    /// Index of the output, 0 or more.
    package var output: Int

    package init(vertex: Digest, output: Int) {
        self.vertex = vertex
        self.output = output
    }
}
