internal import ClusterModel
internal import OCI
internal import PathPatterns
internal import Testing

@testable internal import Transfer

/// A part of a tree has to look, to those who read what it was made for, like the whole: one file too many is as wrong as
/// one that is missing.
@Suite struct FootprintTests {
    private static func file(_ path: String, _ content: UInt8 = 1) -> LayerEntry {
        LayerEntry(
            path: Array(path.utf8), mode: 0o644,
            kind: .file(size: 1, content: ChunkedContent(whole: Digest.of([content]))))
    }

    private static func directory(_ path: String, isOpaque: Bool = false) -> LayerEntry {
        LayerEntry(path: Array(path.utf8), mode: 0o755, kind: .directory(isOpaque: isOpaque))
    }

    private static func link(_ path: String, to target: String) -> LayerEntry {
        LayerEntry(path: Array(path.utf8), mode: 0o644, kind: .hardlink(target: Array(target.utf8)))
    }

    /// What the layers' parts hold; nil when all is needed.
    private static func parts(_ layers: [[LayerEntry]], _ selector: ContentSelector) throws -> [[String]]? {
        let manifests = try layers.map { try LayerManifest(entries: $0) }
        guard let footprint = try TreeFootprint(of: [selector], in: manifests) else { return nil }
        return try manifests.map { try LayerPart(of: $0, footprint).manifest.entries.map(\.displayPath) }
    }

    @Test func `patterns leave out what they exclude, of the root too`() throws {
        let layers = [
            [
                Self.directory("d"), Self.file("d/a.o"), Self.file("d/a.txt"), Self.directory("e"),
                Self.file("e/b.txt"),
            ]
        ]
        let text = ContentSelector(path: "/", excludePatterns: ["**/*.o", "e"])
        #expect(try Self.parts(layers, text) == [["/d", "/d/a.txt"]])
        let objects = ContentSelector(path: "/", includePatterns: ["d/*.o"])
        #expect(try Self.parts(layers, objects) == [["/d", "/d/a.o"]])
        // Directories are looked into as long as something below may be wanted.
        let deep = ContentSelector(path: "/", includePatterns: ["**/b.txt"])
        #expect(try Self.parts(layers, deep) == [["/d", "/e", "/e/b.txt"]])
        #expect(try Self.parts(layers, ContentSelector(path: "/")) == nil)
        #expect(try Self.parts(layers, ContentSelector(path: "/d", excludePatterns: ["*.o"])) == [["/d", "/d/a.txt"]])
        #expect(try Self.parts(layers, ContentSelector(path: "/d/*.o", allowsWildcard: true)) == [["/d", "/d/a.o"]])
        // A file that is selected itself is copied whatever the patterns say.
        #expect(
            try Self.parts(layers, ContentSelector(path: "/d/a.o", excludePatterns: ["*.o"])) == [["/d", "/d/a.o"]])
    }

    @Test func `a deleted file does not come back where it would be listed`() throws {
        let layers = [
            [Self.directory("d"), Self.file("d/gone"), Self.file("d/kept"), Self.file("d/other")],
            [Self.directory("d"), .whiteout(Array("d/gone".utf8)), Self.file("d/new")],
        ]
        for selector in [
            ContentSelector(path: "/d/[gkn]*", allowsWildcard: true),
            ContentSelector(path: "/d", excludePatterns: ["other"]),
            ContentSelector(path: "/", includePatterns: ["*/[gkn]*"]),
        ] {
            // The lower layer may be here whole.
            #expect(try Self.parts(layers, selector)?[1] == ["/d", "/d/gone", "/d/new"])
        }
    }

    @Test func `the file that a hard link shares comes along, and its deletion with it`() throws {
        let layers = [
            [
                Self.directory("d"), Self.file("d/one"), Self.link("d/two", to: "d/one"), Self.directory("e"),
                Self.file("e/x"),
                Self.link("f", to: "e/x"),
            ],
            [Self.directory("d"), .whiteout(Array("d/one".utf8)), .whiteout(Array("e".utf8))],
        ]
        let parts = try Self.parts(layers, ContentSelector(path: "/d/*", allowsWildcard: true))
        #expect(parts == [["/d", "/d/one", "/d/two"], ["/d", "/d/one", "/e"]])
        let far = try Self.parts(layers, ContentSelector(path: "/*", allowsWildcard: true, includePatterns: ["two"]))
        #expect(far?[0].contains("/e/x") == true && far?[1].contains("/e") == true, "\(String(describing: far))")
    }

    @Test func `what has to be there is there whatever the patterns say`() throws {
        let way = LayerEntry(path: Array("d/way".utf8), mode: 0o777, kind: .symlink(target: Array("../e".utf8)))
        let layers = [
            [Self.directory("d"), Self.file("d/a"), way, Self.directory("e"), Self.file("e/need"), Self.file("e/no")]
        ]
        let selector = ContentSelector(path: "/d", excludePatterns: ["way"], requiredPaths: ["way/need"])
        #expect(try Self.parts(layers, selector) == [["/d", "/d/a", "/d/way", "/e", "/e/need"]])
        // One that is not: all of it comes, and the copy says so itself.
        #expect(throws: TreeError.self) {
            try Self.parts(layers, ContentSelector(path: "/d", excludePatterns: ["a"], requiredPaths: ["none"]))
        }
    }

    @Test func `what dots take back is there to be passed`() throws {
        let layers = [[Self.directory("a1"), Self.file("a1/x"), Self.file("b")]]
        #expect(try Self.parts(layers, ContentSelector(path: "/a*/../b", allowsWildcard: true)) == [["/a1", "/b"]])
    }

    // MARK: Random trees

    @Test(arguments: UInt64(0)..<400)
    func `parts of random trees show what the whole shows, whatever layers are whole`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var compared = 0
        for _ in 0..<20 {
            let layers = try (0..<Int.random(in: 1...4, using: &random)).map { _ in try RandomLayer.make(&random) }
            let tree = MergedTree(layers: layers)
            let selector = RandomLayer.selector(&random)
            guard let whole = try? Self.seen(tree, selector), let digest = try? tree.contentDigest(of: [selector]),
                let footprint = try TreeFootprint(of: [selector], in: layers)
            else { continue }
            for _ in 0..<4 {
                let some = try layers.map { layer in
                    Bool.random(using: &random) ? layer : try LayerPart(of: layer, footprint).manifest
                }
                let part = MergedTree(layers: some)
                #expect(try Self.seen(part, selector) == whole, "\(selector)\n\(layers.map(\.entries))")
                #expect(try part.contentDigest(of: [selector]) == digest, "\(selector)\n\(layers.map(\.entries))")
                compared += 1
            }
        }
        #expect(compared > 0)
    }

    /// What a copy makes of a tree, and the directories that it looks into.
    private static func seen(_ tree: MergedTree, _ selector: ContentSelector) throws -> [String] {
        let isPattern = selector.allowsWildcard && GoPattern.hasWildcards(selector.path)
        let paths =
            isPattern ? try tree.matches(of: selector.path).map(MergedTree.joined) : [Array(selector.path.utf8)]
        let filter = try CopyFilter(includes: selector.includePatterns, excludes: selector.excludePatterns)
        var lines: [String] = []
        for path in paths {
            let place = try tree.resolve(path, followsLast: selector.followsSymlinks)
            for required in selector.requiredPaths {
                _ = try tree.resolve(
                    MergedTree.joined(place.components) + Array("/\(required)".utf8), followsLast: true)
            }
            lines.append("\(place.components) \(place.node.kind) \(place.node.entry.mode)")
            list(place.node, "", filter, &lines)
        }
        return lines
    }

    private static func list(
        _ directory: MergedTree.Node, _ relative: String, _ filter: CopyFilter?, _ lines: inout [String]
    ) {
        for child in directory.children {
            let name = String(decoding: child.name, as: UTF8.self)
            let path = relative.isEmpty ? name : relative + "/" + name
            let isSeen = child.node.isDirectory ? filter?.entersDirectory(path) : filter?.selects(path)
            guard isSeen ?? true else { continue }
            lines.append("\(child.name) \(path) \(child.node.kind) \(child.node.entry.mode)")
            list(child.node, path, filter, &lines)
        }
    }
}

/// Small layers of few names, so that they hide, delete and link each other's entries.
private enum RandomLayer {
    private static let names: [[UInt8]] = ["a", "b", "c.o", "d"].map { Array($0.utf8) } + [[0xFF, 0x62]]
    private static let patterns = [
        "a", "b", "*.o", "**/*.o", "a/b", "*/b", "b/**", "!a/b", "!**/d", "d", "a/*/b", "**",
    ]
    private static let paths = [
        "/", "a", "b", "a/b", "*", "a*", "*/b", "a/*", "*/../b", "b/../a", "a/./b", "[ab]/*", "d/*/*",
    ]
    private static let targets = ["a", "../b", "/a/b", "b/../a", "/", "none", "../a/d"]

    static func make(_ random: inout SplitMix64) throws -> LayerManifest {
        var entries: [[UInt8]: LayerEntry] = [:]
        fill([], depth: 0, isBelowOpaque: false, &entries, &random)
        var sorted = entries.values.sorted { $0.path.lexicographicallyPrecedes($1.path) }
        // Some files become names of earlier ones.
        for index in sorted.indices {
            guard case .file = sorted[index].kind, Int.random(in: 0..<4, using: &random) == 0,
                let target = sorted[..<index].last(where: { if case .file = $0.kind { true } else { false } })
            else { continue }
            var entry = target
            entry.path = sorted[index].path
            entry.kind = .hardlink(target: target.path)
            sorted[index] = entry
        }
        return try LayerManifest(entries: sorted)
    }

    private static func fill(
        _ parent: [UInt8], depth: Int, isBelowOpaque: Bool, _ entries: inout [[UInt8]: LayerEntry],
        _ random: inout SplitMix64
    ) {
        for name in names where Int.random(in: 0..<3, using: &random) > 0 {
            let path = parent.isEmpty ? name : parent + [UInt8(ascii: "/")] + name
            switch Int.random(in: 0..<8, using: &random) {
            case 0...2 where depth < 3:
                let isOpaque = Int.random(in: 0..<5, using: &random) == 0
                entries[path] = LayerEntry(
                    path: path, mode: UInt16.random(in: 0o700...0o777, using: &random),
                    kind: .directory(isOpaque: isOpaque))
                fill(path, depth: depth + 1, isBelowOpaque: isBelowOpaque || isOpaque, &entries, &random)
            case 3 where !isBelowOpaque: entries[path] = .whiteout(path)
            case 4:
                let target = Array((targets.randomElement(using: &random) ?? "a").utf8)
                entries[path] = LayerEntry(path: path, mode: 0o777, kind: .symlink(target: target))
            default:
                let content = ChunkedContent(whole: Digest.of([UInt8.random(in: 0...5, using: &random)]))
                entries[path] = LayerEntry(
                    path: path, mode: UInt16.random(in: 0o600...0o644, using: &random),
                    kind: .file(size: 1, content: content))
            }
        }
    }

    static func selector(_ random: inout SplitMix64) -> ContentSelector {
        func some(_ most: Int) -> [String] {
            (0..<Int.random(in: 0...most, using: &random)).map { _ in patterns.randomElement(using: &random) ?? "a" }
        }
        let required =
            Int.random(in: 0..<6, using: &random) == 0
            ? [["a", "b", "a/b", "d"].randomElement(using: &random) ?? "a"] : []
        return ContentSelector(
            path: paths.randomElement(using: &random) ?? "/", allowsWildcard: true,
            followsSymlinks: Bool.random(using: &random), includePatterns: some(2), excludePatterns: some(2),
            requiredPaths: required)
    }
}
