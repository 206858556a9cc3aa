internal import FoundationEssentials
internal import LLB
internal import OCI

extension PlatformConversion {
    /// Loads base images and contexts of plans; images are resolved at the same time.
    mutating func load(_ pending: [Int]) async throws {
        var wanted: [ImageKey: (Reference, String)] = [:]
        var order: [ImageKey] = []
        var imagePlans: [(Int, Reference, ImageKey)] = []
        for index in pending {
            if try await loadNamedContext(index) { continue }
            let plan = plans[index]
            if let base = plan.base {
                plans[index].isLoaded = true
                plans[index].triggers = onBuildTriggers(of: base)
                continue
            }
            if plan.baseName == "scratch" {
                plans[index].isLoaded = true
                plans[index].platform = plan.platform ?? target
                plans[index].image = ImageConfig(platform: plan.platform ?? target)
                plans[index].image.config.workingDir = "/"
                continue
            }
            let reference: Reference
            do { reference = try Reference(parsing: plan.baseName) } catch {
                throw DockerfileError(
                    .invalidInstruction, "failed to parse stage name \(GoText.quoted(plan.baseName)): \(error)",
                    lines: [plan.lines])
            }
            let key = ImageKey(reference: reference.description, platform: plan.platform ?? target)
            imagePlans.append((index, reference, key))
            if images[key] == nil, wanted[key] == nil {
                wanted[key] = (reference, plan.baseName)
                order.append(key)
            }
        }
        try await resolve(order, wanted)
        for (index, reference, key) in imagePlans {
            guard let resolved = images[key] else { continue }
            try useImage(index, reference, resolved, platform: key.platform, label: nil)
        }
    }

    /// ONBUILD instructions that a stage built on `base` runs first.
    private func onBuildTriggers(of base: Int) -> [String] {
        plans[base].steps.compactMap {
            if case .onBuild(let expression) = $0.instruction.body { expression } else { nil }
        }
    }

    private mutating func resolve(_ keys: [ImageKey], _ wanted: [ImageKey: (Reference, String)]) async throws {
        guard !keys.isEmpty else { return }
        let environment = environment
        let mode = options.resolveMode
        let showsPlatform = options.isMultiPlatform
        let results = await withTaskGroup(
            of: (ImageKey, Result<ResolvedImage, any Error>).self
        ) { group in
            for key in keys {
                guard let (reference, written) = wanted[key] else { continue }
                let prefix = showsPlatform ? "[\(key.platform) internal]" : "[internal]"
                group.addTask {
                    do {
                        let (digest, config) = try await environment.resolveImage(
                            reference, platform: key.platform, resolveMode: mode,
                            logName: "\(prefix) load metadata for \(reference)")
                        return (key, .success(ResolvedImage(digest: digest, config: config)))
                    } catch let error as CancellationError {
                        return (key, .failure(error))
                    } catch {
                        return (key, .failure(DockerfileError(.imageNotResolved, "\(written): \(error)")))
                    }
                }
            }
            var results: [ImageKey: Result<ResolvedImage, any Error>] = [:]
            for await (key, result) in group { results[key] = result }
            return results
        }
        for key in keys {
            guard let result = results[key] else { continue }
            do { images[key] = try result.get() } catch let error as DockerfileError {
                let plan = plans.first { $0.baseName == wanted[key]?.1 }
                throw error.located(at: plan.map { [$0.lines] } ?? [])
            }
        }
    }

    /// Makes an image the root of a plan.
    mutating func useImage(
        _ index: Int, _ reference: Reference, _ resolved: ResolvedImage, platform: Platform, label: String?
    ) throws {
        var pinned = reference
        pinned.digest = resolved.digest
        let image = try readConfig(index, resolved.config, platform: platform)
        plans[index].platform = isImplicitTarget && plans[index].platform == nil ? choose(image, platform) : platform
        let isEmpty =
            !resolved.config.isEmpty && image.rootfs.diffIDs.isEmpty
            && !(image.history ?? []).contains { $0.emptyLayer != true }
        guard !isEmpty else { return }
        // The first step's name tells the number of steps, which the triggers are part of.
        if plans[index].isStage { try expandTriggers(index) }
        var attributes: [String: String] = [:]
        if options.resolveMode != "default" { attributes["image.resolvemode"] = options.resolveMode }
        let name = label.map { "\($0) \(pinned)" } ?? stepName(index, "FROM \(pinned)")
        plans[index].root = builder.addSource(
            "docker-image://\(pinned)", attributes, name: name, platform: plans[index].platform,
            command: plans[index].isStage ? plans[index].original : "FROM \(reference)",
            locations: locations(plans[index].lines))
    }

    mutating func readConfig(_ index: Int, _ bytes: [UInt8], platform: Platform) throws -> ImageConfig {
        plans[index].isLoaded = true
        guard !bytes.isEmpty else {
            plans[index].image = ImageConfig(platform: platform)
            return plans[index].image
        }
        var image: ImageConfig
        do { image = try JSONDecoder().decode(ImageConfig.self, from: Data(bytes)) } catch {
            throw DockerfileError(
                .imageNotResolved, "\(plans[index].baseName): the image config can't be read: \(error)",
                lines: [plans[index].lines])
        }
        image.created = nil
        plans[index].baseConfig = bytes
        plans[index].triggers = image.config.onBuild ?? []
        image.config.onBuild = nil
        plans[index].image = image
        return image
    }

    /// An image that is made for another platform that the cluster has decides when the client does not.
    private func choose(_ image: ImageConfig, _ wanted: Platform) -> Platform {
        guard !image.architecture.isEmpty else { return wanted }
        return environment.buildPlatforms.contains(image.platform) ? image.platform : wanted
    }

    // MARK: Named contexts

    private func namedContext(_ name: String, _ platform: Platform) -> String? {
        var names = [name]
        if let reference = try? Reference(parsing: name), reference.digest == nil {
            var short = reference
            if short.tag == "latest" { short.tag = nil }
            names += [short.familiar, reference.familiar, reference.description]
        }
        for name in names {
            for key in ["context:\(name)::\(platform)", "context:\(name)"] {
                if let value = options.attributes[key] { return value }
            }
        }
        return nil
    }

    /// Replaces a stage, or the image that a stage or step names, by a context of the client's choice.
    private mutating func loadNamedContext(_ index: Int) async throws -> Bool {
        let plan = plans[index]
        let platform = plan.platform ?? target
        if plan.isStage, !plan.name.isEmpty, let value = namedContext(plan.name, platform) {
            plans[index].base = nil
            plans[index].steps = []
            try await use(value, name: plan.name, platform, for: index)
            return true
        }
        guard plan.base == nil, plan.baseName != "scratch", let value = namedContext(plan.baseName, platform) else {
            return false
        }
        try await use(value, name: plan.baseName, platform, for: index)
        return true
    }

    private mutating func use(_ value: String, name: String, _ platform: Platform, for index: Int) async throws {
        let short = name.replacingLast(":latest", with: "")
        let shown = options.isMultiPlatform ? "\(short) \(platform)" : short
        let label = "[context \(shown)]"
        plans[index].isLoaded = true
        if let text = value.cutPrefix("docker-image://") {
            guard text != "scratch", !text.isEmpty else {
                plans[index].platform = platform
                plans[index].image = ImageConfig(platform: platform)
                return
            }
            let reference = try Reference(parsing: text)
            let key = ImageKey(reference: reference.description, platform: platform)
            if images[key] == nil {
                do {
                    let (digest, config) = try await environment.resolveImage(
                        reference, platform: platform, resolveMode: options.resolveMode,
                        logName: "\(label) load metadata for \(reference)")
                    images[key] = ResolvedImage(digest: digest, config: config)
                } catch let error where !(error is CancellationError) {
                    throw DockerfileError(.imageNotResolved, "\(text): \(error)", lines: [plans[index].lines])
                }
            }
            if let resolved = images[key] {
                try useImage(index, reference, resolved, platform: platform, label: label)
            }
        } else if let text = value.cutPrefix("oci-layout://") {
            try await useLayout(text, platform, label, for: index)
        } else {
            try await useTree(value, name: name, shown: shown, platform, for: index)
        }
    }

    private mutating func useLayout(
        _ text: String, _ platform: Platform, _ label: String, for index: Int
    ) async throws {
        guard let at = text.lastIndex(of: "@"), let digest = Digest(String(text[text.index(after: at)...])) else {
            throw DockerfileError(
                .invalidAttribute, "could not parse oci-layout reference \(text): NAME@sha256:… is expected")
        }
        let store = String(text[..<at].split(separator: ":").first ?? "")
        let (resolved, config) = try await environment.resolveOCILayout(
            store: store, digest: digest, platform: platform, logName: "\(label) load metadata for \(text)")
        _ = try readConfig(index, config, platform: platform)
        plans[index].platform = platform
        var attributes = ["oci.store": store]
        if !environment.sessionID.isEmpty { attributes["oci.session"] = environment.sessionID }
        plans[index].root = builder.addSource(
            "oci-layout://\(text[..<at])@\(resolved)", attributes, name: "\(label) OCI load from client",
            platform: platform, locations: locations(plans[index].lines))
    }

    private mutating func useTree(
        _ value: String, name: String, shown: String, _ platform: Platform, for index: Int
    ) async throws {
        let source = try await loader.source(value, name: name)
        plans[index].platform = platform
        plans[index].image = ImageConfig(platform: platform)
        var excludes: [String] = []
        var session = environment.sessionID
        if case .local(let directory) = source {
            session = loader.sessionID(for: directory)
            excludes = try await loader.readIgnoreFile(
                local: directory, label: "[context \(shown)] load .dockerignore", hint: "context:" + shown)
        }
        let edge = try source.add(
            to: &builder, name: "[context \(shown)] load from client",
            hint: options.attributes["sharedkey:localdir:" + name] ?? "context:" + shown, excludes: excludes,
            sessionID: session)
        plans[index].root = edge
        if source.isLocal { plans[index].localSource = edge }
        if let key = value.cutPrefix("input:") {
            let config = try InputMetadata.config(options.attributes["input-metadata:" + key], platform: platform)
            if !config.isEmpty { _ = try readConfig(index, config, platform: platform) }
        }
    }
}

/// What is known of an input that another build made.
enum InputMetadata {
    /// The image config in a JSON object whose values are base64; empty when there is none.
    static func config(_ text: String?, platform: Platform) throws(DockerfileError) -> [UInt8] {
        guard let text, !text.isEmpty else { return [] }
        guard let map = try? JSONDecoder().decode([String: Data].self, from: Data(text.utf8)) else {
            throw DockerfileError(.invalidAttribute, "input metadata is no JSON object of base64 texts")
        }
        return [UInt8](map["containerimage.config/\(platform)"] ?? map["containerimage.config"] ?? Data())
    }
}

extension String {
    /// The text after `prefix`; nil when it does not begin with it.
    func cutPrefix(_ prefix: String) -> String? { hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil }
}
