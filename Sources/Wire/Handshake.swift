internal import ClusterKeys
internal import Sodium

/// The start of a link: three messages after which each side knows that the other has the cluster key and its identity.
///
/// ```
/// 1  dialer → listener   magic 4, ciphers 1, key id 1, cluster tag 2, e 32, mac 32 (keyed with the cluster key)
/// 2  listener → dialer   cipher 1, e 32, sealed { public key 32, boot id 8, signature 64 }
/// 3  dialer → listener   sealed { public key 32, boot id 8, signature 64 }
/// ```
/// The magic holds the version: nodes of versions that do not understand each other find that out at once. ciphers are
/// bits, one for each that the dialer can do; the listener takes the best that both can. Nobody in between can change
/// either unseen, as both are part of what is hashed. e are X25519 keys of this handshake only. Sealing keys come from the cluster key, the shared secret and the hash of
/// everything said before; signatures cover that hash and the signer's role. All messages have fixed lengths, so nothing
/// is allocated by a stranger's word.
struct Handshake {
    /// What a finished handshake gives.
    struct Result {
        let peerPublicKey: [UInt8]
        let peerBootID: UInt64
        /// The key of the ring that both sides used.
        let key: KeyFingerprint
        /// Which of the ring's keys both have.
        let clusterKeyID: UInt8
        var sealing: RecordCipher
        var opening: RecordCipher
    }

    enum Fault: Error, Equatable, CustomStringConvertible {
        /// Another cluster key or name, or no PeerBuild node at all.
        case wrongKey
        /// A PeerBuild node of another version.
        case otherVersion
        /// The peer can do none of this node's ciphers, or chose one that it was not offered.
        case noCipher
        /// The peer has the key but did not prove its identity.
        case unproved

        var description: String {
            switch self {
            case .wrongKey: "it does not have this cluster's key"
            case .otherVersion: "it speaks another version of the peer link"
            case .noCipher: "it has no cipher in common with this node"
            case .unproved: "it did not prove its identity"
            }
        }
    }

    enum Role: UInt8 {
        case dialer = 1
        case listener = 2

        var other: Role { self == .dialer ? .listener : .dialer }
    }

    private enum Expecting {
        case hello
        case reply
        case proof
        case nothing
    }

    private static let magic = Array("PBL2".utf8)
    private static let macBytes = 32
    private static let keyBytes = EphemeralKeyPair.publicKeyBytes
    private static let helloBytes = magic.count + 4 + keyBytes + macBytes
    private static let proofBytes = NodeIdentity.publicKeyBytes + 8 + NodeIdentity.signatureBytes + SealingKey.tagBytes

    private let role: Role
    private let identity: NodeIdentity
    private let bootID: UInt64
    private let clusterName: [UInt8]
    private let ring: ClusterKeyRing
    private let ciphers: [RecordAlgorithm]
    private let ephemeral: EphemeralKeyPair
    private var key: ClusterKey
    private var transcript: [UInt8]
    private var shared: SecretBytes?
    private var algorithm = RecordAlgorithm.chacha20Poly1305
    private var expecting: Expecting

    init(role: Role, configuration: PeerLinkConfiguration) throws {
        self.role = role
        identity = configuration.identity
        bootID = configuration.bootID
        clusterName = Array(configuration.clusterName.utf8)
        ring = configuration.keys
        ciphers = configuration.ciphers
        ephemeral = try EphemeralKeyPair()
        key = configuration.dialKey ?? configuration.keys.primary
        transcript = Array("peerbuild link 2 ".utf8) + clusterName
        expecting = role == .dialer ? .reply : .hello
    }

    /// Bytes of the message that must come next; 0 when none.
    var bytesWanted: Int {
        switch expecting {
        case .hello: Self.helloBytes
        case .reply: 1 + Self.keyBytes + Self.proofBytes
        case .proof: Self.proofBytes
        case .nothing: 0
        }
    }

    /// The dialer's first message.
    mutating func hello() -> [UInt8] {
        var message = Self.magic + [ciphers.reduce(0) { $0 | $1.bit }, key.id]
        message.append(number: tag(of: key))
        message += ephemeral.publicKey
        message += mac(of: message, key: key)
        transcript += message
        return message
    }

    /// Takes a message of `bytesWanted` bytes: what to answer, and the result when that was the last.
    mutating func receive(_ message: [UInt8]) throws -> (answer: [UInt8], result: Result?) {
        switch expecting {
        case .hello: return (try reply(to: message), nil)
        case .reply: return try prove(after: message)
        case .proof:
            let peer = try readProof(message[...], of: .dialer)
            expecting = .nothing
            return ([], try finish(peer))
        case .nothing: throw Fault.unproved
        }
    }

    // MARK: Messages

    private mutating func reply(to message: [UInt8]) throws -> [UInt8] {
        guard message.count == Self.helloBytes, message.starts(with: Self.magic) else {
            throw message.starts(with: Self.magic.dropLast()) ? Fault.otherVersion : Fault.wrongKey
        }
        let body = Array(message.dropLast(Self.macBytes))
        let received = Array(message.suffix(Self.macBytes))
        guard
            let match = ring.keys.first(where: {
                $0.id == body[Self.magic.count + 1] && KeyedHash.matches(mac(of: body, key: $0), received)
            })
        else { throw Fault.wrongKey }
        key = match
        guard let best = ciphers.first(where: { $0.bit & body[Self.magic.count] != 0 }) else { throw Fault.noCipher }
        algorithm = best
        transcript += message
        guard let secret = try ephemeral.exchange(with: Array(body.suffix(Self.keyBytes))) else { throw Fault.wrongKey }
        shared = secret
        let opening = [best.rawValue] + ephemeral.publicKey
        transcript += opening
        expecting = .proof
        return opening + (try proof())
    }

    private mutating func prove(after message: [UInt8]) throws -> (answer: [UInt8], result: Result?) {
        let opening = message.prefix(1 + Self.keyBytes)
        guard message.count == bytesWanted, let secret = try ephemeral.exchange(with: Array(opening.dropFirst())) else {
            throw Fault.wrongKey
        }
        shared = secret
        transcript += opening
        let peer = try readProof(message[opening.endIndex...], of: .listener)
        guard let chosen = ciphers.first(where: { $0.rawValue == opening.first }) else { throw Fault.noCipher }
        algorithm = chosen
        let answer = try proof()
        expecting = .nothing
        return (answer, try finish(peer))
    }

    /// Says who this node is, sealed and signed, and adds it to the transcript.
    private mutating func proof() throws -> [UInt8] {
        var message = identity.publicKey
        message.append(number: bootID)
        message += identity.sign(statement(of: role, publicKeyAndBoot: message))
        let plain = message.count
        message.append(contentsOf: repeatElement(0, count: SealingKey.tagBytes))
        try handshakeKey(of: role).seal(&message, range: 0..<plain, nonce: Self.zeroNonce, authenticating: clusterName)
        transcript += message
        return message
    }

    private mutating func readProof(_ sealed: ArraySlice<UInt8>, of sender: Role) throws -> (key: [UInt8], boot: UInt64)
    {
        var message = Array(sealed)
        guard message.count == Self.proofBytes,
            let range = try handshakeKey(of: sender).open(
                &message, range: 0..<message.count, nonce: Self.zeroNonce, authenticating: clusterName)
        else { throw Fault.wrongKey }
        var reader = ByteReader(message, in: range)
        guard let publicKey = reader.take(NodeIdentity.publicKeyBytes), let boot = reader.number(UInt64.self),
            let signature = reader.take(NodeIdentity.signatureBytes)
        else { throw Fault.unproved }
        let signed = statement(of: sender, publicKeyAndBoot: Array(message[..<(NodeIdentity.publicKeyBytes + 8)]))
        guard NodeIdentity.verify(Array(signature), of: signed, publicKey: Array(publicKey)) else {
            throw Fault.unproved
        }
        transcript += sealed
        return (Array(publicKey), boot)
    }

    private func finish(_ peer: (key: [UInt8], boot: UInt64)) throws -> Result {
        Result(
            peerPublicKey: peer.key, peerBootID: peer.boot, key: key.fingerprint, clusterKeyID: key.id,
            sealing: RecordCipher(key: try recordKey(role)), opening: RecordCipher(key: try recordKey(role.other)))
    }

    // MARK: Keys

    /// Each key of a handshake seals one message, so its nonce may be fixed.
    private static let zeroNonce = [UInt8](repeating: 0, count: SealingKey.nonceBytes)

    private func handshakeKey(of sender: Role) throws -> SealingKey { SealingKey(try derive("handshake", sender)) }

    private func recordKey(_ sender: Role) throws -> RecordKey {
        try RecordKey(try derive("traffic", sender), algorithm: algorithm)
    }

    /// Secret for `purpose` and the direction from `sender`, from the cluster key, the exchange and what was said.
    private func derive(_ purpose: String, _ sender: Role) throws -> SecretBytes {
        guard let shared else { preconditionFailure("keys before the exchange") }
        let mixed = try KeyedHash.derive(
            from: shared,
            label: KeyedHash.hash(Array("peerbuild link 2 mix".utf8) + KeyedHash.hash(transcript), key: key.secret))
        return try KeyedHash.derive(from: mixed, label: Array(purpose.utf8) + [sender.rawValue])
    }

    private func statement(of signer: Role, publicKeyAndBoot: [UInt8]) -> [UInt8] {
        Array("peerbuild link 2 identity ".utf8) + [signer.rawValue] + KeyedHash.hash(transcript) + publicKeyAndBoot
    }

    private func mac(of message: [UInt8], key: ClusterKey) -> [UInt8] {
        KeyedHash.hash(
            Array("peerbuild link 2 hello ".utf8) + clusterName + [0] + message, key: key.secret, count: Self.macBytes)
    }

    private func tag(of key: ClusterKey) -> UInt16 {
        let hash = KeyedHash.hash(Array("cluster tag ".utf8) + clusterName, key: key.secret)
        return UInt16(hash[0]) << 8 | UInt16(hash[1])
    }
}

extension RecordAlgorithm {
    /// Its place among the ciphers that a dialer offers.
    fileprivate var bit: UInt8 { 1 << (rawValue - 1) }
}
