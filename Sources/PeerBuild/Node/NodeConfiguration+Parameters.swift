internal import BuildKitAPI
internal import ClusterModel
internal import Foundation
internal import OCI
internal import PeerRuntime
internal import Registry
internal import Sodium

extension NodeConfiguration {
    /// What the runtime is started with: files read, defaults of the machine filled in.
    func parameters() throws -> NodeParameters {
        let keys = try clusterKeyFile.map { try ClusterKeyRing(file: $0) } ?? ClusterKeyRing.withoutKey()
        guard let bind = PeerAddress(bind) else {
            throw NodeConfigurationError(faults: ["--bind: \"\(bind)\" is no HOST:PORT"])
        }
        var parameters = NodeParameters(name: name, root: root, bind: bind, keys: keys)
        parameters.advertise = try advertise.map { text throws(NodeConfigurationError) in
            guard let address = PeerAddress(text) else {
                throw NodeConfigurationError(faults: ["--advertise: \"\(text)\" is no HOST:PORT"])
            }
            return address
        }
        if let keyGraceSeconds { parameters.keyGraceSeconds = UInt64(keyGraceSeconds) }
        parameters.join = join
        parameters.usesMulticastDNS = usesMulticastDNS
        parameters.clusterName = clusterName
        if let packetLimit { parameters.packetLimit = packetLimit }
        parameters.transferRateMax = rateLimit
        parameters.servedTransfersMax = servingMax
        parameters.slots = slots ?? ProcessInfo.processInfo.activeProcessorCount
        parameters.mapBudget = mapBudget
        parameters.labels = labels
        parameters.platforms = platforms.isEmpty ? [.host] : platforms
        parameters.registries = registries.mapValues { settings in
            RegistryHostConfiguration(
                http: settings.isHTTP ? true : nil, insecure: settings.isInsecure, mirrors: settings.mirrors,
                ca: settings.authorities)
        }
        parameters.entitlements = Set(entitlements.map(\.rawValue))
        parameters.runtimePath = runtime
        parameters.forbidsNewPrivileges = forbidsNewPrivileges
        parameters.version = PeerBuildCommand.version
        parameters.startSeconds = UInt32(clamping: Int(Date().timeIntervalSince1970))
        parameters.seed = RandomBytes.seed()
        return parameters
    }

    var apiAddresses: [APIAddress] {
        addresses.map { address in
            switch address {
            case .unix(let path): .unix(path: path)
            case .tcp(let host, let port): .tcp(host: host, port: UInt16(clamping: port))
            }
        }
    }

    var apiTLS: APITLS? {
        tls.map { APITLS(authority: $0.authority, certificate: $0.certificate, key: $0.key) }
    }
}
