//! What has been counted, in short? `GET /stats`.

use super::Office;
use crate::fleet::log::Member;
use crate::link::Link;
use crate::link::state::State;
use crate::policy::outcome::CacheResult;
use crate::serve::{Elsewhere, Shared};
use crate::wire::objects::{
    FillStats, LinkStats, MemoryStats, NodeStats, OriginStats, PurgeStats, RedisStats, RequestStats, Stats,
};

/// The summary. Its figures are read one after the other, while requests go on.
pub(super) fn stats(office: &Office) -> Stats {
    let shared = &*office.shared;
    let origins = shared.site.load();
    let origins = origins.origins.states().map(|(name, up)| OriginStats { name: name.to_owned(), up });
    Stats {
        node: shared.purger.node().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: office.started.elapsed().as_secs(),
        requests: requests(shared),
        memory: memory(shared),
        fills: FillStats {
            total: shared.metrics.fills.get(),
            refreshes: shared.metrics.refreshes.get(),
            in_flight: shared.flights.len() as u64,
            collapsed: shared.metrics.collapsed.get(),
            stores: shared.metrics.stores.get(),
        },
        purges: purges(shared),
        origins: origins.collect(),
        redis: shared.elsewhere.as_ref().map(|elsewhere| redis(shared, elsewhere)),
    }
}

fn redis(shared: &Shared, elsewhere: &Elsewhere) -> RedisStats {
    let link = |link: &Link| LinkStats { name: link.purpose().to_owned(), state: link.state().as_str().to_owned() };
    let node = |member: Member| NodeStats { name: member.name, seq: member.position.seq() };
    RedisStats {
        state: state_of_redis(elsewhere).as_str().to_owned(),
        links: elsewhere.links.iter().map(link).collect(),
        heard: shared.ledger.is_heard(),
        lag_ms: shared.ledger.lag().map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
        untold: elsewhere.fleet.untold() as u64,
        nodes: elsewhere.fleet.members().into_iter().map(node).collect(),
    }
}

/// How Redis fares.
pub(super) fn state_of_redis(elsewhere: &Elsewhere) -> State {
    State::of_all(elsewhere.links.iter().map(Link::state))
}

fn requests(shared: &Shared) -> RequestStats {
    let metrics = shared.telemetry.metrics();
    let count = |result| metrics.requests(result);
    let answered = count(CacheResult::Hit) + count(CacheResult::Stale);
    let looked_up = answered + count(CacheResult::Revalidated) + count(CacheResult::Miss);
    RequestStats {
        total: CacheResult::ALL.into_iter().map(count).sum(),
        in_flight: metrics.in_flight(),
        by_result: CacheResult::ALL.into_iter().map(|result| (result.token().to_owned(), count(result))).collect(),
        hit_ratio: (looked_up > 0).then(|| answered as f64 / looked_up as f64),
    }
}

fn memory(shared: &Shared) -> MemoryStats {
    let memory = &shared.memory;
    // What was written is counted in batches; a reader wants it counted now.
    memory.settle();
    MemoryStats {
        objects: memory.objects(),
        bytes: memory.bytes(),
        in_flight_bytes: memory.in_flight(),
        capacity: memory.capacity(),
        evictions: memory.evictions(),
    }
}

fn purges(shared: &Shared) -> PurgeStats {
    let stamp = shared.ledger.stamp();
    PurgeStats {
        seq: shared.ledger.seq(stamp.number),
        era: format!("{:x}", stamp.era),
        scopes: shared.ledger.scopes() as u64,
        folds: shared.ledger.folds(),
        invalidations: shared.metrics.invalidations.get(),
    }
}
