//! `[[rules]]` as it is written.

use http::{HeaderName, HeaderValue, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::leaf::{CookieName, GlobText, HostPattern, Name, OriginName, StripPrefix, TagTemplate, VaryValue};
use crate::config::located::{At, Entries, Several, Word};
use crate::config::quantity::{Time, YEAR};
use crate::policy::route::PathPattern;
use crate::policy::treatment::StatusPattern;

/// A lifetime or a stale window: none to ten years, beyond which nobody means what they write.
pub(crate) type Lifetime = Word<Time<0, { 10 * YEAR }>>;

/// The values of one field, best first.
pub(crate) type VaryValues = At<Vec<Word<VaryValue>>>;

/// The fields with their values, in the order of the file.
pub(crate) type Fields<V> = Entries<HeaderName, V>;

/// What is done with the requests that match.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table: [[rules]]")]
pub(crate) struct Rule {
    /// Its name, for logs and `larder explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Word<Name>>,
    /// Which requests it applies to: all parts given must fit. Leave out: every request.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(crate) matcher: Option<At<Match>>,
    /// The name of the origin to ask; overrides the choice by hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Word<OriginName>>,
    /// What to do with the request. Default: "cache".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<At<Action>>,
    /// The lifetime when the origin states none. Unset: heuristic (RFC 9111 §4.2.2). "0s" to "3650d".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_ttl: Option<Lifetime>,
    /// The lifetime that replaces what the origin states; `no-store` and `private` still hold. "0s" to "3650d".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<Lifetime>,
    /// Lifetimes by status (404) or class of statuses (5xx), which replace what the origin states. An exact status
    /// comes before its class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl_by_status: Option<At<Entries<StatusPattern, Lifetime>>>,
    /// What the origin (or the request) says that this rule overrules. Default: nothing.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub(crate) overrides: Option<At<Vec<At<Overridable>>>>,
    /// What clients are told as Cache-Control: max-age. Unset: what the origin says. "0s" to "3650d".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) browser_ttl: Option<Lifetime>,
    /// How long a stale response may be served while it is refreshed, when the origin states nothing. Default: "0s".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stale_while_revalidate: Option<Lifetime>,
    /// How long a stale response may be served when the origin fails, when it states nothing. Default: "10m". Never
    /// with must-revalidate, proxy-revalidate, no-cache, s-maxage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stale_if_error: Option<Lifetime>,
    /// Whether hot objects are refreshed just before they expire. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) early_refresh: Option<At<bool>>,
    /// Whether a client's no-cache, max-age, max-stale and min-fresh count; only-if-cached always does.
    /// Default: "ignore".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_cache_control: Option<At<ClientCacheControl>>,
    /// Whether concurrent misses become one fetch. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) collapse: Option<At<bool>>,
    /// What makes the key, besides scheme, host and path. Default: the query as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<At<KeyRules>>,
    /// Request fields that are normalised to one of these values, best first, before Vary compares; the origin gets
    /// the normalised value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) vary: Option<At<Fields<VaryValues>>>,
    /// Tags added to the origin's; {n} is the n-th wildcard of match.path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<At<Vec<Word<TagTemplate>>>>,
    /// The beginning of the path that is taken off towards the origin; empty: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strip_prefix: Option<Word<StripPrefix>>,
    /// Edits of the request towards the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_headers: Option<At<FieldEdits>>,
    /// Edits of the response towards the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_headers: Option<At<FieldEdits>>,
}

/// Which requests a rule applies to: every part that is given must fit.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = r#"a table: { path = "/api/**" }"#)]
pub(crate) struct Match {
    /// Hosts, `*` for any run of characters; any of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<Several<HostPattern>>,
    /// Path patterns: `*` is one segment, `**` any number; any of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<Several<PathPattern>>,
    /// A regular expression over the path without the query, unanchored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path_regex: Option<Word<regex::Regex>>,
    /// Methods, in upper case; any of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<Several<Method>>,
    /// Request fields whose value fits, `*` for any run of characters; each of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header: Option<At<Fields<Word<GlobText>>>>,
}

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// Look up, fetch, store.
    Cache,
    /// Never look up, never store.
    Pass,
    /// Answer 403.
    Deny,
}

/// What a rule may overrule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Overridable {
    /// `no-store` does not keep a response out.
    NoStore,
    /// `private` does not keep a response out.
    Private,
    /// `no-cache` does not force a revalidation.
    NoCache,
    /// `Set-Cookie` does not keep a response out, and is replayed to everybody.
    SetCookie,
    /// `Authorization` in the request does not keep a response out.
    Authorization,
}

/// Whether a client's Cache-Control counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClientCacheControl {
    /// It does not; only-if-cached excepted.
    Ignore,
    /// It does.
    Honour,
}

/// What makes the key, besides scheme, host and path.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = r#"a table: { query = { exclude = ["utm_*"] } }"#)]
pub(crate) struct KeyRules {
    /// Which parameters of the query count.
    pub(crate) query: QueryRules,
    /// Request fields whose values count.
    pub(crate) headers: Vec<Word<HeaderName>>,
    /// Names of cookies whose values count.
    pub(crate) cookies: Vec<Word<CookieName>>,
}

/// Which parameters of the query count.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = r#"a table: { exclude = ["utm_*"] }"#)]
pub(crate) struct QueryRules {
    /// Names of parameters that count, `*` for any run of characters; empty: all.
    pub(crate) include: Vec<Word<GlobText>>,
    /// Names of parameters that do not count, `*` for any run of characters.
    pub(crate) exclude: Vec<Word<GlobText>>,
    /// Whether the parameters are put in order.
    pub(crate) sort: bool,
}

/// Fields that are removed, then fields that are set.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = r#"a table: { set = { x-name = "value" }, remove = ["x-other"] }"#)]
pub(crate) struct FieldEdits {
    /// Fields set to this value, whatever was there.
    pub(crate) set: Fields<Word<HeaderValue>>,
    /// Fields removed.
    pub(crate) remove: Vec<Word<HeaderName>>,
}
