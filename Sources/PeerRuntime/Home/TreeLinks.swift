internal import Foundation
internal import Glibc

/// A second tree of the same files.
enum TreeLinks {
    /// Gives all that is below `source`, except directories, a second name in the empty `directory`.
    ///
    /// Right only where files are replaced and never written to in place: then no tree sees what becomes of the other.
    /// Directories are new, for their owner only. What cannot be linked, such as a file with as many names as the file
    /// system allows, is left out.
    static func make(of source: String, in directory: String) {
        var pending = [""]
        while let path = pending.popLast() {
            for name in (try? FileManager.default.contentsOfDirectory(atPath: source + path)) ?? [] {
                let child = path + "/" + name
                var status = stat()
                guard lstat(source + child, &status) == 0 else { continue }
                if status.st_mode & S_IFMT != S_IFDIR {
                    // Of a symbolic link it is the link itself that gets the name.
                    _ = link(source + child, directory + child)
                } else if mkdir(directory + child, 0o700) == 0 {
                    pending.append(child)
                }
            }
        }
    }
}
