package import Logging
package import OCI

/// Speaks the OCI distribution protocol with any number of registries; one for a whole node.
package final class RegistryClient: Sendable {
    private let configuration: RegistryConfiguration
    private let transport: HTTPTransport
    private let logger: Logger

    package init(configuration: RegistryConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        transport = HTTPTransport(configuration: configuration)
    }

    /// Access to the repository of `reference` as the owner of `credentials`.
    ///
    /// Tokens are kept in the access and nowhere else. `isInsecure` allows HTTP and unverified TLS for this access
    /// (the exporter attribute `registry.insecure`).
    package func repository(
        of reference: Reference, credentials: any CredentialSource, isInsecure: Bool = false
    ) -> Repository {
        var configuration = configuration
        if isInsecure { configuration.hosts[reference.host, default: RegistryHostConfiguration()].insecure = true }
        return Repository(
            reference: reference, configuration: configuration, transport: transport,
            authorizer: Authorizer(credentials: credentials, transport: transport), allowsHTTP: isInsecure,
            logger: logger)
    }

    /// Closes all connections; nothing may be asked afterwards.
    package func shutdown() async throws { try await transport.shutdown() }
}
