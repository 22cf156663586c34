//! What does an error say: about the connection, about the server, or about the question alone?

use redis::{ErrorKind, RedisError};

use super::state::State;

/// What an error of the library or an error reply means for those who ask next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is gone, or what came over it was no Redis.
    Broken,
    /// The library gave up waiting.
    TimedOut,
    /// We are not who we say we are.
    LoginRefused,
    /// The server reads its data from disk.
    Loading,
    /// A replica was asked to write.
    NotMaster,
    /// The server answers, but not this command: until the same command succeeds.
    Denies(State),
    /// The question was wrong, or its answer is an error of the application.
    Ours,
}

/// What `error` means, and which command of a pipeline it is about.
pub(super) fn judge(error: &RedisError) -> (Fault, usize) {
    match error.kind() {
        _ if error.is_timeout() => return (Fault::TimedOut, 0),
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound => return (Fault::Broken, 0),
        ErrorKind::AuthenticationFailed => return (Fault::LoginRefused, 0),
        _ => {}
    }
    // Choosing a database is the first thing that a server with a password refuses; the library keeps the text alone.
    if error.detail().is_some_and(|detail| detail.contains("Authentication required")) {
        return (Fault::LoginRefused, 0);
    }
    // An error in a pipeline has its code with the command that failed.
    let errors = error.clone().into_server_errors();
    let Some((index, reply)) = errors.as_deref().and_then(<[_]>::first) else { return (Fault::Ours, 0) };
    (of_reply(reply.code()), *index)
}

/// What the first word of an error reply means.
fn of_reply(code: &str) -> Fault {
    match code {
        "NOAUTH" | "WRONGPASS" => Fault::LoginRefused,
        "LOADING" => Fault::Loading,
        "READONLY" => Fault::NotMaster,
        "NOPERM" => Fault::Denies(State::Denied),
        // It cannot save, or has too few replicas to take a write.
        "MISCONF" | "NOREPLICAS" => Fault::Denies(State::ReadOnly),
        "OOM" => Fault::Denies(State::Full),
        "CLUSTERDOWN" | "MASTERDOWN" => Fault::Denies(State::Unreachable),
        _ => Fault::Ours,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use redis::ServerErrorKind;

    use super::*;

    #[test]
    fn an_error_is_of_the_connection_or_of_the_server_or_ours() {
        let io = |kind: io::ErrorKind| RedisError::from(io::Error::from(kind));
        let cases = [
            (io(io::ErrorKind::ConnectionReset), Fault::Broken, "reset"),
            (io(io::ErrorKind::ConnectionRefused), Fault::Broken, "refused"),
            (io(io::ErrorKind::UnexpectedEof), Fault::Broken, "closed"),
            (io(io::ErrorKind::TimedOut), Fault::TimedOut, "the library's own time-out"),
            ((ErrorKind::Parse, "no RESP").into(), Fault::Broken, "what follows cannot be read either"),
            ((ErrorKind::ClusterConnectionNotFound, "no node").into(), Fault::Broken, "no node of a cluster"),
            ((ErrorKind::AuthenticationFailed, "wrong").into(), Fault::LoginRefused, "at the handshake"),
            ((ErrorKind::UnexpectedReturnType, "no string").into(), Fault::Ours, "the wrong question"),
            ((ErrorKind::Server(ServerErrorKind::CrossSlot), "slots").into(), Fault::Ours, "found by the library"),
        ];
        for (error, want, why) in cases {
            assert_eq!(judge(&error).0, want, "{why}");
        }
    }

    #[test]
    fn the_first_word_of_a_reply_decides() {
        let cases = [
            ("NOAUTH", Fault::LoginRefused),
            ("WRONGPASS", Fault::LoginRefused),
            ("LOADING", Fault::Loading),
            ("READONLY", Fault::NotMaster),
            ("NOPERM", Fault::Denies(State::Denied)),
            ("OOM", Fault::Denies(State::Full)),
            ("MISCONF", Fault::Denies(State::ReadOnly)),
            ("CLUSTERDOWN", Fault::Denies(State::Unreachable)),
            ("WRONGTYPE", Fault::Ours),
            ("NOSCRIPT", Fault::Ours),
            ("ERR", Fault::Ours),
        ];
        for (code, want) in cases {
            let error = redis::make_extension_error(code.to_owned(), Some("detail".to_owned()));
            assert_eq!(judge(&error), (want, 0), "{code}");
        }
    }
}
