import PathPatterns
import Testing

@Suite struct PatternTests {
    @Test(arguments: [
        ("abc", "abc", true), ("*", "abc", true), ("*c", "abc", true), ("a*/b", "abc/b", true),
        ("a*/b", "a/c/b", false),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true), ("a*b?c*x", "abxbbxdbxebxczzx", true),
        ("a*b?c*x", "abxbbxdbxebxczzy", false), ("ab[c]", "abc", true), ("ab[b-d]", "abc", true),
        ("ab[^e-g]", "abc", true),
        ("a\\*b", "a*b", true), ("a\\*b", "ab", false), ("a?b", "a☺b", true), ("a[^a]b", "a☺b", true),
        ("a?b", "a/b", false),
        ("*x", "xxx", true), ("", "", true), ("*", "a/b", false), ("x", "", false),
    ])
    func `names match as Go matches them`(pattern: String, name: String, expected: Bool) throws {
        #expect(try GoPattern(pattern).matches(name) == expected)
    }

    @Test(arguments: ["[a", "a[", "[]a]", "[a-]", "a\\", "[-x]"])
    func `broken patterns are refused`(pattern: String) {
        #expect(throws: PatternError.self) { try GoPattern(pattern) }
    }

    @Test(arguments: [
        (["*.md"], "README.md", true), (["*.md"], "docs/a.md", false), (["**/*.md"], "docs/a.md", true),
        (["**/*.md"], "a.md", true), (["docs"], "docs/a/b", true), (["docs", "!docs/a"], "docs/a/b", false),
        (["docs", "!docs/a"], "docs/c", true), (["*", "!src"], "src/x", false), (["*", "!src"], "other", true),
        (["/foo/"], "foo/x", true), (["foo/**"], "foo/a/b", true), (["foo/**"], "foo", false),
        (["a/**/z"], "a/z", true),
        (["a/**/z"], "a/b/c/z", true), ([".git"], "sub/.git", false), (["!x", "x"], "x", true),
    ])
    func `the last pattern that matches decides`(patterns: [String], path: String, expected: Bool) throws {
        #expect(try PatternMatcher(patterns).matches(path) == expected)
    }

    @Test func `a directory is entered only when something below may be taken back`() throws {
        let matcher = try PatternMatcher(["*", "!src/keep"])
        #expect(matcher.mayNegateBelow("src"))
        #expect(!matcher.mayNegateBelow("docs"))
        #expect(try PatternMatcher(["a/b/*.txt"]).mayMatchBelow("a"))
        #expect(!(try PatternMatcher(["a/b/*.txt"]).mayMatchBelow("c")))
    }
}
