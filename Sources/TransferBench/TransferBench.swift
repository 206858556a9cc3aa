internal import ClusterModel
internal import Foundation
internal import Glibc
internal import Logging
internal import OCI
internal import Snapshots
internal import Sodium
internal import Synchronization
internal import Transfer
internal import Wire

/// Moves a directory as a layer between stores over the sealed peer link, for `scripts/bench transfer`.
///
/// ```
/// transfer-bench commit STORE DIRECTORY          makes a layer, prints its id, bytes and seconds
/// transfer-bench serve STORE KEY HOST            serves until it is killed, prints its port
/// transfer-bench pull STORE KEY LAYER HOST:PORT… pulls, prints what it took
/// transfer-bench small STORE KEY LAYER HOST:PORT the same, with small requests on the same link all the time
/// ```
@main
enum TransferBench {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count >= 4 else { fail("usage: transfer-bench commit|serve|pull|small STORE ...") }
        let store = try SnapshotStore(root: arguments[2])
        switch (arguments[1], arguments.count) {
        case ("commit", 4): try commit(store, arguments[3])
        case ("serve", 5): try await serve(store, key: arguments[3], host: arguments[4])
        case ("pull", 6...), ("small", 6):
            try await pull(
                store, key: arguments[3], layer: arguments[4], Array(arguments[5...]),
                asksToo: arguments[1] == "small")
        default: fail("unknown command \(arguments[1])")
        }
    }

    private static func fail(_ why: String) -> Never {
        FileHandle.standardError.write(Data((why + "\n").utf8))
        exit(64)
    }

    private static func seconds(_ start: ContinuousClock.Instant) -> String {
        String(format: "%.3f", (ContinuousClock.now - start).inSeconds)
    }

    private static func commit(_ store: SnapshotStore, _ directory: String) throws {
        let start = ContinuousClock.now
        let layer = try store.importDirectory(directory).layer
        print("\(layer.id.hex) \(layer.bytes) \(seconds(start))")
    }

    private static func links(key: String, host: String) throws -> PeerLinks {
        try PeerLinks(
            configuration: PeerLinkConfiguration(
                bind: PeerAddress(host: host, port: 0), identity: .generate(),
                bootID: BootID.make(unixSeconds: 1_000), keys: ClusterKeyRing(file: key),
                clusterName: "bench"),
            logger: Logger(label: "bench"))
    }

    private static func serve(_ store: SnapshotStore, key: String, host: String) async throws {
        let links = try links(key: key, host: host)
        await links.setHandler { service, _, stream in
            do {
                if service == "echo" {
                    while let message = try await stream.receive() { try await stream.send(message) }
                    return await stream.finish()
                }
                guard let bytes = try await stream.receive(), let id = Digest(bytes: bytes) else {
                    return stream.reset()
                }
                try await store.serveLayer(id, on: stream)
            } catch { stream.reset() }
        }
        let port = try await links.start().port
        FileHandle.standardOutput.write(Data("\(port)\n".utf8))
        try await Task.sleep(for: .seconds(36_000))
    }

    private static func pull(
        _ store: SnapshotStore, key: String, layer: String, _ addresses: [String], asksToo: Bool
    ) async throws {
        guard let id = Digest(hex: layer) else { fail("no layer id: \(layer)") }
        let links = try links(key: key, host: "0.0.0.0")
        _ = try await links.start()
        let peers = addresses.map { text in
            guard let address = PeerAddress(text) else { fail("no address: \(text)") }
            return address
        }
        let holders = peers.enumerated().map { index, address in
            LayerHolder(id: UInt64(index)) {
                let stream = try await links.open("layer", to: address, expecting: nil, priority: .pull)
                try await stream.send(id.bytes)
                return stream
            }
        }
        let tally = Tally()
        let requests = Task { asksToo ? try await smallRequests(links, to: peers[0]) : [] }
        let start = ContinuousClock.now
        try await store.pullLayer(id, from: holders, observer: tally.observer)
        let time = seconds(start)
        requests.cancel()
        let values = tally.values
        var line = "seconds=\(time) content=\(values.content) wire=\(values.wire) dedupe=\(values.deduplicated)"
        line += " resume=\(values.resumed) \(usage())"
        let times = try await requests.value.sorted()
        if !times.isEmpty {
            let last = times.count - 1
            line += String(
                format: " asked=%d p50=%.3f p99=%.3f worst=%.3f", times.count, times[last / 2] * 1_000,
                times[last * 99 / 100] * 1_000, times[last] * 1_000)
        }
        while try !store.unsyncedLayers().isEmpty { try await Task.sleep(for: .milliseconds(10)) }
        print(line + " durable=\(seconds(start))")
        await links.stop()
    }

    /// Asks one small question after the other; the seconds of each.
    private static func smallRequests(_ links: PeerLinks, to address: PeerAddress) async throws -> [Double] {
        let stream = try await links.open("echo", to: address, expecting: nil)
        var times: [Double] = []
        while !Task.isCancelled {
            let start = ContinuousClock.now
            do {
                try await stream.send([1, 2, 3, 4, 5, 6, 7, 8])
                _ = try await stream.receive()
            } catch is CancellationError { break }
            times.append((ContinuousClock.now - start).inSeconds)
        }
        return times
    }

    /// Processor seconds of this process and the most that was resident, in MB.
    private static func usage() -> String {
        var usage = rusage()
        getrusage(Int32(RUSAGE_SELF.rawValue), &usage)
        let times = [usage.ru_utime, usage.ru_stime].map { Double($0.tv_sec) + Double($0.tv_usec) / 1e6 }
        return String(format: "cpu=%.2f rss=%.1f", times[0] + times[1], Double(usage.ru_maxrss) * 1_024 / 1e6)
    }
}

/// Sums of a pull.
private final class Tally: Sendable {
    struct Values: Sendable {
        var content: Int64 = 0
        var wire: Int64 = 0
        var deduplicated: Int64 = 0
        var resumed: Int64 = 0
    }

    private let state = Mutex(Values())
    var values: Values { state.withLock { $0 } }

    var observer: PullObserver {
        var observer = PullObserver()
        observer.received = { _, content, wire in
            self.state.withLock { ($0.content, $0.wire) = ($0.content + content, $0.wire + wire) }
        }
        observer.deduplicated = { bytes in self.state.withLock { $0.deduplicated += bytes } }
        observer.resumed = { bytes in self.state.withLock { $0.resumed += bytes } }
        observer.failed = { holder, why in
            FileHandle.standardError.write(Data("holder \(holder): \(why)\n".utf8))
        }
        return observer
    }
}
