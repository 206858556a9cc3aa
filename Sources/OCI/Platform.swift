/// Operating system and processor that an image is made for (OCI image-index spec, `platform`).
package struct Platform: Hashable, Sendable, Codable {
    package var os: String
    package var architecture: String
    package var variant: String?
    package var osVersion: String?
    package var osFeatures: [String]?

    package enum CodingKeys: String, CodingKey {
        case os, architecture, variant
        case osVersion = "os.version"
        case osFeatures = "os.features"
    }

    /// Makes a platform in its normal form: `arm64/v8` has no variant, `arm` without one is `v7`.
    package init(os: String, architecture: String, variant: String? = nil) {
        self.os = os.lowercased()
        let normal = Self.normalize(architecture: architecture.lowercased(), variant: variant?.lowercased())
        self.architecture = normal.architecture
        self.variant = normal.variant
    }

    /// Parses `os/arch[/variant]`, or a lone architecture, as `docker build --platform` takes it.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard !parts.contains(""), (1...3).contains(parts.count) else { return nil }
        if parts.count == 1 {
            guard parts[0].lowercased() != "linux" else {
                self.init(os: "linux", architecture: Self.host.architecture, variant: Self.host.variant)
                return
            }
            self.init(os: "linux", architecture: parts[0])
        } else {
            self.init(os: parts[0], architecture: parts[1], variant: parts.count == 3 ? parts[2] : nil)
        }
    }

    /// The platform that this program was compiled for.
    package static var host: Platform {
        #if arch(arm64)
        Platform(os: "linux", architecture: "arm64")
        #else
        Platform(os: "linux", architecture: "amd64")
        #endif
    }

    private static func normalize(architecture: String, variant: String?) -> (architecture: String, variant: String?) {
        switch (architecture, variant) {
        case ("x86_64", let variant), ("x86-64", let variant): ("amd64", variant == "v1" ? nil : variant)
        case ("amd64", "v1"): ("amd64", nil)
        case ("aarch64", let variant), ("arm64", let variant):
            ("arm64", variant == "8" || variant == "v8" ? nil : variant)
        case ("armhf", _): ("arm", "v7")
        case ("armel", _): ("arm", "v6")
        case ("arm", nil), ("arm", ""), ("arm", "7"): ("arm", "v7")
        case ("i386", _), ("i486", _), ("i586", _), ("i686", _): ("386", nil)
        default: (architecture, variant == "" ? nil : variant)
        }
    }
}

extension Platform: CustomStringConvertible {
    /// `os/arch[/variant]`: the id that BuildKit uses for a platform of a result.
    package var description: String {
        [os, architecture, variant].compactMap(\.self).joined(separator: "/")
    }
}
