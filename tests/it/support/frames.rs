//! A client that writes HTTP/2 frames as the test says, sound or not.

use std::net::SocketAddr;

use super::raw::Line;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field block of literals, none of them kept (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            length(text.len(), &mut bytes);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// A number with a prefix of seven bits. RFC 7541 §5.1.
pub(crate) fn length(length: usize, bytes: &mut Vec<u8>) {
    let Some(mut rest) = length.checked_sub(127) else {
        bytes.push(u8::try_from(length).expect("less than 127"));
        return;
    };
    bytes.push(127);
    while rest > 127 {
        bytes.push(u8::try_from(rest & 127).expect("seven bits") | 128);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).expect("seven bits"));
}

/// The fields of a request, with more after them.
pub(crate) fn request<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)];
    fields.extend_from_slice(more);
    fields
}

/// What became of a stream, or of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

impl Verdict {
    /// Whether nobody took it for a request.
    pub(crate) fn is_refusal(self) -> bool {
        match self {
            Self::Status(status) => (400..500).contains(&status),
            Self::Reset(_) | Self::GoAway(_) | Self::Closed => true,
        }
    }

    /// Whether the connection is over.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::GoAway(_) | Self::Closed)
    }
}

/// A connection over HTTP/2.
pub(crate) struct Wire(Line);

impl Wire {
    /// Connects, and sends the preface and these settings.
    pub(crate) async fn to(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut line = Line::to(address).await;
        line.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        line.send(frame(SETTINGS, 0, 0, payload)).await;
        Self(line)
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes).await;
    }

    /// Asks with these fields and nothing after them.
    pub(crate) async fn ask(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, block(fields))).await;
    }

    /// The next frame: kind, flags, stream, payload. `None` when the connection has ended.
    pub(crate) async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let header = self.0.exactly(9).await?;
        let [high, middle, low, kind, flags, stream @ ..] = header.as_slice() else { return None };
        let length = u32::from_be_bytes([0, *high, *middle, *low]);
        let stream = u32::from_be_bytes(stream.try_into().ok()?);
        let payload = self.0.exactly(usize::try_from(length).ok()?).await?;
        Some((*kind, *flags, stream, payload))
    }

    /// Reads on until it is clear what becomes of a stream. Stream 0: of the connection.
    pub(crate) async fn verdict(&mut self, stream: u32) -> Verdict {
        while let Some((kind, _, on, payload)) = self.frame().await {
            let code = |from: usize| {
                let bytes = payload.get(from..from + 4).and_then(|bytes| bytes.try_into().ok());
                u32::from_be_bytes(bytes.expect("a whole code"))
            };
            match kind {
                GOAWAY if code(4) != 0 || stream == 0 => return Verdict::GoAway(code(4)),
                RESET if on == stream => return Verdict::Reset(code(0)),
                HEADERS if on == stream && stream != 0 => return Verdict::Status(status(&payload)),
                _ => {}
            }
        }
        Verdict::Closed
    }

    /// Waits until all that was sent has been looked at; whether there is still somebody who does.
    pub(crate) async fn is_caught_up(&mut self) -> bool {
        self.send(frame(PING, 0, 0, b"abcdefgh")).await;
        while let Some((kind, flags, _, _)) = self.frame().await {
            match kind {
                PING if flags & 1 == 1 => return true,
                GOAWAY => return false,
                _ => {}
            }
        }
        false
    }
}

/// The status at the beginning of a field block. RFC 7541 Appendix A, and the digits of Appendix B.
fn status(block: &[u8]) -> u16 {
    let updates = block.iter().take_while(|byte| (0x20..0x40).contains(*byte)).count();
    match block[updates..] {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        [_, 3, a, b, c, ..] => [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0')),
        [_, length @ 0x82..=0x83, ref rest @ ..] => huffman_digits(&rest[..usize::from(length - 0x80)]),
        _ => 0,
    }
}

fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let (mut status, mut at) = (0, 0);
    for _ in 0..3 {
        let take = |length: usize| bits[at..at + length].iter().fold(0, |code, bit| code << 1 | u16::from(*bit));
        let (digit, length) = if take(5) < 3 { (take(5), 5) } else { (take(6) - 0b01_1001 + 3, 6) };
        (status, at) = (status * 10 + digit, at + length);
    }
    status
}
