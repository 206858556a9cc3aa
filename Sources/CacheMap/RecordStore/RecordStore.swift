internal import ClusterModel
internal import FoundationEssentials
package import OCI
internal import Synchronization

/// The node's cache records on disk, in SQLite.
///
/// Durability: WAL with `synchronous=FULL`, so a commit returns after its WAL frames are synced. A record that `store` has
/// returned for survives SIGKILL and a power cut; one that it has not returned for is there whole or not at all. `NORMAL`
/// would survive SIGKILL alone; the sync costs milliseconds for results that took seconds. Times of use are kept in
/// memory and written with the next change: a crash may lose them, which costs a worse choice in `prune`, no record.
///
/// Safe from any thread: one connection behind a lock; calls take well below a millisecond, writes one disk sync.
package final class RecordStore: Sendable {
    /// Count and size of all records.
    package struct Totals: Hashable, Sendable {
        package var records: Int
        /// Bytes of all layers that records name, each layer once.
        package var bytes: Int64

        package init(records: Int, bytes: Int64) {
            self.records = records
            self.bytes = bytes
        }
    }

    /// Times of use that wait in memory before they are written on their own.
    package static let pendingTouchesMax = 256
    private static let schemaVersion = 1

    private struct State {
        let connection: SQLiteConnection
        var touches: [CacheKey: Int64] = [:]
    }

    private let state: Mutex<State>
    private let path: String

    /// Opens the store at `path`, or makes an empty one.
    package init(path: String) throws(RecordStoreError) {
        let connection = try SQLiteConnection(path: path)
        try Self.prepare(connection)
        self.path = path
        state = Mutex(State(connection: connection))
    }

    private static func prepare(_ connection: SQLiteConnection) throws(RecordStoreError) {
        try connection.run("PRAGMA busy_timeout=5000")
        let found = try connection.run("PRAGMA user_version")
        guard case .integer(let version)? = found.first?.first, version <= schemaVersion else {
            guard case .integer(let version)? = found.first?.first else {
                throw .corrupt(path: connection.path, text: "no schema version")
            }
            throw .newer(path: connection.path, found: Int(version), known: schemaVersion)
        }
        try connection.run("PRAGMA journal_mode=WAL")
        try connection.run("PRAGMA synchronous=FULL")
        try connection.run("PRAGMA foreign_keys=ON")
        let health = try connection.run("PRAGMA quick_check(1)")
        guard health == [[.text("ok")]] else {
            throw .corrupt(path: connection.path, text: "\(health)")
        }
        guard version == 0 else { return }
        try connection.transaction { () throws(RecordStoreError) in
            for statement in schema { try connection.run(statement) }
            try connection.run("PRAGMA user_version=\(schemaVersion)")
        }
    }

    private static let schema = [
        """
        CREATE TABLE records (
            key BLOB PRIMARY KEY CHECK (length(key) = 32), canonical BLOB NOT NULL CHECK (length(canonical) = 32),
            outputs TEXT NOT NULL, created INTEGER NOT NULL, last_used INTEGER NOT NULL, cost REAL NOT NULL,
            description TEXT NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX records_by_use ON records (last_used)",
        """
        CREATE TABLE aliases (
            alias BLOB PRIMARY KEY CHECK (length(alias) = 32),
            key BLOB NOT NULL REFERENCES records (key) ON DELETE CASCADE
        ) WITHOUT ROWID
        """,
        "CREATE INDEX aliases_by_key ON aliases (key)",
        """
        CREATE TABLE record_layers (
            layer BLOB NOT NULL CHECK (length(layer) = 32), key BLOB NOT NULL REFERENCES records (key) ON DELETE CASCADE,
            bytes INTEGER NOT NULL, PRIMARY KEY (layer, key)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX record_layers_by_key ON record_layers (key)",
    ]

    // MARK: Changes

    /// Stores `record`, in place of one with the same key, and makes `aliases` lead to it.
    ///
    /// Durable when it returns.
    package func store(_ record: CacheRecord, aliases: [CacheKey] = []) throws(RecordStoreError) {
        let outputs = try encode(record)
        let path = path
        try state.withLock { (state) throws(RecordStoreError) in
            let connection = state.connection
            let touches = state.touches
            try connection.transaction { () throws(RecordStoreError) in
                try Self.write(touches, to: connection)
                try connection.run("DELETE FROM records WHERE key = ?", [record.key.value])
                try connection.run("DELETE FROM aliases WHERE alias = ?", [record.key.value])
                try connection.run(
                    "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        record.key.value, record.canonicalKey.value, .text(outputs), .integer(record.created),
                        .integer(record.lastUsed), .real(record.cost), .text(record.description),
                    ])
                for layer in record.outputs.compactMap(\.self).flatMap(\.layers) {
                    try connection.run(
                        "INSERT OR IGNORE INTO record_layers VALUES (?, ?, ?)",
                        [.blob(layer.id.bytes), record.key.value, .integer(layer.bytes)])
                }
                for alias in aliases where alias != record.key {
                    try Self.write(alias: alias, to: record.key, connection, path)
                }
            }
            state.touches = [:]
        }
    }

    /// Makes `alias` lead to the record of `key`; false when there is no such record.
    ///
    /// A record of its own stays first.
    @discardableResult
    package func addAlias(_ alias: CacheKey, to key: CacheKey) throws(RecordStoreError) -> Bool {
        let path = path
        return try state.withLock { (state) throws(RecordStoreError) -> Bool in
            let connection = state.connection
            guard try !connection.run("SELECT 1 FROM records WHERE key = ?", [key.value]).isEmpty else { return false }
            try Self.write(alias: alias, to: key, connection, path)
            return true
        }
    }

    private static func write(
        alias: CacheKey, to key: CacheKey, _ connection: SQLiteConnection, _ path: String
    ) throws(RecordStoreError) {
        try connection.run("INSERT OR REPLACE INTO aliases VALUES (?, ?)", [alias.value, key.value])
    }

    /// Deletes the record of `key` and its aliases; false when there is none.
    ///
    /// An alias alone is removed as such.
    @discardableResult
    package func delete(_ key: CacheKey) throws(RecordStoreError) -> Bool {
        try state.withLock { (state) throws(RecordStoreError) -> Bool in
            state.touches[key] = nil
            let connection = state.connection
            var deleted = 0
            try connection.transaction { () throws(RecordStoreError) in
                try connection.run("DELETE FROM records WHERE key = ?", [key.value])
                deleted = connection.changes
                try connection.run("DELETE FROM aliases WHERE alias = ?", [key.value])
                deleted += connection.changes
            }
            return deleted > 0
        }
    }

    /// Notes that the record of `key` was used at `time` (Unix seconds).
    ///
    /// Reaches the disk with a later change.
    package func touch(_ key: CacheKey, at time: Int64) throws(RecordStoreError) {
        try state.withLock { (state) throws(RecordStoreError) in
            state.touches[key] = max(time, state.touches[key] ?? time)
            if state.touches.count >= Self.pendingTouchesMax { try Self.flush(&state) }
        }
    }

    /// Writes pending times of use.
    package func flush() throws(RecordStoreError) {
        try state.withLock { (state) throws(RecordStoreError) in try Self.flush(&state) }
    }

    private static func flush(_ state: inout State) throws(RecordStoreError) {
        let connection = state.connection
        let touches = state.touches
        guard !touches.isEmpty else { return }
        try connection.transaction { () throws(RecordStoreError) in try write(touches, to: connection) }
        state.touches = [:]
    }

    private static func write(
        _ touches: [CacheKey: Int64], to connection: SQLiteConnection
    ) throws(RecordStoreError) {
        for (key, time) in touches {
            try connection.run(
                """
                UPDATE records SET last_used = max(last_used, ?1)
                WHERE key = ?2 OR key = (SELECT key FROM aliases WHERE alias = ?2)
                """, [.integer(time), key.value])
        }
    }

    // MARK: Questions

    private static let columns = "key, canonical, outputs, created, last_used, cost, description"

    /// The record of `key`, or of the key that it is an alias of.
    package func record(for key: CacheKey) throws(RecordStoreError) -> CacheRecord? {
        let rows = try rows(
            """
            SELECT \(Self.columns) FROM records WHERE key = ?1
            UNION ALL
            SELECT \(Self.columns) FROM records WHERE key = (SELECT key FROM aliases WHERE alias = ?1) LIMIT 1
            """, [key.value])
        guard let row = rows.first else { return nil }
        return try decode(row)
    }

    /// Whether `key` or an alias of that name has a record.
    package func contains(_ key: CacheKey) throws(RecordStoreError) -> Bool {
        try !rows(
            "SELECT 1 FROM records WHERE key = ?1 UNION ALL SELECT 1 FROM aliases WHERE alias = ?1 LIMIT 1", [key.value]
        ).isEmpty
    }

    /// All keys under which something is found, aliases too, ascending: what the cache-map digest holds.
    package func allKeys() throws(RecordStoreError) -> [CacheKey] {
        try rows("SELECT key FROM records UNION SELECT alias FROM aliases ORDER BY 1").compactMap { $0.first?.cacheKey }
    }

    /// All keys under which something is found, aliases too, with what their results are worth.
    package func mapEntries() throws(RecordStoreError) -> [MapEntry] {
        try rows(
            """
            SELECT key, cost, last_used FROM records UNION ALL
            SELECT alias, cost, last_used FROM aliases JOIN records ON records.key = aliases.key
            """
        ).compactMap { row in
            guard let key = row[0].cacheKey, case .real(let cost) = row[1], case .integer(let lastUsed) = row[2] else {
                return nil
            }
            return MapEntry(key: key, cost: cost, lastUsed: lastUsed)
        }
    }

    /// The other keys of the record of `key`, ascending.
    package func aliases(of key: CacheKey) throws(RecordStoreError) -> [CacheKey] {
        try rows("SELECT alias FROM aliases WHERE key = ? ORDER BY alias", [key.value])
            .compactMap { $0.first?.cacheKey }
    }

    /// The records that were used longest ago, at most `count`: what `prune` looks at.
    package func leastRecentlyUsed(_ count: Int) throws(RecordStoreError) -> [CacheRecord] {
        try flush()
        var records: [CacheRecord] = []
        for row in try rows(
            "SELECT \(Self.columns) FROM records ORDER BY last_used, key LIMIT ?", [.integer(Int64(count))])
        {
            records.append(try decode(row))
        }
        return records
    }

    /// Layers that records name, each with the number of those records: the others may be collected.
    package func layerUsage() throws(RecordStoreError) -> [Digest: Int] {
        var usage: [Digest: Int] = [:]
        for row in try rows("SELECT layer, count(*) FROM record_layers GROUP BY layer") {
            guard case .blob(let bytes)? = row.first, let layer = Digest(bytes: bytes),
                case .integer(let count)? = row.last
            else { continue }
            usage[layer] = Int(count)
        }
        return usage
    }

    /// Keys of the records that name `layer`, ascending: what is lost when it goes.
    package func keys(using layer: Digest) throws(RecordStoreError) -> [CacheKey] {
        try rows("SELECT key FROM record_layers WHERE layer = ? ORDER BY key", [.blob(layer.bytes)])
            .compactMap { $0.first?.cacheKey }
    }

    package func totals() throws(RecordStoreError) -> Totals {
        let rows = try rows(
            """
            SELECT (SELECT count(*) FROM records),
                (SELECT coalesce(sum(bytes), 0) FROM (SELECT max(bytes) AS bytes FROM record_layers GROUP BY layer))
            """)
        guard case .integer(let count)? = rows.first?.first, case .integer(let bytes)? = rows.first?.last else {
            return Totals(records: 0, bytes: 0)
        }
        return Totals(records: Int(count), bytes: bytes)
    }

    private func rows(
        _ sql: String, _ values: [SQLiteConnection.Value] = []
    ) throws(RecordStoreError) -> [[SQLiteConnection.Value]] {
        try state.withLock { (state) throws(RecordStoreError) in try state.connection.run(sql, values) }
    }

    // MARK: Rows

    private func encode(_ record: CacheRecord) throws(RecordStoreError) -> String {
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = .sortedKeys
            return String(decoding: try encoder.encode(record.outputs), as: UTF8.self)
        } catch {
            throw .malformedRecord(path: path, key: record.key.description, text: "\(error)")
        }
    }

    private func decode(_ row: [SQLiteConnection.Value]) throws(RecordStoreError) -> CacheRecord {
        guard row.count == 7, let key = row[0].cacheKey, let canonical = row[1].cacheKey,
            case .text(let outputs) = row[2],
            case .integer(let created) = row[3], case .integer(let lastUsed) = row[4], case .real(let cost) = row[5],
            case .text(let description) = row[6]
        else { throw .malformedRecord(path: path, key: "\(row.first ?? .null)", text: "columns of other types") }
        do {
            return CacheRecord(
                key: key, canonicalKey: canonical,
                outputs: try JSONDecoder().decode([LayerChain?].self, from: Data(outputs.utf8)), created: created,
                lastUsed: lastUsed, cost: cost, description: description)
        } catch {
            throw .malformedRecord(path: path, key: key.description, text: "\(error)")
        }
    }
}

extension CacheKey {
    fileprivate var value: SQLiteConnection.Value { .blob(digest.bytes) }
}

extension SQLiteConnection.Value {
    fileprivate var cacheKey: CacheKey? {
        guard case .blob(let bytes) = self, let digest = Digest(bytes: bytes) else { return nil }
        return CacheKey(digest)
    }
}
