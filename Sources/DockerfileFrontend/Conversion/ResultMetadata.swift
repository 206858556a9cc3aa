internal import OCI

/// BuildKit's metadata of a result.
enum ResultMetadata {
    static func of(
        _ results: [FrontendOutput.PlatformResult], isMultiPlatform: Bool, epoch: Int64?
    ) -> [String: [UInt8]] {
        var metadata: [String: [UInt8]] = [:]
        for result in results {
            let suffix = isMultiPlatform ? "/" + result.id : ""
            metadata["containerimage.config" + suffix] = result.config
            if let base = result.baseConfig { metadata["containerimage.base.config" + suffix] = base }
            if let epoch { metadata["source.date.epoch" + suffix] = Array(String(epoch).utf8) }
        }
        let platforms = results.map { result in
            var fields = [
                "\"architecture\":" + TextList.quoted(result.platform.architecture),
                "\"os\":" + TextList.quoted(result.platform.os),
            ]
            if let variant = result.platform.variant { fields.append("\"variant\":" + TextList.quoted(variant)) }
            return "{\"ID\":\(TextList.quoted(result.id)),\"Platform\":{\(fields.joined(separator: ","))}}"
        }
        metadata["refs.platforms"] = Array("{\"Platforms\":[\(platforms.joined(separator: ","))]}".utf8)
        return metadata
    }
}
