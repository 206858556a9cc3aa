internal import BuildSession
internal import ClusterModel
internal import Foundation
internal import Gossip
internal import LLB
internal import OCI
internal import Synchronization
internal import Wire

extension Node: BuildBackend {
    package var worker: WorkerDescription {
        let prefix = "org.mobyproject.buildkit.worker."
        return WorkerDescription(
            id: "\(selfID)",
            labels: settings.labels.merging([
                prefix + "executor": "oci", prefix + "hostname": settings.name, prefix + "network": "host",
                prefix + "snapshotter": "overlayfs", prefix + "oci.process-mode": "sandbox",
                prefix + "selinux.enabled": "false",
            ]) { $1 }, platforms: settings.platforms, version: settings.version)
    }

    package func beginBuild(_ request: BuildRequest) async throws -> any BuildHandle {
        for name in request.entitlements.sorted() where !settings.entitlements.contains(name) {
            throw BuildError("granting entitlement \(name) is not allowed by build daemon configuration")
        }
        let build = Build(request, node: parts) { [weak self] build in self?.ended(build) }
        let isNew = try builds.withLock { builds in
            if let reason = builds.stopReason { throw BuildError(reason) }
            guard builds.running[request.reference] == nil else { return false }
            builds.running[request.reference] = build
            return true
        }
        guard isNew else { throw BuildError("build \(request.reference) is running already") }
        await parts.solver.begin(
            request.reference,
            SolverShell.Client(
                session: request.session, entitlements: request.entitlements, progress: build.progress))
        return build
    }

    private func ended(_ build: Build) {
        builds.withLock { $0.running[build.request.reference] = nil }
        guard !build.request.isInternal else { return }
        keep(
            build.progress.report(
                reference: build.request.reference, home: settings.name, name: cluster.name(of:)))
    }
}

extension Node: ClusterView {
    package func members() async -> [MemberView] {
        let current = slots.current
        let keys = await digests.keyCount
        let keySet = await self.keys.keySet
        let (all, now) = await cluster.membersNow
        return all.map { member in
            var view = MemberView(
                name: member.name, id: "\(member.id)", address: "\(member.address)", state: Self.name(of: member.state))
            view.incarnation = UInt64(member.incarnation)
            view.slots = member.slots
            view.running = Int(member.load.running)
            view.queued = Int(member.load.queued)
            view.labels = member.labels
            view.platforms = member.platforms
            view.cacheKeys = Int(member.holdings.cacheKeys)
            view.cacheBytes = Int64(clamping: member.holdings.cacheBytes)
            view.version = member.version
            view.isSelf = member.id == selfID
            view.loadAgeSeconds = view.isSelf ? 0 : member.loadAge(at: now)?.inSeconds
            view.alternatives = member.metadata.alternatives.map(\.description)
            view.cpuBusy = Double(member.load.cpuBusy) / Self.cpuBusyMax
            view.memoryFree = member.load.memoryFree
            view.diskFree = member.load.diskFree
            view.conditions = Self.conditions(of: member, keySet: view.isSelf ? member.load.keySet : keySet)
            if view.isSelf {
                view.running = current.running
                view.queued = current.queued
                view.cacheKeys = keys
            }
            return view
        }.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
    }

    /// Load records count processors' time in shares of this.
    private static let cpuBusyMax = 255.0

    private static func conditions(of member: Member, keySet: UInt16) -> [String] {
        var conditions: [String] = []
        if member.isUp {
            switch member.condition {
            case .well: break
            case .stalled: conditions.append("stalled")
            case .udpBlocked: conditions.append("udp-blocked")
            }
            let flags = member.load.flags
            if flags.contains(.stalled), member.condition != .stalled { conditions.append("stalled") }
            if flags.contains(.udpBlocked), member.condition != .udpBlocked { conditions.append("udp-blocked") }
            if flags.contains(.addressDoubtful) { conditions.append("address-doubtful") }
            if flags.contains(.draining) { conditions.append("draining") }
            if member.load.isDiskLow { conditions.append("disk-low") }
            if member.load.keySet != keySet, member.loadAt != nil { conditions.append("key-set-differs") }
        }
        return conditions
    }

    private static func name(of state: Member.State) -> String {
        switch state {
        case .alive: "alive"
        case .suspect: "suspect"
        case .dead: "dead"
        case .left: "left"
        }
    }

    package func builds() async -> [BuildView] {
        let running = builds.withLock { Array($0.running.values) }
        return running.filter { !$0.request.isInternal }.map {
            $0.progress.view(reference: $0.request.reference, home: settings.name)
        }.sorted { $0.started < $1.started }
    }

    package func counters() async -> NodeCounters { counters.current }

    package func gossip() async -> GossipView {
        var view = GossipView()
        view.seeds = await seeds.views
        view.keys = await keys.view
        var shells = GossipReport.Shells(
            localHealth: await cluster.localHealth, keyExchanges: await (keys.exchanges, keys.exchangesFailed),
            clockJumps: await cluster.clockJumps, newsDropped: await cluster.newsDropped,
            seedsUnresolved: await seeds.failures,
            digestsBehind: await digests.digestsBehind(await cluster.membersNow.0))
        shells.discoveriesMalformed = await discovery?.malformed ?? 0
        let gossip = GossipReport(
            gossip: await cluster.counters, links: await links.counters(), map: await digests.counters, shells: shells)
        view.counters = gossip.counters
        view.warnings = await cluster.warnings
        for seed in view.seeds {
            if let error = seed.error { view.warnings.append("seed \(seed.name): \(error)") }
        }
        return view
    }

    package func links() async -> LinksView {
        let counters = await links.counters()
        let reports = await links.linkReports()
        return LinksView(counters, reports, name: cluster.name(of:))
    }

    package func changeKeys(_ change: KeyChange) async throws -> [KeyView] {
        try await keys.change(change)
        return await keys.view
    }

    package func report(ofBuild reference: String?) async -> BuildReport? {
        builds.withLock { builds in
            guard let reference, !reference.isEmpty else { return builds.reports.last }
            if let running = builds.running[reference] {
                return running.progress.report(
                    reference: reference, home: settings.name, name: cluster.name(of:))
            }
            return builds.reports.last { $0.reference == reference }
        }
    }

    package func setDraining(node name: String, _ draining: Bool) async throws {
        guard name == settings.name || name == "\(selfID)" else {
            guard cluster.livePeers.contains(where: { $0.name == name || "\($0.id)" == name }) else {
                throw NodeError.unknownMember(name)
            }
            throw NodeError.notHere(name)
        }
        await cluster.setDraining(draining)
    }

    package func leave() async {
        await cluster.leave()
        finishLeaving()
    }
}
