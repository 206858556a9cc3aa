internal import OCI
internal import Testing
internal import Transfer

@Suite struct ContentDigestTests {
    private func file(_ path: String, _ content: UInt8, mode: UInt16 = 0o644, seconds: Int64 = 0) -> LayerEntry {
        LayerEntry(
            path: Array(path.utf8), mode: mode, modified: FileTime(seconds: seconds),
            kind: .file(size: 1, content: ChunkedContent(whole: Digest.of([content]))))
    }

    private func directory(_ path: String, mode: UInt16 = 0o755, seconds: Int64 = 0) -> LayerEntry {
        LayerEntry(
            path: Array(path.utf8), mode: mode, modified: FileTime(seconds: seconds), kind: .directory(isOpaque: false))
    }

    private func link(_ path: String, _ target: String) -> LayerEntry {
        LayerEntry(path: Array(path.utf8), mode: 0o777, kind: .symlink(target: Array(target.utf8)))
    }

    private func tree(_ layers: [LayerEntry]...) throws -> MergedTree {
        try MergedTree(layers: layers.map { try LayerManifest(entries: $0) })
    }

    private func digest(
        _ tree: MergedTree, _ path: String, wildcard: Bool = false, follows: Bool = false
    ) throws -> Digest {
        try tree.contentDigest(of: [ContentSelector(path: path, allowsWildcard: wildcard, followsSymlinks: follows)])
    }

    @Test func `times do not count, modes and contents do`() throws {
        let base = try tree([directory("d"), file("d/a", 1)])
        for path in ["/", "d", "/d/a"] {
            let known = try digest(base, path)
            #expect(try digest(tree([directory("d", seconds: 9), file("d/a", 1, seconds: 8)]), path) == known)
            #expect(try digest(tree([directory("d"), file("d/a", 1, mode: 0o755)]), path) != known)
            #expect(try digest(tree([directory("d"), file("d/a", 2)]), path) != known)
        }
    }

    @Test func `what is not selected does not count`() throws {
        let one = try tree([directory("d"), file("d/a", 1), file("x", 1)])
        let two = try tree([directory("d"), file("d/a", 1), file("x", 2)])
        #expect(try digest(one, "d") == digest(two, "d"))
        #expect(try digest(one, "/") != digest(two, "/"))
        let excluding = [ContentSelector(path: "/", excludePatterns: ["x"])]
        #expect(try one.contentDigest(of: excluding) == two.contentDigest(of: excluding))
        let including = [ContentSelector(path: "/", includePatterns: ["d/*"])]
        #expect(try one.contentDigest(of: including) == two.contentDigest(of: including))
        #expect(try one.contentDigest(of: including) != one.contentDigest(of: excluding + including))
    }

    @Test func `the split into layers does not count`() throws {
        let whole = try tree([directory("d"), file("d/a", 1), file("d/b", 2)])
        let split = try tree(
            [directory("d", mode: 0o700), file("d/a", 7), file("d/c", 1)],
            [directory("d"), file("d/a", 1), .whiteout(Array("d/c".utf8))], [directory("d"), file("d/b", 2)])
        #expect(try digest(whole, "/") == digest(split, "/"))
        var hard = file("d/b", 1)
        hard.kind = .hardlink(target: Array("d/a".utf8))
        #expect(
            try digest(tree([directory("d"), file("d/a", 1), hard]), "d")
                == digest(tree([directory("d"), file("d/a", 1), file("d/b", 1)]), "d"))
    }

    @Test func `the name of the selected path does not count, names below it do`() throws {
        let named = try tree([
            directory("d"), file("d/a", 1), directory("e"), file("e/a", 1), directory("g"), file("g/b", 1),
        ])
        #expect(try digest(named, "d") == digest(named, "e"))
        #expect(try digest(named, "d") != digest(named, "g"))
    }

    @Test func `wildcards match components and count base names`() throws {
        let one = try tree([directory("d"), file("d/a.c", 1), file("d/b.c", 2), file("d/x.h", 3)])
        let two = try tree([directory("d"), file("d/a.c", 1), file("d/b.c", 2), file("d/x.h", 4)])
        #expect(try digest(one, "d/*.c", wildcard: true) == digest(two, "/d/*.c", wildcard: true))
        #expect(try digest(one, "?/x.h", wildcard: true) != digest(two, "?/x.h", wildcard: true))
        let renamed = try tree([directory("d"), file("d/a.c", 1), file("d/z.c", 2)])
        #expect(try digest(one, "d/*.c", wildcard: true) != digest(renamed, "d/*.c", wildcard: true))
        #expect(try digest(one, "none*", wildcard: true) == digest(two, "no*", wildcard: true))
        #expect(throws: TreeError.self) { try digest(one, "d/[", wildcard: true) }
    }

    @Test func `links in the path are followed within the root`() throws {
        let linked = try tree([
            directory("d"), file("d/a", 1), link("l", "/d"), link("m", "../../../d"), link("n", "l/a"), link("o", "o"),
            link("p", "nowhere"),
        ])
        for path in ["l/a", "m/a", "/l/../d/a", "../d/a"] { #expect(try digest(linked, path) == digest(linked, "d/a")) }
        #expect(try digest(linked, "n", follows: true) == digest(linked, "d/a"))
        #expect(try digest(linked, "n") != digest(linked, "d/a"))
        #expect(throws: TreeError.tooManyLinks("/o/x")) { try digest(linked, "o/x") }
        #expect(throws: TreeError.notFound("/p")) { try digest(linked, "p", follows: true) }
        #expect(throws: TreeError.notDirectory("/d/a/x")) { try digest(linked, "d/a/x") }
    }

    @Test func `a missing path is named as BuildKit does`() throws {
        let error = #expect(throws: TreeError.self) { try digest(tree([file("a", 1)]), "nofile") }
        #expect(error.map { "\($0)" } == "\"/nofile\": not found")
    }

    @Test func `lookups see what overlays show`() throws {
        let merged = try tree(
            [directory("d"), file("d/a", 1), file("f", 1)],
            [
                LayerEntry(path: Array("d".utf8), mode: 0o700, kind: .directory(isOpaque: true)), file("d/b", 2),
                directory("f"),
            ])
        #expect(merged.lookup("d/a") == nil)
        #expect(try merged.children(of: "d").map { String(decoding: $0.name, as: UTF8.self) } == ["b"])
        #expect(merged.lookup("f")?.isDirectory == true)
        #expect(merged.lookup("d")?.entry.mode == 0o700)
    }
}
