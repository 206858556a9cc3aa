internal import Testing

@testable internal import Transfer

@Suite struct FileTimeTests {
    @Test func `a time is as many nanoseconds as 64 bits hold of it`() {
        #expect(FileTime(seconds: 5, nanoseconds: 7).nanosecondsSince1970 == 5_000_000_007)
        #expect(FileTime(seconds: -1, nanoseconds: 999_999_999).nanosecondsSince1970 == -1)
        #expect(FileTime(seconds: -2).nanosecondsSince1970 == -2_000_000_000)
        // The first and the last that fit, and those beside them.
        #expect(FileTime(seconds: 9_223_372_036, nanoseconds: 854_775_806).nanosecondsSince1970 == .max - 1)
        #expect(FileTime(seconds: 9_223_372_036, nanoseconds: 854_775_808).nanosecondsSince1970 == .max)
        #expect(FileTime(seconds: -9_223_372_037, nanoseconds: 145_224_193).nanosecondsSince1970 == .min + 1)
        #expect(FileTime(seconds: -9_223_372_037, nanoseconds: 145_224_191).nanosecondsSince1970 == .min)
        // The year 2300, and what only hostile archives have.
        for seconds in [10_413_792_000, Int64.max] {
            #expect(FileTime(seconds: seconds, nanoseconds: 5).nanosecondsSince1970 == .max)
            #expect(FileTime(seconds: -seconds, nanoseconds: 5).nanosecondsSince1970 == .min)
        }
        #expect(FileTime(seconds: .min).nanosecondsSince1970 == .min)
    }
}
