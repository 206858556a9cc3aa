/// Times as image configs write them: RFC 3339 in UTC, with as many digits of the second as are needed.
enum Timestamp {
    private static let secondsPerDay: Int64 = 86_400
    /// The years 1 to 9999, which are all that RFC 3339 can say.
    private static let secondsRange: ClosedRange<Int64> = -62_135_596_800...253_402_300_799

    /// The text for a time, as Go's `time.RFC3339Nano` has it; the nearest that there is when it has none.
    static func text(seconds: Int64, nanoseconds: UInt32 = 0) -> String {
        let seconds = min(max(seconds, secondsRange.lowerBound), secondsRange.upperBound)
        let day = seconds.quotientFloor(secondsPerDay)
        let second = seconds - day * secondsPerDay
        let date = civil(day: day)
        let clock = [second / 3600, second / 60 % 60, second % 60].map { padded($0, 2) }.joined(separator: ":")
        return
            "\(padded(date.year, 4))-\(padded(date.month, 2))-\(padded(date.day, 2))T\(clock)\(fraction(nanoseconds))Z"
    }

    private static func fraction(_ nanoseconds: UInt32) -> String {
        guard nanoseconds > 0 else { return "" }
        var digits = Array(padded(Int64(nanoseconds), 9))
        while digits.last == "0" { digits.removeLast() }
        return "." + String(digits)
    }

    private static func padded(_ value: Int64, _ width: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }

    /// Gregorian date of a day counted from 1970-01-01, over eras of 400 years = 146,097 days.
    private static func civil(day: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = day + 719_468  // Days from 0000-03-01, so that leap days end a year.
        let era = shifted.quotientFloor(146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }
}

extension Int64 {
    /// The quotient rounded down, also for negative numbers.
    fileprivate func quotientFloor(_ divisor: Int64) -> Int64 {
        self / divisor - (self % divisor < 0 ? 1 : 0)
    }
}
