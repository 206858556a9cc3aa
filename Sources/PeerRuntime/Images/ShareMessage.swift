internal import ClusterModel
internal import OCI

/// What nodes say to each other on an `image` stream.
///
/// One kind byte, then fields in order; texts and blocks have their length in front.
enum ShareMessage: Equatable {
    /// The first message: gives the blob from `offset` on.
    case ask(Ask)
    /// The answerer does not have it and does not get it: why.
    case refused(String)
    /// The answerer needs the asker's login for a registry host.
    case wantLogin(host: String)
    /// nil is anonymous.
    case login(Login?)
    /// The answerer is at it and has no bytes yet.
    case waiting
    case bytes([UInt8])
    case end
    /// The first message: what was this reference lately?
    case askResolution(String)
    case resolution(Descriptor, ageSeconds: UInt32)

    enum Mode: UInt8 {
        /// Only if you have it, or are getting it from the registry right now.
        case hold = 0
        /// Get it for the cluster if you do not have it.
        case get = 1
    }

    struct Ask: Equatable {
        var mode: Mode
        var blob: Descriptor
        var offset: UInt64
        /// `HOST/REPOSITORY` that has the blob.
        var repository: String
    }

    struct Login: Equatable {
        var username: String
        var secret: String
    }

    /// Longest text; a registry's token may be long.
    static let textBytesMax = 64 << 10
    static let shortTextBytesMax = 1024
    static let payloadBytesMax = 512 << 10

    private enum Kind: UInt8 {
        case ask = 1
        case refused, wantLogin, anonymous, login, waiting, bytes, end, askResolution, resolution
    }

    var encoded: [UInt8] {
        var writer = ByteWriter()
        func begin(_ kind: Kind) { writer.append(kind.rawValue) }
        switch self {
        case .ask(let ask):
            begin(.ask)
            writer.append(ask.mode.rawValue)
            Self.append(ask.blob, to: &writer)
            writer.append(ask.offset)
            writer.append(text: ask.repository)
        case .refused(let why):
            begin(.refused)
            writer.append(text: String(decoding: why.utf8.filter { $0 >= 32 }.prefix(512), as: UTF8.self))
        case .wantLogin(let host):
            begin(.wantLogin)
            writer.append(text: host)
        case .login(nil): begin(.anonymous)
        case .login(let login?):
            begin(.login)
            writer.appendBlock(login.username.utf8)
            writer.appendBlock(login.secret.utf8)
        case .waiting: begin(.waiting)
        case .bytes(let bytes):
            begin(.bytes)
            writer.append(contentsOf: bytes)
        case .end: begin(.end)
        case .askResolution(let reference):
            begin(.askResolution)
            writer.append(text: reference)
        case .resolution(let descriptor, let age):
            begin(.resolution)
            Self.append(descriptor, to: &writer)
            writer.append(age)
        }
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(CodecError) {
        var reader = ByteReader(bytes)
        guard let kind = Kind(rawValue: try reader.read()) else { throw .invalid(field: "kind") }
        switch kind {
        case .ask:
            guard let mode = Mode(rawValue: try reader.read()) else { throw .invalid(field: "mode") }
            self = .ask(
                Ask(
                    mode: mode, blob: try Self.descriptor(&reader), offset: try reader.read(),
                    repository: try reader.readText("repository", limit: Self.shortTextBytesMax)))
        case .refused: self = .refused(try reader.readText("reason", limit: Self.shortTextBytesMax))
        case .wantLogin: self = .wantLogin(host: try reader.readText("host", limit: Self.shortTextBytesMax))
        case .anonymous: self = .login(nil)
        case .login:
            self = .login(
                Login(username: try Self.secret(&reader, "user name"), secret: try Self.secret(&reader, "secret")))
        case .waiting: self = .waiting
        case .bytes:
            guard reader.remaining <= Self.payloadBytesMax else { throw .outOfRange(field: "bytes") }
            self = .bytes(try reader.read(count: reader.remaining))
        case .end: self = .end
        case .askResolution:
            self = .askResolution(try reader.readText("reference", limit: Self.shortTextBytesMax))
        case .resolution: self = .resolution(try Self.descriptor(&reader), ageSeconds: try reader.read())
        }
        try reader.finish()
    }

    private static func secret(_ reader: inout ByteReader, _ field: String) throws(CodecError) -> String {
        guard let text = String(validating: try reader.readBlock(field, limit: textBytesMax), as: UTF8.self) else {
            throw .invalid(field: field)
        }
        return text
    }

    private static func append(_ descriptor: Descriptor, to writer: inout ByteWriter) {
        writer.append(contentsOf: descriptor.digest.bytes)
        writer.append(UInt64(clamping: descriptor.size))
        writer.append(text: descriptor.mediaType)
    }

    private static func descriptor(_ reader: inout ByteReader) throws(CodecError) -> Descriptor {
        guard let digest = Digest(bytes: try reader.read(count: 32)) else { throw .invalid(field: "digest") }
        guard let size = Int64(exactly: try reader.read(UInt64.self)) else { throw .outOfRange(field: "size") }
        return Descriptor(
            mediaType: try reader.readText("media type", limit: shortTextBytesMax), digest: digest, size: size)
    }
}
