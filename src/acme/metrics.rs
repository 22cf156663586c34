//! What became of the orders?

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Orders, counted.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) issued: Counter,
    pub(super) failed: Counter,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let orders = Family::<[(&str, &str); 1], Counter>::default();
        registry.register("larder_acme_orders", "Attempts to obtain a certificate, by result", orders.clone());
        Self {
            issued: orders.get_or_create_owned(&[("result", "issued")]),
            failed: orders.get_or_create_owned(&[("result", "failed")]),
        }
    }
}
