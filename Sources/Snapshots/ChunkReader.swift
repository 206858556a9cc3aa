internal import Glibc
internal import OCI
internal import Transfer

/// Reads chunks of a committed layer, best in the layer's order: neighbours share open files and reads.
struct ChunkReader: ~Copyable {
    private let layer: Digest
    private let manifest: LayerManifest
    private let root: FileDescriptor
    private var file: (entry: Int, descriptor: Opened)?
    private var parent: (path: ArraySlice<UInt8>, directory: Opened)?

    private final class Opened {
        let descriptor: FileDescriptor
        init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }
    }

    init(_ manifest: LayerManifest, at path: String) throws(SnapshotError) {
        layer = manifest.id
        self.manifest = manifest
        root = try FileDescriptor.directory(path)
    }

    /// Fills `buffer` from a file of the layer; nobody has checked the bytes.
    ///
    /// - Throws: `.corruptLayer` when the file is gone or too short.
    mutating func read(
        into buffer: UnsafeMutableRawBufferPointer, from place: ChunkTable.Place
    ) throws(SnapshotError) {
        let opened = try open(place.entry)
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let entry = manifest.entries[place.entry]
            let count = try opened.descriptor.read(into: rest, at: place.offset + Int64(done), entry.displayPath)
            guard count > 0 else { throw .corruptLayer(layer, "\(entry.displayPath) is too short") }
            done += count
        }
    }

    /// Fills `buffer` with the bytes of `chunks`, one behind the other; it is as long as they are.
    mutating func read(
        _ chunks: [ChunkTable.Chunk], into buffer: UnsafeMutableRawBufferPointer
    ) throws(SnapshotError) {
        var runs = Runs(chunks)
        try read(&runs, into: buffer)
    }

    private mutating func read(
        _ runs: inout Runs, into buffer: UnsafeMutableRawBufferPointer
    ) throws(SnapshotError) {
        var filled = 0
        while filled < buffer.count {
            let (place, length) = runs.next(atMost: buffer.count - filled)
            try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<filled + length]), from: place)
            filled += length
        }
    }

    /// The bytes of `chunks` one behind the other, read into messages of `bytesMax` bytes each, the last one maybe
    /// shorter, behind what `head` gives for the message's number.
    mutating func messages(
        of chunks: [ChunkTable.Chunk], bytesMax: Int, head: (_ number: Int) -> [UInt8]
    ) throws(SnapshotError) -> [[UInt8]] {
        var runs = Runs(chunks)
        var messages: [[UInt8]] = []
        while runs.rest > 0 {
            let head = head(messages.count)
            let size = head.count + min(bytesMax, runs.rest)
            var failure: SnapshotError?
            let message = [UInt8](unsafeUninitializedCapacity: size) { buffer, filled in
                let raw = UnsafeMutableRawBufferPointer(buffer)
                raw.copyBytes(from: head)
                filled = size
                do throws(SnapshotError) {
                    try read(&runs, into: UnsafeMutableRawBufferPointer(rebasing: raw[head.count..<size]))
                } catch { failure = error }
            }
            if let failure { throw failure }
            messages.append(message)
        }
        return messages
    }

    /// The stretches of files that chunks are in, neighbours joined.
    private struct Runs {
        private var runs: [(place: ChunkTable.Place, length: Int)] = []
        private var index = 0
        private var done = 0
        /// Bytes that have not been handed out.
        private(set) var rest = 0

        init(_ chunks: [ChunkTable.Chunk]) {
            for chunk in chunks {
                rest += chunk.length
                if let last = runs.last, last.place.entry == chunk.place.entry,
                    last.place.offset + Int64(last.length) == chunk.place.offset
                {
                    runs[runs.count - 1].length += chunk.length
                } else {
                    runs.append((chunk.place, chunk.length))
                }
            }
        }

        /// The next stretch; there must be a rest.
        mutating func next(atMost maximum: Int) -> (place: ChunkTable.Place, length: Int) {
            let (place, whole) = runs[index]
            let length = min(maximum, whole - done)
            let start = ChunkTable.Place(entry: place.entry, offset: place.offset + Int64(done))
            done += length
            rest -= length
            if done == whole { (index, done) = (index + 1, 0) }
            return (start, length)
        }
    }

    private mutating func open(_ entry: Int) throws(SnapshotError) -> Opened {
        if let file, file.entry == entry { return file.descriptor }
        let (parentPath, name) = split(manifest.entries[entry].path)
        let directory: Opened
        if let parent, parent.path == parentPath {
            directory = parent.directory
        } else {
            directory = Opened(try root.directory(beneath: parentPath))
            parent = (parentPath, directory)
        }
        let descriptor = Opened(try directory.descriptor.file(beneath: name, O_RDONLY | O_NONBLOCK))
        file = (entry, descriptor)
        return descriptor
    }
}
