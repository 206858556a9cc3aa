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
            let path = manifest.entries[place.entry].displayPath
            let count = try opened.descriptor.read(into: rest, at: place.offset + Int64(done), path)
            guard count > 0 else { throw .corruptLayer(layer, "\(path) is too short") }
            done += count
        }
    }

    /// The bytes of chunks one behind the other.
    mutating func bytes(of chunks: [ChunkTable.Chunk]) throws(SnapshotError) -> [UInt8] {
        var failure: SnapshotError?
        let bytes = [UInt8](unsafeUninitializedCapacity: chunks.reduce(0) { $0 + $1.length }) { buffer, filled in
            let raw = UnsafeMutableRawBufferPointer(buffer)
            do throws(SnapshotError) {
                var index = 0
                while index < chunks.count {
                    let first = chunks[index].place
                    var length = chunks[index].length
                    index += 1
                    while index < chunks.count, chunks[index].place.entry == first.entry,
                        chunks[index].place.offset == first.offset + Int64(length)
                    {
                        length += chunks[index].length
                        index += 1
                    }
                    try read(into: UnsafeMutableRawBufferPointer(rebasing: raw[filled..<filled + length]), from: first)
                    filled += length
                }
            } catch {
                failure = error
                filled = 0
            }
        }
        if let failure { throw failure }
        return bytes
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
