internal import ClusterModel
internal import Glibc
internal import Logging
internal import Sodium
internal import Wire

/// Moves messages between two peer planes of this process over loopback and prints what that costs.
///
/// `LinkBenchmark [MIB [ROUNDS]] [inline|threads] [chacha]`: one line a round. MB are 10^6 bytes; processor time is that of both ends together,
/// reader and writer included. Small requests of 8 bytes go one after the other beside the bulk, on the same link.
@main struct LinkBenchmark {
    static func main() async throws {
        let numbers = CommandLine.arguments.dropFirst().compactMap { Int($0) }
        let mebibytes = numbers.first ?? 1024
        let rounds = numbers.dropFirst().first ?? 3
        let keys = ClusterKeyRing(primary: try .generate())
        let near = try await start(keys)
        let far = try await start(keys)
        print(try await Requests.run(from: near, to: far.address, while: Flag(count: 2_000)).text("idle"))
        for round in 1...rounds {
            print(try await bulk(mebibytes: mebibytes, near, far.address).text("bulk \(round)"))
        }
        print("resident \(residentPeakKilobytes() / 1000) MB at most, both ends together")
        await near.links.stop()
        await far.links.stop()
    }

    struct Plane {
        let links: PeerLinks
        let address: PeerAddress
    }

    private static func start(_ keys: ClusterKeyRing) async throws -> Plane {
        var configuration = PeerLinkConfiguration(
            bind: PeerAddress(host: "127.0.0.1", port: 0), identity: try .generate(), bootID: 1, keys: keys)
        if CommandLine.arguments.contains("inline") { configuration.usesCipherThreads = false }
        if CommandLine.arguments.contains("threads") { configuration.usesCipherThreads = true }
        if CommandLine.arguments.contains("chacha") { configuration.ciphers = [.chacha20Poly1305] }
        let links = try PeerLinks(configuration: configuration, logger: Logger(label: "bench"))
        await links.setHandler { service, _, stream in
            do {
                var bytes = 0
                while let message = try await stream.receive() {
                    bytes += message.count
                    if service == "echo" { try await stream.send(message) }
                }
                if service == "sink" { try await stream.send(Array("\(bytes)".utf8)) }
                await stream.finish()
            } catch {
                stream.reset()
            }
        }
        return Plane(links: links, address: try await links.start())
    }

    private static func bulk(mebibytes: Int, _ near: Plane, _ far: PeerAddress) async throws -> Figures {
        let stream = try await near.links.open("sink", to: far, expecting: nil)
        let message = RandomBytes.make(1 << 20)
        let flag = Flag(count: Int.max)
        async let requests = Requests.run(from: near, to: far, while: flag)
        let start = ContinuousClock.now
        let busy = processorSeconds()
        for _ in 0..<mebibytes { try await stream.send(message) }
        await stream.finish()
        let answer = try await stream.receive()
        let wall = start.duration(to: .now).seconds
        let cost = processorSeconds() - busy
        await flag.end()
        guard answer == Array("\(mebibytes << 20)".utf8) else { throw Lost() }
        var figures = try await requests
        let megabytes = Double(mebibytes << 20) / 1e6
        figures.bulk = (megabytes / wall, cost / megabytes * 1000)
        return figures
    }

    struct Lost: Error {}

    static func processorSeconds() -> Double {
        var usage = rusage()
        getrusage(Int32(RUSAGE_SELF.rawValue), &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    static func residentPeakKilobytes() -> Int {
        var usage = rusage()
        getrusage(Int32(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss
    }
}

/// Says when to stop.
actor Flag {
    private var left: Int

    init(count: Int) { left = count }

    func take() -> Bool {
        left -= 1
        return left >= 0
    }

    func end() { left = 0 }
}

/// Small requests, one after the other.
enum Requests {
    static func run(from near: LinkBenchmark.Plane, to far: PeerAddress, while flag: Flag) async throws -> Figures {
        let stream = try await near.links.open("echo", to: far, expecting: nil)
        let message = [UInt8](repeating: 1, count: 8)
        var times: [Double] = []
        while await flag.take() {
            let start = ContinuousClock.now
            try await stream.send(message)
            guard try await stream.receive() == message else { throw LinkBenchmark.Lost() }
            times.append(start.duration(to: .now).seconds * 1000)
        }
        await stream.finish()
        return Figures(requests: times.sorted())
    }
}

struct Figures {
    /// Round trips in milliseconds, ascending.
    var requests: [Double]
    /// MB/s and processor seconds per GB.
    var bulk: (rate: Double, cost: Double)?

    func text(_ name: String) -> String {
        var text = name + ":"
        if let bulk { text += " \(rounded(bulk.rate, 0)) MB/s, \(rounded(bulk.cost, 2)) CPU-s/GB," }
        guard let last = requests.last else { return text + " no small requests" }
        func quantile(_ part: Double) -> Double {
            requests[min(requests.count - 1, Int(Double(requests.count) * part))]
        }
        return text + " \(requests.count) small requests: p50 \(rounded(quantile(0.5), 3)) ms,"
            + " p99 \(rounded(quantile(0.99), 3)) ms, worst \(rounded(last, 3)) ms"
    }

    private func rounded(_ value: Double, _ digits: Int) -> String {
        let scale = pow(10, Double(digits))
        let whole = (value * scale).rounded() / scale
        return digits == 0 ? "\(Int(whole))" : "\(whole)"
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
