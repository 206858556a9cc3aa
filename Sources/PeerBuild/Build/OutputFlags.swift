internal import BuildClient

/// `--output`, `--push`, `--load`, `--tag` and `--annotation` as exporters.
struct OutputFlags {
    private(set) var exporters: [BuildRequest.Exporter] = []

    init(_ options: BuildOptions) throws(BuildPlanError) {
        for text in options.outputs {
            if let exporter = try Self.exporter(text) { exporters.append(exporter) }
        }
        if options.push, !exporters.contains(where: { $0.type == "image" }) {
            guard !options.tags.isEmpty else { throw BuildPlanError("--push needs a name to push to: give -t") }
            exporters.append(.init(type: "image", attributes: ["push": "true"]))
        }
        if options.load, !exporters.contains(where: { $0.type == "docker" }) {
            exporters.append(.init(type: "docker", target: .dockerEngine))
        }
        for index in exporters.indices where ["image", "oci", "docker"].contains(exporters[index].type) {
            if options.push, exporters[index].type == "image" { exporters[index].attributes["push"] = "true" }
            if !options.tags.isEmpty, exporters[index].attributes["name"] == nil {
                exporters[index].attributes["name"] = options.tags.joined(separator: ",")
            }
            for text in options.annotations { try Self.annotate(&exporters[index], text) }
        }
        let onStandardOutput = exporters.count { $0.target == .standardOutput }
        guard onStandardOutput < 2 else { throw BuildPlanError("only one --output can go to standard output") }
    }

    /// One `--output`; nil for `type=cacheonly`.
    private static func exporter(_ text: String) throws(BuildPlanError) -> BuildRequest.Exporter? {
        if text == "-" { return .init(type: "tar", target: .standardOutput) }
        if !text.contains("=") { return .init(type: "local", target: .directory(text)) }
        let fields = try CSVFields(text, flag: "--output")
        guard let type = fields["type"] else { throw BuildPlanError("--output \(text): type is missing") }
        var attributes = fields.attributes(without: ["type", "dest"])
        let destination = fields["dest"]
        switch type {
        case "cacheonly": return nil
        case "image", "registry":
            guard destination == nil else { throw BuildPlanError("--output \(text): \(type) takes no dest") }
            if type == "registry" { attributes["push"] = attributes["push"] ?? "true" }
            return .init(type: "image", attributes: attributes)
        case "local":
            guard let destination, destination != "-" else {
                throw BuildPlanError("--output \(text): local needs dest=DIR")
            }
            return .init(type: type, attributes: attributes, target: .directory(destination))
        case "tar", "oci", "docker":
            guard attributes["tar"] != "false" else {
                throw BuildPlanError("--output \(text): tar=false is not supported; unpack the archive instead")
            }
            return .init(type: type, attributes: attributes, target: try target(destination, type, text))
        default:
            throw BuildPlanError(
                "--output \(text): type must be one of local, tar, oci, docker, image, registry, cacheonly")
        }
    }

    private static func target(
        _ destination: String?, _ type: String, _ text: String
    ) throws(BuildPlanError) -> BuildRequest.Target {
        switch destination {
        case "-"?: .standardOutput
        case let file?: .file(file)
        case nil where type == "docker": .dockerEngine
        case nil: .standardOutput
        }
    }

    /// `[TYPE:]KEY=VALUE`; types are those of image indexes and manifests.
    private static func annotate(_ exporter: inout BuildRequest.Exporter, _ text: String) throws(BuildPlanError) {
        let (name, value) = try BuildPlan.pair(text, flag: "--annotation")
        let types = ["index", "manifest", "index-descriptor", "manifest-descriptor"]
        guard let colon = name.firstIndex(of: ":") else {
            exporter.attributes["annotation." + name] = value
            return
        }
        let key = name[name.index(after: colon)...]
        for type in name[..<colon].split(separator: ",") {
            guard types.contains(where: { type == $0 || type.hasPrefix($0 + "[") }) else {
                throw BuildPlanError("--annotation \(text): \(type) is none of \(types.joined(separator: ", "))")
            }
            exporter.attributes["annotation-\(type).\(key)"] = value
        }
    }
}
