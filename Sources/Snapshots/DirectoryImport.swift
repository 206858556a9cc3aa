package import ClusterModel

/// What `SnapshotStore.importDirectory` made.
package struct DirectoryImport: Sendable {
    package let layer: LayerDescriptor
    /// Give it to the next import of the same directory: files that did not change are not read again then.
    package let digests: FileDigests
    /// Files whose content had to be read.
    package let filesRead: Int
}
