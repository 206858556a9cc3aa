internal import BuildKitProtocol
internal import BuildSession
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCProtobuf
internal import PeerRuntime
internal import SwiftProtobuf

/// One connection to a client's SSH agent: a byte stream over a call that the session runs.
final class AgentConnection: ByteDuplex {
    /// Pieces that may wait in each direction.
    private static let piecesMax = 8
    /// Largest piece sent, as BuildKit's own forwarder has it.
    private static let pieceBytesMax = 32 << 10

    private let incoming = Handoff<[UInt8]>(capacity: piecesMax)
    private let outgoing = Handoff<[UInt8]>(capacity: piecesMax)
    private let closed = Promise<Void>()

    func read() async throws -> [UInt8]? { try await incoming.next() }

    func write(_ bytes: [UInt8]) async throws {
        if let outcome = closed.outcome { try outcome.get() }
        var rest = bytes[...]
        while !rest.isEmpty {
            try await outgoing.send(Array(rest.prefix(Self.pieceBytesMax)))
            rest = rest.dropFirst(Self.pieceBytesMax)
        }
    }

    func finishWriting() async { outgoing.finish() }

    func close() {
        closed.fulfil(())
        outgoing.finish()
        incoming.finish()
    }

    /// Carries the connection until the agent ends it or `close` was called.
    func run(agent id: String, on session: TunneledSession) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                do {
                    try await self.forward(agent: id, on: session)
                    self.incoming.finish()
                    self.closed.fulfil(())
                } catch {
                    let error = session.meaning(of: error)
                    self.incoming.finish(throwing: error)
                    self.closed.fail(error)
                }
                self.outgoing.finish()
            }
            group.addTask { try? await self.closed.value }
            await group.next()
            group.cancelAll()
        }
    }

    private func forward(agent id: String, on session: TunneledSession) async throws {
        typealias Message = Moby_Sshforward_V1_BytesMessage
        let request = StreamingClientRequest<Message>(
            metadata: ["buildkit.ssh.id": .string(id.isEmpty ? "default" : id)]
        ) { writer in
            while let piece = try await self.outgoing.next() {
                try await writer.write(.with { $0.data = Data(piece) })
            }
        }
        try await session.client.bidirectionalStreaming(
            request: request, descriptor: Moby_Sshforward_V1_SSH.Method.ForwardAgent.descriptor,
            serializer: ProtobufSerializer<Message>(), deserializer: ProtobufDeserializer<Message>(),
            options: session.callOptions
        ) { response in
            for try await message in response.messages { try await self.incoming.send(Array(message.data)) }
        }
    }
}
