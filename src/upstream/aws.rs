//! The AWS SDK's way out: over the program's one HTTP client, with credentials from the environment.
//!
//! Lambda puts them there; the SDK's whole chain (profiles, SSO, containers) would add 0.7 MB to the binary. A server elsewhere
//! is started with `aws configure export-credentials --format env`.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{AsyncSleep, SharedAsyncSleep, Sleep};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

/// Where the SDK finds its settings.
#[derive(Clone, Debug)]
pub struct Place {
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// The service's own address (`AWS_ENDPOINT_URL_SSM`, `AWS_ENDPOINT_URL_DYNAMODB`) or `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
}

/// How long a service is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// One attempt.
    pub attempt: Duration,
    /// All attempts together.
    pub all: Duration,
    /// The most attempts.
    pub attempts: u32,
    /// About how long the first wait between two attempts is; each is twice the one before, up to `longest_wait`.
    pub first_wait: Duration,
    /// The longest wait between two attempts.
    pub longest_wait: Duration,
}

/// The settings of a service's client.
#[must_use]
pub fn config(place: &Place, http: reqwest::Client, patience: Patience) -> SdkConfig {
    let timeouts =
        TimeoutConfig::builder().operation_attempt_timeout(patience.attempt).operation_timeout(patience.all).build();
    let retries = RetryConfig::standard()
        .with_max_attempts(patience.attempts)
        .with_initial_backoff(patience.first_wait)
        .with_max_backoff(patience.longest_wait);
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(place.region.clone().map(Region::new))
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .sleep_impl(SharedAsyncSleep::new(TokioSleep))
        .http_client(Connector(http))
        .timeout_config(timeouts)
        .retry_config(retries);
    match &place.endpoint {
        Some(endpoint) => config.endpoint_url(endpoint).build(),
        None => config.build(),
    }
}

/// The cause at the bottom: the ones above it are the SDK's own layers.
#[must_use]
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Tokio's timer for the SDK's retries and timeouts.
#[derive(Debug)]
struct TokioSleep;

impl AsyncSleep for TokioSleep {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(tokio::time::sleep(duration))
    }
}

/// The SDK's way to our HTTP client.
#[derive(Clone, Debug)]
struct Connector(reqwest::Client);

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let other = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::other(error, None);
            let request = request.try_into_http1x().map_err(|error| other(error.into()))?;
            let request = request.map(|body| Bytes::copy_from_slice(body.bytes().unwrap_or_default()));
            let request = reqwest::Request::try_from(request).map_err(|error| other(error.into()))?;
            let answer =
                client.execute(request).await.map_err(|error| ConnectorError::io(error.without_url().into()))?;
            let mut response = http::Response::new(SdkBody::empty());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            let body = answer.bytes().await.map_err(|error| ConnectorError::io(error.without_url().into()))?;
            *response.body_mut() = SdkBody::from(body);
            HttpResponse::try_from(response).map_err(|error| other(error.into()))
        })
    }
}
