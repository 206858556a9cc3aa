internal import AsyncHTTPClient
internal import Foundation
internal import NIOCore
internal import NIOHTTP1

/// A registry's answer: its head, and a body that is read with a bound.
struct HTTPAnswer: Sendable {
    /// Longest error text that is taken into a message.
    private static let errorBytesMax = 64 << 10
    private static let errorTextMax = 300

    private let response: HTTPClientResponse

    init(_ response: HTTPClientResponse) { self.response = response }

    var status: HTTPResponseStatus { response.status }
    var body: HTTPClientResponse.Body { response.body }

    func header(_ name: String) -> String? { response.headers.first(name: name) }
    func headers(_ name: String) -> [String] { response.headers[name] }

    var contentLength: Int64? { header("Content-Length").flatMap { Int64($0) } }

    /// The whole body; throws when it is longer than `bytesMax`.
    func body(bytesMax: Int, subject: String, host: String) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        do {
            for try await piece in response.body {
                guard bytes.count + piece.readableBytes <= bytesMax else {
                    throw RegistryError(
                        .invalid, subject: subject, host: host,
                        detail: "more than \(bytesMax) bytes where fewer are allowed")
                }
                bytes += piece.readableBytesView
            }
        } catch {
            throw HTTPTransport.mapped(error, subject: subject, host: host)
        }
        return bytes
    }

    /// Reads the body away, so that its connection can be used again.
    func discard() async {
        _ = try? await response.body.collect(upTo: Self.errorBytesMax)
    }

    /// The error that a status other than success means, with the registry's own words.
    func error(subject: String, host: String) async throws -> RegistryError {
        let kind: RegistryError.Kind =
            switch status.code {
            case 401: .unauthorized
            case 403: .denied
            case 404: .notFound
            default: .refused
            }
        return RegistryError(
            kind, subject: subject, host: host, status: Int(status.code), detail: await words() ?? status.reasonPhrase)
    }

    private func words() async -> String? {
        guard let buffer = try? await response.body.collect(upTo: Self.errorBytesMax) else { return nil }
        let data = Data(buffer.readableBytesView)
        if let answer = try? JSONDecoder().decode(ErrorAnswer.self, from: data) {
            let texts = answer.errors.map { error in
                [error.code?.lowercased().replacing("_", with: " "), error.message].compactMap(\.self)
                    .filter { !$0.isEmpty }.joined(separator: ": ")
            }
            if !texts.isEmpty { return String(texts.joined(separator: "; ").prefix(Self.errorTextMax)) }
        }
        guard header("Content-Type")?.hasPrefix("text/plain") == true else { return nil }
        let text = String(decoding: data.prefix(Self.errorTextMax), as: UTF8.self)
        let line = text.split(whereSeparator: \.isNewline).first.map(String.init)
        return line?.trimmingCharacters(in: .whitespaces)
    }

    /// Error body of the distribution-spec ("Error Codes").
    private struct ErrorAnswer: Decodable {
        var errors: [Entry]

        struct Entry: Decodable {
            var code: String?
            var message: String?
        }
    }
}
