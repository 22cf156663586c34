//! A try failed: may the request be sent again, and where?

/// How far a try came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// No connection.
    Nothing,
    /// A connection that gave the request back unsent.
    Connection,
    /// The request was, or may have been, sent; not a byte came back.
    Request,
    /// Something came back, or the time for it is over.
    Answer,
}

/// A failed try, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    pub(super) reached: Reached,
    /// The connection had carried a request before: the origin may have been closing it.
    pub(super) was_reused: bool,
    /// RFC 9110 §9.2.2.
    pub(super) is_idempotent: bool,
    /// Some of the request's body was read, and is gone.
    pub(super) body_begun: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Answer with the error.
    GiveUp,
    /// Ask the same address on a new connection; the client need not know, and no retry is spent. Once per request: no
    /// later try may use a pooled connection.
    NewConnection,
    /// Ask another address; give up if there is none. No retry is spent: nobody has seen the request.
    OtherAddress,
    /// Ask again, at another address if there is one. A retry is spent.
    Retry,
}

/// What to do after a try failed with `retries` left.
///
/// A request that the origin may have seen is sent again only if it is idempotent and nothing was answered
/// (RFC 9110 §9.2.2). A timeout is not tried again: the client has waited long enough, and the origin has the request.
pub(super) fn next(failed: Failed, retries: u32) -> Next {
    if failed.body_begun {
        return Next::GiveUp;
    }
    match failed.reached {
        Reached::Nothing => Next::OtherAddress,
        Reached::Request if !failed.is_idempotent => Next::GiveUp,
        Reached::Connection | Reached::Request if failed.was_reused => Next::NewConnection,
        Reached::Connection | Reached::Request if retries > 0 => Next::Retry,
        Reached::Connection | Reached::Request | Reached::Answer => Next::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_again_only_where_that_is_safe() {
        #[rustfmt::skip]
        let cases = [
            // Reached, reused, idempotent, body begun, retries, next, why.
            (Reached::Nothing, false, false, false, 0, Next::OtherAddress, "nobody has seen it"),
            (Reached::Nothing, false, true, true, 9, Next::GiveUp, "its body is gone"),
            (Reached::Connection, true, false, false, 0, Next::NewConnection, "given back: nobody has seen it"),
            (Reached::Connection, false, false, false, 1, Next::Retry, "given back by a new connection"),
            (Reached::Connection, false, false, false, 0, Next::GiveUp, "no retry left"),
            (Reached::Request, true, true, false, 0, Next::NewConnection, "a stale connection is nobody's fault"),
            (Reached::Request, true, false, false, 9, Next::GiveUp, "it may have been carried out"),
            (Reached::Request, false, true, false, 1, Next::Retry, "idempotent"),
            (Reached::Request, false, true, false, 0, Next::GiveUp, "no retry left"),
            (Reached::Request, false, true, true, 9, Next::GiveUp, "its body is gone"),
            (Reached::Request, false, false, false, 9, Next::GiveUp, "it may have been carried out"),
            (Reached::Answer, true, true, false, 9, Next::GiveUp, "answered"),
        ];
        for (reached, was_reused, is_idempotent, body_begun, retries, want, why) in cases {
            let failed = Failed { reached, was_reused, is_idempotent, body_begun };
            assert_eq!(next(failed, retries), want, "{failed:?} {retries}: {why}");
        }
    }
}
