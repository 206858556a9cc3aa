internal import CSQLite

/// One connection to a SQLite database; for one thread at a time.
final class SQLiteConnection {
    private let database: OpaquePointer
    let path: String

    /// What a statement is given and gives.
    enum Value: Equatable {
        case integer(Int64)
        case real(Double)
        case text(String)
        case blob([UInt8])
        case null
    }

    /// Opens or makes the database.
    init(path: String) throws(RecordStoreError) {
        var handle: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
        let status = sqlite3_open_v2(path, &handle, flags, nil)
        guard status == SQLITE_OK, let handle else {
            let text = handle.map { String(cString: sqlite3_errmsg($0)) } ?? String(cString: sqlite3_errstr(status))
            sqlite3_close_v2(handle)
            throw .unusable(path: path, call: "open", text: text)
        }
        database = handle
        self.path = path
        sqlite3_extended_result_codes(handle, 1)
    }

    deinit { sqlite3_close_v2(database) }

    /// Runs one statement and collects its rows.
    @discardableResult
    func run(_ sql: String, _ values: [Value] = []) throws(RecordStoreError) -> [[Value]] {
        var statement: OpaquePointer?
        try check(sqlite3_prepare_v2(database, sql, -1, &statement, nil), sql)
        guard let statement else { return [] }
        defer { sqlite3_finalize(statement) }
        for (index, value) in values.enumerated() { try check(bind(value, Int32(index + 1), statement), sql) }
        var rows: [[Value]] = []
        while true {
            let status = sqlite3_step(statement)
            if status == SQLITE_DONE { return rows }
            guard status == SQLITE_ROW else { throw failure(status, sql) }
            rows.append((0..<sqlite3_column_count(statement)).map { column(statement, $0) })
        }
    }

    /// Rows that the last statement changed.
    var changes: Int { Int(sqlite3_changes(database)) }

    /// Runs `body` as one transaction: all of it or, when it throws, nothing.
    func transaction(_ body: () throws(RecordStoreError) -> Void) throws(RecordStoreError) {
        try run("BEGIN IMMEDIATE")
        do {
            try body()
            try run("COMMIT")
        } catch {
            // Some failures have rolled back already; then this one fails and says nothing new.
            _ = sqlite3_exec(database, "ROLLBACK", nil, nil, nil)
            throw error
        }
    }

    private func bind(_ value: Value, _ index: Int32, _ statement: OpaquePointer) -> Int32 {
        // SQLITE_TRANSIENT: SQLite copies before the call returns.
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        return switch value {
        case .integer(let number): sqlite3_bind_int64(statement, index, number)
        case .real(let number): sqlite3_bind_double(statement, index, number)
        case .text(let text): sqlite3_bind_text(statement, index, text, Int32(text.utf8.count), transient)
        case .blob(let bytes): sqlite3_bind_blob(statement, index, bytes, Int32(bytes.count), transient)
        case .null: sqlite3_bind_null(statement, index)
        }
    }

    private func column(_ statement: OpaquePointer, _ index: Int32) -> Value {
        let count = Int(sqlite3_column_bytes(statement, index))
        switch sqlite3_column_type(statement, index) {
        case SQLITE_INTEGER: return .integer(sqlite3_column_int64(statement, index))
        case SQLITE_FLOAT: return .real(sqlite3_column_double(statement, index))
        case SQLITE_TEXT:
            let bytes = UnsafeBufferPointer(start: sqlite3_column_text(statement, index), count: count)
            return .text(String(decoding: bytes, as: UTF8.self))
        case SQLITE_BLOB:
            return .blob([UInt8](UnsafeRawBufferPointer(start: sqlite3_column_blob(statement, index), count: count)))
        default: return .null
        }
    }

    private func check(_ status: Int32, _ sql: String) throws(RecordStoreError) {
        guard status != SQLITE_OK else { return }
        throw failure(status, sql)
    }

    private func failure(_ status: Int32, _ sql: String) -> RecordStoreError {
        let text = String(cString: sqlite3_errmsg(database))
        switch status & 0xFF {
        case SQLITE_CORRUPT, SQLITE_NOTADB: return .corrupt(path: path, text: text)
        default: return .unusable(path: path, call: sql, text: "\(text) (SQLite code \(status))")
        }
    }
}
