//! Lambda: function URL events in, buffered or streamed answers out.
//!
//! The body that the service gives is infallible, since the runtime would write a body's error into the stream as if it were
//! data. What is left to do after the last byte runs in `AfterAnswer`, before the next event is asked for: Lambda may freeze
//! the process from then on.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::request::LambdaRequest;
use lambda_http::request::RequestContext;
use lambda_http::{RequestExt as _, service_fn};
use lambda_runtime::{LambdaEvent, LambdaInvocation, Runtime};
use tower::{Layer, Service};

use crate::gateway::{After, Body, Call, Exposure, Gateway};
use crate::observe::clock;
use crate::wire::{self, ApiError, Wire};

/// What is kept of the time for a proper ending: an error event that still reaches the client.
const MARGIN: Duration = Duration::from_millis(1500);

/// Lambda's limit of a buffered answer is 6 MB with its JSON around it; quotes within are escaped, which is left room for.
const LARGEST: usize = 5 << 20;

tokio::task_local! {
    /// The work of the invocation that is being handled.
    static AFTER: After;
}

/// How answers go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As a stream (`InvokeMode: RESPONSE_STREAM`).
    Streamed,
    /// Whole, for origins that cannot stream (`InvokeMode: BUFFERED`): `FEATHERGATE_RESPONSE=buffered`.
    Buffered,
}

/// How long a runtime has to have served before its failure is that of one answer, and not of the Runtime API.
const SERVED: Duration = Duration::from_secs(1);

/// Serves invocations until Lambda ends the process: one at a time, or as many as `AWS_LAMBDA_MAX_CONCURRENCY` says, as on
/// Managed Instances.
///
/// The runtime gives up where the Runtime API takes no more of an answer, since its client has left: it is begun again then, as
/// to end the process would cost the next request a cold start.
///
/// # Errors
/// The runtime's, when the Runtime API goes away.
pub async fn run(gateway: Arc<Gateway>, mode: Mode) -> Result<(), lambda_runtime::Error> {
    loop {
        let began = clock::now();
        match serve(Arc::clone(&gateway), mode).await {
            Err(error) if began.elapsed() >= SERVED => {
                tracing::warn!(error, "an answer could not be handed over whole");
            }
            ended => return ended,
        }
    }
}

async fn serve(gateway: Arc<Gateway>, mode: Mode) -> Result<(), lambda_runtime::Error> {
    let after = AfterAnswer(Arc::clone(&gateway));
    match mode {
        Mode::Streamed => {
            let service = service_fn(move |request| {
                let gateway = Arc::clone(&gateway);
                async move { Ok::<_, Infallible>(handle(&gateway, request).await) }
            });
            lambda_http::streaming_runtime_concurrent(service).layer(after).run_concurrent().await
        }
        // Not lambda_http's own way: it guesses the text's encoding with tables of 0.15 MB, and all our text is UTF-8.
        Mode::Buffered => {
            let service = service_fn(move |event: LambdaEvent<LambdaRequest>| {
                let gateway = Arc::clone(&gateway);
                async move {
                    let request = lambda_http::Request::from(event.payload).with_lambda_context(event.context);
                    let after = AFTER.try_with(After::clone).ok();
                    Ok::<_, Infallible>(whole(handle(&gateway, request).await, after).await)
                }
            });
            Runtime::new(service).layer(after).run_concurrent().await
        }
    }
}

/// Gathers an answer, or refuses one that Lambda would not take.
async fn whole(response: Response<Body>, after: Option<After>) -> ApiGatewayV2httpResponse {
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let mut body = body.to_bytes();
    let text = std::str::from_utf8(&body).is_ok();
    // What is no text goes as base64.
    let largest = if text { LARGEST } else { LARGEST / 4 * 3 };
    if body.len() > largest {
        let message = format!("the answer has {} bytes, and a function that buffers can send {largest}", body.len());
        tracing::error!("{message}");
        if let Some(after) = after {
            after.failed(502, "too_large", &message);
        }
        let error = ApiError { status: 502, message: &message, param: None, code: None, request_id: None };
        body = Bytes::from(wire::encode_error(Wire::OpenAiChat, &error));
        head.status = http::StatusCode::BAD_GATEWAY;
        head.headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    }
    let mut whole = ApiGatewayV2httpResponse::default();
    whole.status_code = i64::from(head.status.as_u16());
    whole.headers = head.headers;
    whole.body = Some(match String::from_utf8(body.into()) {
        Ok(text) => lambda_http::Body::Text(text),
        Err(bytes) => {
            whole.is_base64_encoded = true;
            lambda_http::Body::Binary(bytes.into_bytes())
        }
    });
    whole
}

async fn handle(gateway: &Arc<Gateway>, request: lambda_http::Request) -> Response<Body> {
    let context = request.lambda_context_ref();
    let event = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(event)) => Some(event),
        _ => None,
    };
    let authorizer = event.and_then(|event| event.authorizer.as_ref());
    let call = Call {
        invocation_id: context.map(|context| context.request_id.clone()),
        deadline: context.and_then(|context| deadline(context.deadline)),
        exposure: Exposure::Public,
        signed: authorizer.is_some_and(|authorizer| authorizer.iam.is_some()),
        signer: authorizer.and_then(|authorizer| authorizer.iam.as_ref()?.user_arn.clone()),
        peer: event.and_then(|event| event.http.source_ip.as_ref()?.parse().ok()),
        after: AFTER.try_with(After::clone).ok(),
    };
    let request = request.map(|body| {
        Full::new(match body {
            lambda_http::Body::Text(text) => Bytes::from(text),
            lambda_http::Body::Binary(bytes) => Bytes::from(bytes),
            // The enum may grow; what it may grow is not known.
            _ => Bytes::new(),
        })
    });
    gateway.handle(request, call).await
}

/// The end of an invocation on our clock. One in the past is no end: emulators send a constant.
fn deadline(millis: u64) -> Option<clock::Instant> {
    let left = Duration::from_millis(millis.checked_sub(clock::unix_millis())?);
    Some(clock::now() + left.checked_sub(MARGIN).unwrap_or(left / 2))
}

/// Does the work that waits for an invocation's answer, once that is out and before the next one is asked for.
struct AfterAnswer(Arc<Gateway>);

impl<S> Layer<S> for AfterAnswer {
    type Service = AfterAnswerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AfterAnswerService { gateway: Arc::clone(&self.0), inner }
    }
}

#[derive(Clone)]
struct AfterAnswerService<S> {
    gateway: Arc<Gateway>,
    inner: S,
}

impl<S> Service<LambdaInvocation> for AfterAnswerService<S>
where
    S: Service<LambdaInvocation, Response = (), Error: Send>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let (after, gateway) = (After::default(), Arc::clone(&self.gateway));
        let answer = AFTER.sync_scope(after.clone(), || self.inner.call(invocation));
        Box::pin(async move {
            let result = AFTER.scope(after.clone(), answer).await;
            after.run(gateway.observer()).await;
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whole_answers_are_text_or_base64_and_fit() {
        let answer = |body: Vec<u8>| whole(Response::new(Body::full(body)), None);
        let cases: [(Vec<u8>, i64, bool); 6] = [
            ("grüß".into(), 200, false),
            (b"ID3\x00\xff\xfb".to_vec(), 200, true),
            (vec![b'a'; LARGEST], 200, false),
            (vec![b'a'; LARGEST + 1], 502, false),
            (vec![0xff; LARGEST / 4 * 3], 200, true),
            (vec![0xff; LARGEST / 4 * 3 + 1], 502, false),
        ];
        for (body, status, base64) in cases {
            let got = answer(body.clone()).await;
            assert_eq!((got.status_code, got.is_base64_encoded), (status, base64), "{} bytes", body.len());
            if status == 200 {
                let sent: &[u8] = match got.body.as_ref().unwrap() {
                    lambda_http::Body::Binary(bytes) => bytes,
                    lambda_http::Body::Text(text) => text.as_bytes(),
                    _ => &[],
                };
                assert_eq!(sent, body);
                // Lambda takes 6 MB of JSON.
                assert!(serde_json::to_string(&got).unwrap().len() <= 6 << 20);
            }
        }
    }
}
