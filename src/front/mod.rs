//! The fronts: what carries requests to the service, and the AWS SDK. Each file is one outside world.

#[cfg(feature = "ssm")]
pub mod aws;
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(feature = "server")]
pub mod server;
pub mod stores;
