/// The few real functions that sizes of pages need, without a C library: the same on every machine.
enum Logarithms {
    private static let ln2 = 0.693_147_180_559_945_3

    /// ln x for x > 0, to about 1e-14.
    static func natural(_ x: Double) -> Double {
        // ln s = 2 artanh((s − 1) / (s + 1)) with s in [1, 2): the argument is at most 1/3.
        let z = (x.significand - 1) / (x.significand + 1)
        var power = z
        var sum = 0.0
        for term in stride(from: 1, through: 29, by: 2) {
            sum += power / Double(term)
            power *= z * z
        }
        return Double(x.exponent) * ln2 + 2 * sum
    }

    static func binary(_ x: Double) -> Double { natural(x) / ln2 }

    /// e^x for x ≤ 0; 0 below −700.
    static func exponential(_ x: Double) -> Double {
        guard x > -700 else { return 0 }
        let halvings = (x / ln2).rounded()
        let rest = x - halvings * ln2
        var term = 1.0
        var sum = 1.0
        for index in 1...18 {
            term *= rest / Double(index)
            sum += term
        }
        return Double(sign: .plus, exponent: Int(halvings), significand: sum)
    }
}
