internal import BuildKitProtocol
internal import Foundation

extension Fsutil_Types_Packet {
    /// Bytes of an error text that are believed.
    private static let failureBytesMax = 4_096

    private init(_ type: PacketType, id: UInt32 = 0, data: Data = Data()) {
        self.init()
        self.type = type
        self.id = id
        self.data = data
    }

    static func entry(_ stat: Fsutil_Types_Stat) -> Self {
        var packet = Self()
        packet.stat = stat
        return packet
    }

    static func content(id: UInt32, _ bytes: [UInt8]) -> Self { Self(.packetData, id: id, data: Data(bytes)) }
    static func request(_ id: UInt32) -> Self { Self(.packetReq, id: id) }
    static func failure(_ text: String) -> Self { Self(.packetErr, data: Data(text.utf8.prefix(failureBytesMax))) }
    static var finish: Self { Self(.packetFin) }

    var failureText: String { String(decoding: data.prefix(Self.failureBytesMax), as: UTF8.self) }
}

extension FileSyncError {
    /// Whether the other side knows already, or is gone.
    var isFromOtherSide: Bool {
        switch self {
        case .remote, .endedEarly: true
        case .system, .violation, .nameNotUTF8: false
        }
    }
}
