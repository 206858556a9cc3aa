/// The little of URLs that the registry protocol needs.
enum URLText {
    /// `text` with everything escaped that is not unreserved (RFC 3986 §2.3).
    static func queryEscaped(_ text: String) -> String {
        var result: [UInt8] = []
        let digits = Array("0123456789ABCDEF".utf8)
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                result.append(byte)
            case _ where "-._~".utf8.contains(byte): result.append(byte)
            default: result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// A `Location` header as an absolute address: absolute already, or relative to `origin`.
    static func absolute(_ location: String, origin: String) -> String {
        if location.hasPrefix("http://") || location.hasPrefix("https://") { return location }
        return location.hasPrefix("/") ? origin + location : origin + "/" + location
    }

    static func adding(query: String, to url: String) -> String {
        url + (url.contains("?") ? "&" : "?") + query
    }
}

extension RegistryEndpoint {
    /// `host[:port]` of an http or https address.
    static func hostOf(url: String) -> String? {
        for scheme in ["https://", "http://"] where url.hasPrefix(scheme) {
            let rest = url.dropFirst(scheme.count)
            let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
            return authority.split(separator: "@").last.map(String.init)
        }
        return nil
    }
}
