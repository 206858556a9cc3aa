/// Names of LLB features that an op's metadata says it needs; a server refuses the ones that it does not know.
package enum LLBCapability {
    package static let constraints = "constraints"
    package static let platform = "platform"

    /// The capabilities that a server must have for `op`, sorted.
    package static func needed(by op: Pb_Op.OneOf_Op, metadata: Pb_OpMetadata) -> [String] {
        var names: Set<String> = []
        switch op {
        case .source(let source): names.formUnion(needed(by: source))
        case .exec(let exec): names.formUnion(needed(by: exec))
        case .file(let file): names.formUnion(needed(by: file))
        case .merge: names.insert("mergeop")
        case .diff: names.insert("diffop")
        case .build: names.insert("source.buildop.llbfilename")
        case .passthrough: names.insert("passthroughop")
        }
        if metadata.ignoreCache { names.insert("meta.ignorecache") }
        if !metadata.description_p.isEmpty { names.insert("meta.description") }
        if metadata.hasExportCache { names.insert("meta.exportcache") }
        if metadata.hasLinuxResources { names.insert("exec.meta.linux.resources") }
        return names.sorted()
    }

    private static let byAttribute: [String: String] = [
        "local.session": "source.local.sessionid", "local.unique": "source.local.unique",
        "local.includepattern": "source.local.includepatterns",
        "local.excludepatterns": "source.local.excludepatterns", "local.followpaths": "source.local.followpaths",
        "local.sharedkeyhint": "source.local.sharedkeyhint", "local.differ": "source.local.differ",
        "git.keepgitdir": "source.git.keepgitdir", "git.fullurl": "source.git.fullurl",
        "git.checksum": "source.git.checksum", "git.authtokensecret": "source.git.httpauth",
        "git.authheadersecret": "source.git.httpauth", "git.mountsshsock": "source.git.mountsshsock",
        "git.knownsshhosts": "source.git.knownsshhosts", "git.skipsubmodules": "source.git.skipsubmodules",
        "http.checksum": "source.http.checksum", "http.perm": "source.http.perm",
        "image.resolvemode": "source.image.resolvemode", "image.checksum": "source.image.checksum",
    ]

    private static func needed(by source: Pb_SourceOp) -> Set<String> {
        var names = Set(source.attrs.keys.compactMap { byAttribute[$0] })
        if let end = source.identifier.firstRange(of: "://") {
            switch source.identifier[..<end.lowerBound] {
            case "docker-image": names.insert("source.image")
            case "local": names.insert("source.local")
            case "git": names.insert("source.git")
            case "http", "https": names.insert("source.http")
            case "oci-layout": names.insert("source.ocilayout")
            default: break
            }
        }
        return names
    }

    private static func needed(by exec: Pb_ExecOp) -> Set<String> {
        var names: Set<String> = ["exec.meta.base", "exec.mount.bind"]
        if !exec.meta.env.contains(where: { $0.hasPrefix("PATH=") }) { names.insert("exec.meta.setsdefaultpath") }
        if exec.meta.hasProxyEnv { names.insert("exec.meta.proxyenv") }
        if !exec.meta.ulimit.isEmpty { names.insert("exec.meta.ulimit") }
        if !exec.meta.cgroupParent.isEmpty { names.insert("exec.meta.cgroup.parent") }
        if exec.network != .unset { names.insert("exec.meta.network") }
        if exec.security != .sandbox { names.insert("exec.meta.security") }
        if !exec.secretenv.isEmpty { names.insert("exec.secretenv") }
        if !exec.cdiDevices.isEmpty { names.insert("exec.meta.cdi") }
        for mount in exec.mounts { names.formUnion(needed(by: mount)) }
        return names
    }

    private static func needed(by mount: Pb_Mount) -> Set<String> {
        var names: Set<String> = []
        if !mount.selector.isEmpty { names.insert("exec.mount.selector") }
        switch mount.mountType {
        case .cache: names.formUnion(["exec.mount.cache", "exec.mount.cache.sharing"])
        case .tmpfs: names.formUnion(["exec.mount.tmpfs", "exec.mount.tmpfs.size"])
        case .secret: names.insert("exec.mount.secret")
        case .ssh: names.insert("exec.mount.ssh")
        case .bind: if !mount.readonly, mount.output < 0 { names.insert("exec.mount.bind.readwrite-nooutput") }
        case .UNRECOGNIZED: break
        }
        return names
    }

    private static func needed(by file: Pb_FileOp) -> Set<String> {
        var names: Set<String> = ["file.base"]
        for action in file.actions {
            guard case .copy(let copy) = action.action else { continue }
            if !copy.includePatterns.isEmpty || !copy.excludePatterns.isEmpty {
                names.insert("file.copy.includeexcludepatterns")
            }
            if !copy.requiredPaths.isEmpty { names.insert("file.copy.requiredpaths") }
            if !copy.modeStr.isEmpty { names.insert("file.copy.modestring") }
        }
        return names
    }
}
