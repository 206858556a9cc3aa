import Testing

@testable import Simulation

/// What makes the simulations of `scripts/test` fail.
struct GateTests {
    @Test func `a figure over its bound is named with its value and the bound`() throws {
        let bound = try #require(FigureBound("detectionPeriodsWorst=5"))
        #expect(bound.figure == .detectionPeriodsWorst && bound.most == 5)
        #expect(bound.failure(4.38) == nil && bound.failure(5) == nil)
        #expect(bound.failure(5.01) == "detectionPeriodsWorst is 5.01, at most 5.0 is allowed")
        let none = try #require(FigureBound("falseDeaths=0"))
        #expect(none.failure(0) == nil && none.failure(1) != nil)
    }

    @Test func `a figure that was not measured keeps no bound`() throws {
        let bound = try #require(FigureBound("healPeriods=4"))
        #expect(bound.failure(nil)?.hasPrefix("healPeriods was not measured, at most 4.0 is allowed") == true)
    }

    @Test(arguments: [
        "", "detectionPeriodsMean", "detectionPeriodsMean=", "detectionPeriodsMean=x", "detectionPeriodsMean=-1",
        "detectionPeriodsMean=nan", "detectionPeriodsMean=inf", "suspicions=1", "=3",
    ])
    func `what is no bound of a known figure is refused`(text: String) {
        #expect(FigureBound(text) == nil)
    }

    @Test func `a golden run that breaks an invariant fails, though its trace is right`() throws {
        let name = "cachemap 5"
        let value = try #require(GoldenTraces.expected[name])
        #expect(GoldenTraces.differences([.init(name: name, value: value)]).isEmpty)
        let broken = GoldenTraces.Trace(name: name, value: value, violations: ["one", "two"])
        #expect(GoldenTraces.differences([broken]) == ["cachemap 5: violated: one", "cachemap 5: violated: two"])
    }
}
