internal import Foundation
internal import GRPCNIOTransportHTTP2

/// Files for mutual TLS: clients must show a certificate that the authority signed.
package struct APITLS: Sendable, Hashable {
    package var authority: String
    package var certificate: String
    package var key: String

    package init(authority: String, certificate: String, key: String) {
        self.authority = authority
        self.certificate = certificate
        self.key = key
    }

    /// Checks that each file can be read, so that the error names it.
    func transportSecurity() throws(APIServerError) -> HTTP2ServerTransport.Posix.TransportSecurity {
        for (option, path) in [("--tlscacert", authority), ("--tlscert", certificate), ("--tlskey", key)] {
            guard FileManager.default.isReadableFile(atPath: path) else {
                let reason = FileManager.default.fileExists(atPath: path) ? "permission denied" : "no such file"
                throw .unreadableTLSFile(option: option, path: path, reason: reason)
            }
        }
        return .mTLS(
            certificateChain: [.file(path: certificate, format: .pem)], privateKey: .file(path: key, format: .pem)
        ) { tls in
            tls.trustRoots = .certificates([.file(path: authority, format: .pem)])
            // Clients are named by nothing but their certificate; their host name means nothing.
            tls.clientCertificateVerification = .noHostnameVerification
            tls.requireALPN = true
        }
    }
}
