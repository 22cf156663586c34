//! When is it, as the rules count: a moment in milliseconds, and the dates that HTTP writes.

use std::time::Duration;

/// A moment: milliseconds since the Unix epoch, by this node's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// The last moment that a date can name: the end of the year 9999.
    pub const LATEST_DATE: Self = Self(LAST_SECOND * 1000 + 999);

    /// Makes a moment from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The same moment without its milliseconds: as a date of HTTP would write it.
    #[must_use]
    pub const fn whole_seconds(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }

    /// The time that has passed since `earlier`; zero when `earlier` lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment `by` later, at most the end of time.
    #[must_use]
    pub fn plus(self, by: impl Into<Millis>) -> Self {
        Self(self.0.saturating_add(by.into().0))
    }

    /// The moment `by` earlier, at least the epoch.
    #[must_use]
    pub fn minus(self, by: impl Into<Millis>) -> Self {
        Self(self.0.saturating_sub(by.into().0))
    }
}

/// A length of time in whole microseconds, 71 minutes at most: what is longer counts as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Micros(u32);

impl From<Duration> for Micros {
    fn from(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(micros: Micros) -> Self {
        Self::from_micros(micros.0.into())
    }
}

/// A length of time in whole milliseconds. What is longer than 584 million years counts as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Millis(u64);

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A length of time in a quarter of the memory that a `Duration` takes: in whole milliseconds up to 24 days, in whole seconds
/// from there on. What is longer than 68 years counts as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(u32);

impl Span {
    /// None.
    pub const ZERO: Self = Self(0);

    /// From here on it counts seconds; a multiple of a second.
    const IN_SECONDS: u64 = 2_147_483_000;

    #[expect(clippy::cast_possible_truncation, reason = "what does not fit is cut before")]
    const fn from_millis(millis: u64) -> Self {
        let count =
            if millis < Self::IN_SECONDS { millis } else { Self::IN_SECONDS + (millis - Self::IN_SECONDS) / 1000 };
        Self(if count < u32::MAX as u64 { count as u32 } else { u32::MAX })
    }

    const fn as_millis(self) -> u64 {
        let count = self.0 as u64;
        if count < Self::IN_SECONDS { count } else { Self::IN_SECONDS + (count - Self::IN_SECONDS) * 1000 }
    }

    /// So many whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// The whole seconds of it.
    pub const fn as_secs(self) -> u64 {
        self.as_millis() / 1000
    }

    /// Whether it is none.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self::from_millis(Millis::from(duration).0)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_millis(span.as_millis())
    }
}

impl From<Span> for Millis {
    fn from(span: Span) -> Self {
        Self(span.as_millis())
    }
}

/// Reads a date of HTTP in any of its three forms, whatever the letter case; `now` settles two-digit years.
///
/// `None`: not a date. Nothing but the three forms is one: no other zone than GMT, no missing comma, no doubled or
/// missing digits or spaces. The name of the weekday must be one, but need not be that day's. A date before 1970 is
/// the epoch: all that counts is that it has passed.
///
/// RFC 9110 §5.6.7.
pub fn parse_http_date(text: &[u8], now: Timestamp) -> Option<Timestamp> {
    imf_fixdate(text).or_else(|| asctime_date(text)).or_else(|| rfc850_date(text, now))?.moment()
}

/// Writes a moment as an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`, in whole seconds.
///
/// A moment after the year 9999 is written as that year's last second: the form has four digits.
///
/// RFC 9110 §5.6.7.
pub fn format_http_date(moment: Timestamp) -> [u8; 29] {
    let seconds = moment.as_secs().min(LAST_SECOND);
    let civil = Civil::of(seconds);
    let weekday = index((seconds / SECONDS_A_DAY + 4) % 7);
    let mut text = *b"Day, 00 Mon 0000 00:00:00 GMT";
    text[0..3].copy_from_slice(&WEEKDAYS[weekday].as_bytes()[..3]);
    write_number(&mut text[5..7], civil.day);
    text[8..11].copy_from_slice(MONTHS[index(civil.month - 1)].as_bytes());
    write_number(&mut text[12..16], civil.year);
    write_number(&mut text[17..19], civil.second / 3600);
    write_number(&mut text[20..22], civil.second / 60 % 60);
    write_number(&mut text[23..25], civil.second % 60);
    text
}

/// Writes a moment as a date of RFC 3339 in UTC with milliseconds, `1994-11-06T08:49:37.120Z`.
///
/// A moment after the year 9999 is written as that year's last millisecond: the form has four digits.
///
/// RFC 3339 §5.6.
pub fn format_rfc3339(moment: Timestamp) -> String {
    let millis = moment.as_millis().min(LAST_SECOND * 1000 + 999);
    let Civil { year, month, day, second } = Civil::of(millis / 1000);
    let (hour, minute, second, millis) = (second / 3600, second / 60 % 60, second % 60, millis % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;
const SECONDS_A_DAY: u64 = 86_400;
/// Days from 1 January of the year 1 to the Unix epoch.
const EPOCH_DAY: u64 = 719_162;
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const SHORT_WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Days of a common year before each month.
const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// A date as people write it, in UTC. `second` counts from midnight.
#[derive(Debug, Clone, Copy)]
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    second: u64,
}

impl Civil {
    /// The date of a moment, given in seconds since the Unix epoch.
    fn of(seconds: u64) -> Self {
        let day = EPOCH_DAY + seconds / SECONDS_A_DAY;
        // 400 years have 146,097 days; the estimate is at most one year off, either way.
        let mut year = 1 + day * 400 / 146_097;
        if day < days_before_year(year) {
            year -= 1;
        } else if day >= days_before_year(year + 1) {
            year += 1;
        }
        let day_of_year = day - days_before_year(year);
        let month = (1..=12).rev().find(|&month| days_before_month(year, month) <= day_of_year).unwrap_or(1);
        let day = day_of_year - days_before_month(year, month) + 1;
        Self { year, month, day, second: seconds % SECONDS_A_DAY }
    }

    /// The moment of this date; `None` where the month has no such day.
    fn moment(self) -> Option<Timestamp> {
        if self.day == 0 || self.day > days_in_month(self.year, self.month) {
            return None;
        }
        // Dates before 1970 (the year 0 among them) have passed, and that is all we need to know of them.
        if self.year < 1970 {
            return Some(Timestamp::EPOCH);
        }
        Some(Timestamp(self.seconds().min(LAST_SECOND) * 1000))
    }

    /// Seconds since the Unix epoch; the year is 1970 or later.
    fn seconds(self) -> u64 {
        let day = days_before_year(self.year) + days_before_month(self.year, self.month) + self.day - 1;
        (day - EPOCH_DAY) * SECONDS_A_DAY + self.second
    }
}

/// Days from 1 January of the year 1 to 1 January of `year`, which is 1 or later.
const fn days_before_year(year: u64) -> u64 {
    let past = year - 1;
    past * 365 + past / 4 - past / 100 + past / 400
}

/// Days of `year` before the first of `month` (1 to 12).
fn days_before_month(year: u64, month: u64) -> u64 {
    DAYS_BEFORE[index(month - 1)] + u64::from(month > 2 && is_leap(year))
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<Civil> {
    let mut reader = Reader(text);
    reader.one_of(&SHORT_WEEKDAYS)?;
    reader.literal(", ")?;
    let day = reader.number(2)?;
    reader.literal(" ")?;
    let month = reader.one_of(&MONTHS)? + 1;
    reader.literal(" ")?;
    let year = reader.number(4)?;
    reader.literal(" ")?;
    let second = reader.time_of_day()?;
    reader.literal(" GMT")?;
    reader.is_at_end().then_some(Civil { year, month, day, second })
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime_date(text: &[u8]) -> Option<Civil> {
    let mut reader = Reader(text);
    reader.one_of(&SHORT_WEEKDAYS)?;
    reader.literal(" ")?;
    let month = reader.one_of(&MONTHS)? + 1;
    reader.literal(" ")?;
    let day = if reader.literal(" ").is_some() { reader.number(1)? } else { reader.number(2)? };
    reader.literal(" ")?;
    let second = reader.time_of_day()?;
    reader.literal(" ")?;
    let year = reader.number(4)?;
    reader.is_at_end().then_some(Civil { year, month, day, second })
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850_date(text: &[u8], now: Timestamp) -> Option<Civil> {
    let mut reader = Reader(text);
    reader.one_of(&WEEKDAYS)?;
    reader.literal(", ")?;
    let day = reader.number(2)?;
    reader.literal("-")?;
    let month = reader.one_of(&MONTHS)? + 1;
    reader.literal("-")?;
    let short_year = reader.number(2)?;
    reader.literal(" ")?;
    let second = reader.time_of_day()?;
    reader.literal(" GMT")?;
    let today = Civil::of(now.as_secs());
    // RFC 9110 §5.6.7: what appears to be more than 50 years in the future is the most recent year in the past with
    // the same last two digits.
    let ahead = |year: u64| (year, month, day, second) > (today.year + 50, today.month, today.day, today.second);
    let mut year = today.year / 100 * 100 + 100 + short_year;
    while ahead(year) {
        year -= 100;
    }
    reader.is_at_end().then_some(Civil { year, month, day, second })
}

/// What is left of a text; each step takes something off its front, or fails.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// Takes exactly this text, in any letter case.
    fn literal(&mut self, expected: &str) -> Option<()> {
        let (front, rest) = self.0.split_at_checked(expected.len())?;
        front.eq_ignore_ascii_case(expected.as_bytes()).then(|| self.0 = rest)
    }

    /// Takes exactly `width` digits.
    fn number(&mut self, width: usize) -> Option<u64> {
        let (front, rest) = self.0.split_at_checked(width)?;
        let number = front
            .iter()
            .try_fold(0, |number: u64, &byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))?;
        self.0 = rest;
        Some(number)
    }

    /// Takes one of these names and says which, from 0.
    fn one_of(&mut self, names: &[&str]) -> Option<u64> {
        (0..).zip(names).find_map(|(place, name)| self.literal(name).map(|()| place))
    }

    /// Takes `08:49:37` and gives the second of the day. A leap second, `23:59:60`, is the next day's first.
    fn time_of_day(&mut self) -> Option<u64> {
        let hour = self.number(2)?;
        self.literal(":")?;
        let minute = self.number(2)?;
        self.literal(":")?;
        let second = self.number(2)?;
        (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
    }

    const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

/// Fills `digits` with a decimal number, zeros in front; what does not fit is cut off.
fn write_number(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[index(number % 10)];
        number /= 10;
    }
}

/// A small number as a place in a table.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, proptest};

    use super::*;

    /// 1 July 2026, 12:00:00.
    const NOW: Timestamp = Timestamp::from_millis(1_782_907_200_000);

    #[test]
    fn a_span_is_exact_up_to_24_days_and_in_whole_seconds_beyond() {
        let (secs, millis) = (Duration::from_secs, Duration::from_millis);
        let longest = secs(2_147_483 + u64::from(u32::MAX) - 2_147_483_000);
        let cases = [
            // of            is                    why
            (secs(0), secs(0), "none"),
            (millis(1), millis(1), "the least"),
            (millis(2_147_482_999), millis(2_147_482_999), "the last that is exact"),
            (millis(2_147_483_000), secs(2_147_483), "the first in seconds"),
            (millis(2_147_483_999), secs(2_147_483), "rounded down"),
            (millis(2_147_484_000), secs(2_147_484), "the second one in seconds"),
            (secs(31_536_000), secs(31_536_000), "a year"),
            (secs(1 << 31), secs(1 << 31), "the greatest lifetime there is"),
            (longest, longest, "the longest"),
            (longest + secs(1), longest, "what is longer"),
            (Duration::MAX, longest, "whatever is"),
        ];
        let mut before = Span::ZERO;
        for (of, is, why) in cases {
            let span = Span::from(of);
            assert_eq!(
                (Duration::from(span), span.as_secs(), span.is_zero()),
                (is, is.as_secs(), is.is_zero()),
                "{why}"
            );
            assert!(span >= before, "{why}: compared as lengths of time are");
            before = span;
        }
        assert_eq!(Span::from_secs(u64::MAX), before);
        assert_eq!(Timestamp::from_millis(1).plus(Span::from_secs(31_536_000)).as_millis(), 31_536_000_001);
    }

    #[test]
    fn moments_are_written_as_rfc_3339_has_them() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z", "the epoch"),
            (784_111_777_120, "1994-11-06T08:49:37.120Z", "a date"),
            (1_709_210_096_789, "2024-02-29T12:34:56.789Z", "a leap day"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z", "the last one"),
            (u64::MAX, "9999-12-31T23:59:59.999Z", "and what is after it"),
        ];
        for (millis, want, why) in cases {
            assert_eq!(format_rfc3339(Timestamp::from_millis(millis)), want, "{why}");
        }
    }

    #[test]
    fn dates_are_read_in_three_forms_and_no_other() {
        let example = Some(784_111_777);
        let august = Some(2_544_400_878);
        let cases: &[(&str, Option<u64>, &str)] = &[
            ("Sun, 06 Nov 1994 08:49:37 GMT", example, "IMF-fixdate"),
            ("Sunday, 06-Nov-94 08:49:37 GMT", example, "RFC 850"),
            ("Sun Nov  6 08:49:37 1994", example, "asctime, with a space for the first digit"),
            ("Wed Nov 16 08:49:37 1994", Some(784_975_777), "asctime, two digits"),
            ("THU, 18 AUG 2050 02:01:18 gMT", august, "letter case does not count"),
            ("Thursday, 18-Aug-50 02:01:18 GMT", august, "a two-digit year less than 50 years ahead"),
            ("thursday, 18-aug-50 02:01:18 gmt", august, "letter case does not count in RFC 850 either"),
            ("Mon, 18 Aug 2050 02:01:18 GMT", august, "a wrong weekday does no harm"),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0), "the epoch"),
            ("Wed, 31 Dec 1969 23:59:59 GMT", Some(0), "before the epoch: past is past"),
            ("Sat, 01 Jan 0000 00:00:00 GMT", Some(0), "the year 0 does not wrap"),
            ("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800), "a leap day"),
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800), "a leap second"),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799), "the last date of all"),
            ("Fri, 31 Dec 9999 23:59:60 GMT", Some(253_402_300_799), "also with a leap second"),
            ("Wed, 01 Jul 2076 12:00:00 GMT", Some(3_360_830_400), "four digits say what they mean"),
            ("Wednesday, 01-Jul-76 12:00:00 GMT", Some(3_360_830_400), "exactly 50 years ahead is not more than 50"),
            ("Thursday, 01-Jul-76 12:00:01 GMT", Some(205_070_401), "more than 50 years ahead: last century"),
            ("Thu, 18 Aug 2050 02:01:18 UTC", None, "another zone"),
            ("Thu, 18 Aug 2050 02:01:18 AEST", None, "another zone"),
            ("Thu, 18 Aug 2050 02:01:18 +0000", None, "a numeric zone"),
            ("Thu, 18 Aug 2050 02:01:18", None, "no zone"),
            ("Thu, 18 Aug 50 02:01:18 GMT", None, "a two-digit year in IMF form"),
            ("Thu 18 Aug 2050 02:01:18 GMT", None, "no comma"),
            ("Thu, 18  Aug  2050 02:01:18 GMT", None, "doubled spaces"),
            ("Thu, 18-Aug-2050 02:01:18 GMT", None, "dashes with a four-digit year"),
            ("Thursday, 18-Aug-2050 02:01:18 GMT", None, "the same with a long weekday"),
            ("Thu, 18 Aug 2050 02.01.18 GMT", None, "dots in the time"),
            ("Thu, 18 Aug 2050 2:01:18 GMT", None, "a one-digit hour"),
            ("Thu, 8 Aug 2050 02:01:18 GMT", None, "a one-digit day"),
            ("Thu, 18 Aug 2050 24:00:00 GMT", None, "no such hour"),
            ("Thu, 18 Aug 2050 02:60:18 GMT", None, "no such minute"),
            ("Thu, 18 Aug 2050 02:01:61 GMT", None, "no such second"),
            ("Thu, 31 Apr 2050 02:01:18 GMT", None, "no such day"),
            ("Thu, 00 Apr 2050 02:01:18 GMT", None, "no such day"),
            ("Wed, 29 Feb 2023 00:00:00 GMT", None, "no leap year"),
            ("Thu, 18 Foo 2050 02:01:18 GMT", None, "no such month"),
            ("Foo, 18 Aug 2050 02:01:18 GMT", None, "no such weekday"),
            ("Thu, +8 Aug 2050 02:01:18 GMT", None, "a sign is no digit"),
            ("Thu, 18 Aug 2050 02:01:18 GMT ", None, "something after it"),
            (" Thu, 18 Aug 2050 02:01:18 GMT", None, "something before it"),
            ("Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:19 GMT", None, "a list"),
            ("Sun Nov 6 08:49:37 1994", None, "asctime pads its day"),
            ("0", None, "a number"),
            ("-1", None, "a number"),
            ("", None, "nothing"),
        ];
        for &(text, seconds, why) in cases {
            let read = parse_http_date(text.as_bytes(), NOW).map(Timestamp::as_secs);
            assert_eq!(read, seconds, "{text:?}: {why}");
        }
    }

    #[test]
    fn two_digit_years_follow_the_clock_over_a_turn_of_century() {
        let cases: &[(u64, u64, &str, &str)] = &[
            (2026, 2000, "Saturday, 01-Jan-00 00:00:00 GMT", "the past is nearer than 74 years ahead"),
            (2060, 2105, "Thursday, 01-Jan-05 00:00:00 GMT", "45 years ahead, in the next century"),
            (1999, 2049, "Friday, 01-Jan-49 00:00:00 GMT", "50 years ahead, in the next century"),
            (2001, 1999, "Friday, 01-Jan-99 00:00:00 GMT", "the century before"),
        ];
        for &(today, year, text, why) in cases {
            let now = Civil { year: today, month: 6, day: 1, second: 0 }.moment().expect("a date");
            let want = Civil { year, month: 1, day: 1, second: 0 }.moment();
            assert_eq!(parse_http_date(text.as_bytes(), now), want, "{text:?} in {today}: {why}");
        }
    }

    #[test]
    fn dates_are_written_as_rfc_9110_has_them() {
        let cases: &[(u64, &str, &str)] = &[
            (784_111_777_000, "Sun, 06 Nov 1994 08:49:37 GMT", "the RFC's example"),
            (784_111_777_999, "Sun, 06 Nov 1994 08:49:37 GMT", "milliseconds are cut off"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "the epoch"),
            (951_827_696_000, "Tue, 29 Feb 2000 12:34:56 GMT", "a leap day of a century"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT", "four digits is all there is"),
        ];
        for &(millis, want, why) in cases {
            let written = format_http_date(Timestamp::from_millis(millis));
            assert_eq!(String::from_utf8_lossy(&written), want, "{why}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn what_is_written_is_read_back(seconds in 0_u64..=253_402_300_799) {
            let moment = Timestamp::from_millis(seconds * 1000);
            assert_eq!(parse_http_date(&format_http_date(moment), NOW), Some(moment));
        }

        #[test]
        fn writing_agrees_with_another_library(seconds in 0_u64..=253_402_300_799) {
            let other = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(String::from_utf8_lossy(&format_http_date(Timestamp::from_millis(seconds * 1000))), other);
        }

        #[test]
        fn no_text_can_make_the_parser_panic(text: Vec<u8>, now: u64) {
            parse_http_date(&text, Timestamp::from_millis(now));
        }
    }
}
