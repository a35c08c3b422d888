//! The master's shell: HTTP at its edge, one loop that owns the books, the store beneath.
//!
//! Owns the listening socket, tokens, certificates and the order of things: an event is
//! decided by `cluster-core`, what it persists is committed, and only then is anything sent
//! or answered. Never decides about volumes, tasks or plugins itself, and makes no CSI call.
//!
//! ```text
//!  axum handlers ──► shell (one task: Books, Store, streams) ──► agents' streams
//!        ▲                  │ batch: decide, one commit, effects, answers
//!        └── answers, reads ┘
//! ```
//!
//! # Guarantees
//!
//! - Whoever got a success answer finds it in the books after any crash.
//! - A read shows only what is durable.
//! - A failed commit answers its whole batch with a refusal, and the books are rebuilt from
//!   the store as after a restart.

mod bounds;
mod config;
mod error;
mod files;
mod handle;
mod http;
mod journal;
mod names;
mod shell;
mod tls;

pub use bounds::{ConnectionBounds, Places};
pub use config::MasterConfig;
pub use error::StartError;
pub use handle::{Master, MasterEnd, MasterHandle};
pub use http::openapi::document as openapi_document;
