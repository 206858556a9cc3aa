extension FaultScript: CustomStringConvertible {
    package var description: String { entries.map(\.description).joined(separator: "; ") }

    /// Nil when an entry is none, names a node outside `0..<nodes`, or is out of range.
    package init?(_ text: String, nodes: Int) {
        var entries: [Entry] = []
        for part in text.split(separator: ";") {
            guard let entry = Entry(String(part), nodes: nodes), entries.count < Self.entriesMax else { return nil }
            entries.append(entry)
        }
        self.init(entries)
    }
}

extension FaultScript.Entry: CustomStringConvertible {
    package var description: String {
        let words: String
        var ending = ""
        switch fault {
        case .crash(let node, let withHost, let keepsSnapshot):
            words = "crash \(node)" + (withHost ? " host" : "")
            ending = keepsSnapshot ? " snapshot" : ""
        case .leave(let node): words = "leave \(node)"
        case .stall(let node, let withHost): words = "stall \(node)" + (withHost ? " host" : "")
        case .split(let side): words = "split " + side.map(String.init).joined(separator: ",")
        case .oneWay(let from, let to): words = "oneway \(from) \(to)"
        case .blocked(let node): words = "blocked \(node)"
        case .sizeLimit(let bytes): words = "sizelimit \(bytes)"
        case .loss(let percent, let burst): words = "loss \(percent) \(burst)"
        case .corruption(let percent): words = "corrupt \(percent)"
        case .duplication(let percent): words = "duplicate \(percent)"
        case .late(let percent): words = "late \(percent)"
        case .clone(let node): words = "clone \(node)"
        case .clockJump(let node, let seconds): words = "jump \(node) \(seconds)"
        case .drift(let node, let perMille): words = "drift \(node) \(perMille)"
        case .rotate(let node): words = "rotate \(node)"
        }
        return "\(at) \(words)" + (lasts > 0 ? " for \(lasts)" : "") + ending
    }

    init?(_ text: String, nodes: Int) {
        var words = text.split(separator: " ").map(String.init)
        guard words.count >= 2, let at = Int(words.removeFirst()), (0...FaultScript.tenthsMax).contains(at) else {
            return nil
        }
        let keepsSnapshot = words.last == "snapshot"
        if keepsSnapshot { words.removeLast() }
        var lasts = 0
        if words.count >= 2, words[words.count - 2] == "for", let tenths = words.last.flatMap({ Int($0) }) {
            guard (0...FaultScript.tenthsMax).contains(tenths) else { return nil }
            lasts = tenths
            words.removeLast(2)
        }
        let withHost = words.last == "host"
        if withHost { words.removeLast() }
        guard let name = words.first else { return nil }
        let fields = words.dropFirst().flatMap { $0.split(separator: ",") }
        let numbers = fields.compactMap { Int($0) }
        guard numbers.count == fields.count else { return nil }
        guard let fault = Self.fault(name, numbers, nodes, withHost: withHost, keepsSnapshot: keepsSnapshot) else {
            return nil
        }
        self.init(at: at, fault: fault, lasts: lasts)
    }

    private static func fault(
        _ name: String, _ numbers: [Int], _ nodes: Int, withHost: Bool, keepsSnapshot: Bool
    ) -> FaultScript.Fault? {
        func node(_ place: Int) -> Int? {
            numbers.indices.contains(place) && (0..<nodes).contains(numbers[place]) ? numbers[place] : nil
        }
        func number(_ place: Int, _ range: ClosedRange<Int>) -> Int? {
            numbers.indices.contains(place) && range.contains(numbers[place]) ? numbers[place] : nil
        }
        switch name {
        case "crash": return node(0).map { .crash($0, withHost: withHost, keepsSnapshot: keepsSnapshot) }
        case "leave": return node(0).map { .leave($0) }
        case "stall": return node(0).map { .stall($0, withHost: withHost) }
        case "split":
            let isFit = !numbers.isEmpty && numbers.allSatisfy { (0..<nodes).contains($0) }
            return isFit ? .split(numbers) : nil
        case "oneway": return node(0).flatMap { from in node(1).map { .oneWay(from, $0) } }
        case "blocked": return node(0).map { .blocked($0) }
        case "sizelimit": return number(0, 100...65_507).map { .sizeLimit($0) }
        case "loss":
            return number(0, 0...95).flatMap { loss in number(1, 1...100).map { .loss(percent: loss, burst: $0) } }
        case "corrupt": return number(0, 0...95).map { .corruption(percent: $0) }
        case "duplicate": return number(0, 0...100).map { .duplication(percent: $0) }
        case "late": return number(0, 0...100).map { .late(percent: $0) }
        case "clone": return node(0).map { .clone($0) }
        case "jump":
            return node(0).flatMap { node in number(1, -100_000...100_000).map { .clockJump(node, seconds: $0) } }
        case "drift": return node(0).flatMap { node in number(1, -500...500).map { .drift(node, perMille: $0) } }
        case "rotate": return node(0).map { .rotate($0) }
        default: return nil
        }
    }
}
