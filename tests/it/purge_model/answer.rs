//! What does a client get, and how often did which case come about?

use std::collections::HashMap;

use http::HeaderMap;
use http_body_util::BodyExt;
use larder::body::response::BoxResponse;

use crate::support::reply::CacheStatus;

/// What a client got.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) whole: bool,
}

/// Reads a response to its end, sound or broken.
pub(super) async fn received(response: BoxResponse) -> Answer {
    let (head, mut incoming) = response.into_parts();
    let (mut body, mut whole) = (Vec::new(), true);
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => body.extend(frame.into_data().unwrap_or_default()),
            Err(_) => whole = false,
        }
        if !whole {
            break;
        }
    }
    Answer { headers: head.headers, body: String::from_utf8_lossy(&body).into_owned(), whole }
}

/// How often the cases came about that the simulation is for.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<&'static str, u64>);

impl Seen {
    /// Counts one answer.
    pub(super) fn count(&mut self, cache: &CacheStatus, was_owed: bool) {
        let cases = [
            ("answered", true),
            ("hit owed", was_owed),
            ("collapsed", cache.collapsed),
            ("confirmed", cache.fwd_status == Some(304)),
        ];
        let words = ["stale-while-revalidate", "stale-if-error", "max-stale", "purged", "soft-purged"];
        let cases = cases.into_iter().chain(words.map(|word| (word, cache.says(word))));
        for (what, _) in cases.filter(|(_, is_so)| *is_so) {
            *self.0.entry(what).or_default() += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| *self.0.entry(what).or_default() += count);
    }

    pub(super) fn is_varied(&self) -> bool {
        let wanted =
            ["hit owed", "confirmed", "collapsed", "stale-while-revalidate", "stale-if-error", "purged", "soft-purged"];
        wanted.iter().all(|what| self.0.get(what).is_some_and(|count| *count >= 10))
    }
}
