//! How is one request written as one line of the access log?

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::body::response::End;
use crate::client::{RequestId, write_address};
use crate::policy::time::Timestamp;

/// What a line says.
pub(crate) struct Line<'a> {
    /// When the request's head was complete.
    pub(crate) received: Timestamp,
    pub(crate) client: IpAddr,
    pub(crate) method: &'a str,
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) target: &'a str,
    /// `None`: the client left before there was one.
    pub(crate) status: Option<u16>,
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
    pub(crate) result: &'static str,
    pub(crate) detail: Option<&'static str>,
    pub(crate) origin: Option<(SocketAddr, Duration)>,
    pub(crate) request_id: &'a RequestId,
    pub(crate) end: End,
}

impl Line<'_> {
    /// Writes the line as a JSON object with a line feed behind it.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        write_time(self.received, out);
        out.extend_from_slice(b"\",\"client\":\"");
        write_address(self.client, out);
        out.extend_from_slice(b"\",\"method\":\"");
        escape(self.method, &JSON, out);
        out.extend_from_slice(b"\",\"url\":\"");
        self.write_url(&JSON, out);
        out.extend_from_slice(b"\",\"status\":");
        match self.status {
            Some(status) => write_integer(u64::from(status), out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"bytes\":");
        write_integer(self.bytes, out);
        out.extend_from_slice(b",\"duration_ms\":");
        write_millis(self.duration, out);
        out.extend_from_slice(b",\"cache\":\"");
        out.extend_from_slice(self.result.as_bytes());
        if let Some(detail) = self.detail {
            out.extend_from_slice(b"\",\"detail\":\"");
            out.extend_from_slice(detail.as_bytes());
        }
        if let Some((address, time)) = self.origin {
            out.extend_from_slice(b"\",\"origin\":\"");
            write_socket(address, out);
            out.extend_from_slice(b"\",\"origin_ms\":");
            write_millis(time, out);
            out.extend_from_slice(b",\"end\":\"");
        } else {
            out.extend_from_slice(b"\",\"end\":\"");
        }
        out.extend_from_slice(self.end_word().as_bytes());
        out.extend_from_slice(b"\",\"request_id\":\"");
        self.write_request_id(&JSON, out);
        out.extend_from_slice(b"\"}\n");
    }

    /// Writes the line as words: time, client, "method URL", status, bytes, milliseconds, cache result, detail, origin,
    /// its milliseconds, end, request id; `-` where there is nothing to say.
    pub(crate) fn write_text(&self, out: &mut Vec<u8>) {
        write_time(self.received, out);
        out.push(b' ');
        write_address(self.client, out);
        out.extend_from_slice(b" \"");
        escape(self.method, &TEXT, out);
        out.push(b' ');
        self.write_url(&TEXT, out);
        out.extend_from_slice(b"\" ");
        match self.status {
            Some(status) => write_integer(u64::from(status), out),
            None => out.push(b'-'),
        }
        out.push(b' ');
        write_integer(self.bytes, out);
        out.push(b' ');
        write_millis(self.duration, out);
        out.push(b' ');
        out.extend_from_slice(self.result.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.detail.unwrap_or("-").as_bytes());
        out.push(b' ');
        if let Some((address, time)) = self.origin {
            write_socket(address, out);
            out.push(b' ');
            write_millis(time, out);
        } else {
            out.extend_from_slice(b"- -");
        }
        out.push(b' ');
        out.extend_from_slice(self.end_word().as_bytes());
        out.push(b' ');
        self.write_request_id(&TEXT, out);
        out.push(b'\n');
    }

    const fn end_word(&self) -> &'static str {
        match self.end {
            End::Complete => "complete",
            End::Failed => "failed",
            End::Abandoned => "abandoned",
        }
    }

    fn write_url(&self, how: &Escapes, out: &mut Vec<u8>) {
        out.extend_from_slice(self.scheme.as_bytes());
        out.extend_from_slice(b"://");
        escape(self.authority, how, out);
        escape(self.target, how, out);
    }

    fn write_request_id(&self, how: &Escapes, out: &mut Vec<u8>) {
        match self.request_id {
            RequestId::Made(id) => out.extend_from_slice(&RequestId::digits(*id)),
            // `accept` takes visible ASCII only.
            RequestId::Given(value) => escape(value.to_str().unwrap_or("?"), how, out),
        }
    }
}

/// How a form writes a character that would break its line or its string.
struct Escapes {
    control: fn(char, &mut Vec<u8>),
}

const JSON: Escapes = Escapes { control: |control, out| write_display(format_args!("\\u{:04x}", control as u32), out) };
const TEXT: Escapes = Escapes { control: |control, out| write_display(format_args!("\\x{:02x}", control as u32), out) };

/// Appends `text`; quotes and backslashes get a backslash, control characters (C1 among them) are written in numbers.
fn escape(text: &str, how: &Escapes, out: &mut Vec<u8>) {
    let is_plain = |byte: &u8| matches!(byte, 0x20..0x7f) && *byte != b'"' && *byte != b'\\';
    if text.as_bytes().iter().all(is_plain) {
        return out.extend_from_slice(text.as_bytes());
    }
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
            control if control.is_control() => (how.control)(control, out),
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Writes address and port as their `Display` does.
fn write_socket(socket: SocketAddr, out: &mut Vec<u8>) {
    if socket.is_ipv6() {
        return write_display(socket, out);
    }
    write_address(socket.ip(), out);
    out.push(b':');
    write_integer(u64::from(socket.port()), out);
}

fn write_display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    /// Lets formatting write into the line without a string in between.
    struct Sink<'a>(&'a mut Vec<u8>);
    impl std::fmt::Write for Sink<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // A vector takes everything.
    let _ = write!(Sink(out), "{value}");
}

fn write_integer(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with three decimals.
fn write_millis(duration: Duration, out: &mut Vec<u8>) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    write_integer(micros / 1000, out);
    out.push(b'.');
    write_padded::<3>(micros % 1000, out);
}

/// The last `WIDTH` digits of `value`.
fn write_padded<const WIDTH: usize>(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; WIDTH];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
    out.extend_from_slice(&digits);
}

/// RFC 3339, in UTC, with milliseconds. The part down to the second is kept per thread: it changes once a second.
fn write_time(at: Timestamp, out: &mut Vec<u8>) {
    thread_local! {
        static SECOND: RefCell<(u64, Vec<u8>)> = const { RefCell::new((u64::MAX, Vec::new())) };
    }
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != at.as_secs() {
            *second = at.as_secs();
            text.clear();
            write_second(at.as_secs(), text);
        }
        out.extend_from_slice(text);
    });
    out.push(b'.');
    write_padded::<3>(at.as_millis() % 1000, out);
    out.push(b'Z');
}

/// The date and time of a second since the epoch, to the second, in the Gregorian calendar.
fn write_second(seconds: u64, out: &mut Vec<u8>) {
    let (mut days, within) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    // At most some hundred steps, once a second and thread.
    while days >= days_of_year(year) && year < 9999 {
        days -= days_of_year(year);
        year += 1;
    }
    let february = days_of_year(year) - 337;
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    write_padded::<4>(year, out);
    for (mark, value) in
        [(b'-', month), (b'-', days + 1), (b'T', within / 3600), (b':', within / 60 % 60), (b':', within % 60)]
    {
        out.push(mark);
        write_padded::<2>(value, out);
    }
}

const fn days_of_year(year: u64) -> u64 {
    if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(target: &'a str, request_id: &'a RequestId) -> Line<'a> {
        Line {
            received: Timestamp::from_millis(1_709_210_096_789),
            client: "192.0.2.7".parse().expect("an address"),
            method: "GET",
            scheme: "http",
            authority: "shop.example",
            target,
            status: Some(200),
            bytes: 1234,
            duration: Duration::from_micros(1_005),
            result: "miss",
            detail: Some("not-stored"),
            origin: Some(("127.0.0.1:3000".parse().expect("an address"), Duration::from_micros(900))),
            request_id,
            end: End::Complete,
        }
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("lines are UTF-8")
    }

    #[test]
    fn a_json_line_holds_every_field() {
        let id = RequestId::Made(0xab);
        let text = written(|out| line("/a?b", &id).write_json(out));
        assert_eq!(
            text,
            "{\"time\":\"2024-02-29T12:34:56.789Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\
             \"url\":\"http://shop.example/a?b\",\"status\":200,\"bytes\":1234,\"duration_ms\":1.005,\"cache\":\"miss\",\
             \"detail\":\"not-stored\",\"origin\":\"127.0.0.1:3000\",\"origin_ms\":0.900,\"end\":\"complete\",\
             \"request_id\":\"00000000000000ab\"}\n"
        );
        serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON");
    }

    #[test]
    fn a_line_with_nothing_known_is_still_whole() {
        let id = RequestId::Made(1);
        let bare = Line { status: None, detail: None, origin: None, end: End::Abandoned, ..line("/", &id) };
        let parsed: serde_json::Value = serde_json::from_str(&written(|out| bare.write_json(out))).expect("it is JSON");
        assert_eq!((&parsed["status"], &parsed["end"]), (&serde_json::Value::Null, &"abandoned".into()));
        assert_eq!(
            written(|out| bare.write_text(out)),
            "2024-02-29T12:34:56.789Z 192.0.2.7 \"GET http://shop.example/\" - 1234 1.005 miss - - - abandoned \
             0000000000000001\n"
        );
    }

    #[test]
    fn nothing_that_a_client_sends_breaks_a_line() {
        let id = RequestId::Given(http::HeaderValue::from_static("a\"b"));
        for target in ["/\n{}", "/\r\n", "/\"}", "/\\", "/\u{1b}[2J", "/\u{7f}", "/\u{85}", "/\u{e4}"] {
            let json = written(|out| line(target, &id).write_json(out));
            assert_eq!(json.matches('\n').count(), 1, "{json}");
            assert!(json.trim_end().chars().all(|character| !character.is_control()), "{json}");
            let parsed: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
            assert_eq!(parsed["url"], format!("http://shop.example{target}"), "the text comes back");
            assert_eq!(parsed["request_id"], "a\"b");
            let text = written(|out| line(target, &id).write_text(out));
            assert!(text.trim_end_matches('\n').chars().all(|character| !character.is_control()), "{text}");
        }
    }

    #[test]
    fn seconds_become_dates() {
        let cases = [
            (0, "1970-01-01T00:00:00", "the epoch"),
            (951_782_400, "2000-02-29T00:00:00", "a century that is a leap year"),
            (951_868_799, "2000-02-29T23:59:59", "its last second"),
            (951_868_800, "2000-03-01T00:00:00", "the day after"),
            (4_107_542_400, "2100-03-01T00:00:00", "a century that is none: the day after the 28th"),
            (1_735_689_599, "2024-12-31T23:59:59", "the 366th day"),
            (1_735_689_600, "2025-01-01T00:00:00", "the new year"),
        ];
        for (seconds, want, why) in cases {
            assert_eq!(written(|out| write_second(seconds, out)), want, "{why}");
        }
    }
}
