internal import Glibc

/// Unpacks a tar archive, compressed or not, as `ADD` does.
///
/// Blocks its thread.
struct ArchiveUnpacker {
    let tree: RootedTree
    let owner: FileActions.Owner?

    private enum Compression: String {
        case gzip, bzip2, xz, zstd
    }

    private static let searchPath = ["/usr/bin", "/bin", "/usr/local/bin"]

    /// Unpacks into the directory `target` if the file is an archive; false, and nothing done, if it is none.
    func unpack(
        _ source: RootedTree, _ location: RootedTree.Location, into target: String
    ) throws(OperationError) -> Bool {
        let file = try source.open(location, O_RDONLY | O_NONBLOCK)
        var head = [UInt8](repeating: 0, count: TarReader.blockBytes)
        let count = pread(file.number, &head, head.count, 0)
        head = Array(head.prefix(max(0, count)))
        guard let compression = Self.compression(head) else {
            guard TarReader.isHeader(head) else { return false }
            try extract(TarReader(file, name: location.text), into: target)
            return true
        }
        // Only what is a tar inside is unpacked; a lone compressed file is copied as it is.
        let probe = try decompressor(compression, file)
        let first = try TarReader(probe.output, name: location.text).readBlock()
        probe.stop()
        guard let first, TarReader.isHeader(first) else { return false }
        guard lseek(file.number, 0, SEEK_SET) == 0 else { throw .system(call: "seek \(location.text)", code: errno) }
        let running = try decompressor(compression, file)
        do {
            try extract(TarReader(running.output, name: location.text), into: target)
        } catch {
            running.stop()
            throw error
        }
        let code = try running.finish()
        guard code == 0 else {
            throw .invalid(
                "\(location.text): \(compression.rawValue) ended with exit code \(code); is the archive damaged?")
        }
        return true
    }

    private func extract(_ reader: TarReader, into target: String) throws(OperationError) {
        try tree.makeDirectories(target, mode: 0o755, owner: owner ?? (0, 0))
        var extractor = TarExtractor(tree: tree, directory: target, owner: owner)
        try extractor.extract(reader)
    }

    private static func compression(_ head: [UInt8]) -> Compression? {
        if head.starts(with: [0x1F, 0x8B]) { return .gzip }
        if head.starts(with: Array("BZh".utf8)) { return .bzip2 }
        if head.starts(with: [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]) { return .xz }
        if head.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) { return .zstd }
        return nil
    }

    /// A decompressing program and the end of the pipe that it writes to.
    private struct Decompressor {
        let process: ChildProcess
        let output: FileDescriptor

        func stop() {
            process.kill()
            _ = process.wait()
        }

        /// Reads what may follow the archive, so that the program can end, and gives its exit code.
        func finish() throws(OperationError) -> Int32 {
            var piece = [UInt8](repeating: 0, count: 64 << 10)
            while read(output.number, &piece, piece.count) > 0 {}
            return process.wait()
        }
    }

    private func decompressor(_ compression: Compression, _ file: FileDescriptor) throws(OperationError) -> Decompressor
    {
        let candidates = Self.searchPath.map { "\($0)/\(compression.rawValue)" }
        guard let program = candidates.first(where: { access($0, X_OK) == 0 }) else {
            throw .unsupported(
                "unpacking \(compression.rawValue) archives needs the program \(compression.rawValue); install it on the node"
            )
        }
        let pipe = try Pipe()
        _ = fcntl(pipe.reading.number, F_SETFL, 0)
        let null = open("/dev/null", O_WRONLY | O_CLOEXEC)
        guard null >= 0 else { throw .system(call: "open /dev/null", code: errno) }
        let process = try ChildProcess.start(
            .init(
                command: [program, "-d", "-c"], directory: "/", standardInput: file, standardOutput: pipe.writing,
                standardError: FileDescriptor(null)))
        pipe.closeWriting()
        return Decompressor(process: process, output: pipe.reading)
    }
}
