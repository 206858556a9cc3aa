/// Why a registry did not do what was asked, in one line with the way out.
package struct RegistryError: Error, Sendable, CustomStringConvertible {
    /// What went wrong, as far as callers decide by it.
    package enum Kind: Sendable, Hashable {
        /// The registry has no such repository, tag or blob.
        case notFound
        /// It wants a login, or a better one (401).
        case unauthorized
        /// It knows who asks and refuses (403).
        case denied
        /// No connection, or it broke.
        case unreachable
        /// TLS could not be agreed on.
        case tls
        /// Its answer broke the protocol or its bytes do not match their digest.
        case invalid
        /// It failed itself (429, 5xx), or refused for another reason.
        case refused
        /// The image is not made for the platform.
        case noPlatform
    }

    package var kind: Kind
    /// The image or blob that was asked for.
    package var subject: String
    package var host: String
    package var status: Int?
    /// The registry's own words, or what broke.
    package var detail: String

    package init(_ kind: Kind, subject: String, host: String, status: Int? = nil, detail: String = "") {
        self.kind = kind
        self.subject = subject
        self.host = host
        self.status = status
        self.detail = detail
    }

    /// Whether the same request may work a little later.
    package var isPassing: Bool {
        switch kind {
        case .unreachable: true
        case .refused: status.map { $0 == 408 || $0 == 429 || $0 >= 500 } ?? false
        case .notFound, .unauthorized, .denied, .tls, .invalid, .noPlatform: false
        }
    }

    package var description: String { "\(subject): \(reason)" }

    /// The description without what was asked for, for callers that name it themselves.
    package var reason: String {
        switch kind {
        case .notFound: "not found (\(answer))"
        case .unauthorized:
            "\(host) wants a login (\(answer)); run \"docker login \(host)\" where the build is started, "
                + "or check that the repository exists"
        case .denied:
            "\(host) refuses access (\(answer)); the account needs permission for this repository"
        case .unreachable:
            "cannot reach \(host): \(detail); check the host name, the port and that the registry runs"
        case .tls:
            "no TLS connection to \(host): \(detail); for a registry without TLS set http = true, for one "
                + "with a private certificate set ca or insecure = true under [registry.\"\(host)\"]"
        case .invalid: "\(host) sent a wrong answer: \(detail)"
        case .refused: "\(host) failed (\(answer))"
        case .noPlatform: "\(detail)"
        }
    }

    private var answer: String {
        let code = status.map { "\(host) answered \($0)" } ?? host
        return detail.isEmpty ? code : code + ": " + detail
    }
}
