/// Remembers for which sources a warning was given, with a bound: the oldest is forgotten first.
struct SourceLog {
    private let sourcesMax: Int
    private var known: Set<String> = []
    private var order = Fifo<String>()

    init(sourcesMax: Int = WireLimits.loggedSourcesMax) { self.sourcesMax = sourcesMax }

    /// Whether `source` is new; remembers it.
    mutating func isFirst(_ source: String) -> Bool {
        guard known.insert(source).inserted else { return false }
        order.append(source)
        if order.count > sourcesMax, let oldest = order.popFirst() { known.remove(oldest) }
        return true
    }
}
