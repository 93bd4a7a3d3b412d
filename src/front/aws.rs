//! The AWS SDK: Parameter Store as a [`SecretSource`], over the program's one HTTP client.
//!
//! Nothing is set up before the first look-up. Credentials come from the environment, where Lambda puts them; the SDK's whole
//! chain (profiles, SSO, containers) would add 0.7 MB to the binary. A server elsewhere is started with
//! `aws configure export-credentials --format env`.

use std::sync::OnceLock;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ssm::config::SharedCredentialsProvider;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::operation::get_parameters::{GetParametersError, GetParametersOutput};
use aws_sdk_ssm::types::Parameter;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};

use crate::config::secret::{ParameterName, Secret};
use crate::gateway::secrets::{SecretSource, SourceError};

/// The most names that one `GetParameters` takes.
const BATCH: usize = 10;
/// Parameter Store allows 40 calls a second to a whole account; a burst of new instances is throttled and has to wait.
const ATTEMPTS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Where the SDK finds its settings.
#[derive(Clone, Debug)]
pub struct Place {
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// `AWS_ENDPOINT_URL_SSM` or `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
}

/// Parameter Store.
pub struct Ssm {
    place: Place,
    http: reqwest::Client,
    client: OnceLock<aws_sdk_ssm::Client>,
}

type Fetched = Vec<(ParameterName, Result<Secret, SourceError>)>;

impl Ssm {
    /// Takes the shared HTTP client. Connects to nothing yet.
    #[must_use]
    pub fn new(place: Place, http: reqwest::Client) -> Self {
        Self { place, http, client: OnceLock::new() }
    }

    fn client(&self) -> &aws_sdk_ssm::Client {
        self.client.get_or_init(|| {
            let credentials = EnvironmentVariableCredentialsProvider::new();
            let timeouts = TimeoutConfig::builder()
                .operation_attempt_timeout(Duration::from_secs(4))
                .operation_timeout(Duration::from_secs(12));
            let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_WAIT);
            let config = SdkConfig::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(self.place.region.clone().map(Region::new))
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .sleep_impl(aws_sdk_ssm::config::SharedAsyncSleep::new(TokioSleep))
                .http_client(Connector(self.http.clone()))
                .timeout_config(timeouts.build())
                .retry_config(retries);
            let config = match &self.place.endpoint {
                Some(endpoint) => config.endpoint_url(endpoint),
                None => config,
            };
            aws_sdk_ssm::Client::new(&config.build())
        })
    }

    async fn batch(&self, names: &[ParameterName]) -> Fetched {
        match self.call(names).await {
            Ok(output) => names.iter().map(|name| (name.clone(), pick(name, &output))).collect(),
            // One name that we may not read fails the whole call: the others are asked for on their own.
            Err(error) if names.len() > 1 && !temporary(&error) => {
                let single = names.iter().map(|name| async {
                    let result = self.call(std::slice::from_ref(name)).await;
                    (name.clone(), result.map_err(|error| reason(&error)).and_then(|output| pick(name, &output)))
                });
                join_all(single).await
            }
            Err(error) => names.iter().map(|name| (name.clone(), Err(reason(&error)))).collect(),
        }
    }

    async fn call(&self, names: &[ParameterName]) -> Result<GetParametersOutput, SdkError<GetParametersError>> {
        let names = names.iter().map(|name| name.as_str().to_owned()).collect();
        self.client().get_parameters().set_names(Some(names)).with_decryption(true).send().await
    }
}

impl SecretSource for Ssm {
    fn fetch<'a>(&'a self, names: &'a [ParameterName]) -> BoxFuture<'a, Fetched> {
        if self.place.region.is_none() {
            let error = SourceError::Unavailable("the environment variable `AWS_REGION` is not set".to_owned());
            let all = names.iter().map(|name| (name.clone(), Err(error.clone()))).collect();
            return async { all }.boxed();
        }
        async move { join_all(names.chunks(BATCH).map(|names| self.batch(names))).await.concat() }.boxed()
    }
}

/// Finds a parameter in an answer: the order is unspecified, and a selector comes back beside the name.
fn pick(name: &ParameterName, output: &GetParametersOutput) -> Result<Secret, SourceError> {
    if output.invalid_parameters().iter().any(|invalid| invalid == name.as_str()) {
        return Err(SourceError::Missing);
    }
    let (base, selector) = name.split();
    let is_it = |parameter: &&Parameter| {
        let named = [parameter.name(), parameter.arn()].into_iter().flatten().any(|known| known == base);
        let given =
            parameter.selector().map(|selector| selector.trim_start_matches(':')).filter(|text| !text.is_empty());
        // An emulator may leave the selector out; the version tells as well.
        named && (given == selector || (given.is_none() && selector == Some(parameter.version().to_string().as_str())))
    };
    // The newest, where an emulator's answer does not tell versions apart.
    let found = output.parameters().iter().filter(is_it).max_by_key(|parameter| parameter.version());
    found.and_then(Parameter::value).map(Secret::new).ok_or(SourceError::Missing)
}

fn temporary(error: &SdkError<GetParametersError>) -> bool {
    match error {
        SdkError::ServiceError(context) => {
            context.raw().status().is_server_error()
                || context.err().code().is_some_and(|code| code.contains("Throttl"))
        }
        _ => true,
    }
}

fn reason(error: &SdkError<GetParametersError>) -> SourceError {
    match error.as_service_error().and_then(ProvideErrorMetadata::code) {
        Some("AccessDeniedException") => SourceError::Denied,
        Some("ParameterNotFound" | "ParameterVersionNotFound") => SourceError::Missing,
        Some(code) => {
            let message = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or("no reason given");
            SourceError::Unavailable(format!("{code}: {message}"))
        }
        None => SourceError::Unavailable(format!("Parameter Store cannot be reached: {}", innermost(error))),
    }
}

/// The cause at the bottom: the ones above it are the SDK's own layers.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Tokio's timer for the SDK's retries and timeouts.
#[derive(Debug)]
struct TokioSleep;

impl aws_sdk_ssm::config::AsyncSleep for TokioSleep {
    fn sleep(&self, duration: Duration) -> aws_sdk_ssm::config::Sleep {
        aws_sdk_ssm::config::Sleep::new(tokio::time::sleep(duration))
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
