internal import GRPCCore
internal import GRPCProtobuf
internal import PeerRuntime
internal import SwiftProtobuf
internal import Synchronization

/// A call with streams in both directions, driven by one body that reads and writes.
///
/// Go's servers send their headers with their first message, so a body that had to wait for the response would never
/// write the request that the server waits for. The body therefore runs beside the response.
struct DuplexCall<Request: SwiftProtobuf.Message, Response: SwiftProtobuf.Message>: Sendable {
    /// Messages that may wait for the body; more wait in HTTP/2's windows.
    private static var answersWaitingMax: Int { 4 }

    private let writer: RPCWriter<Request>
    /// What the other side sends; only one task may read it.
    let answers: Handoff<Response>

    /// Writes a message, waiting while the other side is slower.
    ///
    /// Throws when the stream takes no more: the other side has ended the call, and its status says why.
    func send(_ message: Request) async throws {
        do {
            try await writer.write(message)
        } catch {
            throw StreamClosed(cause: error)
        }
    }

    /// The next message; nil when the other side is done.
    func receive() async throws -> Response? { try await answers.next() }

    /// Runs the call until the body has ended, the request stream with it, and the other side has answered.
    ///
    /// Throws the body's own error, or the other side's status as `RPCError`; the latter only if `needsStatus` when the
    /// body is already done.
    static func run<Value: Sendable>(
        _ method: MethodDescriptor, on session: TunneledSession, metadata: Metadata = [:], needsStatus: Bool = true,
        _ body: @escaping @Sendable (DuplexCall) async throws -> Value
    ) async throws -> Value {
        let answers = Handoff<Response>(capacity: answersWaitingMax)
        let outcome = Promise<Value>()
        let request = StreamingClientRequest<Request>(metadata: metadata) { writer in
            // Nobody reads after the body: what still comes is dropped, and must not hold the response up.
            defer { answers.finish() }
            do {
                outcome.fulfil(try await body(DuplexCall(writer: writer, answers: answers)))
            } catch let error as StreamClosed {
                // Thrown on, it would reset the stream, perhaps before the status that closed it has been read.
                outcome.fail(error)
            } catch {
                outcome.fail(error)
                throw error
            }
        }
        do {
            return try await session.client.bidirectionalStreaming(
                request: request, descriptor: method, serializer: ProtobufSerializer<Request>(),
                deserializer: ProtobufDeserializer<Response>(), options: session.callOptions
            ) { response in
                do {
                    for try await message in response.messages { try await answers.send(message) }
                    answers.finish()
                } catch {
                    answers.finish(throwing: error)
                    throw error
                }
                return try await outcome.value
            }
        } catch {
            switch outcome.outcome {
            case .success(let value) where !needsStatus: return value
            // What a broken stream does to the body says less than the status that broke it.
            case .failure(let cause) where isOwn(cause): throw cause
            case .failure(let closed as StreamClosed) where error is StreamClosed: throw closed.cause
            default: throw error
            }
        }
    }

    /// Whether an error is the body's and not the stream's.
    private static func isOwn(_ error: any Error) -> Bool {
        !(error is StreamClosed || error is RPCError || error is CancellationError
            || "\(type(of: error))".hasSuffix("ChannelError"))
    }
}

/// The body wrote to a call that the other side had ended.
private struct StreamClosed: Error {
    /// What the stream said; of interest only when the other side ended the call as if all were well.
    let cause: any Error
}
