package import OCI

/// What a step may ask of the client that submitted its build, wherever in the cluster the step runs.
///
/// On the home node this is the client's session itself; on another node it is a proxy over the peer link. Answers are
/// used and forgotten, never stored.
package protocol SessionServices: AnyObject, Sendable {
    /// The secret named `id`; nil when the client has none of that name.
    func secret(_ id: String) async throws -> [UInt8]?
    /// User name and password for a registry host; nil for anonymous access.
    func credentials(forHost host: String) async throws -> RegistryCredentials?
    /// Connects to the client's SSH agent named `id` (`default` when the step names none).
    func connectSSHAgent(_ id: String) async throws -> any ByteDuplex
    /// Whether the client exposes an SSH agent of that name.
    func hasSSHAgent(_ id: String) async throws -> Bool
}

/// The session tunnel of a client (BuildKit's `Control.Session`); only the home node has it.
package protocol ClientSession: SessionServices {
    /// The id that the client chose.
    var id: String { get }
    /// The key under which trees of this client's directories may be reused; empty when it gave none.
    var sharedKey: String { get }
    /// Whether the client serves the method `/package.Service/Method`, compared without case.
    func serves(_ method: String) -> Bool

    /// Makes `directory` equal to the client's directory that `request` names, asking only for what differs.
    ///
    /// Files are replaced, never rewritten in place, so that hard links to the old content stay intact.
    func receiveDirectory(
        _ request: DirectoryRequest, into directory: String, progress: @escaping @Sendable (_ bytes: Int64) -> Void
    ) async throws -> DirectoryChanges

    /// Streams an exporter's file to the client (`FileSend` with byte messages).
    ///
    /// `write` is called once with a sink that applies the client's back pressure. A client that answers
    /// "already exists" is a success.
    func sendFile(
        exporter index: Int, metadata: [String: String],
        _ write: @escaping @Sendable (any ByteSink) async throws -> Void
    ) async throws

    /// Sends the tree below `directory` to the client (`FileSend` with fsutil packets).
    func sendDirectory(
        exporter index: Int, metadata: [String: String], from directory: String,
        progress: @escaping @Sendable (_ bytes: Int64) -> Void
    ) async throws

    /// The content store that the client offers under `store`, such as `oci:NAME`, `local:DIR` or `export`.
    func contentStore(_ store: String) -> any SessionContentStore
    /// Opens the body of a context that the client uploads (`http://buildkit-session/ID`).
    func openUpload(path: String, _ body: @escaping @Sendable ([UInt8]) async throws -> Void) async throws
    /// Ends when the client has gone; every call under way fails then.
    func waitUntilClosed() async
}

/// A two-way byte stream, such as a connection to an SSH agent.
package protocol ByteDuplex: AnyObject, Sendable {
    /// The next bytes; nil at the end.
    func read() async throws -> [UInt8]?
    func write(_ bytes: [UInt8]) async throws
    /// Says that nothing more is written.
    func finishWriting() async
    func close()
}

/// Where bytes go, one piece after the other; `write` waits while the receiver is slower.
package protocol ByteSink: Sendable {
    func write(_ bytes: [UInt8]) async throws
}

/// Blobs that the client lends or takes (containerd's content service in the session).
package protocol SessionContentStore: Sendable {
    /// Length in bytes of the blob; nil when the client does not have it.
    func size(of digest: Digest) async throws -> Int64?
    /// Reads the blob in order from `offset`, in pieces. The caller verifies the digest.
    func read(
        _ digest: Digest, from offset: Int64, _ piece: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws
    /// Writes one blob whole; a blob that the client already has is a success.
    func write(
        _ digest: Digest, size: Int64, name: String, _ body: @escaping @Sendable (any ByteSink) async throws -> Void
    ) async throws
}

/// Which of the client's directories is wanted, and which part of it.
package struct DirectoryRequest: Sendable, Hashable {
    /// Name of the local source, such as `context`.
    package var name: String
    /// Moby patterns; empty is everything.
    package var includePatterns: [String]
    /// Moby patterns with `!` negation, such as the lines of a `.dockerignore`.
    package var excludePatterns: [String]
    /// Paths whose symbolic links' targets are sent too; also an include list.
    package var followPaths: [String]
    /// How a file that is already here is compared.
    package var comparison: Comparison

    /// How an entry is recognised as unchanged.
    package enum Comparison: Sendable, Hashable {
        /// By type, mode, owner, size, mtime, device and link name.
        case metadata
        /// Never: everything is sent.
        case none
    }

    package init(
        name: String, includePatterns: [String] = [], excludePatterns: [String] = [], followPaths: [String] = [],
        comparison: Comparison = .metadata
    ) {
        self.name = name
        self.includePatterns = includePatterns
        self.excludePatterns = excludePatterns
        self.followPaths = followPaths
        self.comparison = comparison
    }
}

/// What a sync of a directory changed.
package struct DirectoryChanges: Sendable, Hashable {
    /// Entries created, replaced or removed.
    package var entries: Int
    /// Bytes of file content received.
    package var bytes: Int64

    package init(entries: Int, bytes: Int64) {
        self.entries = entries
        self.bytes = bytes
    }
}

/// What a registry is told about who asks.
package struct RegistryCredentials: Sendable, Hashable {
    /// Empty when `secret` is an identity (refresh) token.
    package var username: String
    package var secret: String

    package init(username: String, secret: String) {
        self.username = username
        self.secret = secret
    }
}
