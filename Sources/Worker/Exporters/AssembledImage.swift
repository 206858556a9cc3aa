internal import Foundation
package import OCI

/// An image, or several under one index, ready to be pushed or written: every document is in the content store.
package struct AssembledImage: Sendable {
    /// One platform's image.
    package struct Part: Sendable {
        package var manifest: Descriptor
        package var config: Descriptor
        package var layers: [Descriptor]
        /// Registries that have a layer's blob, by its digest.
        package var origins: [Digest: [BlobOrigin]]
    }

    /// The index, or the only manifest; with the annotations of its descriptor.
    package var root: Descriptor
    package var parts: [Part]
    package var isIndex: Bool
    package var names: [Reference]
    /// RFC 3339 time that the image was made, if known.
    package var created: String?

    /// All blobs in the order in which they have to be written: layers and configs, manifests, index; each once.
    package var blobs: [(descriptor: Descriptor, kind: String)] {
        var seen: Set<Digest> = []
        var result: [(descriptor: Descriptor, kind: String)] = []
        func add(_ descriptor: Descriptor, _ kind: String) {
            if seen.insert(descriptor.digest).inserted { result.append((descriptor, kind)) }
        }
        for part in parts {
            for layer in part.layers { add(layer, "layer") }
            add(part.config, "config")
        }
        for part in parts { add(part.manifest, "manifest") }
        if isIndex { add(root, "index") }
        return result
    }

    /// The keys of BuildKit's exporter response.
    package var response: [String: String] {
        var result = [
            "containerimage.digest": root.digest.description,
            "containerimage.descriptor": Data(rootDescriptor.compact).base64EncodedString(),
        ]
        if !isIndex, let part = parts.first { result["containerimage.config.digest"] = part.config.digest.description }
        if !names.isEmpty { result["image.name"] = names.map(\.description).joined(separator: ",") }
        return result
    }

    /// The descriptor of the whole, with the time of creation beside the annotations that were asked for.
    private var rootDescriptor: JSONValue {
        var descriptor = root
        var annotations = root.annotations ?? [:]
        if let created { annotations["org.opencontainers.image.created"] = created }
        descriptor.annotations = annotations.isEmpty ? nil : annotations
        return descriptor.json
    }

    /// `index.json` of a layout that holds this image: an entry a name, or one without.
    var layoutIndex: JSONValue {
        let entries: [JSONValue] = (names.isEmpty ? [nil] : names.map { Optional($0) }).map { name in
            var descriptor = root
            var annotations = root.annotations ?? [:]
            if let name {
                annotations["io.containerd.image.name"] = name.description
                annotations["org.opencontainers.image.ref.name"] = name.tag
            }
            if let created { annotations["org.opencontainers.image.created"] = created }
            descriptor.annotations = annotations.isEmpty ? nil : annotations
            return descriptor.json
        }
        return .object([
            JSONValue.Member("schemaVersion", .integer(2)),
            JSONValue.Member("mediaType", .string(MediaType.ociIndex)),
            JSONValue.Member("manifests", .array(entries)),
        ])
    }
}

extension Descriptor {
    /// The descriptor with its members in the order of the specification.
    var json: JSONValue {
        var members = [
            JSONValue.Member("mediaType", .string(mediaType)),
            JSONValue.Member("digest", .string(digest.description)),
            JSONValue.Member("size", .integer(size)),
        ]
        if let annotations, !annotations.isEmpty {
            members.append(JSONValue.Member("annotations", .strings(annotations)))
        }
        if let platform { members.append(JSONValue.Member("platform", platform.json)) }
        return .object(members)
    }
}

extension Platform {
    var json: JSONValue {
        var members = [
            JSONValue.Member("architecture", .string(architecture)), JSONValue.Member("os", .string(os)),
        ]
        if let osVersion { members.append(JSONValue.Member("os.version", .string(osVersion))) }
        if let variant { members.append(JSONValue.Member("variant", .string(variant))) }
        return .object(members)
    }
}
