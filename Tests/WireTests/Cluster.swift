import ClusterModel
import Logging
import Sodium
import Synchronization
import Testing
import Wire

/// Log lines of one node, for tests that count them.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])

    func add(_ line: String) { lines.withLock { $0.append(line) } }
    func count(containing text: String) -> Int { lines.withLock { $0.count { $0.contains(text) } } }
}

struct LineHandler: LogHandler {
    let lines: LogLines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { lines.add("\(event.level) \(event.message)") }
}

/// A node's peer plane on loopback, for tests.
struct TestNode {
    let links: PeerLinks
    let address: PeerAddress
    let log: LogLines

    static func start(
        keys: ClusterKeyRing, host: String = "127.0.0.1", clusterName: String = "test", identity: NodeIdentity? = nil,
        times: LinkTimes = LinkTimes(), _ change: (inout PeerLinkConfiguration) -> Void = { _ in }
    ) async throws -> TestNode {
        let log = LogLines()
        var configuration = PeerLinkConfiguration(
            bind: PeerAddress(host: host, port: 0), identity: try identity ?? .generate(),
            bootID: BootID.make(unixSeconds: 1_000), keys: keys, clusterName: clusterName, times: times)
        change(&configuration)
        let links = try PeerLinks(
            configuration: configuration, logger: Logger(label: "test") { _ in LineHandler(lines: log) })
        await links.setHandler(serve)
        return TestNode(links: links, address: try await links.start(), log: log)
    }

    /// Services of tests: `echo` returns what it gets, `sink` counts bytes and says how many, `mute` never reads.
    static let serve: PeerLinks.Handler = { service, _, stream in
        do {
            switch service {
            case "echo":
                while let message = try await stream.receive() { try await stream.send(message) }
                await stream.finish()
            case "sink":
                var bytes = 0
                while let message = try await stream.receive() { bytes += message.count }
                try await stream.send(Array("\(bytes)".utf8))
                await stream.finish()
            case "mute":
                // Never reads; ends with its node.
                try await Task.sleep(for: .seconds(600))
            default: stream.reset()
            }
        } catch {
            stream.reset()
        }
    }

    func stop() async {
        await links.stop()
        #expect(links.handleCount == 0)
    }
}

/// Two nodes of one cluster; stopped when `body` is over.
func withPair(
    host: String = "127.0.0.1", times: LinkTimes = LinkTimes(),
    change: (inout PeerLinkConfiguration) -> Void = { _ in },
    _ body: (TestNode, TestNode) async throws -> Void
) async throws {
    let keys = ClusterKeyRing(primary: try .generate())
    let left = try await TestNode.start(keys: keys, host: host, times: times, change)
    let right = try await TestNode.start(keys: keys, host: host, times: times, change)
    do {
        try await body(left, right)
    } catch {
        Issue.record(error)
    }
    await left.stop()
    await right.stop()
}

/// Waits until `condition` holds, or fails after a minute: a machine that is busy with other things is no failure.
func eventually(_ what: String, _ condition: () async throws -> Bool) async rethrows {
    let end = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < end {
        if try await condition() { return }
        await Task.yield()
    }
    Issue.record("never came true: \(what)")
}
