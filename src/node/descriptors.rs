//! How many connections do this process's file descriptors allow?

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::body::pages;
use crate::config::settings::Settings;

/// Descriptors for what is neither a client nor an origin: files, listeners, Redis, the run-time's own, what the operator's tools open.
const OTHERS: usize = 64;

/// Takes as many descriptors as the system lets this process have, shares them out, and finds out for how many clients they
/// suffice. Says so where that is less than `server.max_connections`.
///
/// Each client has one descriptor, and each connection to an origin; origins get half of them at most. Of the rest, an eighth is
/// for stored bodies that are large.
pub(super) fn places(settings: &Settings) -> usize {
    let limit = raise();
    let wanted = settings.server.max_connections;
    let of_origins: usize = settings.origins.iter().map(|origin| origin.max_connections).sum();
    let (places, bodies) = share_out(limit, of_origins);
    pages::allow(bodies);
    if places < wanted {
        tracing::warn!(
            "{limit} file descriptors are allowed, which is enough for {places} client connections, not for \
             server.max_connections = {wanted}: raise the limit (LimitNOFILE in systemd, ulimit -n in a shell)"
        );
    }
    places
}

/// What clients get, and what bodies do.
fn share_out(limit: usize, of_origins: usize) -> (usize, usize) {
    let ours = limit.saturating_sub(OTHERS);
    let rest = ours - of_origins.min(ours / 2);
    let bodies = (rest / 8).min(pages::MOST_FILES);
    ((rest - bodies).max(1), bodies)
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
    fn origins_and_bodies_get_what_they_may_have_and_a_part_at_most() {
        let cases = [
            // limit, of origins, clients, bodies, why
            (1024, 512, 420, 60, "half, and an eighth of the rest"),
            (20_000, 512, 16_996, 2428, "what origins may have"),
            (1_048_576, 512, 1_031_616, 16_384, "what bodies may have"),
            (70, 512, 3, 0, "of little"),
            (65, 512, 1, 0, "of one"),
            (10, 512, 1, 0, "of nothing"),
        ];
        for (limit, of_origins, clients, bodies, why) in cases {
            assert_eq!(share_out(limit, of_origins), (clients, bodies), "{why}");
        }
    }
}
