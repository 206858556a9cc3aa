internal import ClusterModel
internal import Glibc
internal import OCI
internal import Testing
internal import Transfer

@testable internal import Snapshots

/// Two layers with all that a layer can hold.
func tortureChain(_ store: TestStore) throws -> LayerChain {
    let base = try store.layer(
        """
        mkdir -p etc usr/lib old/deep replaced-dir keep; echo a > etc/a; echo b > etc/b; echo c > old/deep/c
        echo d > replaced-dir/x; echo e > becomes-dir; echo f > keep/f; ln -s usr/lib lib; echo g > opaque-victim
        mkdir opaque; echo 1 > opaque/1; echo 2 > opaque/2; touch -d '2001-02-03 04:05:06.789012345' etc/a keep
        """)
    let long = String(repeating: "n", count: 255)
    return try store.layer(
        over: base,
        """
        rm etc/b; rm -r old replaced-dir; echo file > replaced-dir; rm becomes-dir; mkdir -p becomes-dir/sub
        rm -r opaque; mkdir opaque; echo 3 > opaque/3; echo x > \(long); printf 'bad' > "$(printf 'n\\377\\376ame')"
        mkdir -p h1/h2 'sp ace'; echo hard > h1/a; ln h1/a h1/h2/b; ln h1/a zz; ln h1/a h1-x; ln -s /etc/passwd abs; ln -s ../../../x up
        mknod null c 1 3; mknod disk b 8 17; mkfifo fifo; truncate -s 3M sparse; printf end >> sparse
        printf mid | dd of=sparse bs=1 seek=1000000 conv=notrunc status=none; truncate -s 1M hole
        echo u > owned; chown 70000:70001 owned; chmod 6755 owned; chmod 1777 'sp ace'; : > empty
        setfattr -n user.test -v value owned; setfattr -n user.empty h1; setfattr -n trusted.x -v 0x0001ff owned
        setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 etc/a
        touch -h -d '1969-12-31 23:59:58.25' abs; touch -d '2030-01-01 00:00:00.123456789' owned h1/h2
        """)
}

@Suite struct LayerTests {
    @Test func `a torture tree survives commit, pull and archive`() async throws {
        let (holder, puller) = (try TestStore(), try TestStore())
        let chain = try tortureChain(holder)
        #expect(chain.layers.count == 2)
        let before = try holder.dump(chain)
        for part in [
            "1893456000.1234567890", "70000 70001", "6755", "sparse", "security.capability", "fifo", " /etc/passwd",
        ] {
            #expect(before.contains(part), "\(part) is not in the tree")
        }
        #expect(!before.contains("opaque/1") && !before.contains("old/deep") && !before.contains("etc/b"))
        for layer in chain.layers {
            let moved = try await transfer(layer.id, from: holder.snapshots, to: puller.snapshots)
            #expect(moved.bytes <= layer.bytes)
            // Holes do not travel.
            #expect(moved.wire < 200_000)
        }
        expectSame(try puller.dump(chain), before)
        #expect(output("stat -c %b \(puller.snapshots.contentPath(of: chain.layers[1].id))/sparse") < "512")
        let third = try TestStore()
        for layer in chain.layers {
            let archive = try holder.exported(layer.id)
            #expect(try puller.exported(layer.id) == archive)
            let back = try await third.snapshots.importLayer(tar: Bytes(archive), diffID: Digest.of(archive))
            #expect(back.id == layer.id)
        }
        expectSame(try third.dump(chain), before)
        #expect(try holder.merged(chain) == holder.scanned(chain))
    }

    @Test func `nothing written means no layer`() throws {
        let store = try TestStore()
        let base = try store.layer("mkdir -p a/b; echo x > a/b/c")
        #expect(try store.layer(over: base, "cat a/b/c > /dev/null; ls -lR > /dev/null") == base)
        // Copied up, and as before in the end.
        let touched = try store.layer(
            over: base, "t=$(stat -c %y a/b); touch a/b/new; rm a/b/new; touch -d \"$t\" a/b")
        #expect(touched == base)
        #expect(try store.layer(over: base, "chmod 700 .") != base)
    }

    @Test func `equal changes are equal layers`() throws {
        let (first, second) = (try TestStore(), try TestStore())
        let script = "mkdir d; echo 1 > d/f; ln d/f d/g; touch -d @1000000000.5 d/f d"
        let left = try first.layer(script)
        #expect(try second.layer(script) == left)
        #expect(try first.layer(script) == left)
        #expect(try first.snapshots.list().count == 1)
        #expect(output("ls \(first.root)/store/work \(first.root)/store/staging | grep -c '^[0-9]'") == "0\n")
    }

    @Test func `a directory is opaque only over a directory`() throws {
        let store = try TestStore()
        let base = try store.layer("echo 1 > f; mkdir d; echo 2 > d/x")
        let time = "touch -d @5 f d d/y"
        let replaced = try store.layer(over: base, "rm f; mkdir f; rm -r d; mkdir d; echo 3 > d/y; \(time)")
        let opaque = try store.snapshots.manifest(of: replaced.layers[1].id).entries.filter {
            $0.kind == .directory(isOpaque: true)
        }
        #expect(opaque.map(\.displayPath) == ["/d"])
        #expect(try store.scanned(replaced).map(\.displayPath) == ["/d", "/d/y", "/f"])
    }

    @Test func `a changed root directory is kept and inherited`() throws {
        let store = try TestStore()
        let base = try store.layer("chmod 711 .; setfattr -n user.r -v 1 .; echo 1 > a")
        let top = try store.layer(over: base, "echo 2 > b")
        for chain in [base, top] {
            let view = try store.snapshots.view(of: chain)
            defer { view.release() }
            #expect(output("stat -c %a '\(view.path)'; getfattr --only-values -n user.r '\(view.path)'") == "711\n1")
        }
    }

    @Test func `two hundred layers can be stacked and written over`() throws {
        let store = try TestStore()
        var chain = LayerChain.scratch
        for number in 0..<200 {
            chain = try store.layer(over: chain, "echo \(number) > f\(number); echo \(number) > last")
        }
        let view = try store.snapshots.view(of: chain)
        defer { view.release() }
        #expect(output("ls '\(view.path)' | wc -l; cat '\(view.path)/last' '\(view.path)/f0'") == "201\n199\n0\n")
        #expect(try store.merged(chain) == store.scanned(chain))
    }

    @Test func `sockets are left out and hide what was there`() throws {
        let store = try TestStore()
        let base = try store.layer("echo x > s")
        let top = try store.layer(
            over: base, "rm s; python3 -c \"import socket; [socket.socket(socket.AF_UNIX).bind(n) for n in ('s','t')]\""
        )
        #expect(try store.merged(top).isEmpty)
        #expect(try store.scanned(top).isEmpty)
    }

    @Test func `a snapshot that is busy is detached`() throws {
        let store = try TestStore()
        let work = try store.snapshots.prepare(over: .scratch)
        shell("echo 1 > '\(work.path)/f'")
        let held = open(work.path + "/f", O_RDONLY)
        defer { close(held) }
        #expect(try store.snapshots.commit(work) != nil)
        let other = try store.snapshots.prepare(over: .scratch)
        let directory = open(other.path, O_RDONLY | O_DIRECTORY)
        defer { close(directory) }
        store.snapshots.discard(other)
        store.snapshots.discard(other)
        #expect(try SnapshotStore.mounts(below: store.root).isEmpty)
    }

    @Test func `layers in use cannot be removed`() throws {
        let store = try TestStore()
        let chain = try store.layer("echo 1 > f")
        let view = try store.snapshots.view(of: chain)
        #expect(throws: SnapshotError.self) { try store.snapshots.remove(chain.layers[0].id) }
        view.release()
        view.release()
        try store.snapshots.remove(chain.layers[0].id)
        try store.snapshots.remove(chain.layers[0].id)
        #expect(!store.snapshots.contains(chain.layers[0].id))
        #expect(throws: SnapshotError.self) { try store.snapshots.view(of: chain) }
    }
}
