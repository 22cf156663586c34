//! What does the body of a request say, and is it the JSON that was expected?

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::reply::Fault;

/// Bytes of a body: 1024 tags of 1024 bytes are 1 MiB, and 1024 URLs of 2 KiB, longer than those of most browsers'
/// address bars, another 2 MiB. (1024 URLs of 16 KiB, the longest there are, would be 16 MiB: who has such URLs asks
/// several times.) On each of the listener's 64 connections at once that is 256 MiB, for clients with the token.
const MAX_BYTES: usize = 4 << 20;

/// For the whole body.
const DEADLINE: Duration = Duration::from_secs(10);

/// Bytes of what the reader of JSON says: it quotes what it does not know.
const MAX_QUOTED: usize = 512;

/// Reads a body to its end.
///
/// # Errors
///
/// 413 for too many bytes, before they are read where they were announced; 408 when it takes too long; 400 when it
/// breaks off.
pub(super) async fn read<B>(body: B) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let too_large = || Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 MiB: ask several times");
    if body.size_hint().lower() > MAX_BYTES as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(DEADLINE, Limited::new(body, MAX_BYTES).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Fault::bad(format!("the body broke off: {error}"))),
        Err(_) => Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "the body did not come within 10 seconds")),
    }
}

/// Reads a JSON object, whatever content type was sent with it: `curl -d` says that it is a form.
///
/// Nothing is ignored: not an unknown key, and not a key that comes twice. Nesting is bounded by the reader itself
/// (128 levels).
///
/// # Errors
///
/// 400 that says what is wrong, where, and what it looks like when it is right: `example`.
pub(super) fn object<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Fault> {
    let fault = |what: &str| {
        // It quotes what came: the example must not be cut off behind it.
        let what = &what[..what.floor_char_boundary(MAX_QUOTED)];
        Fault::bad(format!("{what}; write for example {example}"))
    };
    if body.trim_ascii().is_empty() {
        return Err(fault("the body is empty"));
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        // A type of ours would also read its keys, in order, from an array.
        return Err(match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => fault("the body is JSON, but no object, at line 1 column 1"),
            Err(error) => fault(&format!("the body is no JSON: {error}")),
        });
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => fault(&error.to_string()),
        _ => fault(&format!("the body is no JSON: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;
    use crate::wire::purge::PurgeRequest;

    #[derive(Debug, thiserror::Error)]
    #[error("cut")]
    struct Cut;

    #[test]
    fn what_is_wrong_with_a_body_is_said() {
        let deep = format!(r#"{{"urls":[{{"url":"a","headers":{}1"#, r#"{"a":"#.repeat(100_000));
        let long = format!(r#"{{"{}":1}}"#, "x".repeat(100_000));
        let arrays = format!(r#"{{"tags":{}"#, "[".repeat(1_000_000));
        let cases: [(&[u8], &str, &str); 17] = [
            (b"", "the body is empty", "nothing"),
            (b" \n", "the body is empty", "white space"),
            (b"tags=a", "no JSON: expected ident at line 1 column 2", "a form"),
            (br#"{"tags":["a""#, "no JSON: EOF while parsing a list at line 1 column 12", "cut off"),
            (b"{\n  \"tags\": [a]}", "line 2 column 12", "the line is told"),
            (br#"{"tags":["a"]} x"#, "trailing characters at line 1 column 16", "more than one thing"),
            (br#"[["a"]]"#, "no object", "an array must not be read as keys in order"),
            (b"null", "no object", "null"),
            (br#""a""#, "no object", "a string"),
            (br#"{"tag":["a"]}"#, "unknown field `tag`, expected one of `tags`", "unknown"),
            (br#"{"tags":["a"],"tags":["b"]}"#, "duplicate field `tags`", "which one counts?"),
            (br#"{"urls":["http://a/"],"files":["http://b/"]}"#, "duplicate field `urls`", "the same by two names"),
            (br#"{"tags":null}"#, "invalid type: null, expected a sequence at line 1 column 12", "null"),
            (br#"{"tags":"a"}"#, "invalid type: string", "no list"),
            (long.as_bytes(), "unknown field `xxx", "what came is not repeated without end"),
            (deep.as_bytes(), "for example", "nested without end"),
            (arrays.as_bytes(), "for example", "nested without end"),
        ];
        for (body, says, why) in cases {
            let fault = object::<PurgeRequest>(body, r#"{"tags": ["a"]}"#).expect_err(why);
            let text = format!("{fault:?}");
            assert!(text.contains(says) && text.contains("write for example"), "{why}: {text}");
        }
        assert!(object::<PurgeRequest>(b" {\"tags\":[\"\\u00e4\"]}\r\n", "").is_ok(), "white space around is nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_bound_and_a_deadline() {
        let largest = Full::new(Bytes::from(vec![b' '; MAX_BYTES]));
        assert_eq!(read(largest).await.expect("it fits").len(), MAX_BYTES);
        let announced = read(Full::new(Bytes::from(vec![b' '; MAX_BYTES + 1]))).await.expect_err("too large");
        assert_eq!(announced.into_reply().status(), 413);
        let begun = || stream::once(async { Ok::<_, Cut>(Frame::data(Bytes::from_static(b"{"))) });
        let slow = StreamBody::new(begun().chain(stream::pending()));
        assert_eq!(read(Box::pin(slow)).await.expect_err("the rest never comes").into_reply().status(), 408);
        let pieces = (0..5).map(|_| Ok::<_, Cut>(Frame::data(Bytes::from(vec![b' '; 1 << 20]))));
        let growing = read(StreamBody::new(stream::iter(pieces))).await.expect_err("too large, though not announced");
        assert_eq!(growing.into_reply().status(), 413);
        let broken = StreamBody::new(begun().chain(stream::iter([Err(Cut)])));
        assert_eq!(read(Box::pin(broken)).await.expect_err("no whole body").into_reply().status(), 400);
    }
}
