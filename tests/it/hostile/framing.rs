//! Is there one reading of where a request begins and ends, or none? (RFC 9112 §2.2, §5, §6, §7)

use super::{Kit, assert_sound, statuses};

const SECOND: &str = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_head_that_could_be_read_otherwise_is_refused_and_the_connection_closed() {
    let kit = Kit::new().await;
    let fields: [(&str, &str); 50] = [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "a length and chunks"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "chunks and a length"),
        ("Transfer-Encoding: chunked\r\ncontent-length: 0\r\n", "a length of zero is one"),
        ("Content-Length: 4\r\nContent-Length: 4\r\n", "the same length twice"),
        ("Content-Length: 4\r\nContent-Length: 5\r\n", "two lengths"),
        ("Content-Length: 4, 4\r\n", "a list of lengths"),
        ("Content-Length: +4\r\n", "a sign"),
        ("Content-Length: -4\r\n", "a sign that wraps"),
        ("Content-Length: 0x4\r\n", "hexadecimal"),
        ("Content-Length: 4 \t\r\n", "a tab"),
        ("Content-Length: 4 4\r\n", "two numbers"),
        ("Content-Length: 4.0\r\n", "a fraction"),
        ("Content-Length: 4e0\r\n", "an exponent"),
        ("Content-Length: \"4\"\r\n", "a string"),
        ("Content-Length:\r\n", "none"),
        ("Content-Length: 99999999999999999999\r\n", "an overflow"),
        ("Content-Length: 18446744073709551620\r\n", "an overflow that wraps to 4"),
        ("Content-Length: \u{664}\r\n", "digits of another script"),
        ("Content-Length : 4\r\n", "a space before the colon"),
        ("Content-Length\t: 4\r\n", "a tab before it"),
        ("Content-Length\u{0}: 4\r\n", "NUL in the name"),
        ("Transfer-Encoding: xchunked\r\n", "another coding"),
        ("Transfer-Encoding: chunkedx\r\n", "another"),
        ("Transfer-Encoding: chunked, identity\r\n", "chunked is not last"),
        ("Transfer-Encoding: identity, chunked\r\n", "identity is no coding any more"),
        ("Transfer-Encoding: gzip, chunked\r\n", "we undo no gzip"),
        ("Transfer-Encoding: chunked, chunked\r\n", "twice"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "twice, on two lines"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "two lines"),
        ("Transfer-Encoding: identity\r\n", "no coding at all"),
        ("Transfer-Encoding:\r\n", "nothing"),
        ("Transfer-Encoding: ,chunked\r\n", "an empty member"),
        ("Transfer-Encoding: chunked;x=1\r\n", "a parameter"),
        ("Transfer-Encoding: \"chunked\"\r\n", "a string"),
        ("Transfer-Encoding:\tchunked\r\n", "a tab before"),
        ("Transfer-Encoding: chunked\t\r\n", "a tab after"),
        ("Transfer-Encoding: \u{b}chunked\r\n", "a vertical tab"),
        ("Transfer-Encoding: chunked\u{0}\r\n", "NUL"),
        ("Transfer-Encoding : chunked\r\n", "a space before the colon"),
        ("Transfer-Encoding\r\n: chunked\r\n", "a colon on the next line"),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", "a folded line"),
        ("Transfer-Encoding:\r\n chunked\r\n", "a folded value"),
        ("X: y\rTransfer-Encoding: chunked\r\n", "a bare CR"),
        ("X: y\nTransfer-Encoding: chunked\r\n", "a bare LF"),
        ("Transfer-Encoding: chunked\n", "a line that ends with LF"),
        ("X: a\u{0}b\r\n", "NUL in a value"),
        ("X: a\u{1b}b\r\n", "a control byte in a value"),
        ("X\u{7f}: b\r\n", "a control byte in a name"),
        ("X(y): b\r\n", "a name that is no token"),
        (": b\r\n", "no name"),
    ];
    for (fields, why) in fields {
        for end in ["\r\n0\r\n\r\n", "\r\n"] {
            let request = format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}{end}{SECOND}");
            let answer = kit.talk(request).await;
            assert_eq!(statuses(&answer), [400], "{why}: {answer}");
            assert!(answer.contains("connection: close\r\n"), "{why}: {answer}");
            assert!(answer.contains("proxy-status: larder; error=http_request_error"), "{why}: {answer}");
            assert_eq!(kit.seen(), [""; 0], "{why}");
        }
        kit.is_well(why).await;
    }
}

#[tokio::test]
async fn line_ends_before_and_in_the_head_are_cr_lf() {
    let kit = Kit::new().await;
    let cases = [
        ("GET /x HTTP/1.1\nHost: a\r\n\r\n", "after the request line"),
        ("GET /x HTTP/1.1\r\nHost: a\n\r\n", "after a field"),
        ("GET /x HTTP/1.1\r\nHost: a\r\n\n", "at the end"),
        ("GET /x HTTP/1.1\nHost: a\n\n", "everywhere"),
        ("\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", "before the request"),
        ("\r\n\r\n\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", "many empty lines"),
        (" GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "a space before the method"),
        ("GET /x HTTP/1.1\r\n Host: a\r\n\r\n", "a space before the first field"),
        ("GET /x HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n", "a tab before the first field"),
        ("GET /x HTTP/1.1\r\r\nHost: a\r\n\r\n", "a CR too many"),
        ("GET /x HTTP/1.1\r\n\rHost: a\r\n\r\n", "a CR before a field"),
        ("GET /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0 has no codings"),
    ];
    for (request, why) in cases {
        for before in ["", "GET /first HTTP/1.1\r\nHost: a\r\n\r\n"] {
            let answer = kit.talk(format!("{before}{request}{SECOND}")).await;
            let want = if before.is_empty() { vec![400] } else { vec![200, 400] };
            assert_eq!(statuses(&answer), want, "{why}: {answer}");
            assert!(kit.seen().iter().all(|request| request.starts_with("GET /first ")), "{why}");
        }
        kit.is_well(why).await;
    }
}

#[tokio::test]
async fn chunks_are_as_the_grammar_has_them() {
    let kit = Kit::new().await;
    let cases = [
        ("+3\r\nabc\r\n0\r\n\r\n", "a sign"),
        ("-3\r\nabc\r\n0\r\n\r\n", "another"),
        ("0x3\r\nabc\r\n0\r\n\r\n", "a prefix"),
        ("3_\r\nabc\r\n0\r\n\r\n", "an underscore"),
        (" 3\r\nabc\r\n0\r\n\r\n", "a space before"),
        ("3 \r\nabc\r\n0\r\n\r\n", "a space after"),
        ("3\t\r\nabc\r\n0\r\n\r\n", "a tab after"),
        ("3\n\nabc\r\n0\r\n\r\n", "LF after the size"),
        ("3\rabc\r\n0\r\n\r\n", "CR after the size"),
        ("\r\nabc\r\n0\r\n\r\n", "no size"),
        (";x\r\nabc\r\n0\r\n\r\n", "an extension alone"),
        ("10000000000000003\r\nabc\r\n0\r\n\r\n", "a size that wraps to 3"),
        ("fffffffffffffffff\r\nabc\r\n0\r\n\r\n", "an overflow"),
        ("00000000000000003\r\nabc\r\n0\r\n\r\n", "more digits than a size has"),
        ("g\r\nabc\r\n0\r\n\r\n", "no digit"),
        ("3\r\nabcd\r\n0\r\n\r\n", "a chunk longer than its size"),
        ("3\r\nabc0\r\n\r\n", "no line end after a chunk"),
        ("3\r\nabc\n0\r\n\r\n", "LF after a chunk"),
        ("3;x\n\r\nabc\r\n0\r\n\r\n", "LF in an extension"),
        ("3;\u{0}\r\nabc\r\n0\r\n\r\n", "NUL in an extension"),
        ("0\n\n", "a last chunk of LF"),
        ("0\r\n\n", "LF after the last chunk"),
        ("0\r\nX: y\n\r\n", "LF in a trailer"),
        ("0\r\n X: y\r\n\r\n", "a folded trailer"),
        ("0\r\nX\r\n\r\n", "a trailer without a colon"),
        ("0\r\nX : y\r\n\r\n", "a space before its colon"),
        ("0\r\nContent-Length: 9\r\n\r\n", "a trailer about framing"),
        ("0\r\nTransfer-Encoding: chunked\r\n\r\n", "another"),
        ("0\r\nHost: evil\r\n\r\n", "a trailer about routing"),
        ("0\r\nX-Forwarded-For: evil\r\n\r\n", "another"),
        ("0\r\nAuthorization: evil\r\n\r\n", "a trailer about access"),
        ("0\r\nCookie: evil=1\r\n\r\n", "another"),
    ];
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(200));
    let many = format!("0\r\n{}\r\n", "X: y\r\n".repeat(33));
    let all = cases.into_iter().chain([(long.as_str(), "a long extension"), (many.as_str(), "many trailers")]);
    for (body, why) in all {
        let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let before = kit.origin.hits();
        let answer = kit.talk(format!("{head}{body}{SECOND}")).await;
        assert_eq!(statuses(&answer), [400], "{why}: {answer}");
        assert_eq!((kit.seen().len(), kit.origin.hits()), (0, before), "{why}: it came with its head");
        // With a sound chunk before it, the head has gone on; the whole request never does.
        let mut line = crate::support::raw::Line::to(kit.edge.address()).await;
        line.send(format!("{head}5\r\nfirst\r\n")).await;
        kit.origin.asked_times(before + 1).await;
        line.send(format!("{body}{SECOND}")).await;
        let answer = line.rest().await;
        assert_eq!(statuses(&answer), [400], "{why}: {answer}");
        assert_eq!(kit.seen(), [""; 0], "{why}");
        kit.is_well(why).await;
    }
}

#[tokio::test]
async fn what_is_odd_and_clear_passes_as_one_request() {
    let kit = Kit::new().await;
    let chunked = "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sized = "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    let cases = [
        (format!("{chunked}3;x=y\r\nabc\r\n0;z\r\n\r\n"), "3\r\nabc\r\n0\r\n\r\n", "small extensions are ignored"),
        (format!("{chunked}000003\r\nabc\r\n0000\r\n\r\n"), "3\r\nabc\r\n0\r\n\r\n", "zeros"),
        (format!("{chunked}0\r\nX-Sum: 1\r\n\r\n"), "0\r\nx-sum: 1\r\n\r\n", "a trailer that nobody announced"),
        (
            format!("{chunked}A\r\n0\r\n\r\nGET /\r\n0\r\n\r\n"),
            "a\r\n0\r\n\r\nGET /\r\n0\r\n\r\n",
            "a body that looks like more",
        ),
        (format!("{sized}content-LENGTH:   3 \r\n\r\nabc"), "abc", "spaces around a length"),
        (format!("{sized}Content-Length: 003\r\n\r\nabc"), "abc", "zeros before a length"),
        (format!("{sized}Content-Length: 0\r\n\r\n"), "", "an empty body"),
        (format!("\r\n{sized}Content-Length: 3\r\n\r\na\nb"), "a\nb", "an empty line before; any byte in a body"),
    ];
    for (request, body, why) in cases {
        let answer = kit.talk(request).await;
        assert_eq!(statuses(&answer), [200], "{why}: {answer}");
        let seen = kit.seen();
        assert_eq!(seen.len(), 1, "{why}: {seen:?}");
        assert_sound(&seen[0], why);
        assert_eq!(seen[0].split_once("\r\n\r\n").map(|(_, body)| body), Some(body), "{why}");
        kit.is_well(why).await;
    }
}
