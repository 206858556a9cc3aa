internal import BuildSession
internal import GRPCCore

/// The headers by which a client knows which of its directories or exporters is meant.
enum SyncMetadata {
    static func of(_ request: DirectoryRequest) -> Metadata {
        var metadata = Metadata()
        add([request.name], as: "dir-name", to: &metadata)
        add(request.includePatterns, as: "include-patterns", to: &metadata)
        add(request.excludePatterns, as: "exclude-patterns", to: &metadata)
        add(request.followPaths, as: "followpaths", to: &metadata)
        return metadata
    }

    static func of(exporter index: Int, _ entries: [String: String]) -> Metadata {
        var metadata = Metadata()
        metadata.addString(String(index), forKey: "buildkit-attachable-exporter-id")
        for (key, value) in entries.sorted(by: { $0.key < $1.key }) {
            // Header names are lower case, and their values printable; other entries can't be said this way.
            guard isPrintable(value), isPrintable(key), !key.contains(" ") else { continue }
            metadata.addString(value, forKey: "exporter-md-" + key.lowercased())
        }
        return metadata
    }

    /// Adds one header a value; if any of them is not printable ASCII, all are escaped, and a second header says so.
    private static func add(_ values: [String], as key: String, to metadata: inout Metadata) {
        guard !values.isEmpty else { return }
        let isPlain = values.allSatisfy(isPrintable)
        for value in values { metadata.addString(isPlain ? value : escaped(value), forKey: key) }
        if !isPlain { metadata.addString("1", forKey: key + "-encoded") }
    }

    private static func isPrintable(_ text: String) -> Bool {
        text.utf8.allSatisfy { (0x20...0x7E).contains($0) }
    }

    /// As Go's `url.QueryEscape` does it.
    static func escaped(_ text: String) -> String {
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
                UInt8(ascii: "~"):
                bytes.append(byte)
            case UInt8(ascii: " "):
                bytes.append(UInt8(ascii: "+"))
            default:
                let digits = Array("0123456789ABCDEF".utf8)
                bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
