//! What Larder would do with a request now, and why, step by step.
