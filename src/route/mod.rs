//! Routing decisions, pure: which deployments a name means, which of them takes a request, what is tried after a failure, and
//! who is left alone for a while. Time and randomness are arguments. What an instance learns from its requests is in
//! [`health`] and nowhere else.

pub mod balance;
mod counts;
pub mod health;
pub mod limit;
pub mod plan;
pub mod rules;
pub mod table;

pub use rules::Millis;
pub use table::{Match, Table, nearest};
