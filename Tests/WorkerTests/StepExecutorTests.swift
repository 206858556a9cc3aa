internal import ClusterModel
internal import Foundation
internal import LLB
internal import Testing
internal import Worker

@Suite(.serialized) struct StepExecutorTests {
    @Test func `A step prints, writes its root and leaves no mount stubs`() async throws {
        try await StepFixture.with { fixture in
            let run = try await fixture.run("echo out; echo err >&2; echo x > /made; cat /etc/hosts") {
                $0.meta.extraHosts = [
                    made(Pb_HostIP()) {
                        $0.host = "registry.example"; $0.ip = "192.0.2.7"
                    }
                ]
            }
            #expect(run.output.contains("out\n") && run.output.contains("err\n"))
            #expect(run.output.contains("192.0.2.7\tregistry.example"))
            #expect(try fixture.changes(run) == ["made"])
            #expect(try fixture.read("made", in: run.results[0]) == "x\n")
        }
    }

    @Test func `A failing step gives BuildKit's text and its exit code`() async throws {
        try await StepFixture.with { fixture in
            let error = await #expect(throws: OperationError.self) { _ = try await fixture.run("exit 7") }
            #expect(error?.exitCode == 7)
            #expect(error?.description == "process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7")
            _ = try await fixture.run("exit 7") { $0.meta.validExitCodes = [7] }
            await #expect(throws: OperationError.exit(arguments: ["/bin/sh", "-c", "true"], code: 0)) {
                _ = try await fixture.run("true") { $0.meta.validExitCodes = [7] }
            }
            let missing = await #expect(throws: OperationError.self) {
                _ = try await fixture.run("") { $0.meta.args = ["/bin/nope"] }
            }
            #expect(missing?.description.contains("/bin/nope") == true)
        }
    }

    @Test func `User, groups, home, directory and environment come from the op and the root`() async throws {
        try await StepFixture.with { fixture in
            let run = try await fixture.run("id -u; id -g; id -G; pwd; env; hostname") {
                $0.meta.user = "builder"
                $0.meta.cwd = "/new/place"
                $0.meta.env = ["A=b"]
                $0.meta.proxyEnv = made(Pb_ProxyEnv()) { $0.httpProxy = "http://proxy" }
            }
            let lines = run.output.split(separator: "\n").map(String.init)
            #expect(lines.prefix(4) == ["1000", "1001", "1001 1002", "/new/place"])
            for line in [
                "A=b", "HOME=/home/builder", "HTTP_PROXY=http://proxy", "http_proxy=http://proxy", "buildkitsandbox",
            ] {
                #expect(lines.contains(line), "\(line)")
            }
            #expect(lines.contains("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
            #expect(try fixture.changes(run) == ["new", "new/place"])
            let other = try await fixture.run("id -u; id -g; env") { $0.meta.user = "5:extra" }
            #expect(other.output.hasPrefix("5\n1002\n") && other.output.contains("HOME=/\n"))
            let unknown = await #expect(throws: OperationError.self) {
                _ = try await fixture.run("true") { $0.meta.user = "nobody" }
            }
            #expect(
                unknown?.description.hasSuffix(
                    "did not complete successfully: unable to find user nobody: no matching entries in passwd file")
                    == true)
        }
    }

    @Test func `A step has Docker's capabilities, a seccomp filter and may use set-uid programs`() async throws {
        try await StepFixture.with { fixture in
            let run = try await fixture.run(
                "cat /proc/self/status; umount /proc || echo no-umount; mount -t tmpfs x /tmp || echo no-mount; touch /proc/sys/x || echo read-only"
            )
            #expect(run.output.contains("CapEff:\t00000000a80425fb"))
            #expect(run.output.contains("CapBnd:\t00000000a80425fb"))
            #expect(run.output.contains("Seccomp:\t2"))
            #expect(run.output.contains("NoNewPrivs:\t0"))
            for text in ["no-umount", "no-mount", "read-only"] { #expect(run.output.contains(text), "\(text)") }
            await #expect(throws: OperationError.entitlementMissing("security.insecure")) {
                _ = try await fixture.run("true") { $0.security = .insecure }
            }
            let insecure = try await fixture.run("cat /proc/self/status", entitlements: ["security.insecure"]) {
                $0.security = .insecure
            }
            // User namespaces need no capability: only the filter forbids them.
            let forbidden = try await fixture.run("unshare -U true || echo no-namespace")
            #expect(forbidden.output.contains("no-namespace"))
            #expect(insecure.output.contains("Seccomp:\t0") && !insecure.output.contains("CapEff:\t00000000a80425fb"))
        }
    }

    @Test func `A step is alone in its control group and opens only harmless devices`() async throws {
        let script = """
            procs=/sys/fs/cgroup/cgroup.procs
            [ -e $procs ] || procs=/sys/fs/cgroup/pids/cgroup.procs
            echo processes: $(grep -c . $procs)
            mknod /loop b 7 0 && head -c 1 /loop
            mknod /zero c 1 5 && echo zeros: $(head -c 3 /zero | wc -c)
            """
        try await StepFixture.with { fixture in
            let limits = made(Pb_LinuxResources()) { $0.memory = 1 << 30 }
            for resources in [nil, limits] {
                let run = try await fixture.run(script, resources: resources)
                #expect(run.output.contains("head: /loop: Operation not permitted"), "\(run.output)")
                #expect(run.output.contains("zeros: 3"))
                let count = run.output.split(separator: "\n").first { $0.hasPrefix("processes: ") }?.dropFirst(11)
                // The shell, the subshell and grep; the runtime itself where it starts in the group.
                #expect((2...5).contains(count.flatMap { Int($0) } ?? 0), "\(run.output)")
            }
            let insecure = try await fixture.run(script, entitlements: ["security.insecure"]) {
                $0.security = .insecure
            }
            #expect(!insecure.output.contains("Operation not permitted"))
        }
    }

    @Test func `A node can keep steps from new privileges`() async throws {
        try await StepFixture.with(forbidsNewPrivileges: true) { fixture in
            let run = try await fixture.run("cat /proc/self/status")
            #expect(run.output.contains("NoNewPrivs:\t1"))
        }
    }

    @Test func `Network none has its own namespace, host needs an entitlement`() async throws {
        try await StepFixture.with { fixture in
            let run = try await fixture.run("ls /sys/class/net; ifconfig lo; readlink /proc/self/ns/net") {
                $0.network = .none
            }
            #expect(run.output.hasPrefix("lo\n"))
            #expect(run.output.contains("UP LOOPBACK RUNNING"))
            let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/net")
            #expect(!run.output.contains(own))
            await #expect(throws: OperationError.entitlementMissing("network.host")) {
                _ = try await fixture.run("true") { $0.network = .host }
            }
        }
    }

    @Test func `Bind mounts show a selected part, keep or drop writes as the op says`() async throws {
        try await StepFixture.with { fixture in
            let input = try fixture.files(["dir/a": "one", "file": "two", "link": "x"])
            let run = try await fixture.run(
                "cat /ro/a /one; echo new > /rw/b; echo lost > /lost/c; echo no > /ro/x || echo refused",
                inputs: [input]
            ) {
                var readOnly = StepFixture.mount("/ro", input: 1)
                readOnly.selector = "/dir"
                readOnly.readonly = true
                var file = StepFixture.mount("/one", input: 1)
                file.selector = "file"
                file.readonly = true
                $0.mounts += [
                    readOnly, file, StepFixture.mount("/rw", input: 1, output: 1), StepFixture.mount("/lost", input: 1),
                ]
            }
            #expect(run.output.hasPrefix("onetwo"))
            #expect(run.output.contains("refused"))
            #expect(try fixture.changes(run) == [])
            #expect(try fixture.read("b", in: run.results[1]) == "new\n")
            await #expect(throws: OperationError.notFound(path: "/none")) {
                _ = try await fixture.run("true", inputs: [input]) {
                    var mount = StepFixture.mount("/x", input: 1)
                    mount.selector = "/none"
                    $0.mounts.append(mount)
                }
            }
        }
    }

    @Test func `Secrets are files and variables that never reach the result`() async throws {
        try await StepFixture.with { fixture in
            let session = SecretSession(["key": "s3cret"])
            let run = try await fixture.run(
                "cat /run/secrets/key; stat -c ' %a %u:%g' /run/secrets/key; env", session: session
            ) {
                var mount = StepFixture.mount("/run/secrets/key", .secret, output: 0)
                mount.secretOpt = made(Pb_SecretOpt()) {
                    $0.id = "key"; $0.mode = 0o400; $0.uid = 3; $0.gid = 4
                }
                $0.mounts.append(mount)
                $0.secretenv = [
                    made(Pb_SecretEnv()) {
                        $0.id = "key"; $0.name = "KEY"
                    }
                ]
            }
            #expect(run.output.hasPrefix("s3cret 400 3:4"))
            #expect(run.output.contains("KEY=s3cret"))
            #expect(try fixture.changes(run) == [])
            let error = await #expect(throws: OperationError.self) {
                _ = try await fixture.run("true") {
                    var mount = StepFixture.mount("/s", .secret)
                    mount.secretOpt.id = "none"
                    $0.mounts.append(mount)
                }
            }
            #expect(error?.description == "secret none: not found")
        }
    }

    @Test func `Cache mounts persist by id, tmpfs does not`() async throws {
        try await StepFixture.with { fixture in
            let mounts: (inout Pb_ExecOp) -> Void = {
                var cache = StepFixture.mount("/cache", .cache)
                cache.cacheOpt.id = "//cache"
                var memory = StepFixture.mount("/mem", .tmpfs)
                memory.tmpfsOpt.size = 1 << 20
                $0.mounts += [cache, memory]
            }
            _ = try await fixture.run("echo kept > /cache/f; echo gone > /mem/f", mounts)
            let run = try await fixture.run(
                "cat /cache/f; ls /mem; head -c 2000000 /dev/zero > /mem/big || echo full", mounts)
            #expect(run.output.hasPrefix("kept\n"))
            #expect(run.output.contains("full"))
            #expect(try fixture.changes(run) == [])
        }
    }

    @Test func `Output beyond the limit is clipped once`() async throws {
        try await StepFixture.with { fixture in
            let run = try await fixture.run("yes | head -c 3000000")
            #expect(run.output.hasSuffix("[output clipped, log limit 2MiB reached]\n"))
            #expect(run.output.utf8.count < (2 << 20) + 100)
        }
    }

    @Test func `A cancelled step leaves no process, mount or control group behind`() async throws {
        try await StepFixture.with { fixture in
            let started = OutputCollector()
            await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    _ = try await fixture.executor.execute(
                        StepFixture.step("sleep 1000 & echo started; sleep 1000"), platform: nil, resources: nil,
                        inputs: [fixture.base], context: OperationContext(log: { started.add($0, $1) }))
                }
                while !started.text.contains("started") { await Task.yield() }
                group.cancelAll()
                await #expect(throws: CancellationError.self) { try await group.next() }
            }
            let mounts = try String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)
            #expect(
                mounts.split(separator: "\n").filter { $0.contains(fixture.root) }.count == 1, "only the run directory")
            #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.root + "/run") == ["state"])
            let parent = StepExecutorConfiguration(root: fixture.root).controlGroupParent
            for hierarchy in try FileManager.default.contentsOfDirectory(atPath: "/sys/fs/cgroup") {
                let path = "/sys/fs/cgroup/\(hierarchy)\(parent)/step-1"
                #expect(!FileManager.default.fileExists(atPath: path), "\(path)")
            }
        }
    }

    @Test func `A platform without an emulator is refused`() async throws {
        try await StepFixture.with { fixture in
            let error = await #expect(throws: OperationError.self) {
                _ = try await fixture.executor.execute(
                    StepFixture.step("true"),
                    platform: made(Pb_Platform()) {
                        $0.os = "linux"; $0.architecture = "s390x"
                    }, resources: nil,
                    inputs: [fixture.base], context: OperationContext())
            }
            #expect(error?.description.contains("cannot run a step for linux/s390x") == true)
        }
    }
}
