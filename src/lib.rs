#![doc = include_str!("ARCHITECTURE.md")]

// Layer 0: pure.
pub mod calendar;
pub mod meter;
pub mod order;
pub mod prompt;
pub mod route;
pub mod wire;

// Layer 1.
pub mod config;
#[cfg(feature = "service")]
pub mod observe;

// Layer 2.
#[cfg(feature = "service")]
pub mod store;
#[cfg(feature = "service")]
pub mod upstream;

// Layer 3.
#[cfg(feature = "service")]
pub mod admin;
#[cfg(feature = "service")]
pub mod gateway;

// Layer 4.
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "service")]
pub mod front;
