package import OCI

/// What references were resolved to by this process: for the resolve mode `local`, and for when a registry is down.
package actor ResolutionCache {
    /// References that are remembered; the oldest half is dropped beyond it.
    private static let countMax = 4096
    /// An older answer is not used in place of the registry's: a tag may long mean something else.
    package static let recentFor = Duration.seconds(24 * 3600)

    private var descriptors: [Reference: (descriptor: Descriptor, at: ContinuousClock.Instant)] = [:]
    private var order: [Reference] = []

    package init() {}

    subscript(reference: Reference) -> Descriptor? { descriptors[reference]?.descriptor }

    /// What this node itself resolved the reference to, if not too long ago.
    package func recent(_ reference: Reference) -> RecentResolution? {
        guard let known = descriptors[reference] else { return nil }
        let age = known.at.duration(to: .now)
        return age <= Self.recentFor ? RecentResolution(descriptor: known.descriptor, age: age, node: "this node") : nil
    }

    func set(_ reference: Reference, _ descriptor: Descriptor) {
        if descriptors.updateValue((descriptor, .now), forKey: reference) == nil { order.append(reference) }
        guard order.count > Self.countMax else { return }
        for old in order.prefix(Self.countMax / 2) { descriptors[old] = nil }
        order.removeFirst(Self.countMax / 2)
    }
}
