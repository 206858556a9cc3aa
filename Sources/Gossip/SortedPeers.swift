internal import ClusterModel

/// A sorted list of distinct members.
extension [PeerID] {
    mutating func insertSorted(_ id: PeerID) {
        let place = firstPlace(notBelow: id)
        if place < count, self[place] == id { return }
        insert(id, at: place)
    }

    mutating func removeSorted(_ id: PeerID) {
        let place = firstPlace(notBelow: id)
        if place < count, self[place] == id { remove(at: place) }
    }

    func place(of id: PeerID) -> Int? {
        let place = firstPlace(notBelow: id)
        return place < count && self[place] == id ? place : nil
    }

    private func firstPlace(notBelow id: PeerID) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < id { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
