package import ClusterModel
package import OCI

/// What is exported: one tree a platform, with what the frontend said about it.
package struct ExportInput: Sendable {
    /// In the order of the index; never empty.
    package var items: [Item]
    /// Keys of BuildKit's result metadata, such as `frontend.result.inlinemessage`.
    package var metadata: [String: [UInt8]]
    /// Attributes of the exporter, such as `name`.
    package var attributes: [String: String]

    /// The result for one platform.
    package struct Item: Sendable {
        package var platform: Platform
        package var chain: LayerChain
        /// Image config JSON of the frontend; nil for results that have none.
        package var config: [UInt8]?
        /// Config JSON of the base image of the last stage.
        package var baseConfig: [UInt8]?
        /// The value of `moby.buildkit.cache.v0` for an inline cache, as JSON text.
        package var inlineCache: [UInt8]?

        package init(
            platform: Platform, chain: LayerChain, config: [UInt8]? = nil, baseConfig: [UInt8]? = nil,
            inlineCache: [UInt8]? = nil
        ) {
            self.platform = platform
            self.chain = chain
            self.config = config
            self.baseConfig = baseConfig
            self.inlineCache = inlineCache
        }
    }

    package init(items: [Item], metadata: [String: [UInt8]] = [:], attributes: [String: String] = [:]) {
        self.items = items
        self.metadata = metadata
        self.attributes = attributes
    }

    /// A Boolean attribute in the forms that Go's `strconv.ParseBool` reads; empty is true, as in `push=`.
    func flag(_ name: String, default fallback: Bool) throws(ExportError) -> Bool {
        guard let text = attributes[name] else { return fallback }
        switch text {
        case "", "1", "t", "T", "true", "TRUE", "True": return true
        case "0", "f", "F", "false", "FALSE", "False": return false
        default: throw .attribute(name, text, "use true or false")
        }
    }

    /// Seconds since 1970 that times are set to; nil leaves them.
    ///
    /// The attribute goes before the frontend's metadata.
    func epoch(for platform: Platform) throws(ExportError) -> Int64? {
        if let text = attributes["source-date-epoch"], !text.isEmpty {
            guard let seconds = Int64(text) else {
                throw .attribute("source-date-epoch", text, "use whole seconds since 1970")
            }
            return seconds
        }
        let value = metadata["source.date.epoch/\(platform)"] ?? metadata["source.date.epoch"]
        return value.flatMap { Int64(String(decoding: $0, as: UTF8.self)) }
    }

    /// The names of the image: the attribute `name`, comma separated, where `*` is the frontend's `image.name`.
    func names() throws -> [Reference] {
        var text = attributes["name"] ?? ""
        if text == "*" { text = metadata["image.name"].map { String(decoding: $0, as: UTF8.self) } ?? "" }
        return try text.split(separator: ",").map { try Reference(parsing: String($0)) }
    }

    /// The part of the metadata that goes into the exporter response as it is.
    package var responseMetadata: [String: String] {
        metadata.filter { $0.key.hasPrefix("frontend.") }.mapValues { String(decoding: $0, as: UTF8.self) }
    }
}
