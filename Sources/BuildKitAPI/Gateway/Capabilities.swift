internal import BuildKitProtocol
internal import SwiftProtobuf

/// What `Ping` says that builds may use; clients leave out, or refuse to send, what is not listed.
///
/// Left out on purpose: attestations (with them clients ask for provenance by default), source policies, git sources,
/// cache back ends other than registries and local directories, devices, containers of the gateway, and history.
enum Capabilities {
    static let llb = messages([
        "source.image", "source.image.resolvemode", "source.image.checksum", "source.ocilayout",
        "source.local", "source.local.unique", "source.local.sessionid", "source.local.includepatterns",
        "source.local.followpaths", "source.local.excludepatterns", "source.local.sharedkeyhint", "source.local.differ",
        "source.http", "source.http.checksum", "source.http.perm", "soruce.http.uidgid",
        "source.buildop.llbfilename",
        "exec.meta.base", "exec.meta.cgroup.parent", "exec.meta.network", "exec.meta.proxyenv", "exec.meta.security",
        "exec.meta.setsdefaultpath", "exec.meta.ulimit", "exec.meta.linux.resources",
        "exec.mount.bind", "exec.mount.bind.readwrite-nooutput", "exec.mount.cache", "exec.mount.cache.sharing",
        "exec.mount.selector", "exec.mount.tmpfs", "exec.mount.tmpfs.size", "exec.mount.secret", "exec.mount.ssh",
        "exec.cgroup", "exec.secretenv", "exec.validexitcode",
        "file.base", "file.rm.wildcard", "file.copy.includeexcludepatterns", "file.copy.requiredpaths",
        "file.rm.nofollowsymlink", "file.copy.alwaysreplaceexistingdestpaths", "file.symlink.create",
        "constraints", "platform", "meta.ignorecache", "meta.description", "meta.exportcache", "mergeop", "diffop",
        "exporter.image.annotations", "exporter.sourcedateepoch", "exporter.multiple", "gc.freespacefilter",
    ])

    static let frontend = messages([
        "solve.base", "return", "returnmap", "proto.refarray", "reference.output", "importcaches", "frontend.inputs",
        "frontend.caps", "gateway.solve.metadata", "gateway.evaluate", "gateway.solve.evaluate", "gateway.warnings",
        "readfile", "readdir", "statfile", "resolveimage", "resolveimage.resolvemode", "source.metaresolver",
    ])

    private static func messages(_ ids: [String]) -> [Moby_Buildkit_V1_Apicaps_APICap] {
        ids.map { id in
            .with {
                $0.id = id
                $0.enabled = true
            }
        }
    }
}
