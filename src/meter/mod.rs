//! What a request costs: pure arithmetic on tokens and prices, in whole units of 1e-12 dollars.
//!
//! A price that is not known makes the cost unknown, never 0. What an upstream charges beside tokens (searches, pictures,
//! seconds) is not counted, and neither are other prices for batches or service tiers.

pub mod ledger;
pub mod money;
pub mod period;
mod price;
mod table;

pub use money::Money;
pub use price::{Kind, Price, Rates, Tier, key};
pub use table::{Book, Pricing, listed, rate};
