//! The configuration: litellm's YAML as written ([`raw`]), what it means ([`settings`]), and how the one becomes the other
//! ([`resolve`]) with every problem at once. Pure but for reading files: the environment comes in as a function.

pub mod check;
pub mod known;
pub mod network;
pub mod parameters;
pub mod problem;
pub mod raw;
pub mod reference;
pub mod resolve;
pub mod secret;
pub mod settings;
pub mod vendor;
