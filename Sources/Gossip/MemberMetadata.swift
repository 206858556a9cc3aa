package import ClusterModel

/// What a member says of itself; gossiped whole in its alive record.
package struct MemberMetadata: Hashable, Sendable {
    package var name: String
    /// Where others reach it, for datagrams and streams alike.
    package var address: PeerAddress
    /// More ways to it, such as by the other IP version, in the order in which they are tried; at most 2.
    package var alternatives: [PeerAddress]
    /// `os/arch[/variant]`, best first.
    package var platforms: [String]
    package var labels: [String: String]
    package var version: String
    /// Steps that may run at once.
    package var slots: UInt16

    package init(
        name: String, address: PeerAddress, alternatives: [PeerAddress] = [], platforms: [String] = [],
        labels: [String: String] = [:], version: String = "", slots: UInt16 = 1
    ) {
        self.name = name
        self.address = address
        self.alternatives = alternatives
        self.platforms = platforms
        self.labels = labels
        self.version = version
        self.slots = slots
    }

    /// An alive record must fit a 512-byte packet beside a ping: 448 plaintext bytes less header, ping and frame.
    static let encodedBytesMax = 320
    static let alternativesMax = 2
    static let nameBytesMax = 64
    static let versionBytesMax = 64
    static let platformsMax = 16
    static let labelsMax = 32
    static let textBytesMax = 255

    func encode(into writer: inout ByteWriter) {
        writer.append(text: name)
        writer.append(address)
        writer.appendVarint(alternatives.count)
        for alternative in alternatives { writer.append(alternative) }
        writer.append(slots)
        writer.append(text: version)
        writer.appendVarint(platforms.count)
        for platform in platforms { writer.append(text: platform) }
        writer.appendVarint(labels.count)
        for (key, value) in labels.sorted(by: { $0.key < $1.key }) {
            writer.append(text: key)
            writer.append(text: value)
        }
    }

    init(from reader: inout ByteReader) throws(CodecError) {
        name = try reader.readText("name", limit: Self.nameBytesMax)
        guard !name.isEmpty else { throw .invalid(field: "name") }
        address = try reader.readAddress()
        alternatives = []
        for _ in 0..<(try reader.readVarint("alternatives", limit: Self.alternativesMax)) {
            alternatives.append(try reader.readAddress())
        }
        slots = try reader.read()
        version = try reader.readText("version", limit: Self.versionBytesMax)
        platforms = []
        for _ in 0..<(try reader.readVarint("platforms", limit: Self.platformsMax)) {
            platforms.append(try reader.readText("platform", limit: Self.textBytesMax))
        }
        labels = [:]
        for _ in 0..<(try reader.readVarint("labels", limit: Self.labelsMax)) {
            let key = try reader.readText("label", limit: Self.textBytesMax)
            guard labels.updateValue(try reader.readText("label", limit: Self.textBytesMax), forKey: key) == nil
            else { throw .invalid(field: "label") }
        }
    }

    /// Its addresses in order, over and over.
    func address(at index: Int) -> PeerAddress {
        let place = index % (1 + alternatives.count)
        return place == 0 ? address : alternatives[place - 1]
    }

    /// Whether the member advertises this address.
    func isReached(at address: PeerAddress) -> Bool { self.address == address || alternatives.contains(address) }

    /// Fails when other members would refuse the record.
    func validate() throws(GossipConfigurationError) {
        var writer = ByteWriter()
        encode(into: &writer)
        do throws(CodecError) {
            var reader = ByteReader(writer.bytes)
            _ = try MemberMetadata(from: &reader)
        } catch {
            switch error {
            case .outOfRange(let field), .invalid(let field): throw .metadataInvalid(field: field)
            case .truncated, .trailingBytes: throw .metadataInvalid(field: "metadata")
            }
        }
        guard writer.bytes.count <= Self.encodedBytesMax else {
            throw .metadataTooLarge(bytes: writer.bytes.count, limit: Self.encodedBytesMax)
        }
    }
}
