//! 1 · From a socket to a clean request.

mod request;
mod target;
mod trust;
