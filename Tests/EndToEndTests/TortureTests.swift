internal import Foundation
internal import Testing

/// A tree with all that a layer can hold, between real nodes and through archives.
extension EndToEnd {
    @Suite struct Torture {
        /// The whole size takes minutes in a debug build: PEERBUILD_E2E_FULL asks for it.
        private static let entries = isFullSize ? 100_000 : 2_000
        private static let sparseBytes = isFullSize ? 5_000_000_000 : 20_000_000

        @Test func `a torture tree is the same on two nodes, mounted, and after an export and import`() async throws {
            try await withWorkspace { workspace in
                let image = try await Self.makeImage(in: workspace)
                let cluster = try await TestCluster.start(["a", "b"], in: workspace, namespaces: true)
                let (a, b) = (try cluster["a"], try cluster["b"])
                let contexts = ["--build-context", "torture=oci-layout://\(image):latest"]
                // Another layer on top, made by a step on what was imported.
                let step = "RUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo step > /step; rm /d/hard3\"]"
                let context = try workspace.context("FROM torture\n\(step)\n")
                try await Self.build(a, context, cluster.base, contexts)
                try await b.drain([a])
                let archive = workspace.path + "/image.tar"
                try await Self.build(
                    b, context, cluster.base, contexts + ["-o", "type=oci,dest=\(archive)"])
                let pulled = try await b.status().counters.layerBytesPulled
                #expect(pulled > 0 && pulled < Self.sparseBytes / 2, "\(pulled)")

                // The digest of a layer's manifest is its name: equal names are equal trees, and the disk says so too.
                let layers = try Self.layers(of: a)
                #expect(layers.count == 4)
                #expect(try Self.layers(of: b) == layers)
                for node in [a, b] {
                    let verified = try await workspace.run(
                        [try TestNode.binary(), "store", "verify", "--root", node.root], within: 600)
                    #expect(verified.status == 0, "\(verified.output)")
                }
                let there = try await Self.dump(a, "a", workspace)
                let here = try await Self.dump(b, "b", workspace)
                try await Self.expectSame(there, here, workspace)
                try await Self.expectAll(of: there, workspace)

                // Out and in again, at a node that has none of it.
                try await workspace.check([
                    "skopeo", "copy", "-q", "oci-archive:" + archive, "oci:\(workspace.path)/again:latest",
                ])
                let fresh = try TestNode("fresh", in: workspace, keyFile: nil)
                try await fresh.start()
                let onTop = try workspace.context("FROM torture\nLABEL a=b\n")
                try await Self.build(
                    fresh, onTop, cluster.base,
                    [
                        "--build-context", "torture=oci-layout://\(workspace.path)/again:latest", "-o",
                        "type=tar,dest=/dev/null",
                    ])
                #expect(try Self.layers(of: fresh) == layers)
                try await Self.expectSame(there, try await Self.dump(fresh, "fresh", workspace), workspace)
                try await fresh.stop()
                #expect(try await cluster.stopAndFindLeftovers(in: workspace) == [])
            }
        }

        // MARK: Parts

        private static func build(
            _ node: TestNode, _ context: String, _ base: BaseImage, _ more: [String]
        ) async throws {
            let result = try await node.startBuild(context, base: base, more).end(within: 900)
            guard result.status == 0 else { throw HarnessFailure("\(result.errors)\n\(node.log)") }
        }

        /// The layers of the image on a node, known by a file that each of them has.
        private static func layers(of node: TestNode) throws -> Set<String> {
            let layers = node.root + "/snapshots/layers"
            return Set(
                try FileManager.default.contentsOfDirectory(atPath: layers).filter { name in
                    ["marker", "sparse", "opaque/2", "step"].contains {
                        FileManager.default.fileExists(atPath: "\(layers)/\(name)/fs/\($0)")
                    }
                })
        }

        /// An OCI layout of three layers, made by GNU tar: busybox, the tree, and a layer of deletions.
        private static func makeImage(in workspace: Workspace) async throws -> String {
            let script = try workspace.write(Self.script, to: "make-torture", mode: 0o755)
            let result = try await workspace.run(
                ["bash", script, workspace.path + "/torture", "\(entries)", "\(sparseBytes)"], within: 300)
            guard result.status == 0 else { throw HarnessFailure("\(result.errors)") }
            return workspace.path + "/torture/layout"
        }

        private static let script = #"""
            set -euo pipefail
            export LC_ALL=C
            work=$1 entries=$2 sparse=$3
            mkdir -p "$work"/{0/bin,1,2}; cp "$(command -v busybox)" "$work/0/bin/busybox"; : > "$work/0/marker"
            cd "$work/1"
            mkdir -p d/e/f h old/deep replaced gone opaque 'sp ace'; n=$(printf 'n%.0s' $(seq 255)); echo long > "$n"
            p=$(printf 'p%.0s' $(seq 120)); mkdir -p "$p/$p/$p"; echo deep > "$p/$p/$p/$n"
            printf bad > "$(printf 'n\377\376ame')"; mkdir "$(printf 'd\300\257r')"; echo new > "$(printf 'a\nb')"
            ln -s /etc/passwd abs; ln -s ../../../x up; ln -s "$(printf 'l\377')" odd
            mknod null c 1 3; mknod disk b 8 17; mkfifo fifo; : > empty
            echo hard > h/hard0; for i in $(seq 1 9); do ln h/hard0 "d/hard$i"; done; mv d/hard9 d/e/f/hard9
            echo owned > owned; chown 70000:70001 owned; chmod 6755 owned; chmod 1777 'sp ace'; chown 70000 h; chmod 000 empty
            setfattr -n user.test -v value owned; setfattr -n trusted.x -v 0x0001ff owned; setfattr -n user.d -v 1 d
            setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 h/hard0
            truncate -s "$sparse" sparse; printf mid | dd of=sparse bs=1 seek=$((sparse / 2)) conv=notrunc status=none; printf end >> sparse
            truncate -s 1M hole; head -c 3000000 /dev/urandom > random; cp random copy
            echo x > old/deep/x; echo y > replaced/y; echo z > gone/z; echo 1 > opaque/1
            mkdir many; python3 -c 'import os,sys
            for i in range(int(sys.argv[1])):
                if i % 100 == 0: d = "many/%03d" % (i // 100); os.mkdir(d)
                else: open(d + "/%d" % i, "w").write(str(i))' "$entries"
            touch -h -d '1969-12-31 23:59:58.25' abs; touch -d '2030-01-01 00:00:00.123456789' owned h d/e
            cd "$work/2"
            : > .wh.gone; mkdir opaque old; : > opaque/.wh..wh..opq; echo 2 > opaque/2; : > old/.wh.deep; echo file > replaced
            cd "$work"
            mkdir -p layout/blobs/sha256 && cd layout
            diffs= layers=
            for i in 0 1 2; do
                tar --format=pax --sparse --xattrs --xattrs-include='*' --numeric-owner -C "../$i" -cf ../layer .
                diff=$(sha256sum ../layer | cut -c1-64); zstd -q -1 -f ../layer -o ../packed; rm ../layer
                hex=$(sha256sum ../packed | cut -c1-64); size=$(stat -c %s ../packed); mv ../packed "blobs/sha256/$hex"
                diffs="$diffs,\"sha256:$diff\""
                layers="$layers,{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+zstd\",\"digest\":\"sha256:$hex\",\"size\":$size}"
            done
            put() { hex=$(sha256sum "$1" | cut -c1-64); size=$(stat -c %s "$1"); mv "$1" "blobs/sha256/$hex"; }
            printf '{"architecture":"%s","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
                "$(dpkg --print-architecture)" "${diffs#,}" > c; put c
            printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[%s]}' \
                "$hex" "$size" "${layers#,}" > m; put m
            printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}' \
                "$hex" "$size" > index.json
            echo '{"imageLayoutVersion":"1.0.0"}' > oci-layout
            rm -r ../1/many
            """#

        /// Everything about the merged tree as the kernel and other programs see it, in a file; mounts it by overlayfs.
        private static func dump(_ node: TestNode, _ name: String, _ workspace: Workspace) async throws -> String {
            let file = workspace.path + "/dump-\(name)"
            let script = """
                set -euo pipefail; export LC_ALL=C
                cd \(node.root)/snapshots/layers
                # The order of the image: what has busybox, then the tree, the deletions, the step.
                low=$(echo */fs/marker) tree=$(echo */fs/sparse) gone=$(echo */fs/opaque/2) top=$(echo */fs/step)
                mkdir \(file)-m
                mount -t overlay overlay -o ro,lowerdir=${top%%/*}/fs:${gone%%/*}/fs:${tree%%/*}/fs:${low%%/*}/fs \(file)-m
                trap 'cd /; umount \(file)-m' EXIT
                cd \(file)-m
                { find . -mindepth 1 -printf '%p %y %m %U %G %T@ %l %s\\n' | sort
                  find . -type f -printf '%p %n\\n' | sort
                  find . \\( -type b -o -type c \\) -exec stat -c '%n %t %T' {} + | sort
                  find . -type f -print0 | sort -z | xargs -0 sha256sum
                  getfattr -R -h -d -m - -e hex . 2>/dev/null | grep -v overlay; } > \(file)
                stat -c %b sparse > \(file)-blocks
                """
            let result = try await workspace.run(["bash", "-c", script], within: 600)
            guard result.status == 0 else { throw HarnessFailure("\(result.errors)") }
            let blocks = try workspace.text(of: file + "-blocks").trimmingCharacters(in: .whitespacesAndNewlines)
            #expect(Int(blocks).map { $0 < 4_096 } == true, "the sparse file takes \(blocks) blocks at \(name)")
            return file
        }

        private static func expectSame(_ left: String, _ right: String, _ workspace: Workspace) async throws {
            let result = try await workspace.run(["diff", left, right])
            #expect(result.status == 0, "\(result.output.prefix(2_000))")
        }

        /// Nothing of the tree was lost before the first dump.
        private static func expectAll(of dump: String, _ workspace: Workspace) async throws {
            let bytes = try Data(contentsOf: URL(fileURLWithPath: dump))
            let text = String(decoding: bytes, as: UTF8.self)
            for part in [
                "./owned f 6755 70000 70001 1893456000.1234567890", "./abs l 777 0 0 -2.", " /etc/passwd ", "./null c ",
                "./null 1 3", "./disk 8 11", "./fifo p", "./h/hard0 10", "./d/e/f/hard9 10", "./replaced f",
                "./opaque/2 f", "security.capability", "trusted.x=0x0001ff", "user.d=", "./step f",
                "./sparse f 644 0 0", " \(sparseBytes + 3)\n", String(repeating: "n", count: 255),
            ] { #expect(text.contains(part), "\(part) is not in the tree") }
            for part in ["./gone", "./old/deep", "./opaque/1", "./replaced/", "./d/hard3 "] {
                #expect(!text.contains(part), "\(part) is in the tree")
            }
            #expect(bytes.range(of: Data([UInt8(ascii: "n"), 0xFF, 0xFE, UInt8(ascii: "a")])) != nil)
            let many = try await workspace.check(["grep", "-a", "-c", "^./many/.* [fd] ", dump])
            #expect(Int(many.trimmingCharacters(in: .whitespacesAndNewlines)) == entries)
        }
    }
}
