internal import ClusterModel
internal import Glibc
internal import OCI
internal import Testing
internal import Transfer

@testable internal import Snapshots

@Suite struct ArchiveTests {
    private func readFile(_ path: String) -> [UInt8] {
        guard let file = fopen(path, "r") else { return [] }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            if count == 0 { return bytes }
            bytes += buffer[..<count]
        }
    }

    private func writeFile(_ path: String, _ bytes: [UInt8]) {
        guard let file = fopen(path, "w") else { return }
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
    }

    /// A member of an archive, as hostile as wanted.
    private func member(
        _ name: String, _ type: TarEntry.Kind, link: String = "", content: [UInt8] = [],
        device: (UInt32, UInt32) = (0, 0),
        attributes: [ExtendedAttribute] = []
    ) -> [UInt8] {
        var entry = LayerEntry(path: [], mode: 0o644, attributes: attributes, kind: .fifo)
        if type == .characterDevice { entry.kind = .characterDevice(major: device.0, minor: device.1) }
        return TarWriter.header(
            entry, name: Array(name.utf8), linkName: Array(link.utf8), type: type.rawValue, size: Int64(content.count))
            + content + TarWriter.padding(Int64(content.count))
    }

    @Test(arguments: ["gnu", "pax", "ustar"], ["", "gzip", "zstd"])
    func `archives of GNU tar are read`(format: String, compression: String) async throws {
        let store = try TestStore()
        let path = store.root
        let long = String(repeating: "d/", count: 60) + String(repeating: "n", count: 90)
        shell(
            """
            mkdir \(path)/t; cd \(path)/t; mkdir -p $(dirname \(long)); \(format == "ustar" ? "" : "echo long > \(long)")
            echo a > a; ln a b; ln -s a c; truncate -s 2M s; echo tail >> s; mkfifo p; mknod n c 1 3; chmod 6711 a
            chown 1234:70000 a; touch -d @1500000000 a s p n; touch -h -d @1500000000 c; mkdir e; chmod 1777 e
            find . -type d | xargs touch -d @1500000000; \(format == "pax" ? "setfattr -n user.k -v v a" : "")
            tar --format=\(format) \(format == "ustar" ? "" : "--sparse") \(format == "pax" ? "--xattrs" : "") -cf ../t.tar .
            """)
        if !compression.isEmpty { shell("cd \(path); \(compression) -q -f t.tar; mv t.tar.* t.tar") }
        let layer = try await store.snapshots.importLayer(tar: Bytes(readFile(path + "/t.tar")))
        let expected = output(
            "cd \(path)/t; find . -mindepth 1 -printf '%P %y %m %U %G %Ts %l %n\\n' | sed 's/ [0-9]*$//' | sort; cat a s | sha256sum"
        )
        let view = try store.snapshots.view(of: LayerChain([layer]))
        let actual = output(
            "cd \(view.path); find . -mindepth 1 -printf '%P %y %m %U %G %Ts %l %n\\n' | sed 's/ [0-9]*$//' | sort; cat a s | sha256sum"
        )
        #expect(actual == expected)
        #expect(output("stat -c '%h' \(view.path)/b; stat -c %b \(view.path)/s") < "2\n999")
        if format == "pax" { #expect(output("getfattr --only-values -n user.k \(view.path)/b") == "v") }
    }

    @Test func `our archives are read by tar and umoci`() throws {
        let store = try TestStore()
        let chain = try tortureChain(store)
        writeFile(store.root + "/0.tar", try store.exported(chain.layers[0].id))
        writeFile(store.root + "/1.tar", try store.exported(chain.layers[1].id))
        shell("cd \(store.root); tar tvf 1.tar > list; grep -q '\\.wh\\.old' list; grep -q 'opaque/.wh..wh..opq' list")
        // GNU tar: the lower layer has nothing that only OCI knows.
        shell("mkdir \(store.root)/x; tar --xattrs --xattrs-include='*' -xpf \(store.root)/0.tar -C \(store.root)/x")
        let base = LayerChain([chain.layers[0]])
        expectSame(treeDump(store.root + "/x"), try store.dump(base))
        shell(
            """
            cd \(store.root); umoci init --layout i; umoci new --image i:t
            umoci raw add-layer --image i:t 0.tar; umoci raw add-layer --image i:t 1.tar; umoci unpack --image i:t bundle
            """)
        func names(_ path: String) -> String {
            output("cd \(path); find . -mindepth 1 -printf '%P %y %m %U %G %l\\n' | sort")
        }
        let view = try store.snapshots.view(of: chain)
        #expect(names(store.root + "/bundle/rootfs") == names(view.path))
    }

    @Test func `parents that are missing look as they do below, and links may lead there`() async throws {
        let store = try TestStore()
        let base = try store.layer("mkdir -m 1777 tmp; mkdir -p usr/lib; ln -s usr/lib lib; echo 1 > f; chown 5:6 f")
        let archive =
            member("tmp/x", .file, content: [65]) + member("lib/y", .file, content: [66])
            + member("g", .hardlink, link: "f") + TarWriter.endMark
        let layer = try await store.snapshots.importLayer(tar: Bytes(archive), over: base)
        let view = try store.snapshots.view(of: base.appending(layer))
        #expect(
            output("cd \(view.path); stat -c '%a %F' tmp lib; cat usr/lib/y g; stat -c '%u:%g' g")
                == "1777 directory\n777 symbolic link\nB1\n5:6\n")
    }

    @Test func `links in an archive cannot lead out of it`() async throws {
        let store = try TestStore()
        let archive =
            member("evil", .symlink, link: "/etc") + member("evil/peerbuild-escaped", .file, content: [1])
            + member("up", .symlink, link: "../../../../../..") + member("up/peerbuild-escaped", .file, content: [2])
            + TarWriter.endMark
        let layer = try await store.snapshots.importLayer(tar: Bytes(archive))
        #expect(access("/etc/peerbuild-escaped", F_OK) != 0 && access("/peerbuild-escaped", F_OK) != 0)
        let names = try store.snapshots.manifest(of: layer.id).entries.map { String(decoding: $0.path, as: UTF8.self) }
        #expect(names.sorted() == ["etc", "etc/peerbuild-escaped", "evil", "peerbuild-escaped", "up"])
    }

    @Test func `hostile archives are refused and leave nothing`() async throws {
        let store = try TestStore()
        let redirect = ExtendedAttribute(name: Array("trusted.overlay.redirect".utf8), value: Array("/etc".utf8))
        let hostile: [(String, [UInt8])] = [
            ("dot dot", member("../x", .file, content: [1])), ("inner dot dot", member("a/../../x", .file)),
            ("link to dot dot", member("h", .hardlink, link: "../../etc/passwd")),
            ("link to nothing", member("h", .hardlink, link: "etc/passwd")),
            ("whiteout device", member("w", .characterDevice)),
            ("big device", member("w", .characterDevice, device: (5_000, 1))),
            ("bad whiteout", member(".wh...", .file)), ("empty whiteout", member(".wh.", .file)),
            ("below a file", member("f", .file) + member("f/g", .file)),
            ("loop", member("l", .symlink, link: "l") + member("l/x", .file)),
            ("long name", member(String(repeating: "x", count: 300), .file)),
            ("root is a file", member("/", .symlink, link: "x")),
            ("cut off", Array(member("f", .file, content: [1]).prefix(513))),
            ("no header", [UInt8](repeating: 7, count: 512)),
            ("bad gzip", [0x1F, 0x8B, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9]),
            ("cut gzip", [0x1F, 0x8B]), ("cut zstd", [0x28, 0xB5, 0x2F, 0xFD]),
        ]
        for (what, bytes) in hostile {
            await #expect(throws: (any Error).self, "\(what)") {
                try await store.snapshots.importLayer(tar: Bytes(bytes + (bytes.count == 513 ? [] : TarWriter.endMark)))
            }
        }
        await #expect(throws: ArchiveError.self) {
            try await store.snapshots.importLayer(tar: Bytes(TarWriter.endMark), diffID: Digest.of([1]))
        }
        #expect(try store.snapshots.list().isEmpty)
        #expect(output("ls \(store.root)/store/staging") == "")
        // overlayfs' own attributes are dropped.
        let layer = try await store.snapshots.importLayer(
            tar: Bytes(member("d", .file, attributes: [redirect]) + TarWriter.endMark))
        #expect(try store.snapshots.manifest(of: layer.id).entries[0].attributes.isEmpty)
    }

    @Test(arguments: UInt64(0)..<200)
    func `flipped bits and cuts never do more than fail`(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let store = try TestStore()
        var archive = member("d", .directory) + member("d/f", .file, content: Array(repeating: 3, count: 700))
        archive +=
            member(String(repeating: "p", count: 150), .file, content: [1]) + member("d/h", .hardlink, link: "d/f")
        archive += member("s", .symlink, link: "d") + TarWriter.endMark
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            archive[Int.random(in: 0..<archive.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        }
        if Bool.random(using: &random) { archive.removeLast(Int.random(in: 0..<archive.count, using: &random)) }
        _ = try? await store.snapshots.importLayer(tar: Bytes(archive))
        #expect(output("ls \(store.root)/store/staging") == "")
    }

    @Test func `whiteouts meet names and opaque directories as OCI has it`() async throws {
        let store = try TestStore()
        let base = try store.layer("mkdir d e; echo 1 > d/a; echo 2 > e/b; echo 3 > f")
        // In any order; a whiteout beside a directory of its name replaces it.
        let archive =
            member("d/new", .file) + member(".wh.d", .file) + member("e/x", .file) + member("e/.wh..wh..opq", .file)
            + member("e/.wh.b", .file) + member(".wh.f", .file) + member(".wh..wh.plnk", .directory) + TarWriter.endMark
        let layer = try await store.snapshots.importLayer(tar: Bytes(archive), over: base)
        let view = try store.snapshots.view(of: base.appending(layer))
        #expect(output("cd \(view.path); find . -mindepth 1 | sort") == "./d\n./d/new\n./e\n./e/x\n")
        #expect(try store.merged(base.appending(layer)) == store.scanned(base.appending(layer)))
    }
}
