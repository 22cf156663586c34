//! How many connections do this process's file descriptors allow?

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Handle;

use crate::config::settings::Settings;

/// Descriptors for what is neither a client nor an origin: files, listeners, Redis, the run-time's own, what the operator's tools open.
const OTHERS: usize = 64;

/// Descriptors of each thread that serves: the pipe that large bodies go through.
const OF_A_THREAD: usize = 2;

/// Takes as many descriptors as the system lets this process have, shares them out, and finds out for how many clients they
/// suffice. Says so where that is less than `server.max_connections`.
///
/// Each client has one descriptor, and each connection to an origin; origins get half of them at most.
pub(super) fn places(settings: &Settings) -> usize {
    let limit = raise();
    let wanted = settings.server.max_connections;
    let of_origins: usize = settings.origins.iter().map(|origin| origin.max_connections).sum();
    let threads = Handle::current().metrics().num_workers();
    let places = left_for_clients(limit, OTHERS + threads * OF_A_THREAD, of_origins);
    if places < wanted {
        tracing::warn!(
            "{limit} file descriptors are allowed, which is enough for {places} client connections, not for \
             server.max_connections = {wanted}: raise the limit (LimitNOFILE in systemd, ulimit -n in a shell)"
        );
    }
    places
}

fn left_for_clients(limit: usize, others: usize, of_origins: usize) -> usize {
    let ours = limit.saturating_sub(others);
    (ours - of_origins.min(ours / 2)).max(1)
}

/// Sets the soft limit to the hard one, which is what it is for; what it is then.
fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_get_what_they_may_have_and_half_at_most() {
        let cases = [
            // limit, of origins, clients, why
            (1024, 512, 480, "half"),
            (20_000, 512, 19_424, "what origins may have"),
            (70, 512, 3, "of little"),
            (65, 512, 1, "of one"),
            (10, 512, 1, "of nothing"),
        ];
        for (limit, of_origins, clients, why) in cases {
            assert_eq!(left_for_clients(limit, 64, of_origins), clients, "{why}");
        }
    }
}
