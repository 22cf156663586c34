//! The ledger is full: how does it become smaller without forgetting a purge?
//!
//! What is narrow is folded upwards: the wider scope is marked with a doubt, then the narrow one is forgotten. A doubt
//! says that something below was purged, no longer what: all that was fetched before is asked about before it is used.

use super::Ledger;
use super::marks::{Mark, Marks};
use crate::cache::sync::atomic::Ordering;
use crate::policy::scope::host_of;

/// The name of the scope above all hosts, among them.
pub(super) const EVERYTHING: &[u8] = b"";

/// Marks, and the name of the host that each of them folds into.
type Kind<'a> = (&'a Marks, fn(&[u8]) -> &[u8]);

impl Ledger {
    /// Folds the older half of the scopes into their hosts, and hosts, where they are too many, into everything, until
    /// a quarter of the room is free: then folding costs each purge little, however many come.
    pub(super) fn fold(&self, bytes: &mut usize) {
        self.folds.fetch_add(1, Ordering::Relaxed);
        let narrow: [Kind<'_>; 4] = [
            (&self.urls, host_of_url),
            (self.prefixes.marks(), host_of_url),
            (&self.groups, host_of_url),
            // A tag is known on every host.
            (&self.tags, |_| EVERYTHING),
        ];
        let hosts: [Kind<'_>; 1] = [(&self.hosts, |_| EVERYTHING)];
        let enough = |limit: usize| limit - limit / 4;
        while *bytes > enough(self.limits.bytes) || self.scopes() > enough(self.limits.scopes) {
            let are_many_hosts = self.hosts.len() > self.limits.scopes / 2;
            let has_folded = (are_many_hosts && fold_older_half(&hosts, &self.hosts, bytes))
                || fold_older_half(&narrow, &self.hosts, bytes)
                || fold_older_half(&hosts, &self.hosts, bytes);
            if !has_folded {
                break;
            }
        }
        self.prefixes.forget_lengths();
    }
}

/// Folds those of `kinds` that were purged longest ago, one in two; `false`: there was none.
fn fold_older_half(kinds: &[Kind<'_>], hosts: &Marks, bytes: &mut usize) -> bool {
    let mut numbers = Vec::new();
    for (marks, _) in kinds {
        marks.each(|name, mark| numbers.extend((name != EVERYTHING).then(|| mark.latest())));
    }
    let Some(last) = numbers.len().checked_sub(1) else { return false };
    let (_, &mut middle, _) = numbers.select_nth_unstable(last / 2);
    for (marks, host_of) in kinds {
        marks.each(|name, mark| {
            if name != EVERYTHING && mark.latest() <= middle {
                // In this order: whoever no longer finds the narrow scope finds the wider one marked.
                *bytes += hosts.add(host_of(name), Mark::doubt(mark.latest()));
                *bytes -= marks.forget(name);
            }
        });
    }
    true
}

/// The host, without its port, of an absolute URL or of a name that begins with one; everything, where the host does
/// not end in it: then it may be the beginning of another one's name.
fn host_of_url(name: &[u8]) -> &[u8] {
    let host = || {
        let begin = memchr::memmem::find(name, b"://")? + 3;
        let rest = &name[begin..];
        let end = memchr::memchr2(b'/', 0, rest)?;
        std::str::from_utf8(&rest[..end]).ok().map(host_of)
    };
    host().map_or(EVERYTHING, str::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_scope_folds_into_its_host_or_into_everything() {
        let cases: &[(&[u8], &[u8], &str)] = &[
            (b"http://a.test/x?y=http://b.test/", b"a.test", "a URL"),
            (b"https://a.test:8443/", b"a.test", "without its port"),
            (b"https://[::1]:8443/", b"[::1]", "the colons of an address are no port"),
            (b"https://[::1]/", b"[::1]", "without a port"),
            (b"https://a.test\0group/\xff", b"a.test", "a group, whatever its bytes"),
            (b"http://a.te", b"", "the host may go on"),
            (b"http://", b"", "no host at all"),
            (b"a.test/x", b"", "no scheme"),
            (b"http://\xff/", b"", "no host's name"),
        ];
        for (name, want, why) in cases {
            assert_eq!(host_of_url(name), *want, "{}: {why}", String::from_utf8_lossy(name));
        }
    }
}
