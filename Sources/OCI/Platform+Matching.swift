extension Platform {
    /// The platforms whose images run on this one, best first.
    ///
    /// Older variants of the same architecture follow newer ones (amd64 `v3` runs `v2` and plain amd64, arm `v7` runs
    /// `v6` and `v5`); 64-bit processors run the 32-bit images of their family last.
    package var runnable: [Platform] {
        switch architecture {
        case "amd64":
            variants(from: Self.number(ofVariant: variant) ?? 1, downTo: 1) + [Platform(os: os, architecture: "386")]
        case "arm64":
            variants(from: Self.number(ofVariant: variant) ?? 8, downTo: 8)
                + Platform(os: os, architecture: "arm", variant: "v8").variants(from: 8, downTo: 5)
        case "arm": variants(from: Self.number(ofVariant: variant) ?? 7, downTo: 5)
        default: [self]
        }
    }

    /// How well an image for `other` suits this platform: 0 is best, nil is not at all.
    package func rank(of other: Platform) -> Int? {
        let normal = Platform(os: other.os, architecture: other.architecture, variant: other.variant)
        return runnable.firstIndex {
            $0.os == normal.os && $0.architecture == normal.architecture && $0.variant == normal.variant
        }
    }

    private func variants(from high: Int, downTo low: Int) -> [Platform] {
        stride(from: high, through: min(low, high), by: -1).map {
            Platform(os: os, architecture: architecture, variant: "v\($0)")
        }
    }

    private static func number(ofVariant variant: String?) -> Int? {
        guard let variant, variant.hasPrefix("v"), let number = Int(variant.dropFirst()), (1...9).contains(number)
        else {
            return nil
        }
        return number
    }
}

extension ImageIndex {
    /// The manifest that suits `platform` best; entries for no platform (such as attestations) never do.
    ///
    /// An entry that names no platform counts as the last choice.
    package func manifest(for platform: Platform) -> Descriptor? {
        var best: (rank: Int, descriptor: Descriptor)?
        for descriptor in manifests where descriptor.annotations?["vnd.docker.reference.type"] == nil {
            let rank: Int
            if let candidate = descriptor.platform {
                guard let found = platform.rank(of: candidate) else { continue }
                rank = found
            } else {
                rank = Int.max - 1
            }
            if rank < best?.rank ?? Int.max { best = (rank, descriptor) }
        }
        return best?.descriptor
    }

    /// The platforms on offer, for messages.
    package var platforms: [Platform] { manifests.compactMap(\.platform).filter { $0.os != "unknown" } }
}
