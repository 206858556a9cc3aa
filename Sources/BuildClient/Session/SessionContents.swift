internal import GRPCCore

/// Which services a build's session has, and how the node is told.
struct SessionContents {
    private(set) var methods = ["/grpc.health.v1.Health/Check", "/moby.filesync.v1.Auth/Credentials"]
    private(set) var services: [any RegistrableRPCService]

    init(_ request: BuildRequest) {
        services = [
            LivenessService(), CredentialService(config: request.credentials),
            SecretService(secrets: request.secrets), AgentService(agents: request.sshAgents),
        ]
        methods += [
            "/moby.buildkit.secrets.v1.Secrets/GetSecret", "/moby.sshforward.v1.SSH/CheckAgent",
            "/moby.sshforward.v1.SSH/ForwardAgent",
        ]
        if !request.directories.isEmpty {
            add(DirectoryService(directories: request.directories), ["/moby.filesync.v1.FileSync/DiffCopy"])
        }
        if request.exporters.contains(where: { $0.target != .none }) {
            add(ExportService(exporters: request.exporters), ["/moby.filesync.v1.FileSend/DiffCopy"])
        }
        if !request.uploads.isEmpty {
            add(UploadService(uploads: request.uploads), ["/moby.upload.v1.Upload/Pull"])
        }
        var stores: [String: String] = [:]
        for (id, directory) in request.layouts { stores["oci:" + id] = directory }
        for option in request.cacheImports where option.type == "local" {
            if let source = option.attributes["src"] { stores["local:" + source] = source }
        }
        guard !stores.isEmpty else { return }
        let name = "/containerd.services.content.v1.Content/"
        add(LayoutService(stores: stores), [name + "Info", name + "Read"])
    }

    private mutating func add(_ service: any RegistrableRPCService, _ names: [String]) {
        services.append(service)
        methods += names
    }
}
