//! Larder, an HTTP edge cache that you put in front of an origin.
//!
//! **Stages do, rules decide, `serve` says in which order.** A stage does I/O and never decides what HTTP allows. The
//! rule book, [`policy`], decides, and does no I/O, reads no clock, takes no lock. [`serve`] is the one place that
//! knows both.
//!
//! # The life of a request
//!
//! ```text
//! socket → accept → serve ─┬─ hit      a stored response answers (fresh, or stale and allowed)    → respond
//!                          ├─ miss     collapse → look again → Redis → fetch → admit → stream + store → respond
//!                          ├─ refresh  conditional fetch; 304 freshens, 200 replaces, error → stale → respond
//!                          └─ pass     never stored; after a successful unsafe method, invalidate → respond
//! ```
//!
//! A plain hit (a GET of a whole body, of one range of it, or of what has changed) is answered while its bytes are still in the
//! read buffer, by the same pieces: `accept` has [`serve`] look before anything is made of it. Everything else goes the long way:
//!
//! 1. [`accept`]: from a socket to one clean request, and to its [`client`].
//! 2. [`serve`]: the conductor.
//! 3. [`cache`]: where stored responses live, in memory and in Redis, the flights under way, the ledger of purges.
//! 4. [`origin`]: asking the origin.
//! 5. [`respond`]: to the client.
//!
//! Beside the way: [`fleet`] (several nodes together: the log of purges, who lives, which of them fetches), [`link`] (a
//! connection to Redis, whatever stands behind it), [`purge`] (what operators have removed), [`policy`] (the rules of
//! HTTP and of `proxy.toml`), [`batch`] (a socket whose small messages go out together with those of others), [`body`] (what streams, and how HTTP/1 frames it), [`tls`] (both ways), [`acme`] (certificates of our own), [`config`],
//! [`telemetry`], [`admin`], [`wire`] (what is said over its listener), [`clock`], [`cli`], and [`node`], which joins the parts and winds them up.
//!
//! # Who may name whom
//!
//! A test holds the source against this table.
//!
//! | module | may name |
//! | --- | --- |
//! | policy, batch, body, client, wire, tls | |
//! | clock | policy |
//! | config | clock, policy, tls |
//! | telemetry | policy, body, client, clock |
//! | link | clock, telemetry |
//! | cache | policy, telemetry, body, clock, link |
//! | fleet | cache, clock, link, policy |
//! | origin | batch, body, client, clock, policy, telemetry, config, tls |
//! | respond | body, cache, policy, client |
//! | purge | cache, clock, fleet, policy, wire |
//! | acme | clock, config, fleet, link, tls |
//! | serve | acme, body, cache, client, clock, fleet, link, origin, policy, purge, respond, telemetry, wire |
//! | accept | batch, body, client, clock, config, policy, respond, telemetry, tls |
//! | admin | body, cache, clock, config, fleet, link, policy, purge, respond, serve, telemetry, wire |
//! | cli | batch, config, node, policy, telemetry, tls, wire |
//! | node | everything |

pub mod accept;
pub mod acme;
pub mod admin;
pub mod batch;
pub mod body;
pub mod cache;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod fleet;
pub mod link;
pub mod node;
pub mod origin;
pub mod policy;
pub mod purge;
pub mod respond;
pub mod serve;
pub mod telemetry;
pub mod tls;
pub mod wire;
