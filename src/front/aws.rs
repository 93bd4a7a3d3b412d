//! Parameter Store as a [`SecretSource`], over [`crate::upstream::aws`]. Nothing is set up before the first look-up.

use std::sync::OnceLock;
use std::time::Duration;

use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::operation::get_parameters::{GetParametersError, GetParametersOutput};
use aws_sdk_ssm::types::Parameter;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};

use crate::config::secret::{ParameterName, Secret};
use crate::gateway::secrets::{SecretSource, SourceError};
use crate::upstream::aws::{self, Patience, Place, innermost};

/// The most names that one `GetParameters` takes.
const BATCH: usize = 10;
/// Parameter Store allows 40 calls a second to a whole account; a burst of new instances is throttled and has to wait.
const PATIENCE: Patience = Patience {
    attempt: Duration::from_secs(4),
    all: Duration::from_secs(12),
    attempts: 4,
    first_wait: Duration::from_millis(200),
    longest_wait: Duration::from_secs(20),
};

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
        self.client.get_or_init(|| aws_sdk_ssm::Client::new(&aws::config(&self.place, self.http.clone(), PATIENCE)))
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
