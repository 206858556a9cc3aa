internal import ClusterModel

/// Addresses to join through: seeds for ever, remembered members while this node is alone.
struct JoinSchedule: Sendable {
    struct Contact: Sendable {
        let address: PeerAddress
        /// Who answered there last.
        var peer: PeerID?
        var failures = 0
        var nextAt: MonotonicInstant
        var isAsking = false
    }

    static let backOffMin: Duration = .seconds(1)
    static let backOffMax: Duration = .seconds(60)
    /// A seed that is a member is looked at again after this long.
    static let checkInterval: Duration = .seconds(5)
    static let seedsMax = 64
    static let rememberedMax = 256
    /// Remembered members that are asked at once.
    static let rememberedAtOnce = 3

    private(set) var seeds: [Contact] = []
    private var remembered: [PeerAddress]
    private var cursor = 0
    private var rounds = 0
    private(set) var rememberedNextAt: MonotonicInstant?
    /// When the seeds' names are looked up without any other cause.
    private var nextLookUpAt: MonotonicInstant?
    /// Looking up since; no answer by `lookUpLimit` is taken for the old answer.
    private var lookUpDeadline: MonotonicInstant?
    private var vainLookUps = 0

    static let lookUpLimit: Duration = .seconds(5)

    init(remembered: [MemberSnapshot], own: PeerID) {
        self.remembered = remembered.filter { $0.id != own }.prefix(Self.rememberedMax).map(\.address)
    }

    /// Takes new seed addresses; those that stay keep their state.
    mutating func replaceSeeds(_ addresses: [PeerAddress], at now: MonotonicInstant) {
        var kept: [Contact] = []
        for address in addresses.prefix(Self.seedsMax) where !kept.contains(where: { $0.address == address }) {
            kept.append(seeds.first { $0.address == address } ?? Contact(address: address, nextAt: now))
        }
        seeds = kept
        if rememberedNextAt == nil, !remembered.isEmpty { rememberedNextAt = now }
        if nextLookUpAt == nil { nextLookUpAt = now + (seeds.isEmpty ? Self.backOffMin : Self.backOffMax) }
    }

    /// Whether the names are to be looked up now; a yes counts as begun.
    mutating func wantsLookUp(at now: MonotonicInstant, hasDue: Bool, random: inout SplitMix64) -> Bool {
        guard lookUpDeadline == nil, hasDue || nextLookUpAt.map({ $0 <= now }) == true else { return false }
        lookUpDeadline = now + Self.lookUpLimit
        nextLookUpAt = now + Self.backOff(failures: seeds.isEmpty ? vainLookUps + 1 : 6, random: &random)
        if seeds.isEmpty { vainLookUps += 1 }
        return true
    }

    mutating func lookedUp(at now: MonotonicInstant) {
        lookUpDeadline = nil
        if !seeds.isEmpty { vainLookUps = 0 }
    }

    /// Whether the resolver was silent for too long: the addresses known are tried.
    mutating func gaveUpLookUp(at now: MonotonicInstant) -> Bool {
        guard let deadline = lookUpDeadline, deadline <= now else { return false }
        lookUpDeadline = nil
        return true
    }

    var nextAt: MonotonicInstant? {
        let tries = lookUpDeadline ?? seeds.filter { !$0.isAsking }.map(\.nextAt).min()
        return [tries, lookUpDeadline == nil ? nextLookUpAt : nil, rememberedNextAt].compactMap(\.self).min()
    }

    /// The seeds whose time has come; the caller says per seed whether it is asked.
    func dueSeeds(at now: MonotonicInstant) -> [Contact] { seeds.filter { !$0.isAsking && $0.nextAt <= now } }

    mutating func postpone(_ address: PeerAddress, at now: MonotonicInstant) {
        change(address) { $0.nextAt = now + Self.checkInterval }
    }

    mutating func asked(_ address: PeerAddress) {
        change(address) { $0.isAsking = true }
    }

    /// Returns whether this is news: the first answer, or one after failures.
    mutating func answered(_ address: PeerAddress, by peer: PeerID, at now: MonotonicInstant) -> Bool {
        guard let before = seeds.first(where: { $0.address == address }) else { return false }
        change(address) {
            $0.peer = peer
            $0.failures = 0
            $0.isAsking = false
            $0.nextAt = now + Self.checkInterval
        }
        return before.peer != peer || before.failures > 0
    }

    /// Returns whether this is the first failure in a row.
    mutating func failed(_ address: PeerAddress, at now: MonotonicInstant, random: inout SplitMix64) -> Bool {
        guard let before = seeds.first(where: { $0.address == address }) else { return false }
        let delay = Self.backOff(failures: before.failures, random: &random)
        change(address) {
            $0.failures += 1
            $0.isAsking = false
            $0.nextAt = now + delay
        }
        return before.failures == 0
    }

    /// The remembered addresses to ask now; none once this node has company.
    mutating func dueRemembered(at now: MonotonicInstant, isAlone: Bool, random: inout SplitMix64) -> [PeerAddress] {
        guard let due = rememberedNextAt, due <= now, !remembered.isEmpty else { return [] }
        guard isAlone else {
            rounds = 0
            rememberedNextAt = now + Self.checkInterval
            return []
        }
        let batch = (0..<min(Self.rememberedAtOnce, remembered.count)).map {
            remembered[(cursor + $0) % remembered.count]
        }
        cursor = (cursor + batch.count) % remembered.count
        // A whole lap without an answer lengthens the wait.
        let laps = rounds * Self.rememberedAtOnce / remembered.count
        rounds += 1
        rememberedNextAt = now + Self.backOff(failures: laps, random: &random)
        return batch
    }

    /// 1 s, 2 s, 4 s … 60 s, each ± 10 %, so that seeds that come back are not met by all at once.
    private static func backOff(failures: Int, random: inout SplitMix64) -> Duration {
        let base = min(backOffMax, backOffMin * (1 << min(failures, 6)))
        let jitter = Double(random.next() >> 11) / Double(1 << 53)
        return base * (0.9 + 0.2 * jitter)
    }

    private mutating func change(_ address: PeerAddress, _ change: (inout Contact) -> Void) {
        guard let index = seeds.firstIndex(where: { $0.address == address }) else { return }
        change(&seeds[index])
    }
}
