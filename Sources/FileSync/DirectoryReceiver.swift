package import BuildKitProtocol
internal import Foundation

/// Receives a directory tree in the fsutil protocol and makes a local directory equal to it.
///
/// Files are written under a temporary name and renamed, so an old file with several names keeps its content. Nothing
/// outside the root is touched and no symbolic link is followed, whatever the sender lists.
package struct DirectoryReceiver: Sendable {
    package typealias Packet = Fsutil_Types_Packet

    /// How a file that is already here is recognised as unchanged.
    package enum Comparison: Sendable {
        /// By type, mode, owner, size, time of modification, device and link.
        case metadata
        /// Never.
        case none
    }

    /// Whom the received entries belong to.
    package enum Ownership: Sendable, Hashable {
        /// As the sender says; takes root's rights.
        case asSent
        case fixed(uid: UInt32, gid: UInt32)
    }

    /// What was done.
    package struct Outcome: Sendable, Hashable {
        /// Entries created, replaced or removed.
        package var entries = 0
        /// Bytes of content received.
        package var bytes: Int64 = 0
        /// Entries in the sender's list.
        package var listed = 0

        package init() {}
    }

    private let root: String
    private let comparison: Comparison
    private let isMerging: Bool
    private let ownership: Ownership

    /// Receives into `root`, an existing directory.
    ///
    /// `merging` keeps what is here and not in the list, and asks for every file, as exporter `local` does.
    package init(
        root: String, comparison: Comparison = .metadata, merging: Bool = false, ownership: Ownership = .asSent
    ) {
        self.root = root
        self.comparison = comparison
        isMerging = merging
        self.ownership = ownership
    }

    /// Receives one tree.
    ///
    /// `progress` is told the bytes of content received so far.
    ///
    /// When this throws, the directory holds a mixture of old and new whole files; the next run repairs it.
    package func run<Packets: AsyncSequence>(
        packets: Packets, send: (Packet) async throws -> Void, progress: (Int64) -> Void = { _ in }
    ) async throws -> Outcome where Packets.Element == Packet {
        do {
            return try await receive(packets, send, progress)
        } catch let error as FileSyncError {
            if !error.isFromOtherSide { try? await send(.failure(error.description)) }
            throw error
        }
    }

    private func receive<Packets: AsyncSequence>(
        _ packets: Packets, _ send: (Packet) async throws -> Void, _ progress: (Int64) -> Void
    ) async throws -> Outcome where Packets.Element == Packet {
        let tree = ReceivedTree(
            root: try DirectoryHandle.openRoot(root), comparesMetadata: comparison == .metadata && !isMerging,
            isMerging: isMerging, ownership: ownership)
        defer { tree.removeUnfinished() }
        var iterator = packets.makeAsyncIterator()
        var isFinished = false
        while let packet = try await Self.next(&iterator, endsQuietly: isFinished) {
            switch packet.type {
            case .packetStat where packet.hasStat:
                if let id = try tree.add(packet.stat) { try await send(.request(id)) }
            case .packetStat: try tree.endList()
            case .packetData:
                try tree.receive(Array(packet.data), for: packet.id)
                progress(tree.outcome.bytes)
            case .packetErr: throw FileSyncError.remote(packet.failureText)
            case .packetFin where isFinished: return tree.outcome
            default: throw FileSyncError.violation("a sender sent packet type \(packet.type.rawValue) too early")
            }
            if tree.isComplete, !isFinished {
                try tree.finish()
                try await send(.finish)
                isFinished = true
            }
        }
        guard tree.isComplete else { throw FileSyncError.endedEarly }
        return tree.outcome
    }

    /// The next packet.
    ///
    /// Once all is done, a sender that just goes away is no failure: BuildKit's does so.
    private static func next<Iterator: AsyncIteratorProtocol>(
        _ iterator: inout Iterator, endsQuietly: Bool
    ) async throws -> Packet? where Iterator.Element == Packet {
        do {
            return try await iterator.next()
        } catch {
            guard endsQuietly else { throw error }
            return nil
        }
    }
}
