internal import ClusterModel
internal import ContentStore
internal import Dispatch
internal import Glibc
internal import OCI
internal import Synchronization
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// A store on a real file system (overlayfs cannot have its upper directory on another overlay), removed with it.
final class TestStore: Sendable {
    let root: String
    let snapshots: SnapshotStore
    private static let numbers = Atomic<Int>(0)

    init(disk: DiskCalls = .system, transferLimits: TransferLimits = TransferLimits()) throws {
        root = Self.freshDirectory()
        snapshots = try SnapshotStore(root: root + "/store", disk: disk, transferLimits: transferLimits)
    }

    deinit {
        for mount in (try? SnapshotStore.mounts(below: root)) ?? [] { try? OverlayMount.unmount(mount) }
        removeTree(root)
    }

    static func freshDirectory() -> String {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp"
        let path = base + "/peerbuild-snapshots-\(getpid())-\(numbers.add(1, ordering: .relaxed).newValue)"
        mkdir(path, 0o755)
        return path
    }

    /// A layer with what a shell script does in the tree of `chain`.
    func layer(over chain: LayerChain = .scratch, _ script: String) throws -> LayerChain {
        let work = try snapshots.prepare(over: chain)
        shell("cd '\(work.path)' && \(script)")
        guard let layer = try snapshots.commit(work) else { return chain }
        return chain.appending(layer)
    }

    /// Everything about a tree, as find, getfattr and sha256sum see it.
    func dump(_ chain: LayerChain) throws -> String {
        let view = try snapshots.view(of: chain)
        defer { view.release() }
        return treeDump(view.path)
    }

    /// The tree as our scanner sees it through the mount, hard links as files.
    func scanned(_ chain: LayerChain) throws -> [LayerEntry] {
        let view = try snapshots.view(of: chain)
        defer { view.release() }
        var scanner = TreeScanner(form: .plain)
        try scanner.scan(FileDescriptor.open(view.path, O_RDONLY | O_DIRECTORY))
        var files: [[UInt8]: LayerEntry.Kind] = [:]
        for entry in scanner.entries { files[entry.path] = entry.kind }
        return scanner.entries.filter { !$0.path.isEmpty }.map { entry in
            var entry = entry
            if case .hardlink(let target) = entry.kind, let kind = files[target] { entry.kind = kind }
            return entry
        }.sorted { $0.path.lexicographicallyPrecedes($1.path) }
    }

    /// The tree as `MergedTree` has it.
    func merged(_ chain: LayerChain) throws -> [LayerEntry] {
        var entries: [LayerEntry] = []
        func visit(_ node: MergedTree.Node, _ path: [UInt8]) {
            for child in node.children {
                let childPath = path.isEmpty ? child.name : path + [UInt8(ascii: "/")] + child.name
                var entry = child.node.entry
                entry.path = childPath
                entry.kind = child.node.kind
                entries.append(entry)
                visit(child.node, childPath)
            }
        }
        visit(try snapshots.tree(of: chain).root, [])
        return entries.sorted { $0.path.lexicographicallyPrecedes($1.path) }
    }

    func exported(_ layer: Digest) throws -> [UInt8] {
        var bytes: [UInt8] = []
        let diffID = try snapshots.exportTar(layer) { bytes.append(contentsOf: $0) }
        #expect(diffID == Digest.of(bytes))
        return bytes
    }
}

/// Runs a script; its failure is the test's.
func shell(_ script: String, sourceLocation: SourceLocation = #_sourceLocation) {
    let status = system("set -e; export LC_ALL=C; \(script)")
    #expect(status == 0, "script failed: \(script)", sourceLocation: sourceLocation)
}

/// What a script prints.
func output(_ script: String) -> String {
    guard let pipe = popen("export LC_ALL=C; " + script, "r") else { return "" }
    defer { pclose(pipe) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = fread(&buffer, 1, buffer.count, pipe)
        if count == 0 { break }
        bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
}

/// Expects equal dumps, and shows only the lines that differ.
func expectSame(_ left: String, _ right: String, sourceLocation: SourceLocation = #_sourceLocation) {
    let lines = (Set(left.split(separator: "\n")), Set(right.split(separator: "\n")))
    let difference = lines.0.symmetricDifference(lines.1).sorted().map { (lines.0.contains($0) ? "- " : "+ ") + $0 }
    #expect(difference.isEmpty, "\(difference.joined(separator: "\n"))", sourceLocation: sourceLocation)
    #expect(left.count == right.count, sourceLocation: sourceLocation)
}

func treeDump(_ path: String) -> String {
    output(
        """
        cd '\(path)' && find . -mindepth 1 -printf '%P %y %m %U %G %T@ %l\\n' | sort
        find . -mindepth 1 -type f -printf '%P %n %s\\n' | sort; find . \\( -type b -o -type c \\) -exec stat -c '%n %t %T' {} + | sort
        find . -type f -exec sha256sum {} + | sort; getfattr -R -h -d -m - -e hex . | sed '/^#/!b'
        """)
}

/// Bytes to read once.
typealias Bytes = ArchiveBytes

struct StreamReset: Error {}

/// Two ends of a stream in memory.
final class MemoryStream: PeerStream {
    /// What may wait for its reader, as on a link.
    static let windowBytes = 2 << 20

    private struct Inbox {
        var messages: [[UInt8]] = []
        var bytes = 0
        var writer: CheckedContinuation<Void, Never>?
        var isFinished = false
        var isReset = false
        var waiting: CheckedContinuation<Void, Never>?
    }

    private final class Pipe: Sendable {
        let inbox = Mutex(Inbox())
        func change(_ body: (inout Inbox) -> Void) {
            let waiting = inbox.withLock { inbox in
                body(&inbox)
                defer { (inbox.waiting, inbox.writer) = (nil, nil) }
                return [inbox.waiting, inbox.writer]
            }
            for continuation in waiting { continuation?.resume() }
        }
        /// Waits until there is room, or the stream is over.
        func waitForRoom() async {
            await withCheckedContinuation { continuation in
                let isReady = inbox.withLock { inbox in
                    if inbox.isReset || inbox.bytes < windowBytes { return true }
                    inbox.writer = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        }
    }

    private let incoming: Pipe
    private let outgoing: Pipe
    /// Changes messages on their way out; nil drops the link.
    private let tamper: @Sendable ([UInt8]) -> [UInt8]?
    let sentBytes = Atomic<Int>(0)

    private init(_ incoming: Pipe, _ outgoing: Pipe, _ tamper: @escaping @Sendable ([UInt8]) -> [UInt8]?) {
        self.incoming = incoming
        self.outgoing = outgoing
        self.tamper = tamper
    }

    static func pair(
        tamper: @escaping @Sendable ([UInt8]) -> [UInt8]? = { $0 }
    ) -> (puller: MemoryStream, holder: MemoryStream) {
        let (first, second) = (Pipe(), Pipe())
        return (MemoryStream(first, second, { $0 }), MemoryStream(second, first, tamper))
    }

    func send(_ message: [UInt8]) async throws {
        #expect(message.count <= 256 << 10)
        sentBytes.add(message.count, ordering: .relaxed)
        guard !incoming.inbox.withLock({ $0.isReset }), let changed = tamper(message) else {
            reset()
            throw StreamReset()
        }
        await outgoing.waitForRoom()
        outgoing.change {
            $0.messages.append(changed)
            $0.bytes += changed.count
        }
    }

    func receive() async throws -> [UInt8]? {
        while true {
            let next = try incoming.inbox.withLock { inbox -> [UInt8]?? in
                if inbox.isReset { throw StreamReset() }
                if !inbox.messages.isEmpty { return inbox.messages.removeFirst() }
                return inbox.isFinished ? .some(nil) : nil
            }
            if let next {
                incoming.change { $0.bytes -= next?.count ?? 0 }
                return next
            }
            await withCheckedContinuation { continuation in
                let isReady = incoming.inbox.withLock { inbox in
                    if inbox.isReset || inbox.isFinished || !inbox.messages.isEmpty { return true }
                    inbox.waiting = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        }
    }

    func finish() async { outgoing.change { $0.isFinished = true } }

    func reset() {
        outgoing.change { $0.isReset = true }
        incoming.change { $0.isReset = true }
    }
}

final class Counter: Sendable {
    let value = Atomic<Int64>(0)
}

/// What a pull told.
final class PullTally: Sendable {
    struct Values: Sendable {
        var content: Int64 = 0
        /// Of `content`, by holder.
        var given: [UInt64: Int64] = [:]
        var wire: Int64 = 0
        var deduplicated: Int64 = 0
        var resumed: Int64 = 0
        var liars: [UInt64] = []
        var failed: [UInt64] = []
    }

    private let state = Mutex(Values())
    var values: Values { state.withLock { $0 } }

    var observer: PullObserver {
        var observer = PullObserver()
        observer.received = { holder, content, wire in
            self.state.withLock {
                ($0.content, $0.wire) = ($0.content + content, $0.wire + wire)
                $0.given[holder, default: 0] += content
            }
        }
        observer.deduplicated = { bytes in self.state.withLock { $0.deduplicated += bytes } }
        observer.resumed = { bytes in self.state.withLock { $0.resumed += bytes } }
        observer.lied = { id in self.state.withLock { $0.liars.append(id) } }
        observer.failed = { id, _ in self.state.withLock { $0.failed.append(id) } }
        return observer
    }
}

/// A holder whose store serves through memory; `tamper` changes its messages, nil drops the link.
func memoryHolder(
    _ id: UInt64, _ layer: Digest, _ store: SnapshotStore, isKnown: Bool = true, sent: Counter = Counter(),
    tamper: @escaping @Sendable ([UInt8]) -> [UInt8]? = { $0 }
) -> LayerHolder {
    LayerHolder(id: id, isKnown: isKnown) {
        let (near, far) = MemoryStream.pair(tamper: {
            sent.value.add(Int64($0.count), ordering: .relaxed)
            return tamper($0)
        })
        DispatchQueue.global().async {
            Task { do { try await store.serveLayer(layer, on: far) } catch { far.reset() } }
        }
        return near
    }
}

/// Pulls a layer from one store into another, through memory.
func transfer(
    _ layer: Digest, from holder: SnapshotStore, to puller: SnapshotStore,
    tamper: @escaping @Sendable ([UInt8]) -> [UInt8]? = { $0 }
) async throws -> (bytes: Int64, wire: Int) {
    let (tally, sent) = (PullTally(), Counter())
    try await puller.pullLayer(
        layer, from: [memoryHolder(1, layer, holder, sent: sent, tamper: tamper)], observer: tally.observer)
    return (tally.values.content, Int(sent.value.load(ordering: .relaxed)))
}
