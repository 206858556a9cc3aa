/// Cuts a script that fails down to what it needs to fail: first entries, then how long they last and when they begin.
package struct ScriptShrinker: Sendable {
    /// Runs that the search may take.
    package var runsMax = 300
    package private(set) var runs = 0

    package init() {}

    /// `fails` is asked about ever smaller scripts; the answer is one that fails, as `script` does.
    package mutating func shrink(_ script: FaultScript, fails: (FaultScript) -> Bool) -> FaultScript {
        var best = script
        var isBetter = true
        while isBetter, runs < runsMax {
            isBetter = dropEntries(&best, fails)
            if shorten(&best, fails) { isBetter = true }
        }
        return best
    }

    private mutating func holds(_ script: FaultScript, _ fails: (FaultScript) -> Bool) -> Bool {
        guard runs < runsMax else { return false }
        runs += 1
        return fails(script)
    }

    /// Takes out halves, quarters … single entries.
    private mutating func dropEntries(_ best: inout FaultScript, _ fails: (FaultScript) -> Bool) -> Bool {
        var isBetter = false
        var size = max(1, best.entries.count / 2)
        while size >= 1 {
            var start = 0
            while start < best.entries.count, best.entries.count > 1 {
                var fewer = best
                fewer.entries.removeSubrange(start..<min(start + size, best.entries.count))
                if !fewer.entries.isEmpty, holds(fewer, fails) {
                    best = fewer
                    isBetter = true
                } else {
                    start += size
                }
            }
            size /= 2
        }
        return isBetter
    }

    /// Halves what lasts, lets all begin sooner, and takes nodes out of splits.
    private mutating func shorten(_ best: inout FaultScript, _ fails: (FaultScript) -> Bool) -> Bool {
        var isBetter = false
        for index in best.entries.indices {
            for change in [Self.halve, Self.begin, Self.narrow] {
                while let smaller = change(best.entries[index]) {
                    var script = best
                    script.entries[index] = smaller
                    guard holds(script, fails) else { break }
                    best = script
                    isBetter = true
                }
            }
        }
        return isBetter
    }

    private static func halve(_ entry: FaultScript.Entry) -> FaultScript.Entry? {
        guard entry.lasts > 1 else { return nil }
        var shorter = entry
        shorter.lasts /= 2
        return shorter
    }

    private static func begin(_ entry: FaultScript.Entry) -> FaultScript.Entry? {
        guard entry.at > 0 else { return nil }
        var sooner = entry
        sooner.at /= 2
        return sooner
    }

    private static func narrow(_ entry: FaultScript.Entry) -> FaultScript.Entry? {
        guard case .split(let side) = entry.fault, side.count > 1 else { return nil }
        var narrower = entry
        narrower.fault = .split(Array(side.dropLast()))
        return narrower
    }
}
