//! What is purged?

use fastrand::Rng;
use larder::policy::scope::{Scope, Severity};
use larder::wire::purge::{PurgeRequest, UrlItem};

use super::script::{HOSTS, TAGS, TARGETS, url_of};

/// A purge of something, and what that names.
pub(super) fn some(severity: Severity, random: &mut Rng) -> (PurgeRequest, Vec<Scope>) {
    let (host, target) = (HOSTS[random.usize(..2)], TARGETS[random.usize(..TARGETS.len())]);
    let mut request = PurgeRequest { soft: severity == Severity::Soft, ..PurgeRequest::default() };
    let scope = match random.u32(..40) {
        0..20 => {
            let tag = [TAGS[0], TAGS[1], TAGS[2], TAGS[3], "g0", "section:1"][random.usize(..6)];
            request.tags.push(tag.to_owned());
            Scope::Tag(tag.as_bytes().into())
        }
        20..32 => {
            request.urls.push(UrlItem::Url(format!("http://{host}{target}")));
            Scope::Url(url_of(host, target).into())
        }
        32..36 => {
            let prefix = format!("http://{host}{}", ["/", "/s", "/s/1", "/v/"][random.usize(..4)]);
            request.prefixes.push(prefix.clone());
            Scope::Prefix(prefix.into())
        }
        36..39 => {
            let host = ["a.test", "b.test", "b.test:8080"][random.usize(..3)];
            request.hosts.push(host.to_owned());
            Scope::Host(host.into())
        }
        _ => {
            request.everything = true;
            Scope::Everything
        }
    };
    (request, vec![scope])
}
