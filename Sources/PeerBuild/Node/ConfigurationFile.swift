internal import Foundation
internal import TOMLKit

/// The `--config` file: TOML in the shape of `buildkitd.toml`, with a `[cluster]` part.
///
/// Every key must be known; all faults are reported at once, each with its line.
struct ConfigurationFile {
    private let path: String
    private let lines: KeyLines
    private var settings = NodeSettings()
    private var faults: [String] = []

    /// Reads settings from TOML text; `path` is for messages.
    static func settings(in text: String, path: String) throws(NodeConfigurationError) -> NodeSettings {
        let table: TOMLTable
        do { table = try TOMLTable(string: text) } catch {
            throw NodeConfigurationError(faults: ["\(path): \(Self.reason(error))"])
        }
        var file = ConfigurationFile(path: path, lines: KeyLines(text))
        file.readRoot(table)
        guard file.faults.isEmpty else { throw NodeConfigurationError(faults: file.faults) }
        return file.settings
    }

    private init(path: String, lines: KeyLines) {
        self.path = path
        self.lines = lines
    }

    private static func reason(_ error: any Error) -> String {
        guard let error = error as? TOMLParseError else { return "\(error)" }
        return "line \(error.source.begin.line): \(error.description)"
    }

    // MARK: Sections

    private mutating func readRoot(_ table: TOMLTable) {
        for (key, value) in Self.entries(table) {
            switch key {
            case "root": set(.root, value, [key])
            case "debug": setFlag(value, [key]) { if $0 { $1.set(.logLevel, ["debug"], origin: $2) } }
            case "insecure-entitlements": set(.entitlement, value, [key])
            case "log": section(value, [key], ["level": .logLevel, "format": .logFormat])
            case "grpc": readGRPC(value)
            case "worker": readWorker(value)
            case "registry": readRegistries(value)
            case "transfer": section(value, [key], ["rate-limit": .rateLimit, "max-serving": .servingMax])
            case "cluster":
                section(
                    value, [key],
                    [
                        "name": .clusterName, "node-name": .name, "bind": .bind, "advertise": .advertise,
                        "join": .join, "key-file": .clusterKeyFile, "key-grace": .keyGrace,
                        "slots": .slots, "labels": .label, "map-budget": .mapBudget, "mdns": .mdns,
                        "packet-limit": .packetLimit,
                    ])
            default: unknown([key])
            }
        }
    }

    private mutating func readGRPC(_ value: any TOMLValueConvertible) {
        guard let table = tableValue(value, ["grpc"]) else { return }
        for (key, value) in Self.entries(table) {
            switch key {
            case "address": set(.addr, value, ["grpc", key])
            case "insecure": set(.insecure, value, ["grpc", key])
            case "tls": section(value, ["grpc", key], ["ca": .authority, "cert": .certificate, "key": .key])
            default: unknown(["grpc", key])
            }
        }
    }

    private mutating func readWorker(_ value: any TOMLValueConvertible) {
        guard let table = tableValue(value, ["worker"]) else { return }
        for (key, value) in Self.entries(table) {
            guard key == "oci" else {
                unknown(["worker", key])
                continue
            }
            section(
                value, ["worker", key],
                [
                    "platforms": .platform, "labels": .label, "max-parallelism": .slots, "binary": .runtime,
                    "maxUsedSpace": .cacheBytesMax, "no-new-privileges": .noNewPrivileges,
                ])
        }
    }

    private mutating func readRegistries(_ value: any TOMLValueConvertible) {
        guard let table = tableValue(value, ["registry"]) else { return }
        for (host, value) in Self.entries(table) {
            guard let entry = tableValue(value, ["registry", host]) else { continue }
            var registry = RegistrySettings()
            for (key, value) in Self.entries(entry) {
                let place = ["registry", host, key]
                switch key {
                case "http": registry.isHTTP = boolValue(value, place) ?? false
                case "insecure": registry.isInsecure = boolValue(value, place) ?? false
                case "mirrors": registry.mirrors = stringValues(value, place) ?? []
                case "ca": registry.authorities = stringValues(value, place) ?? []
                default: unknown(place)
                }
            }
            settings.registries[host] = registry
        }
    }

    /// A table in which every key sets one thing.
    private mutating func section(
        _ value: any TOMLValueConvertible, _ place: [String], _ keys: [String: NodeSettings.Key]
    ) {
        guard let table = tableValue(value, place) else { return }
        for (key, value) in Self.entries(table) {
            if let target = keys[key] { set(target, value, place + [key]) } else { unknown(place + [key]) }
        }
    }

    // MARK: Values

    private static func entries(_ table: TOMLTable) -> [(String, any TOMLValueConvertible)] {
        table.keys.sorted().compactMap { key in table[key].map { (key, $0) } }
    }

    private func origin(_ place: [String]) -> String {
        let line = lines.line(of: place).map { ":\($0)" } ?? ""
        return "\(path)\(line): \(place.joined(separator: "."))"
    }

    private mutating func unknown(_ place: [String]) {
        faults.append("\(origin(place)) is no key that a node knows")
    }

    private mutating func set(_ key: NodeSettings.Key, _ value: any TOMLValueConvertible, _ place: [String]) {
        guard let texts = stringValues(value, place) else { return }
        settings.set(key, texts, origin: origin(place))
    }

    private mutating func setFlag(
        _ value: any TOMLValueConvertible, _ place: [String], _ apply: (Bool, inout NodeSettings, String) -> Void
    ) {
        guard let flag = boolValue(value, place) else { return }
        apply(flag, &settings, origin(place))
    }

    private mutating func tableValue(_ value: any TOMLValueConvertible, _ place: [String]) -> TOMLTable? {
        if let table = value.table { return table }
        faults.append("\(origin(place)) must be a table, written [\(place.joined(separator: "."))]")
        return nil
    }

    private mutating func boolValue(_ value: any TOMLValueConvertible, _ place: [String]) -> Bool? {
        if let flag = value.bool { return flag }
        faults.append("\(origin(place)) must be true or false")
        return nil
    }

    /// A text, number or flag; an array of texts; or a table as KEY=VALUE texts.
    private mutating func stringValues(_ value: any TOMLValueConvertible, _ place: [String]) -> [String]? {
        if let array = value.array {
            let texts = array.map { $0.string }
            if texts.allSatisfy({ $0 != nil }) { return texts.compactMap { $0 } }
        } else if let table = value.table {
            let pairs = Self.entries(table).map { key, value in value.string.map { "\(key)=\($0)" } }
            if pairs.allSatisfy({ $0 != nil }) { return pairs.compactMap { $0 } }
        } else if let text = Self.scalar(value) {
            return [text]
        }
        faults.append("\(origin(place)) must be a text, a number or an array of texts")
        return nil
    }

    private static func scalar(_ value: any TOMLValueConvertible) -> String? {
        value.string ?? value.int.map(String.init) ?? value.bool.map(String.init)
    }
}
