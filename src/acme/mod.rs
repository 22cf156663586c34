//! How does a node come by certificates of its own, and keep them from running out? By ACME (RFC 8555).
//!
//! One task, the [`keeper`], goes through the hosts and lets one after the other have what it needs: `order` has the
//! authority see that the host is ours and issue a certificate; `account` says as whom; `authority` carries what is said;
//! `proof` shows the authority what it looks for, by TLS (RFC 8737) or by HTTP (the [`tokens`]); `store` keeps what was
//! obtained in a folder; `schedule` says when it is time again; nodes that have a secret in
//! common do it together, by [`sharing`]. Nothing of it runs where clients are served: those see
//! two tables, empty but for the seconds in which an authority looks.

mod account;
mod authority;
mod failure;
pub mod keeper;
mod metrics;
mod order;
mod proof;
mod schedule;
mod sealed;
pub mod sharing;
mod store;
pub mod tokens;
mod work;
