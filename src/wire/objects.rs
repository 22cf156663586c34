//! What is stored, as `GET /objects` and `GET /stats` tell it.
