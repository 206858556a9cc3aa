package import ClusterModel

// What others are told who ask.
extension CacheMapDigest {
    /// All pages as of the last flush.
    package mutating func pages() -> [DigestPage] {
        if let rendered, rendered.sequence == sequence { return rendered.pages }
        precondition(changed.isEmpty, "pages are made after a flush")
        let hashes = entries.compactMap { $0.value.isPublished ? $0.key : nil }.sorted()
        var pages: [DigestPage] = []
        var start = 0
        for part in partition.parts {
            var end = start
            while end < hashes.count, hashes[end] <= part.prefix.last { end += 1 }
            render(part.prefix, hashes[start..<end], version: part.version, into: &pages)
            start = end
        }
        rendered = (sequence, pages)
        return pages
    }

    /// A page that came out longer than the average goes as two.
    private func render(
        _ prefix: DigestPrefix, _ hashes: ArraySlice<UInt64>, version: UInt32, into pages: inout [DigestPage]
    ) {
        let page = DigestPage(
            of: hashes, prefix: prefix, version: version, rate: rate, encoding: settings.encoding)
        guard page.encoded().count > settings.pageBytes, prefix.depth < DigestPrefix.depthMax else {
            pages.append(page)
            return
        }
        let (low, high) = prefix.halves
        let middle = hashes.firstIndex { $0 >= high.bits } ?? hashes.endIndex
        render(low, hashes[..<middle], version: version, into: &pages)
        render(high, hashes[middle...], version: version, into: &pages)
    }

    /// What brings the asker up to date, in order; each part fits one message of a stream.
    ///
    /// Flush before.
    package mutating func answer(_ request: DigestRequest, at now: MonotonicInstant) -> [DigestPages] {
        guard request.epoch == epoch, request.sequence <= sequence else { return answer(pages(), isWhole: true) }
        log.removeFirst(log.prefix { now - $0.at > Self.logLifetime }.count)
        let missing = log.map(\.delta).filter { $0.sequence > request.sequence }
        let fresh = partition.parts.count { $0.version > request.sequence }
        let deltaBytes = missing.reduce(0) { $0 + $1.byteCount }
        let isLogged = missing.count == Int(sequence - request.sequence)
        if isLogged, deltaBytes <= min(Self.logBytesMax, max(1, fresh) * settings.pageBytes) {
            return [part([], deltas: missing, isWhole: false, isFirst: true, isLast: true)]
        }
        return answer(pages().filter { $0.version > request.sequence }, isWhole: false)
    }

    private func answer(_ pages: [DigestPage], isWhole: Bool) -> [DigestPages] {
        var answers: [DigestPages] = []
        var rest = pages[...]
        repeat {
            let some = Array(rest.prefix(DigestPages.pagesMax))
            rest = rest.dropFirst(some.count)
            answers.append(part(some, deltas: [], isWhole: isWhole, isFirst: answers.isEmpty, isLast: rest.isEmpty))
        } while !rest.isEmpty
        return answers
    }

    private func part(
        _ pages: [DigestPage], deltas: [MapDelta], isWhole: Bool, isFirst: Bool, isLast: Bool
    ) -> DigestPages {
        DigestPages(
            position: position, rate: rate, isWhole: isWhole, isFirst: isFirst, isLast: isLast, isPartial: isPartial,
            pages: pages, deltas: deltas)
    }
}
