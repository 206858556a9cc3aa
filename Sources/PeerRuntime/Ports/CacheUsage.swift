/// One thing that a node keeps between builds, as `du` lists it.
package struct CacheUsage: Sendable, Hashable {
    /// Unique on its node.
    package var id: String
    /// BuildKit's kinds: `regular`, `source.local`, `exec.cachemount`, `internal` or `frontend`.
    package var kind: String
    package var text: String
    package var parents: [String]
    /// Bytes on disk that go when this goes.
    package var size: Int64
    /// Whether a build may still write to it, as to a cache mount.
    package var isMutable: Bool
    /// Whether something uses it now; it can't be removed then.
    package var isInUse: Bool
    package var isShared: Bool
    /// Nanoseconds since 1970.
    package var created: Int64
    package var lastUsed: Int64?
    package var useCount: Int64

    package init(id: String, kind: String, size: Int64, created: Int64) {
        self.id = id
        self.kind = kind
        self.size = size
        self.created = created
        text = ""
        parents = []
        isMutable = false
        isInUse = false
        isShared = false
        useCount = 0
    }
}

/// What a node keeps and how much room is left beside it.
package struct DiskUsageReport: Sendable {
    package var records: [CacheUsage]
    /// Free bytes of the file system that holds the records.
    package var freeBytes: Int64

    package init(records: [CacheUsage], freeBytes: Int64) {
        self.records = records
        self.freeBytes = freeBytes
    }
}
