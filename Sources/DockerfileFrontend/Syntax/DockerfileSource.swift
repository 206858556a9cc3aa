package import LLB

/// A Dockerfile as it was read.
package struct DockerfileSource: Hashable, Sendable {
    package var filename: String
    package var bytes: [UInt8]
    /// How to read the file again.
    package var definition: Pb_Definition

    package init(filename: String, bytes: [UInt8], definition: Pb_Definition = Pb_Definition()) {
        self.filename = filename
        self.bytes = bytes
        self.definition = definition
    }
}
