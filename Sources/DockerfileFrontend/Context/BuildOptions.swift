internal import LLB
internal import OCI

/// The attributes of a build, checked and typed.
struct BuildOptions: Sendable {
    var attributes: [String: String]
    var filename: String
    var target: String
    var platforms: [Platform]
    var isMultiPlatform: Bool
    var buildArguments: [String: String]
    var labels: [String: String]
    var contextName: String
    var dockerfileName: String
    /// Nil: cache is used.
    ///
    /// Empty: nothing is taken from it. Else the stages that ignore it.
    var uncachedStages: [String]?
    var extraHosts: [(host: String, address: String)]
    /// Bytes of /dev/shm; 0 is the runtime's default.
    var shmBytes: Int64
    var ulimits: [Pb_Ulimit]
    var resources: Pb_LinuxResources?
    var cgroupParent: String
    var hostname: String
    var network: Pb_NetMode
    var resolveMode: String
    var cacheNamespace: String
    /// Seconds since 1970, from SOURCE_DATE_EPOCH.
    var epoch: Int64?

    private static let knownCapabilities: Set<String> = [
        "moby.buildkit.frontend.inputs", "moby.buildkit.frontend.subrequests", "moby.buildkit.frontend.contexts",
        "moby.buildkit.frontend.gitquerystring",
    ]

    init(_ attributes: [String: String]) throws(DockerfileError) {
        self.attributes = attributes
        try Self.checkCapabilities(attributes["frontend.caps"] ?? "")
        filename = attributes["filename"].flatMap { $0.isEmpty ? nil : $0 } ?? "Dockerfile"
        target = attributes["target"] ?? ""
        buildArguments = Self.entries(attributes, prefix: "build-arg:")
        labels = Self.entries(attributes, prefix: "label:")
        contextName = attributes["contextkey"] ?? "context"
        dockerfileName = attributes["dockerfilekey"] ?? "dockerfile"
        uncachedStages = attributes["no-cache"].map { Self.list($0) }
        cgroupParent = attributes["cgroup-parent"] ?? ""
        hostname = attributes["hostname"] ?? buildArguments["BUILDKIT_SANDBOX_HOSTNAME"] ?? ""
        cacheNamespace = buildArguments["BUILDKIT_CACHE_MOUNT_NS"] ?? ""
        platforms = try Self.platforms(attributes["platform"] ?? "")
        let multi = attributes["multi-platform"] ?? buildArguments["BUILDKIT_MULTI_PLATFORM"] ?? ""
        guard let asksForMany = multi.isEmpty ? false : GoBool.parse(multi) else {
            throw Self.fault("invalid boolean value for multi-platform: \(multi)")
        }
        isMultiPlatform = asksForMany || platforms.count > 1
        extraHosts = try Self.hosts(attributes["add-hosts"] ?? "")
        shmBytes = try Self.number(attributes, "shm-size") ?? 0
        ulimits = try Self.ulimits(attributes["ulimit"] ?? "")
        resources = try Self.resources(attributes)
        switch attributes["force-network-mode"] ?? "" {
        case "", "sandbox", "default": network = .unset
        case "host": network = .host
        case "none": network = .none
        case let other: throw Self.fault("invalid network mode \(other): use host, none or sandbox")
        }
        resolveMode = attributes["image-resolve-mode"].flatMap { $0.isEmpty ? nil : $0 } ?? "default"
        guard ["default", "pull", "local"].contains(resolveMode) else {
            throw Self.fault("invalid image-resolve-mode: \(resolveMode)")
        }
        if let text = buildArguments["SOURCE_DATE_EPOCH"], !text.isEmpty {
            guard let seconds = Int64(text) else { throw Self.fault("invalid SOURCE_DATE_EPOCH: \(text)") }
            epoch = seconds
        }
    }

    /// Whether steps of the stage must run even if their results are known.
    func ignoresCache(stage names: [String]) -> Bool {
        guard let uncachedStages else { return false }
        guard !uncachedStages.isEmpty else { return true }
        return uncachedStages.contains { wanted in names.contains { $0.lowercased() == wanted.lowercased() } }
    }

    /// The variables that a proxy needs; nil when none is set.
    var proxy: Pb_ProxyEnv? {
        var proxy = Pb_ProxyEnv()
        for key in buildArguments.keys.sorted() {
            let value = buildArguments[key] ?? ""
            switch key.lowercased() {
            case "http_proxy": proxy.httpProxy = value
            case "https_proxy": proxy.httpsProxy = value
            case "ftp_proxy": proxy.ftpProxy = value
            case "no_proxy": proxy.noProxy = value
            case "all_proxy": proxy.allProxy = value
            default: break
            }
        }
        return proxy == Pb_ProxyEnv() ? nil : proxy
    }

    private static func fault(_ message: String) -> DockerfileError { DockerfileError(.invalidAttribute, message) }

    private static func checkCapabilities(_ text: String) throws(DockerfileError) {
        for var name in list(text) {
            if name.hasSuffix("+forward") { name.removeLast("+forward".count) }
            guard knownCapabilities.contains(name) else {
                throw DockerfileError(.unsupportedCapability(name), "unsupported frontend capability \(name)")
            }
        }
    }

    private static func list(_ text: String) -> [String] {
        text.split(separator: ",").map { String($0.trimmed) }.filter { !$0.isEmpty }
    }

    private static func entries(_ attributes: [String: String], prefix: String) -> [String: String] {
        var result: [String: String] = [:]
        for (key, value) in attributes where key.hasPrefix(prefix) {
            result[String(key.dropFirst(prefix.count))] = value
        }
        return result
    }

    private static func platforms(_ text: String) throws(DockerfileError) -> [Platform] {
        var result: [Platform] = []
        for name in list(text) {
            guard let platform = Platform(name) else {
                throw fault("failed to parse target platform \(name): expected os/architecture[/variant]")
            }
            if !result.contains(platform) { result.append(platform) }
        }
        guard result.count <= DockerfileLimits.platformsMax else {
            throw fault("\(result.count) platforms asked for, at most \(DockerfileLimits.platformsMax) are allowed")
        }
        return result
    }

    private static func hosts(_ text: String) throws(DockerfileError) -> [(host: String, address: String)] {
        try list(text).map { (entry) throws(DockerfileError) in
            let parts = entry.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { throw fault("invalid key-value pair \(entry): add-hosts wants host=address") }
            return (parts[0], parts[1])
        }
    }

    private static func number(_ attributes: [String: String], _ key: String) throws(DockerfileError) -> Int64? {
        guard let text = attributes[key], !text.isEmpty else { return nil }
        guard let value = Int64(text) else { throw fault("invalid \(key): \(text) is no whole number") }
        return value
    }

    private static func ulimits(_ text: String) throws(DockerfileError) -> [Pb_Ulimit] {
        try list(text).map { (entry) throws(DockerfileError) in
            let parts = entry.split(separator: "=", maxSplits: 1).map(String.init)
            let values = parts.count == 2 ? parts[1].split(separator: ":").map { Int64($0) } : []
            guard (1...2).contains(values.count), let soft = values[0], let hard = values[values.count - 1] else {
                throw fault("invalid ulimit \(entry): expected name=soft[:hard]")
            }
            var limit = Pb_Ulimit()
            limit.name = parts[0]
            limit.soft = soft
            limit.hard = hard
            return limit
        }
    }

    private static func resources(_ attributes: [String: String]) throws(DockerfileError) -> Pb_LinuxResources? {
        var resources = Pb_LinuxResources()
        resources.memory = try number(attributes, "memory") ?? 0
        resources.memorySwap = try number(attributes, "memswap") ?? 0
        resources.cpuShares = UInt64(max(0, try number(attributes, "cpushares") ?? 0))
        resources.cpuPeriod = UInt64(max(0, try number(attributes, "cpuperiod") ?? 0))
        resources.cpuQuota = try number(attributes, "cpuquota") ?? 0
        resources.cpusetCpus = attributes["cpusetcpus"] ?? ""
        resources.cpusetMems = attributes["cpusetmems"] ?? ""
        return resources == Pb_LinuxResources() ? nil : resources
    }
}
