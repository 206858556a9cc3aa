package import ClusterModel

/// One node's part in finding others on its link: multicast DNS with service discovery (RFC 6762, RFC 6763), as a state
/// machine.
///
/// It answers for the service `_peerbuild._udp.local` with an instance that is named after the node's id, so that names are
/// unique without probing for them, and asks for the others' ever more seldom. What it finds is a hint like any seed: who
/// lacks the cluster's key is not heard. Give each event with the present time and carry out the effects in order.
package struct LinkBeacon: Sendable {
    package enum Event: Sendable {
        case start
        /// A datagram of the group, and the port that it came from.
        case datagram([UInt8], port: UInt16)
        case timer
        /// Takes back what was announced.
        case stop
    }

    package enum Effect: Hashable, Sendable {
        /// To the group, from its port, on all links.
        case send([UInt8])
        /// Deliver `.timer` at this instant. Replaces the former wake.
        case wake(at: MonotonicInstant)
        /// All that is known now.
        case found([PeerAddress])
    }

    package static let service = DNSName(["_peerbuild", "_udp", "local"])
    /// RFC 6762, section 3.
    package static let port: UInt16 = 5_353
    /// Lifetime of records, in seconds, as section 10 recommends for those that name a host.
    static let lifetime: UInt32 = 120
    /// Nodes of a link that are kept; more are ignored until some are gone.
    package static let foundMax = 32
    /// Addresses of one node.
    private static let addressesMax = 4
    private static let queryIntervalMin = Duration.seconds(1)
    /// Section 5.2 allows an hour; a node that starts announces itself, so that this is for lost packets only.
    private static let queryIntervalMax = Duration.seconds(60)
    /// Announced twice, a second apart (section 8.3).
    private static let announcements = 2
    /// Answers to a question of many wait so long, by chance, so that they do not meet (section 6).
    private static let answerDelay = 20...120

    private struct Found: Sendable {
        var addresses: [PeerAddress]
        var until: MonotonicInstant
    }

    private let instance: DNSName
    private let host: DNSName
    private let addresses: [PeerAddress]
    private var random: SplitMix64
    private var found: [DNSName: Found] = [:]
    private var queryAt: MonotonicInstant?
    private var queryInterval = queryIntervalMin
    private var announceAt: MonotonicInstant?
    private var announcementsLeft = announcements
    private var answerAt: MonotonicInstant?
    private var hasStopped = false
    private var effects: [Effect] = []
    /// Messages that are no DNS.
    package private(set) var malformed: UInt64 = 0

    /// `addresses` are what peers reach this node at; IP addresses in text form, of one port.
    package init(id: PeerID, addresses: [PeerAddress], random: SplitMix64) {
        let name = "\(id)"
        instance = DNSName(labels: [Array(name.utf8)] + Self.service.labels)
        host = DNSName(["peerbuild-" + name, "local"])
        self.addresses = Array(addresses.prefix(Self.addressesMax))
        self.random = random
    }

    package mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
        effects = []
        guard !hasStopped else { return effects }
        switch event {
        case .start:
            let delay = chance()
            queryAt = now + delay
            announceAt = now + delay
        case .datagram(let bytes, let port): receive(bytes, port, at: now)
        case .timer: runDue(at: now)
        case .stop:
            effects.append(.send(response(lifetime: 0).encoded()))
            hasStopped = true
            return effects
        }
        if let next = [queryAt, announceAt, answerAt, found.values.map(\.until).min()].compactMap(\.self).min() {
            effects.append(.wake(at: next))
        }
        return effects
    }

    private mutating func chance() -> Duration {
        .milliseconds(Self.answerDelay.lowerBound + Int(random.next() >> 33) % Self.answerDelay.count)
    }

    private mutating func runDue(at now: MonotonicInstant) {
        if let due = queryAt, due <= now {
            effects.append(.send(query().encoded()))
            queryAt = now + queryInterval
            queryInterval = min(queryInterval * 2, Self.queryIntervalMax)
        }
        if let due = announceAt, due <= now {
            effects.append(.send(response(lifetime: Self.lifetime).encoded()))
            announcementsLeft -= 1
            announceAt = announcementsLeft > 0 ? now + .seconds(1) : nil
        }
        if let due = answerAt, due <= now {
            effects.append(.send(response(lifetime: Self.lifetime).encoded()))
            answerAt = nil
        }
        let count = found.count
        found = found.filter { $0.value.until > now }
        if found.count != count { tell() }
    }

    // MARK: Messages

    private func query() -> DNSMessage {
        var message = DNSMessage(isResponse: false)
        message.questions = [DNSMessage.Question(name: Self.service, kind: DNSMessage.Kind.ptr.rawValue)]
        // Who is known already need not answer (section 7.1).
        for name in found.keys.sorted(by: { $0.labels[0].lexicographicallyPrecedes($1.labels[0]) }) {
            message.records.append(pointer(to: name, lifetime: Self.lifetime))
        }
        return message
    }

    private func pointer(to name: DNSName, lifetime: UInt32) -> DNSMessage.Record {
        DNSMessage.Record(name: Self.service, lifetime: lifetime, content: .pointer(name))
    }

    private func response(lifetime: UInt32) -> DNSMessage {
        var message = DNSMessage(isResponse: true)
        let port = addresses.first?.port ?? 0
        message.records = [
            pointer(to: instance, lifetime: lifetime),
            DNSMessage.Record(
                name: instance, lifetime: lifetime, content: .service(target: host, port: port), isUnique: true),
            // A TXT record must be there, with one empty string at least (RFC 6763, section 6.1).
            DNSMessage.Record(name: instance, lifetime: lifetime, content: .text([0]), isUnique: true),
        ]
        for address in addresses where address.port == port {
            guard let bytes = IPAddressText.bytes(of: address.host) else { continue }
            message.records.append(
                DNSMessage.Record(name: host, lifetime: lifetime, content: .address(bytes), isUnique: true))
        }
        return message
    }

    private mutating func receive(_ bytes: [UInt8], _ port: UInt16, at now: MonotonicInstant) {
        let message: DNSMessage
        do throws(DNSMessage.Fault) { message = try DNSMessage(decoding: bytes) } catch {
            malformed += 1
            return
        }
        if message.isResponse {
            // Of another port it is no multicast DNS (section 6).
            if port == Self.port { learn(message.records, at: now) }
        } else if asksForUs(message), answerAt == nil {
            answerAt = now + chance()
        }
    }

    private func asksForUs(_ query: DNSMessage) -> Bool {
        let kinds: Set<UInt16> = [DNSMessage.Kind.ptr.rawValue, 255]
        let isAsked = query.questions.contains {
            $0.name == Self.service && kinds.contains($0.kind) || $0.name == instance
        }
        let isKnown = query.records.contains {
            $0.content == .pointer(instance) && $0.lifetime >= Self.lifetime / 2
        }
        return isAsked && !isKnown
    }

    /// Takes instances of the service with their addresses; both have to be in one message, as all nodes send them.
    private mutating func learn(_ records: [DNSMessage.Record], at now: MonotonicInstant) {
        var hosts: [DNSName: [[UInt8]]] = [:]
        for record in records {
            guard case .address(let bytes) = record.content else { continue }
            hosts[record.name, default: []].append(bytes)
        }
        var isNews = false
        for record in records where record.name != instance && Self.isInstance(record.name) {
            guard case .service(let target, let port) = record.content, port > 0 else { continue }
            guard record.lifetime > 0 else {
                isNews = found.removeValue(forKey: record.name) != nil || isNews
                continue
            }
            let known = hosts[target, default: []].prefix(Self.addressesMax).compactMap { bytes in
                IPAddressText.text(of: bytes).map { PeerAddress(host: $0, port: port) }
            }
            guard !known.isEmpty, found[record.name] != nil || found.count < Self.foundMax else { continue }
            isNews = isNews || found[record.name]?.addresses != known
            let seconds = Int64(min(record.lifetime, Self.lifetime))
            found[record.name] = Found(addresses: known, until: now + .seconds(seconds))
        }
        if isNews { tell() }
    }

    private static func isInstance(_ name: DNSName) -> Bool {
        name.labels.count == service.labels.count + 1 && Array(name.labels.dropFirst()) == service.labels
    }

    private mutating func tell() {
        effects.append(.found(found.values.flatMap(\.addresses).sorted()))
    }
}
