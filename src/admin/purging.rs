//! An operator, or the plug-in of a CMS, purges: which order is it, in whichever shape, and what is the answer?

use std::sync::Arc;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;
use serde::de::DeserializeOwned;

use super::Office;
use super::reading;
use super::reply::{self, Fault, Reply};
use super::table::Purge;
use crate::policy::naming;
use crate::policy::scope::{Scope, Severity};
use crate::purge::answer::{RETRY, status};
use crate::purge::order::{self, MAX_NAMES, Order, Refusal};
use crate::wire::purge::{KeyedPurge, PurgeRequest, PurgeTerms};

/// What the body of `POST /purge` looks like.
const EXAMPLE: &str = r#"{"tags": ["products"], "urls": ["https://shop.example/a"], "soft": true}"#;

/// What the body of `POST /service/{any}/purge` looks like.
const KEYED_EXAMPLE: &str = r#"{"surrogate_keys": ["products", "product-7"]}"#;

/// What the body of a purge looks like whose path says what is named.
const TERMS_EXAMPLE: &str = r#"{"soft": true, "dry_run": true}, or nothing"#;

/// A request to purge that has been read.
pub(super) struct Asked<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
    /// Who asks, as receipts and logs say it.
    pub(super) who: String,
}

impl Asked<'_> {
    /// What is to be purged, by the page that was asked for and the tag in its path.
    pub(super) fn order(self, page: Purge, tag: &str, office: &Office) -> Result<Order, Fault> {
        match page {
            Purge::Named => self.by_body(office),
            Purge::Tag => self.by_tag(one_segment(tag)?),
            Purge::ServiceTag => self.by_tag(tag),
            Purge::ServiceTags => self.by_keys(office),
            Purge::Service => self.by_service(),
        }
    }

    /// What `POST /purge` names: all kinds of scopes, in our words or in Cloudflare's.
    fn by_body(self, office: &Office) -> Result<Order, Fault> {
        let mut request: PurgeRequest = reading::object(&self.body, EXAMPLE)?;
        request.soft |= self.is_soft()?;
        Ok(Order::of(&request, &office.shared.site.load().rules, self.who)?)
    }

    /// The tag in a path, percent-encoded.
    fn by_tag(self, encoded: &str) -> Result<Order, Fault> {
        let terms = self.terms()?;
        let tag = naming::tag(&decoded(encoded)?).map_err(|fault| Fault::bad(fault.to_string()))?;
        Ok(self.naming(vec![Scope::Tag(tag)], terms))
    }

    /// The tags in a field, in the body, or in both.
    fn by_keys(self, office: &Office) -> Result<Order, Fault> {
        let site = office.shared.site.load();
        let of_fields = Order::of_fields(self.headers, &site.tag_headers, String::new()).transpose()?;
        let keyed: KeyedPurge = self.object_or_nothing(KEYED_EXAMPLE)?;
        let terms = PurgeTerms { soft: keyed.soft | self.is_soft()?, dry_run: keyed.dry_run, wait: keyed.wait };
        let mut scopes = of_fields.map_or_else(Vec::new, |order| order.scopes);
        if !keyed.surrogate_keys.is_empty() {
            let tags = PurgeRequest { tags: keyed.surrogate_keys, ..PurgeRequest::default() };
            scopes.extend(Order::of(&tags, &site.rules, String::new())?.scopes);
        }
        if scopes.is_empty() {
            return Err(nothing_named());
        }
        if scopes.len() > MAX_NAMES {
            return Err(Refusal::too_many("tags", scopes.len()).into());
        }
        Ok(self.naming(scopes, terms))
    }

    /// Everything.
    fn by_service(self) -> Result<Order, Fault> {
        let terms = self.terms()?;
        Ok(self.naming(vec![Scope::Everything], terms))
    }

    fn naming(self, scopes: Vec<Scope>, PurgeTerms { soft, dry_run, wait }: PurgeTerms) -> Order {
        Order { scopes, keys: None, severity: Severity::of(soft), dry_run, wait, who: self.who }
    }

    /// What the body says beside what is named, and whether a field says softly.
    fn terms(&self) -> Result<PurgeTerms, Fault> {
        let terms: PurgeTerms = self.object_or_nothing(TERMS_EXAMPLE)?;
        Ok(PurgeTerms { soft: terms.soft | self.is_soft()?, ..terms })
    }

    /// The object in a body that may be left out.
    fn object_or_nothing<T: DeserializeOwned + Default>(&self, example: &str) -> Result<T, Fault> {
        if self.body.trim_ascii().is_empty() { Ok(T::default()) } else { reading::object(&self.body, example) }
    }

    fn is_soft(&self) -> Result<bool, Fault> {
        Ok(order::severity(self.headers)? == Severity::Soft)
    }
}

fn nothing_named() -> Fault {
    Fault::bad(format!("no tag is named: send Surrogate-Key: products product-7, or {KEYED_EXAMPLE}"))
}

/// The bytes of a tag in a path.
///
/// # Errors
///
/// A `%` that begins no byte: two readers would take it for two tags.
fn decoded(encoded: &str) -> Result<Vec<u8>, Fault> {
    let bytes = encoded.as_bytes();
    let is_byte = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if memchr::memchr_iter(b'%', bytes).all(is_byte) {
        return Ok(percent_decode(bytes).collect());
    }
    Err(Fault::bad("a % in the path is followed by two hexadecimal digits; a % itself is written %25"))
}

/// The tag of `/purge/{tag}`, still encoded.
///
/// # Errors
///
/// It holds a slash. Fastly's API takes `POST /purge/HOST/PATH` for a URL: to purge a tag of that name, and to confirm
/// it, would be a lie to those who send that.
fn one_segment(encoded: &str) -> Result<&str, Fault> {
    if encoded.contains('/') {
        let reason = r#"/purge/ takes one tag, a slash in it written %2F; a URL is purged by POST /purge with {"urls": ["https://shop.example/a"]}"#;
        return Err(Fault::bad(reason));
    }
    Ok(encoded)
}

/// Has the order carried out, and answers with the receipt.
pub(super) async fn carry_out(office: &Office, order: Order) -> Result<Reply, Fault> {
    let purger = Arc::clone(&office.shared.purger);
    // In a task of its own: what has been read is done, whether or not the client stays for the receipt.
    let receipt = office.shared.tasks.spawn(async move { purger.purge(order).await }).await;
    let receipt = receipt.map_err(|_| Fault::internal("the purge failed"))?;
    let mut reply = reply::json(status(&receipt), &receipt);
    if reply.status() == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(RETRY_AFTER, RETRY);
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_in_a_path_is_decoded_or_refused() {
        let cases: [(&str, Option<&[u8]>, &str); 7] = [
            ("a%2Fb", Some(b"a/b"), "a slash"),
            ("a/b", Some(b"a/b"), "a slash as it is"),
            ("a%20b", Some(b"a b"), "a space, which no tag holds: refused later"),
            ("a+b", Some(b"a+b"), "a plus is a plus"),
            ("%C3%A4%ff", Some(b"\xc3\xa4\xff"), "any bytes"),
            ("100%", None, "no digits"),
            ("%2xa", None, "one digit"),
        ];
        for (encoded, want, why) in cases {
            assert_eq!(decoded(encoded).ok().as_deref(), want, "{why}");
        }
        assert!(one_segment("a/b").is_err() && one_segment("a%2Fb").is_ok(), "a URL of Fastly's shape is no tag");
    }
}
