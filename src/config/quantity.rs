//! How long, how large, how many: the quantities that the file writes, with their ranges in their types.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::located::{Complaint, Leaf};

/// Milliseconds of a second, a minute, an hour, a day, a year.
pub(crate) const SECOND: u64 = 1000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const YEAR: u64 = 365 * DAY;

/// Bytes.
pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;
pub(crate) const GIB: u64 = 1024 * MIB;
pub(crate) const TIB: u64 = 1024 * GIB;

/// The largest unit first, so that writing a value finds the shortest form.
const TIMES: [(&str, u64); 5] = [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1)];
const SIZES: [(&str, u64); 5] = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

/// A duration of at least `MIN` and at most `MAX` milliseconds: `"500ms" "10s" "5m" "1h" "1d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time<const MIN: u64, const MAX: u64>(pub(crate) Duration);

impl<const MIN: u64, const MAX: u64> Leaf for Time<MIN, MAX> {
    const WANTED: &'static str = r#"a duration such as "500ms", "10s", "5m", "1h" or "1d""#;
    const PATTERN: Option<&'static str> = Some("[0-9]+(ms|s|m|h|d)");

    fn read(text: &str) -> Result<Self, Complaint> {
        let refuse = |what: String| Complaint::new(what, format!("write {}", Self::WANTED));
        let (number, unit) = split(text);
        if unit.is_empty() && !number.is_empty() {
            return Err(Complaint::new(
                format!("the duration `{text}` has no unit"),
                format!(r#"write "{text}s" for seconds; the units are ms, s, m, h and d"#),
            ));
        }
        let factor = factor(&TIMES, unit).ok_or_else(|| refuse(format!("`{text}` is not a duration")))?;
        let millis = multiply(number, factor).ok_or_else(|| refuse(format!("`{text}` is not a duration")))?;
        in_range(millis, MIN, MAX, text, write_time)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

/// A size of at least `MIN` and at most `MAX` bytes: `"64KiB" "512MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Leaf for Size<MIN, MAX> {
    const WANTED: &'static str = r#"a size such as "512B", "64KiB", "512MiB" or "2GiB""#;
    const PATTERN: Option<&'static str> = Some("[0-9]+(B|KiB|MiB|GiB|TiB)");

    fn read(text: &str) -> Result<Self, Complaint> {
        let (number, unit) = split(text);
        let Some(factor) = factor(&SIZES, unit) else { return Err(unknown_size_unit(text, number, unit)) };
        let bytes = multiply(number, factor)
            .ok_or_else(|| Complaint::new(format!("`{text}` is not a size"), format!("write {}", Self::WANTED)))?;
        in_range(bytes, MIN, MAX, text, write_size)?;
        Ok(Self(bytes))
    }
}

/// `64KB`, `64k`, `64M`, `64`: whether 1000 or 1024 is meant is not ours to guess.
fn unknown_size_unit(text: &str, number: &str, unit: &str) -> Complaint {
    let meant = match unit.to_ascii_lowercase().as_str() {
        "" => "B",
        "k" | "kb" | "ki" | "kib" => "KiB",
        "m" | "mb" | "mi" | "mib" => "MiB",
        "g" | "gb" | "gi" | "gib" => "GiB",
        "t" | "tb" | "ti" | "tib" => "TiB",
        _ => {
            return Complaint::new(
                format!("`{text}` is not a size"),
                format!("write {}", Size::<0, { u64::MAX }>::WANTED),
            );
        }
    };
    Complaint::new(
        format!("the size `{text}` has no unit that Larder knows"),
        format!(r#"write "{number}{meant}"; the units are B, KiB, MiB, GiB and TiB, of 1024 each"#),
    )
}

/// The digits at the start, and what follows them, without the spaces between.
fn split(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start_matches(' '))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

fn multiply(number: &str, factor: u64) -> Option<u64> {
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn in_range(value: u64, min: u64, max: u64, text: &str, write: fn(u64) -> String) -> Result<(), Complaint> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let which = if value < min { "less" } else { "more" };
    Err(Complaint::new(
        format!("`{text}` is {which} than is allowed here"),
        format!(r#"write a value from "{}" to "{}""#, write(min), write(max)),
    ))
}

fn write_in(units: &[(&str, u64)], value: u64) -> String {
    let fits = units.iter().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    fits.map_or_else(|| "0".to_owned(), |(unit, factor)| format!("{}{unit}", value / factor))
}

/// The shortest text of a duration in milliseconds.
fn write_time(millis: u64) -> String {
    if millis == 0 { "0s".to_owned() } else { write_in(&TIMES, millis) }
}

/// The shortest text of a size in bytes.
pub(crate) fn write_size(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { write_in(&SIZES, bytes) }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// The number where memory is counted in `usize`.
    pub(crate) fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The number in 32 bits; the ranges in use are far smaller.
    pub(crate) fn as_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

struct CountVisitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> CountVisitor<MIN, MAX> {
    fn checked<E: de::Error>(number: i128) -> Result<Count<MIN, MAX>, E> {
        match u64::try_from(number) {
            Ok(value) if (MIN..=MAX).contains(&value) => Ok(Count(value)),
            _ => Err(E::custom(Complaint::new(
                format!("{number} is out of range"),
                format!("write a whole number from {MIN} to {MAX}"),
            ))),
        }
    }
}

impl<const MIN: u64, const MAX: u64> Visitor<'_> for CountVisitor<MIN, MAX> {
    type Value = Count<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}, without quotes")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Self::checked(i128::from(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Self::checked(i128::from(number))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(CountVisitor)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Count<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Count<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        let cases = [
            // text     want (ms)   why
            ("500ms", Some(500), "milliseconds"),
            ("10s", Some(10_000), "seconds"),
            ("5m", Some(300_000), "minutes, not months"),
            ("1h", Some(HOUR), "hours"),
            ("1d", Some(DAY), "days"),
            ("0s", Some(0), "zero is a duration"),
            ("10 s", Some(10_000), "a space does no harm"),
            ("10", None, "no unit: seconds or milliseconds?"),
            ("s", None, "no number"),
            ("", None, "nothing"),
            ("-1s", None, "time runs forward"),
            ("1.5s", None, "whole numbers only: 1500ms says it"),
            ("1H", None, "units are in lower case"),
            ("18446744073709551616s", None, "more than 64 bits"),
            ("18446744073709551615d", None, "overflows in milliseconds"),
        ];
        for (text, want, why) in cases {
            let read = Time::<0, { u64::MAX }>::read(text).ok().map(|time| time.0);
            assert_eq!(read, want.map(Duration::from_millis), "{text}: {why}");
        }
    }

    #[test]
    fn sizes_read_as_written() {
        let cases = [
            // text      want         why
            ("1B", Some(1), "bytes"),
            ("64KiB", Some(65_536), "1024 each"),
            ("512MiB", Some(536_870_912), "1024 each"),
            ("2GiB", Some(2 * GIB), "1024 each"),
            ("64KB", None, "1000 or 1024? ask"),
            ("64k", None, "the same"),
            ("64", None, "no unit"),
            ("64kib", None, "one spelling"),
            ("KiB", None, "no number"),
            ("99999999999TiB", None, "overflow"),
        ];
        for (text, want, why) in cases {
            let read = Size::<0, { u64::MAX }>::read(text).ok().map(|size| size.0);
            assert_eq!(read, want, "{text}: {why}");
        }
    }

    #[test]
    fn a_refused_quantity_says_what_to_write() {
        let cases = [
            // complaint                                          wanted words               why
            (Time::<0, DAY>::read("10").unwrap_err(), r#"write "10s""#, "the likely unit is offered"),
            (Time::<SECOND, HOUR>::read("2h").unwrap_err(), r#"from "1s" to "1h""#, "the range is told"),
            (Size::<0, GIB>::read("64KB").unwrap_err(), r#"write "64KiB""#, "the likely unit is offered"),
            (Size::<KIB, GIB>::read("1B").unwrap_err(), r#"from "1KiB" to "1GiB""#, "the range is told"),
        ];
        for (complaint, words, why) in cases {
            assert!(complaint.write.contains(words), "{complaint}: {why}");
        }
    }
}
