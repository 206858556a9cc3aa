internal import ClusterModel
internal import Glibc

/// `peerbuild-fuzz [--inputs N] [--seconds S] [--seed N] [--only NAME]`: mutated messages into every decoder.
///
/// Prints one line a decoder and ends with 1 when one broke a promise; a trap ends the process with the seed and the
/// decoder on standard error before it.
struct FuzzRun {
    private static let batch = 2_000
    /// Growth of the process beyond this is a decoder that takes memory by a length alone.
    private static let memoryBytesMax = 512 << 20

    var inputs: Int?
    var seconds: Int?
    var seed: UInt64 = 1
    var only: String?

    init(_ arguments: some Sequence<String>) {
        var rest = Array(arguments)
        while rest.count >= 2 {
            let (name, value) = (rest.removeFirst(), rest.removeFirst())
            switch name {
            case "--inputs": inputs = Int(value)
            case "--seconds": seconds = Int(value)
            case "--seed": seed = UInt64(value) ?? seed
            case "--only": only = value
            default: Self.leave("unknown option \(name)")
            }
        }
        guard rest.isEmpty, inputs != nil || seconds != nil else {
            Self.leave("usage: peerbuild-fuzz [--inputs N] [--seconds S] [--seed N] [--only NAME]")
        }
    }

    func run() throws {
        let start = ContinuousClock.now
        let targets = try Registry.targets(seed: seed).filter { only.map($0.name.contains) ?? true }
        guard !targets.isEmpty else { Self.leave("no decoder is called like \"\(only ?? "")\"") }
        var total = 0
        var round: UInt64 = 0
        var counts = [String: (decoded: Int, refused: Int)]()
        for target in targets {
            for bytes in target.corpus {
                if case .failed(let what) = target.check(bytes) { Self.fail(target, bytes, what) }
                if case .refused = target.check(bytes), target.name != "datagram seal" {
                    Self.fail(target, bytes, "a valid input is refused")
                }
            }
        }
        while !isOver(total, start) {
            for (index, target) in targets.enumerated() {
                var mutator = Mutator(seed: SplitMix64.mix(seed ^ round << 16 ^ UInt64(index)))
                for _ in 0..<Self.batch {
                    let bytes = mutator.next(target.corpus)
                    switch target.check(bytes) {
                    case .decoded: counts[target.name, default: (0, 0)].decoded += 1
                    case .refused: counts[target.name, default: (0, 0)].refused += 1
                    case .failed(let what): Self.fail(target, bytes, what)
                    }
                }
                total += Self.batch
                if isOver(total, start) { break }
            }
            round += 1
        }
        let taken = start.duration(to: .now)
        for target in targets {
            let count = counts[target.name] ?? (0, 0)
            print(
                "\(target.name): \(count.decoded + count.refused) inputs, \(count.decoded) decoded, \(count.refused) refused"
            )
        }
        print(
            "fuzz: \(total) inputs in \(taken.components.seconds) s, seed \(seed), at most \(Self.peakBytes >> 20) MB, no promise broken"
        )
        guard Self.peakBytes < Self.memoryBytesMax else { Self.leave("memory grew to \(Self.peakBytes) bytes") }
    }

    private func isOver(_ total: Int, _ start: ContinuousClock.Instant) -> Bool {
        if let inputs, total < inputs { return false }
        if let seconds, start.duration(to: .now) < .seconds(seconds) { return false }
        return true
    }

    private static var peakBytes: Int {
        var usage = rusage()
        getrusage(Int32(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss << 10
    }

    private static func fail(_ target: FuzzTarget, _ bytes: [UInt8], _ what: String) -> Never {
        let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        leave("\(target.name): \(what): \(digits)")
    }

    private static func leave(_ message: String) -> Never {
        let line = Array("fuzz: \(message)\n".utf8)
        _ = write(STDERR_FILENO, line, line.count)
        exit(1)
    }
}

try FuzzRun(CommandLine.arguments.dropFirst()).run()
