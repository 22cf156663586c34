//! Under which names does Redis have what is stored under a key?

use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA256};
use http::HeaderName;

use crate::policy::key::Key;
use crate::policy::vary::Selecting;

/// Bytes of a SHA-256 that stand in a name. Names are not trusted (the key stands in each record): 128 bits are enough
/// for two keys never to meet.
const BYTES: usize = 16;

/// The name of the hash that stands for `key`. All of it is a hash tag, so that all that belongs to a key lies in one
/// slot of a cluster.
pub(super) fn primary(namespace: &str, key: &Key) -> String {
    format!("{{{namespace}:o:{}}}", hex_digest(|context| context.update(key.as_bytes())))
}

/// The name of the lease under which one node fetches what is stored under `key`, for all of them.
pub fn lease(namespace: &str, key: &Key) -> String {
    primary(namespace, key) + ":lease"
}

/// The name of the variant that these fields and values select, below the primary one.
pub(super) fn variant(primary: &str, selecting: &Selecting) -> String {
    // `Vary: a, b` and `Vary: b, a` select the same.
    let mut fields: Vec<_> = selecting.parts().map(|(name, value)| (name.as_str(), value)).collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    let hash = hex_digest(|context| {
        for (name, value) in fields {
            push(context, Some(name.as_bytes()));
            push(context, value);
        }
    });
    format!("{primary}:{hash}")
}

/// The names of selecting fields in the order in which they are written down.
pub(super) fn sorted(selecting: &Selecting) -> Vec<&HeaderName> {
    let mut names: Vec<_> = selecting.parts().map(|(name, _)| name).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    names
}

/// Adds a part and its length, which makes the whole injective; what is absent is not what is empty.
fn push(context: &mut Context, part: Option<&[u8]>) {
    context.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
    context.update(part.unwrap_or_default());
}

fn hex_digest(fill: impl FnOnce(&mut Context)) -> String {
    let mut context = Context::new(&SHA256);
    fill(&mut context);
    let digest = context.finish();
    digest.as_ref()[..BYTES].iter().fold(String::with_capacity(BYTES * 2), |mut hex, byte| {
        _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::policy::key::Key;
    use crate::policy::treatment::KeyRules;

    type Fields<'a> = &'a [(&'a str, Option<&'a str>)];

    fn selecting(fields: Fields<'_>) -> Selecting {
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
        let parts = fields.iter().map(|(field, value)| (name(field), value.map(str::as_bytes)));
        Selecting::from_parts(parts).unwrap()
    }

    #[test]
    fn names_are_one_hash_tag_and_tell_keys_apart() {
        let name =
            |target| primary("shop", &Key::of("http", "a.test", target, &HeaderMap::new(), &KeyRules::default()));
        let first = name("/");
        assert!(first.starts_with("{shop:o:") && first.ends_with('}') && first.len() == 8 + 32 + 1, "{first}");
        assert_ne!(first, name("/x"));
        assert_eq!(first, name("/"));
        let variant = variant(&first, &selecting(&[("a", None)]));
        assert_eq!(variant.strip_prefix(&first).and_then(|rest| rest.strip_prefix(':')).map(str::len), Some(32));
    }

    #[test]
    fn variants_have_the_same_name_exactly_when_the_same_values_select_them() {
        let cases: [(Fields<'_>, Fields<'_>, bool, &str); 5] = [
            (&[("a", Some("1")), ("b", None)], &[("b", None), ("a", Some("1"))], true, "the order means nothing"),
            (&[("a", Some("1"))], &[("a", Some("2"))], false, "another value"),
            (&[("a", Some("1"))], &[("b", Some("1"))], false, "another field"),
            (&[("a", Some(""))], &[("a", None)], false, "empty is not absent"),
            (&[("a", Some("1b")), ("b", None)], &[("a", Some("1")), ("b", None)], false, "parts stay apart"),
        ];
        for (one, other, same, why) in cases {
            assert_eq!(variant("p", &selecting(one)) == variant("p", &selecting(other)), same, "{why}");
        }
    }
}
