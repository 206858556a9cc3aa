/// What steps took before, by coarse name: an exponentially weighted mean, so that it follows change.
package struct RunTimeEstimates: Sendable {
    /// Weight of the newest measurement.
    package static let newestWeight = 0.3
    /// Names that are remembered; the oldest are forgotten.
    package static let namesMax = 10_000

    private var seconds: [String: Double] = [:]
    private var order: [String] = []

    package init() {}

    /// Learns that the step with this name took `duration` seconds; what no step takes, from a peer, is ignored.
    package mutating func record(_ name: String, seconds duration: Double) {
        guard duration.isFinite, duration >= 0 else { return }
        if let known = seconds[name] {
            seconds[name] = known + (duration - known) * Self.newestWeight
            return
        }
        seconds[name] = duration
        order.append(name)
        if order.count > Self.namesMax { seconds[order.removeFirst()] = nil }
    }

    /// The expected time of a step; the default for one that never ran.
    package func expected(_ name: String) -> Double { seconds[name] ?? Placement.runSecondsDefault }

    /// A step's name without what changes from build to build: digits become `#`, blanks one.
    package static func coarse(_ name: String) -> String {
        var result = ""
        var last: Character = " "
        for character in name.prefix(200) {
            let normal: Character = character.isNumber ? "#" : character.isWhitespace ? " " : character
            if normal == last, normal == " " || normal == "#" { continue }
            result.append(normal)
            last = normal
        }
        return result
    }
}
