package import BuildKitProtocol
internal import Foundation
internal import Glibc

/// Sends a directory tree in the fsutil protocol: the list of entries, and the content of files that are asked for.
package struct DirectorySender: Sendable {
    /// Files whose content is sent at the same time; Go's sender reads as many.
    package static let concurrentFilesMax = 4
    /// Bytes of content in one packet.
    package static let chunkBytes = 32 * 1_024
    /// Entries that are listed between two rounds of content, so that the list stays ahead.
    private static let entriesPerRound = 32

    package typealias Packet = Fsutil_Types_Packet

    private let root: String
    private let includes: [String]
    private let excludes: [String]
    private let followPaths: [String]
    private let resetsOwner: Bool

    /// Sends what is below `root`.
    ///
    /// `include` and `exclude` are Moby patterns; no includes send everything. Links in `followPaths`, which are
    /// includes as well, are followed inside the root. `resetsOwner` sends every entry as root's, as clients do.
    package init(
        root: String, include: [String] = [], exclude: [String] = [], followPaths: [String] = [],
        resetsOwner: Bool = false
    ) {
        self.root = root
        includes = include
        excludes = exclude
        self.followPaths = followPaths
        self.resetsOwner = resetsOwner
    }

    /// Serves one receiver until it has all it wants.
    ///
    /// `send` is called by one task at a time. `progress` is told the bytes of content sent so far. Errors of our own
    /// are told to the receiver before they are thrown.
    package func run<Packets: AsyncSequence & Sendable>(
        packets: Packets, send: @escaping @Sendable (Packet) async throws -> Void,
        progress: @escaping @Sendable (Int64) -> Void = { _ in }
    ) async throws where Packets.Element == Packet {
        let inbox = RequestInbox()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await Self.read(packets, into: inbox) }
            do {
                try await sendAll(inbox, send: send, progress: progress)
            } catch let error as FileSyncError {
                if !error.isFromOtherSide { try? await send(.failure(error.description)) }
                group.cancelAll()
                throw error
            } catch {
                group.cancelAll()
                throw error
            }
            group.cancelAll()
        }
    }

    private static func read<Packets: AsyncSequence>(_ packets: Packets, into inbox: RequestInbox) async
    where Packets.Element == Packet {
        do {
            for try await packet in packets {
                switch packet.type {
                case .packetReq: try inbox.request(packet.id)
                case .packetFin: return inbox.finish()
                case .packetErr: throw FileSyncError.remote(packet.failureText)
                default: throw FileSyncError.violation("a receiver sent packet type \(packet.type.rawValue)")
                }
            }
            throw FileSyncError.endedEarly
        } catch {
            inbox.fail(error)
        }
    }

    private func sendAll(
        _ inbox: RequestInbox, send: (Packet) async throws -> Void, progress: (Int64) -> Void
    ) async throws {
        let handle = try DirectoryHandle.openRoot(root)
        let filter = try PathFilter(includes: includes, excludes: excludes, follow: followPaths, root: handle)
        var list = EntryList(walk: try TreeWalk(root: handle, filter: filter, resetsOwner: resetsOwner))
        var files: [Content] = []
        var isFinished = false
        var sent: Int64 = 0
        while true {
            try Task.checkCancellation()
            if !list.isComplete { try await list.send(upTo: Self.entriesPerRound, inbox, send) }
            while files.count < Self.concurrentFilesMax, !isFinished, let item = try inbox.poll() {
                take(item, handle, &files, &isFinished)
            }
            if files.isEmpty, list.isComplete {
                if isFinished { return try await send(.finish) }
                take(try await inbox.next(), handle, &files, &isFinished)
            }
            for index in files.indices.reversed() {
                let chunk = try files[index].file?.read(upTo: Self.chunkBytes) ?? []
                try await send(.content(id: files[index].id, chunk))
                sent += Int64(chunk.count)
                if chunk.isEmpty { files.remove(at: index) }
            }
            progress(sent)
        }
    }

    private func take(_ item: RequestInbox.Item, _ root: DirectoryHandle, _ files: inout [Content], _ end: inout Bool) {
        switch item {
        case .finished: end = true
        case .request(let request):
            // What can't be opened any more is sent as empty, as the list can't be taken back (fsutil does so too).
            let file = try? root.openFile(request.path)
            if let file { posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_WILLNEED) }
            files.append(Content(id: request.id, file: file?.isRegular == true ? file : nil))
        }
    }

    /// A file whose content is being sent; nil when there is none to read.
    private struct Content {
        let id: UInt32
        let file: OpenFile?
    }

    /// The list of entries, as far as it has been sent.
    private struct EntryList {
        var walk: TreeWalk
        var nextID: UInt32 = 0
        var isComplete = false

        mutating func send(
            upTo count: Int, _ inbox: RequestInbox, _ send: (Packet) async throws -> Void
        ) async throws {
            for _ in 0..<count {
                guard let entry = try walk.next() else {
                    isComplete = true
                    return try await send(Packet())
                }
                if entry.mode & GoFileMode.typeBits == 0 { inbox.announce(nextID, path: entry.path) }
                nextID += 1
                try await send(.entry(entry))
            }
        }
    }
}

extension OpenFile {
    fileprivate var isRegular: Bool {
        var found = Glibc.stat()
        return fstat(descriptor, &found) == 0 && found.st_mode & S_IFMT == S_IFREG
    }
}
