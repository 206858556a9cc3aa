internal import ClusterModel

/// Makes inputs of valid ones: flips, truncations, splices, lengths that lie, interesting numbers, noise.
struct Mutator {
    private(set) var random: SplitMix64
    /// Longest input: longer than any datagram, and some way beyond a stream message's interesting lengths.
    static let bytesMax = 4_096

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    mutating func below(_ limit: Int) -> Int { Int(random.next() % UInt64(max(1, limit))) }

    /// An input near `corpus`; one of 64 is pure noise, one of 16 is unchanged.
    mutating func next(_ corpus: [[UInt8]]) -> [UInt8] {
        let kind = below(64)
        guard kind > 0, var bytes = corpus.isEmpty ? nil : corpus[below(corpus.count)] else { return noise() }
        guard kind > 4 else { return bytes }
        for _ in 0..<(1 + below(4)) { mutate(&bytes, corpus) }
        if bytes.count > Self.bytesMax { bytes.removeLast(bytes.count - Self.bytesMax) }
        return bytes
    }

    private mutating func noise() -> [UInt8] {
        (0..<below(256)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private mutating func mutate(_ bytes: inout [UInt8], _ corpus: [[UInt8]]) {
        guard !bytes.isEmpty else { return bytes.append(UInt8(truncatingIfNeeded: random.next())) }
        let place = below(bytes.count)
        switch below(9) {
        case 0: bytes[place] ^= 1 << UInt8(below(8))
        case 1: bytes[place] = UInt8(truncatingIfNeeded: random.next())
        case 2: bytes.removeLast(bytes.count - place)
        case 3: bytes.remove(at: place)
        case 4: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
        case 5:
            // A length that lies: the largest varint, the largest byte, zero, one more.
            let lies: [[UInt8]] = [[0xFF, 0xFF, 0xFF, 0xFF, 0x0F], [0xFF], [0x80, 0x01], [0], [bytes[place] &+ 1]]
            bytes.replaceSubrange(place..<min(bytes.count, place + 1), with: lies[below(lies.count)])
        case 6:
            let other = corpus[below(corpus.count)]
            bytes = Array(bytes[..<place]) + other.suffix(below(other.count + 1))
        case 7:
            let width = min(1 << below(4), bytes.count - place)
            let fill: [UInt8] = [0, 0xFF, 0x7F, 0x80]
            let value = fill[below(fill.count)]
            for index in place..<place + width { bytes[index] = value }
        default:
            let part = bytes[place..<min(bytes.count, place + 1 + below(32))]
            bytes.insert(contentsOf: part, at: place)
        }
    }
}
