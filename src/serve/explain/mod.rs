//! What would be done with a request now, and why?

use http::{HeaderMap, Method};

use super::Shared;
use crate::wire::explain::Explanation;

/// A request to be explained.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its method.
    pub method: Method,
    /// Its absolute URL, as a client would use it.
    pub url: String,
    /// Its fields.
    pub headers: HeaderMap,
}

/// Explains what would be done with a request, and does nothing.
///
/// # Errors
///
/// What is wrong with the question, and what to write instead.
pub fn explain(shared: &Shared, question: &Question) -> Result<Explanation, String> {
    let _ = shared;
    Ok(Explanation { request: format!("{} {}", question.method, question.url), ..Explanation::default() })
}
