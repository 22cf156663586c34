//! What a configuration makes of the proxy: rules, origins, and what is shown. Replaced whole on a reload.

use http::HeaderName;

use crate::origin::Origins;
use crate::policy::route::Rules;
use crate::purge::gate::Gate;

/// One configuration at work.
#[derive(Debug)]
pub struct Site {
    /// Which rules match, and which origin a request goes to.
    pub rules: Rules,
    /// The origins.
    pub origins: Origins,
    /// Fields of a response that carry tags.
    pub tag_headers: Vec<HeaderName>,
    /// Whether fields meant for caches are sent on to clients.
    pub expose_hidden: bool,
    /// Who may purge through the public listener.
    pub gate: Gate,
}
