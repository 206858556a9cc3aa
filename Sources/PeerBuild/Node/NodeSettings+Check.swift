internal import Foundation
internal import OCI

/// Everything that is wrong with a node's configuration, all at once.
struct NodeConfigurationError: Error, Hashable, CustomStringConvertible, UserFacing {
    let faults: [String]

    var description: String { "the configuration can't be used:\n" + faults.map { "  " + $0 }.joined(separator: "\n") }
}

extension NodeSettings {
    /// Longest name of a node or cluster; it travels in every gossip message.
    private static let nameBytesMax = 64

    /// The configuration that these settings make.
    ///
    /// `hostName` is the default name.
    func configuration(hostName: String) throws(NodeConfigurationError) -> NodeConfiguration {
        var check = Check(settings: self, hostName: hostName)
        let configuration = check.run()
        guard check.faults.isEmpty else { throw NodeConfigurationError(faults: check.faults) }
        return configuration
    }

    private struct Check {
        let settings: NodeSettings
        let hostName: String
        var faults: [String] = []

        mutating func run() -> NodeConfiguration {
            var result = NodeConfiguration(name: text(.name) ?? hostName)
            checkName(result.name, .name)
            result.root = text(.root) ?? result.root
            if !result.root.hasPrefix("/") { fault(.root, result.root, "must be an absolute path") }
            result.clusterName = text(.clusterName) ?? result.clusterName
            checkName(result.clusterName, .clusterName)
            result.clusterKeyFile = text(.clusterKeyFile)
            result.addresses = (texts(.addr) ?? [NodeConfiguration.defaultSocket]).compactMap { listenAddress($0) }
            let hasKey = result.clusterKeyFile != nil
            result.bind =
                text(.bind)
                ?? (hasKey ? NodeConfiguration.defaultBind : NodeConfiguration.defaultBindWithoutKey)
            checkEndpoint(result.bind, .bind, allowsPortZero: true)
            if !hasKey, let host = Self.endpoint(result.bind)?.host, !Self.isLoopback(host) {
                fault(.bind, result.bind, "needs --cluster-key-file; without a key only loopback is served")
            }
            readCluster(&result)
            result.runtime = text(.runtime)
            result.forbidsNewPrivileges = flag(.noNewPrivileges)
            result.usesMulticastDNS = flag(.mdns)
            readLimits(&result)
            readLists(&result)
            readLog(&result)
            readTLS(&result)
            result.registries = settings.registries
            return result
        }

        // MARK: Parts

        private mutating func readCluster(_ result: inout NodeConfiguration) {
            result.advertise = texts(.advertise) ?? []
            for advertise in result.advertise { checkEndpoint(advertise, .advertise, allowsPortZero: false) }
            if result.advertise.count > NodeConfiguration.advertiseMax {
                fault(
                    .advertise, result.advertise.joined(separator: ","),
                    "names more than \(NodeConfiguration.advertiseMax) addresses")
            }
            result.join = texts(.join) ?? []
            // A bare name is one with SRV records.
            for seed in result.join where seed.contains(":") || !Self.isDNSName(seed) {
                checkEndpoint(seed, .join, allowsPortZero: false)
            }
            guard let text = text(.keyGrace) else { return }
            if let seconds = Self.seconds(text), (0...NodeConfiguration.keyGraceSecondsMax).contains(seconds) {
                result.keyGraceSeconds = seconds
            } else {
                fault(.keyGrace, text, "must be a time from 0s to 168h, such as 24h")
            }
        }

        /// `90s`, `30m` or `24h`; a bare number is seconds.
        private static func seconds(_ text: String) -> Int? {
            let units: [Character: Int] = ["s": 1, "m": 60, "h": 3_600]
            guard let last = text.last else { return nil }
            let unit = units[last]
            guard let number = Int(unit == nil ? text[...] : text.dropLast()), number >= 0 else { return nil }
            let (product, overflow) = number.multipliedReportingOverflow(by: unit ?? 1)
            return overflow ? nil : product
        }

        private static func isDNSName(_ text: String) -> Bool {
            text.contains(where: \.isLetter)
                && text.utf8.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                        true
                    default: false
                    }
                }
        }

        private mutating func readLimits(_ result: inout NodeConfiguration) {
            if let text = text(.slots) {
                if let slots = Int(text), NodeConfiguration.slotsRange.contains(slots) {
                    result.slots = slots
                } else {
                    let range = NodeConfiguration.slotsRange
                    fault(.slots, text, "must be a number from \(range.lowerBound) to \(range.upperBound)")
                }
            }
            if let text = text(.cacheBytesMax) {
                result.cacheBytesMax = SizeArgument(argument: text)?.bytes
                if result.cacheBytesMax == nil { fault(.cacheBytesMax, text, "must be a size such as 20GB") }
            }
            if let text = text(.mapBudget) {
                let range = NodeConfiguration.mapBudgetRange
                if let bytes = SizeArgument(argument: text)?.bytes, range.contains(bytes) {
                    result.mapBudget = Int(bytes)
                } else {
                    fault(.mapBudget, text, "must be a size from \(range.lowerBound) to \(range.upperBound) bytes")
                }
            }
            if let text = text(.packetLimit) {
                let range = NodeConfiguration.packetLimitRange
                if let bytes = SizeArgument(argument: text)?.bytes, range.contains(bytes) {
                    result.packetLimit = Int(bytes)
                } else {
                    fault(.packetLimit, text, "must be a size from \(range.lowerBound) to \(range.upperBound) bytes")
                }
            }
            readTransfer(&result)
        }

        private mutating func readTransfer(_ result: inout NodeConfiguration) {
            if let text = text(.rateLimit) {
                let rate = SizeArgument(argument: text)?.bytes ?? 0
                if rate >= NodeConfiguration.rateLimitMin, let limit = Int(exactly: rate) {
                    result.rateLimit = limit
                } else {
                    fault(.rateLimit, text, "must be bytes a second, such as 100MB; 64KB at least")
                }
            }
            if let text = text(.servingMax) {
                let range = NodeConfiguration.servingRange
                if let count = Int(text), range.contains(count) {
                    result.servingMax = count
                } else {
                    fault(.servingMax, text, "must be a number from \(range.lowerBound) to \(range.upperBound)")
                }
            }
        }

        private mutating func readLists(_ result: inout NodeConfiguration) {
            for text in texts(.label) ?? [] {
                let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
                if parts.count == 2, !parts[0].isEmpty {
                    result.labels[parts[0]] = parts[1]
                } else {
                    fault(.label, text, "must be KEY=VALUE")
                }
            }
            for text in texts(.platform) ?? [] {
                if let platform = Platform(text) {
                    result.platforms.append(platform)
                } else {
                    fault(.platform, text, "must be OS/ARCHITECTURE, such as linux/arm64")
                }
            }
            for text in texts(.entitlement) ?? [] {
                if let entitlement = Entitlement(rawValue: text) {
                    result.entitlements.insert(entitlement)
                } else {
                    fault(.entitlement, text, Self.oneOf(Entitlement.allCases.map(\.rawValue)))
                }
            }
        }

        private mutating func readLog(_ result: inout NodeConfiguration) {
            if let text = text(.logLevel) {
                if let level = LogLevel(rawValue: text) {
                    result.logLevel = level
                } else {
                    fault(.logLevel, text, Self.oneOf(LogLevel.allCases.map(\.rawValue)))
                }
            }
            if let text = text(.logFormat) {
                if let format = LogFormat(rawValue: text) {
                    result.logFormat = format
                } else {
                    fault(.logFormat, text, Self.oneOf(LogFormat.allCases.map(\.rawValue)))
                }
            }
        }

        private mutating func readTLS(_ result: inout NodeConfiguration) {
            result.isInsecure = flag(.insecure)
            let files = [Key.authority, .certificate, .key].map { text($0) }
            if case let (authority?, certificate?, key?) = (files[0], files[1], files[2]) {
                result.tls = TLSFiles(authority: authority, certificate: certificate, key: key)
            } else if files.contains(where: { $0 != nil }) {
                faults.append("--tlscacert, --tlscert and --tlskey belong together: give all three or none")
            }
            guard result.tls == nil, !result.isInsecure else { return }
            for case .tcp(let host, let port) in result.addresses where !Self.isLoopback(host) {
                fault(
                    .addr, "tcp://\(host):\(port)",
                    "is reachable from other machines: give --tlscacert, --tlscert and --tlskey, or --insecure")
            }
        }

        // MARK: Values

        private func texts(_ key: Key) -> [String]? { settings.values[key]?.texts }
        private func text(_ key: Key) -> String? { texts(key)?.last }

        /// False when it is not set, or set to what is no flag.
        private mutating func flag(_ key: Key) -> Bool {
            guard let text = text(key) else { return false }
            if let flag = Bool(text) { return flag }
            fault(key, text, "must be true or false")
            return false
        }

        private mutating func fault(_ key: Key, _ value: String, _ why: String) {
            let origin = settings.values[key]?.origin ?? "--\(key.rawValue)"
            faults.append("\(origin): \"\(value)\" \(why)")
        }

        private static func oneOf(_ values: [String]) -> String { "must be one of " + values.joined(separator: ", ") }

        private mutating func checkName(_ name: String, _ key: Key) {
            let isPlain = name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
            guard !name.isEmpty, name.utf8.count <= NodeSettings.nameBytesMax, isPlain else {
                return fault(key, name, "must be 1 to \(NodeSettings.nameBytesMax) letters, digits or any of -_.")
            }
        }

        private mutating func checkEndpoint(_ text: String, _ key: Key, allowsPortZero: Bool) {
            let ports = (allowsPortZero ? 0 : 1)...65_535
            guard let endpoint = Self.endpoint(text), ports.contains(endpoint.port) else {
                return fault(key, text, "must be HOST:PORT with a port from \(ports.lowerBound) to \(ports.upperBound)")
            }
        }

        private mutating func listenAddress(_ text: String) -> ListenAddress? {
            if text.hasPrefix("unix:///") { return .unix(path: String(text.dropFirst("unix://".count))) }
            if text.hasPrefix("tcp://"), let endpoint = Self.endpoint(String(text.dropFirst("tcp://".count))) {
                return .tcp(host: endpoint.host, port: endpoint.port)
            }
            fault(.addr, text, "must be unix:///PATH or tcp://HOST:PORT")
            return nil
        }

        private static func endpoint(_ text: String) -> (host: String, port: Int)? {
            guard let colon = text.lastIndex(of: ":") else { return nil }
            var host = String(text[..<colon])
            if host.hasPrefix("["), host.hasSuffix("]") {
                host = String(host.dropFirst().dropLast())
            } else if host.contains(":") {
                return nil
            }
            guard !host.isEmpty, let port = Int(text[text.index(after: colon)...]), (0...65_535).contains(port) else {
                return nil
            }
            return (host, port)
        }

        private static func isLoopback(_ host: String) -> Bool {
            host == "localhost" || host == "::1" || host.hasPrefix("127.")
        }
    }
}
