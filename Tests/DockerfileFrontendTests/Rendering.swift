internal import DockerfileFrontend
internal import FoundationEssentials
internal import LLB
internal import OCI

/// A stable text of a frontend's output, one op a line.
enum Rendering {
    static func text(_ output: FrontendOutput) throws -> String {
        var lines: [String] = []
        for result in output.results {
            if output.isMultiPlatform { lines.append("== \(result.id)") }
            lines += try self.lines(result.definition)
            lines += try configLines(result.config)
        }
        for warning in output.warnings { lines.append("warning \(warning.short)") }
        return lines.joined(separator: "\n") + "\n"
    }

    static func text(_ error: DockerfileError) -> String {
        let places = error.lines.map { "\($0.start)-\($0.end)" }.joined(separator: ",")
        return "error \(error.message)\nlines \(places)\n"
    }

    private static func lines(_ definition: Pb_Definition) throws -> [String] {
        guard !definition.def.isEmpty else { return ["scratch"] }
        var numbers: [String: Int] = [:]
        var lines: [String] = []
        for bytes in definition.def.dropLast() {
            let op = try DefinitionBuilder.decode([UInt8](bytes))
            let digest = Digest.of([UInt8](bytes)).description
            let inputs = op.inputs.map { input in
                numbers[input.digest].map { "#\($0)" + (input.index == 0 ? "" : ".\(input.index)") } ?? "?"
            }
            numbers[digest] = numbers.count
            let metadata = definition.metadata[digest] ?? Pb_OpMetadata()
            var line = "#\(numbers.count - 1) "
            line += metadata.description_p["llb.customname"].map { visible($0) } ?? "?"
            if metadata.ignoreCache { line += " !cache" }
            if metadata.hasProgressGroup { line += " group(\(visible(metadata.progressGroup.name)))" }
            let ranges = definition.source.locations[digest]?.locations.first?.ranges ?? []
            if let first = ranges.first, let last = ranges.last {
                line += " @\(first.start.line)-\(last.end.line)"
            }
            lines.append(line)
            let platform = op.hasPlatform ? " \(op.platform.os)/\(op.platform.architecture)" : ""
            let from = inputs.isEmpty ? "" : " <- " + inputs.joined(separator: " ")
            for (index, detail) in body(op).enumerated() {
                lines.append("    " + visible(detail) + (index == 0 ? platform + from : ""))
            }
        }
        let terminal = try DefinitionBuilder.decode([UInt8](definition.def.last ?? Data()))
        lines.append("result #\(numbers[terminal.inputs.first?.digest ?? ""] ?? -1)")
        return lines
    }

    private static func visible(_ text: String) -> String {
        text.replacing("\n", with: "\\n").replacing("\t", with: "\\t")
    }

    private static func body(_ op: Pb_Op) -> [String] {
        switch op.op {
        case .source(let source):
            return ["source \(source.identifier)"] + source.attrs.sorted { $0.key < $1.key }.map { "\($0)=\($1)" }
        case .exec(let exec): return self.exec(exec)
        case .file(let file): return file.actions.map(action)
        case .merge(let merge): return ["merge \(merge.inputs.map { String($0.input) }.joined(separator: " "))"]
        default: return ["other"]
        }
    }

    private static func exec(_ exec: Pb_ExecOp) -> [String] {
        let meta = exec.meta
        var lines = ["exec \(meta.args) cwd=\(meta.cwd) user=\(meta.user)"]
        lines.append("env \(meta.env.filter { !$0.hasPrefix("PATH=/usr/local/sbin") })")
        if exec.network != .unset { lines.append("network \(exec.network)") }
        if exec.security != .sandbox { lines.append("security \(exec.security)") }
        if !meta.hostname.isEmpty { lines.append("hostname \(meta.hostname)") }
        if !meta.cgroupParent.isEmpty { lines.append("cgroup \(meta.cgroupParent)") }
        if meta.hasProxyEnv { lines.append("proxy \(meta.proxyEnv.httpProxy) \(meta.proxyEnv.noProxy)") }
        for host in meta.extraHosts { lines.append("host \(host.host)=\(host.ip)") }
        for limit in meta.ulimit { lines.append("ulimit \(limit.name)=\(limit.soft):\(limit.hard)") }
        for secret in exec.secretenv {
            lines.append("secretenv \(secret.name)=\(secret.id) optional=\(secret.optional)")
        }
        for device in exec.cdiDevices { lines.append("device \(device.name) optional=\(device.optional)") }
        return lines + exec.mounts.map(mount)
    }

    private static func mount(_ mount: Pb_Mount) -> String {
        var text = "mount \(mount.dest) \(mount.mountType) in=\(mount.input) out=\(mount.output)"
        if !mount.selector.isEmpty { text += " selector=\(mount.selector)" }
        if mount.readonly { text += " ro" }
        if mount.hasCacheOpt { text += " id=\(mount.cacheOpt.id) \(mount.cacheOpt.sharing)" }
        if mount.hasTmpfsOpt { text += " size=\(mount.tmpfsOpt.size)" }
        if mount.hasSecretOpt {
            let option = mount.secretOpt
            text +=
                " id=\(option.id) \(option.uid):\(option.gid) \(String(option.mode, radix: 8)) optional=\(option.optional)"
        }
        if mount.hasSshopt {
            let option = mount.sshopt
            text +=
                " id=\(option.id) \(option.uid):\(option.gid) \(String(option.mode, radix: 8)) optional=\(option.optional)"
        }
        return text
    }

    private static func action(_ action: Pb_FileAction) -> String {
        let place = "[\(action.input),\(action.secondaryInput)->\(action.output)] "
        switch action.action {
        case .copy(let copy):
            var text = "copy \(copy.src) \(copy.dest) mode=\(copy.mode)"
            if !copy.modeStr.isEmpty { text += " modeStr=\(copy.modeStr)" }
            let flags: [(Bool, String)] = [
                (copy.followSymlink, "follow"), (copy.dirCopyContents, "contents"),
                (copy.attemptUnpackDockerCompatibility, "unpack"), (copy.createDestPath, "mkdir"),
                (copy.allowWildcard, "wildcard"), (copy.allowEmptyWildcard, "empty"),
            ]
            text += " " + flags.filter(\.0).map(\.1).joined(separator: ",")
            if !copy.includePatterns.isEmpty { text += " include=\(copy.includePatterns)" }
            if !copy.excludePatterns.isEmpty { text += " exclude=\(copy.excludePatterns)" }
            if !copy.requiredPaths.isEmpty { text += " required=\(copy.requiredPaths)" }
            return place + text + (copy.hasOwner ? owner(copy.owner) : "")
        case .mkfile(let file):
            let data = String(decoding: file.data, as: UTF8.self)
            return place + "mkfile \(file.path) \(String(file.mode, radix: 8)) \"\(data)\""
                + (file.hasOwner ? owner(file.owner) : "")
        case .mkdir(let directory):
            return place + "mkdir \(directory.path) \(String(directory.mode, radix: 8))"
                + (directory.makeParents ? " parents" : "") + (directory.hasOwner ? owner(directory.owner) : "")
        default: return place + "other"
        }
    }

    private static func owner(_ option: Pb_ChownOpt) -> String {
        func part(_ user: Pb_UserOpt) -> String {
            switch user.user {
            case .byID(let id): "\(id)"
            case .byName(let name): "\(name.name)@\(name.input)"
            case nil: "-"
            }
        }
        return " owner=\(option.hasUser ? part(option.user) : "-"):\(option.hasGroup ? part(option.group) : "-")"
    }

    private static func configLines(_ bytes: [UInt8]) throws -> [String] {
        let image = try JSONDecoder().decode(ImageConfig.self, from: Data(bytes))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var lines = ["config \(image.platform) " + String(decoding: try encoder.encode(image.config), as: UTF8.self)]
        if let author = image.author { lines.append("author \(author)") }
        for entry in image.history ?? [] {
            let created = entry.created.map { " \($0)" } ?? ""
            lines.append(
                "history\(entry.emptyLayer == true ? " (empty)" : "")\(created) " + visible(entry.createdBy ?? ""))
        }
        return lines
    }
}
