internal import Foundation
internal import OCI

/// Makes a frontend's image config fit the layers that are exported with it.
///
/// `rootfs`, `history` and `created` are replaced, everything else stays as the frontend wrote it.
struct ConfigPatch: Sendable {
    /// One exported layer, as far as the config tells of it.
    struct Layer: Sendable {
        var diffID: Digest
        /// RFC 3339; the history of a layer that has no time gets this one.
        var created: String
    }

    /// What BuildKit writes for layers that no instruction accounts for.
    private static let comment = "buildkit.exporter.image.v0"
    private static let defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    var platform: Platform
    var layers: [Layer]
    /// Layers of `layers` that the base image brought.
    var baseLayerCount: Int
    /// RFC 3339; nil leaves the times.
    var epoch: String?
    var inlineCache: [UInt8]?

    /// The patched config, compact, and its `created` time.
    func apply(to config: [UInt8]?) throws(ExportError) -> (bytes: [UInt8], created: String?) {
        guard var object = JSONObjectText(config ?? emptyConfig) else {
            throw .config("the frontend's containerimage.config is no JSON object")
        }
        var history = try Self.history(object.members["history"])
        balance(&history)
        fillTimes(&history)
        var created = Self.string(object.members["created"]) ?? history.compactMap(\.created).last
        if let epoch {
            for index in history.indices where (history[index].created ?? epoch) >= epoch {
                history[index].created = epoch
            }
            created = epoch
        }
        object.members["rootfs"] = rootfs.compact
        object.members["history"] = JSONValue.array(history.map(Self.value)).compact
        if let created { object.members["created"] = JSONValue.string(created).compact }
        object.members["moby.buildkit.cache.v0"] = inlineCache ?? nil
        return (object.sorted.compact, created)
    }

    /// The config of a result for which a frontend made none.
    private var emptyConfig: [UInt8] {
        var members = [
            JSONValue.Member("architecture", .string(platform.architecture)),
            JSONValue.Member("os", .string(platform.os)),
            JSONValue.Member(
                "config",
                .object([
                    JSONValue.Member("Env", .array([.string(Self.defaultPath)])),
                    JSONValue.Member("WorkingDir", .string("/")),
                ])),
        ]
        if let variant = platform.variant { members.append(JSONValue.Member("variant", .string(variant))) }
        return JSONValue.object(members).compact
    }

    private var rootfs: JSONValue {
        .object([
            JSONValue.Member("type", .string("layers")),
            JSONValue.Member("diff_ids", .array(layers.map { .string($0.diffID.description) })),
        ])
    }

    private static func history(_ text: [UInt8]?) throws(ExportError) -> [ImageConfig.History] {
        guard let text, text != Array("null".utf8) else { return [] }
        do {
            return try JSONDecoder().decode([ImageConfig.History].self, from: Data(text))
        } catch {
            throw .config("its history is malformed: \(error)")
        }
    }

    private static func string(_ text: [UInt8]?) -> String? {
        text.flatMap { try? JSONDecoder().decode(String.self, from: Data($0)) }
    }

    /// Makes as many entries stand for a layer as there are layers.
    ///
    /// Too many: instructions that changed no file left no layer. The base image's entries are right by
    /// themselves, so the first of the others lose theirs. Too few: entries are added at the end.
    private func balance(_ history: inout [ImageConfig.History]) {
        let withLayer = history.indices.filter { history[$0].emptyLayer != true }
        if withLayer.count > layers.count {
            let surplus = withLayer.count - layers.count
            let candidates = withLayer.dropFirst(min(baseLayerCount, layers.count))
            for index in candidates.prefix(surplus) { history[index].emptyLayer = true }
            return
        }
        for layer in layers.dropFirst(withLayer.count) {
            history.append(ImageConfig.History(created: layer.created, createdBy: "", comment: Self.comment))
        }
    }

    /// Gives each entry a time: that of its layer, or else of the next entry that has one, or of the last before it.
    private func fillTimes(_ history: inout [ImageConfig.History]) {
        var layer = 0
        for index in history.indices where history[index].emptyLayer != true {
            if history[index].created == nil, layer < layers.count { history[index].created = layers[layer].created }
            layer += 1
        }
        let last = history.compactMap(\.created).last
        var next: String?
        for index in history.indices.reversed() {
            if let created = history[index].created {
                next = created
            } else {
                history[index].created = next ?? last
            }
        }
    }

    private static func value(_ entry: ImageConfig.History) -> JSONValue {
        var members: [JSONValue.Member] = []
        if let created = entry.created { members.append(JSONValue.Member("created", .string(created))) }
        if let by = entry.createdBy, !by.isEmpty { members.append(JSONValue.Member("created_by", .string(by))) }
        if let author = entry.author, !author.isEmpty { members.append(JSONValue.Member("author", .string(author))) }
        if let comment = entry.comment, !comment.isEmpty {
            members.append(JSONValue.Member("comment", .string(comment)))
        }
        if entry.emptyLayer == true { members.append(JSONValue.Member("empty_layer", .boolean(true))) }
        return .object(members)
    }
}
