//! How does an outcome read in the `Cache-Status` field (RFC 9211)?

use std::cell::RefCell;
use std::sync::LazyLock;

use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::policy::outcome::Outcome;

/// The field's name.
pub const NAME: HeaderName = HeaderName::from_static("cache-status");

/// The field's value: one member, named `larder`.
///
/// `larder; hit; ttl=30`, or `larder; fwd=uri-miss; fwd-status=200; stored; collapsed; detail=not-stored`.
///
/// RFC 9211 §2.
pub fn value(outcome: &Outcome) -> HeaderValue {
    ready_hit(outcome).unwrap_or_else(|| as_before(outcome))
}

/// Fresh hits with up to this many seconds to go are written once, at start.
const READY_HITS: u16 = 3600;

static HITS: LazyLock<Vec<HeaderValue>> =
    LazyLock::new(|| (0..=READY_HITS).map(|ttl| written(&Outcome::fresh_hit(i64::from(ttl)))).collect());

fn ready_hit(outcome: &Outcome) -> Option<HeaderValue> {
    let ttl = outcome.ttl.filter(|ttl| *outcome == Outcome::fresh_hit(*ttl))?;
    HITS.get(usize::try_from(ttl).ok()?).cloned()
}

thread_local! {
    /// What this thread wrote last. What goes to the origin often comes back with the same outcome.
    static LAST: RefCell<Option<(Outcome, HeaderValue)>> = const { RefCell::new(None) };
}

fn as_before(outcome: &Outcome) -> HeaderValue {
    LAST.with_borrow_mut(|last| match last {
        Some((before, value)) if before == outcome => value.clone(),
        last => last.insert((*outcome, written(outcome))).1.clone(),
    })
}

fn written(outcome: &Outcome) -> HeaderValue {
    // Long enough for every outcome: the value is built without a second allocation.
    let mut text: SmallVec<[u8; 160]> = SmallVec::new();
    write(outcome, |part| text.extend_from_slice(part));
    HeaderValue::from_bytes(&text).expect("tokens and numbers are a field value")
}

/// Gives the field's value to `add`, piece by piece.
pub fn write(outcome: &Outcome, mut add: impl FnMut(&[u8])) {
    add(b"larder");
    if outcome.hit {
        add(b"; hit");
    }
    if let Some(forward) = outcome.forward {
        add(b"; fwd=");
        add(forward.token().as_bytes());
    }
    if let Some(status) = outcome.forward_status {
        add(b"; fwd-status=");
        add(status.as_str().as_bytes());
    }
    if outcome.stored {
        add(b"; stored");
    }
    if outcome.collapsed {
        add(b"; collapsed");
    }
    if let Some(ttl) = outcome.ttl {
        add(b"; ttl=");
        add(itoa::Buffer::new().format(ttl).as_bytes());
    }
    if let Some(detail) = outcome.detail {
        add(b"; detail=");
        add(detail.token().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::policy::outcome::{Detail, Forward};

    #[test]
    fn outcomes_are_written_as_rfc_9211_has_them() {
        let miss = Outcome::forwarded(Forward::UriMiss, Detail::NotStored);
        let cases = [
            (Outcome::fresh_hit(30), "larder; hit; ttl=30", "a fresh hit"),
            (
                Outcome { detail: Some(Detail::MaxStale), ..Outcome::fresh_hit(-5) },
                "larder; hit; ttl=-5; detail=max-stale",
                "a stale one has a negative lifetime left",
            ),
            (miss, "larder; fwd=uri-miss; detail=not-stored", "asked, not yet answered"),
            (
                Outcome { forward_status: Some(StatusCode::OK), stored: true, collapsed: true, ..miss },
                "larder; fwd=uri-miss; fwd-status=200; stored; collapsed; detail=not-stored",
                "the contract's example",
            ),
            (Outcome::refused(Detail::BadRequest), "larder; detail=bad-request", "our own error"),
        ];
        for (outcome, want, why) in cases {
            assert_eq!(value(&outcome), want, "{why}");
            assert_eq!(value(&outcome), want, "{why}, once more");
        }
    }

    #[test]
    fn every_detail_is_a_token() {
        for detail in Detail::ALL {
            let text = value(&Outcome::refused(*detail));
            let text = text.to_str().expect("visible ASCII");
            sfv::Parser::new(text).parse::<sfv::List>().unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
