package import ClusterModel

/// Keeps a node's key ring equal to that of the other members while keys change: what it tells whom, when a step of an
/// order is done, and when a key is dropped.
///
/// Members exchange whole rings, which merge in any order (`KeyRing`). It happens when a ring changes here, when a member's
/// load record shows another key set, and when somebody seals with another key: a node that was away then gets what it
/// missed under the key that it has. While older keys exist, members that are down are asked too: behind a partition that
/// has healed they may have rotated, and their datagrams open nowhere.
///
/// No I/O: events and the time go in, effects come out. `.timer` has to come when `.wake` said, or sooner.
package struct KeyRotation<Key: RingKey>: Sendable {
    package struct Settings: Sendable {
        /// How long a removed key opens.
        package var graceSeconds: UInt64
        /// How long members may take to show a step before the operator is told who does not.
        package var agreementLimit = Duration.seconds(30)
        /// Between two looks while an order waits for members.
        package var pollInterval = Duration.milliseconds(100)
        /// Between two looks otherwise.
        package var sweepInterval = Duration.seconds(2)
        /// Members that are spoken to at once.
        package var exchangesAtOnce = 8
        /// Of those that are down, in one sweep.
        package var awayAtOnce = 4

        package init(graceSeconds: UInt64) { self.graceSeconds = graceSeconds }
    }

    /// A member other than this node.
    package struct Peer: Sendable {
        package var id: PeerID
        package var address: PeerAddress
        package var name: String
        /// Alive or suspect; who is not is dead, and has not said good-bye.
        package var isUp: Bool
        /// What its load record shows.
        package var keySet: UInt16

        package init(id: PeerID, address: PeerAddress, name: String, isUp: Bool, keySet: UInt16) {
            self.id = id
            self.address = address
            self.name = name
            self.isUp = isUp
            self.keySet = keySet
        }
    }

    /// The time by both clocks.
    package struct Moment: Sendable {
        package var now: MonotonicInstant
        /// Graces go on while the node is down.
        package var unixSeconds: UInt64

        package init(now: MonotonicInstant, unixSeconds: UInt64) {
            self.now = now
            self.unixSeconds = unixSeconds
        }
    }

    package enum Event: Sendable {
        /// With all members but this node and those that left.
        case timer([Peer])
        /// A peer seals with another key than this node.
        case otherKey(PeerID, PeerAddress)
        /// A peer tells its ring and waits for this node's.
        case exchangeRequested(token: UInt64, KeyRing<Key>)
        case exchangeAnswered(number: UInt64, KeyRing<Key>)
        /// `wasReached`: something took the connection, but not the key.
        case exchangeFailed(number: UInt64, wasReached: Bool)
        case ordered(token: UInt64, KeyOrder<Key>)
        /// The ring that was to be adopted could not be written down.
        case notKept
    }

    package enum Effect: Sendable {
        /// Tell the peer this ring, and bring what it answers.
        case exchange(number: UInt64, with: PeerID, at: PeerAddress, KeyRing<Key>)
        case answer(token: UInt64, KeyRing<Key>)
        /// Write the ring down, then seal and open with it: in this order, so that a restart never falls back.
        case adopt(KeyRing<Key>, Cause)
        /// The peer there has this node's ring.
        case agreed(PeerAddress)
        /// The order is over; with nil, all members that are up have it.
        case finish(token: UInt64, KeyOrderError?)
        case wake(at: MonotonicInstant)
    }

    package enum Cause: Sendable, Hashable {
        case graceOver
        case ordered(KeyStep)
        /// A peer's ring knew more; nil: one that asked.
        case learned(from: PeerID?)
    }

    struct Exchange: Sendable {
        var peer: PeerID
        var address: PeerAddress
        /// Handshakes that it may still fail before the next sweep.
        var triesLeft: Int
    }

    /// An order under way.
    struct Command: Sendable {
        var token: UInt64
        var step: KeyStep
        /// Nil: an order of one step.
        var rotation: Rotation?
        var deadline: MonotonicInstant
        /// Members that showed the ring as it is.
        var agreed: Set<PeerID> = []
    }

    struct Rotation: Sendable {
        var key: Key
        /// What it replaces; known when the new key seals.
        var replaced: [KeyFingerprint] = []
    }

    package internal(set) var ring: KeyRing<Key>
    let settings: Settings
    /// What is on disk.
    var kept: KeyRing<Key>
    var command: Command?
    var exchanges: [UInt64: Exchange] = [:]
    var numbers: UInt64 = 0
    var sweepAt = MonotonicInstant.zero
    /// Who was asked last of those that are down.
    var awayAsked: PeerID?
    /// When a peer was asked last, for its key or its key set alone; of peers lately asked.
    var askedAt: [PeerID: MonotonicInstant] = [:]
    var effects: [Effect] = []
    /// Rings exchanged with peers, and those that failed, since the start.
    package private(set) var exchangesDone: UInt64 = 0
    package private(set) var exchangesFailed: UInt64 = 0
    /// Rings of peers since the start of which nothing was taken, because they would have left no key here.
    package private(set) var ringsRefused: UInt64 = 0

    /// `ring` is what the node uses now, and what its root keeps.
    package init(ring: KeyRing<Key>, settings: Settings) {
        self.ring = ring
        kept = ring
        self.settings = settings
    }

    /// What the load record shows of the ring.
    package var keySet: UInt16 { UInt16(truncatingIfNeeded: ring.setHash) }

    package mutating func handle(_ event: Event, at moment: Moment) -> [Effect] {
        effects = []
        switch event {
        case .timer(let peers): timer(peers, moment)
        case .otherKey(let peer, let address): ask(peer, at: address, moment.now)
        case .exchangeRequested(let token, let theirs):
            learn(theirs, from: nil, moment)
            effects.append(.answer(token: token, ring))
        case .exchangeAnswered(let number, let theirs): answered(number, theirs, moment)
        case .exchangeFailed(let number, let wasReached): failed(number, wasReached: wasReached)
        case .ordered(let token, let order): begin(order, token, moment)
        case .notKept: giveUp()
        }
        // A node that has no secret key has nothing to tell.
        if ring.isSecret {
            let next = command == nil ? sweepAt : min(sweepAt, moment.now + settings.pollInterval)
            effects.append(.wake(at: next))
        }
        return effects
    }

    // MARK: The ring

    mutating func adopt(_ fresh: KeyRing<Key>, _ cause: Cause) {
        ring = fresh
        command?.agreed = []
        effects.append(.adopt(fresh, cause))
    }

    /// The shell says at once when it could not keep a ring, so `kept` is the one before until the next event.
    private mutating func giveUp() {
        ring = kept
        if let command {
            effects.append(.finish(token: command.token, .notKept))
            self.command = nil
        }
    }

    /// The ring that was adopted last is on disk.
    package mutating func wasKept() { kept = ring }

    private mutating func learn(_ theirs: KeyRing<Key>, from peer: PeerID?, _ moment: Moment) {
        var merged = ring
        switch merged.learn(theirs, at: moment.unixSeconds, graceSeconds: settings.graceSeconds) {
        case .changed: adopt(merged, .learned(from: peer))
        case .known: break
        case .refused: ringsRefused += 1
        }
    }

    // MARK: Exchanges

    func isAsked(_ peer: PeerID) -> Bool { exchanges.values.contains { $0.peer == peer } }

    mutating func exchange(with peer: PeerID, at address: PeerAddress, triesLeft: Int = 0) {
        guard ring.isSecret, !isAsked(peer) else { return }
        numbers += 1
        exchanges[numbers] = Exchange(peer: peer, address: address, triesLeft: triesLeft)
        effects.append(.exchange(number: numbers, with: peer, at: address, ring))
    }

    /// Exchanges once a sweep at most, whatever a peer's datagrams and links say.
    private mutating func ask(_ peer: PeerID, at address: PeerAddress, _ now: MonotonicInstant) {
        if let last = askedAt[peer], now < last + settings.sweepInterval { return }
        if askedAt.count >= Self.askedMax { askedAt = [:] }
        askedAt[peer] = now
        exchange(with: peer, at: address, triesLeft: ring.entries.count)
    }

    /// More peers than a cluster has.
    private static var askedMax: Int { 16_384 }

    private mutating func answered(_ number: UInt64, _ theirs: KeyRing<Key>, _ moment: Moment) {
        guard let exchange = exchanges.removeValue(forKey: number) else { return }
        exchangesDone += 1
        learn(theirs, from: exchange.peer, moment)
        guard theirs.agrees(with: ring) else { return }
        command?.agreed.insert(exchange.peer)
        effects.append(.agreed(exchange.address))
    }

    private mutating func failed(_ number: UInt64, wasReached: Bool) {
        guard let failed = exchanges.removeValue(forKey: number) else { return }
        exchangesFailed += 1
        guard wasReached, failed.triesLeft > 0 else { return }
        // Its next key, at once: the partition may have healed for all but this.
        exchange(with: failed.peer, at: failed.address, triesLeft: failed.triesLeft - 1)
    }
}
