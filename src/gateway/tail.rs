//! The body of an answer: whole, or a stream that tells the truth about its end. It never fails: whatever goes wrong after
//! the head is out becomes an error event in the client's dialect.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use super::Finish;
use super::lease::Lease;
use super::receive::Hidden;
use super::refusal::Way;
use crate::observe::Record;
use crate::observe::clock::{self, Instant};
use crate::route::health::Failed;
use crate::upstream::ByteStream;
use crate::wire::{ApiError, Failure, FailureKind, Pipe};

/// How long the connection may stay open after the wire's last event: its proper end lets the connection be used again.
const LINGER: Duration = Duration::from_secs(1);
/// A comment: every SSE reader skips it, every proxy sees life.
const HEARTBEAT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// The code of a stream's error where nobody has a better one.
const FAILED: &str = "stream_failed";

/// An answer's body.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Option<Bytes>),
    Stream(Guard),
}

impl Body {
    /// A body that is all there.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// A stream.
    pub(super) fn stream(tail: Tail) -> Self {
        Self(Kind::Stream(Guard { way: tail.way, request_id: tail.request_id(), tail: Some(Box::new(tail)) }))
    }

    /// Whether it is a stream.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.0, Kind::Stream(_))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.0 {
            Kind::Whole(bytes) => bytes.take(),
            Kind::Stream(guard) => ready!(guard.poll(cx)),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

/// Turns a panic in the stream into an error event: Lambda's runtime would close the stream as if all were well.
#[derive(Debug)]
struct Guard {
    way: Way,
    request_id: String,
    tail: Option<Box<Tail>>,
}

impl Guard {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(tail) = &mut self.tail else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| tail.poll(cx))) {
            Ok(poll) => poll,
            Err(_) => {
                // Its record is given from here: what panicked is not to be trusted with it.
                let told = catch_unwind(AssertUnwindSafe(|| tail.abandon("panic", "the gateway's own code failed")));
                drop((told, catch_unwind(AssertUnwindSafe(|| self.tail = None))));
                let message = "the gateway failed while it passed the answer on; the answer is not complete";
                let error = ApiError {
                    status: 500,
                    message,
                    param: None,
                    code: Some(FAILED),
                    request_id: Some(&self.request_id),
                };
                Poll::Ready(Some(self.way.task.error_event(&error, 0)))
            }
        }
    }
}

/// The limits of a stream in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A comment after this much silence towards the client.
    pub(super) heartbeat: Option<Duration>,
    /// The longest silence of the upstream.
    pub(super) idle: Duration,
    /// The end of everything.
    pub(super) deadline: Instant,
}

/// A stream on its way: upstream → tap → client, then the reckoning.
pub(super) struct Tail {
    way: Way,
    upstream: Option<ByteStream>,
    tap: Option<Pipe>,
    first: Option<Bytes>,
    limits: Limits,
    heard: Instant,
    spoke: Instant,
    timer: Pin<Box<Sleep>>,
    record: Option<Box<Record>>,
    finish: Finish,
    bodies: bool,
    lease: Option<Lease>,
    key: Hidden,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tail").field("way", &self.way).field("tap", &self.tap).finish_non_exhaustive()
    }
}

impl Tail {
    /// Goes on with `upstream` after `first`, the bytes up to the commit point.
    pub(super) fn new(
        (way, tap, first): (Way, Pipe, Bytes),
        upstream: ByteStream,
        limits: Limits,
        record: Box<Record>,
        (finish, bodies, lease, key): (Finish, bool, Option<Lease>, Hidden),
    ) -> Self {
        let now = clock::now();
        finish.gateway.observer.metrics().stream_opened();
        Self {
            way,
            upstream: Some(upstream),
            tap: Some(tap),
            first: Some(first).filter(|first| !first.is_empty()),
            limits,
            heard: now,
            spoke: now,
            timer: Box::pin(tokio::time::sleep_until(now)),
            record: Some(record),
            finish,
            bodies,
            lease,
            key,
        }
    }

    fn request_id(&self) -> String {
        self.record.as_ref().map(|record| record.request_id.clone()).unwrap_or_default()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(self.out(first, clock::now())));
        }
        loop {
            let (Some(upstream), Some(tap)) = (&mut self.upstream, &mut self.tap) else {
                // The client has its last byte; what is left to do delays nobody.
                self.settle();
                return Poll::Ready(None);
            };
            // A busy upstream never lets the timer be polled.
            if self.heard >= self.limits.deadline && !tap.over() {
                return Poll::Ready(self.close(Some(out_of_time()), false));
            }
            match upstream.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    self.heard = clock::now();
                    let out = tap.push(chunk);
                    let now = self.heard;
                    if !out.is_empty() {
                        return Poll::Ready(Some(self.out(out, now)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(self.close(Some(Failure::cut(error.to_string())), true));
                }
                Poll::Ready(None) => return Poll::Ready(self.close(None, true)),
                Poll::Pending => match ready!(self.poll_timer(cx)) {
                    Alarm::Heartbeat => return Poll::Ready(Some(self.out(HEARTBEAT, clock::now()))),
                    Alarm::End(failure) => return Poll::Ready(self.close(failure, true)),
                    Alarm::Deadline => return Poll::Ready(self.close(Some(out_of_time()), false)),
                },
            }
        }
    }

    /// Waits for the next alarm. The timer is set anew only when it fires, not at every chunk.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Alarm> {
        loop {
            let over = self.tap.as_ref().is_some_and(Pipe::over);
            let idle = self.heard + if over { LINGER } else { self.limits.idle };
            let beat = self.limits.heartbeat.filter(|_| !over).map(|heartbeat| self.spoke + heartbeat);
            let next = [Some(idle), beat, Some(self.limits.deadline)].into_iter().flatten().min().unwrap_or(idle);
            let now = clock::now();
            if now >= next {
                return Poll::Ready(if over {
                    Alarm::End(None)
                } else if now >= self.limits.deadline {
                    Alarm::Deadline
                } else if now >= idle {
                    let seconds = self.limits.idle.as_secs_f64();
                    Alarm::End(Some(timeout(&format!("the upstream fell silent for {seconds} s"))))
                } else {
                    Alarm::Heartbeat
                });
            }
            // Set to the alarm or earlier is fine: when it fires, the alarm is computed anew.
            if self.timer.deadline() <= now || self.timer.deadline() > next {
                self.timer.as_mut().reset(next);
            }
            ready!(self.timer.as_mut().poll(cx));
        }
    }

    /// Ends the stream: the rest of a good one, or an error event. `blamed`: a failure is the deployment's, which it is not where
    /// the answer is longer than the time that it was given.
    fn close(&mut self, cut: Option<Failure>, blamed: bool) -> Option<Bytes> {
        self.upstream = None;
        let tap = self.tap.take()?;
        let events = tap.events();
        let tally = tap.finish(cut);
        let mut last = tally.bytes;
        if let Some(record) = &mut self.record {
            record.usage.replace(tally.usage);
            record.cut = !tally.finished;
            if let Some(failure) = tally.failure {
                if let Some(lease) = self.lease.as_ref().filter(|_| blamed) {
                    lease.failed(&Failed { kind: failure.kind, status: failure.status, retry_after: None });
                }
                record.error_class = Some(failure.kind.label());
                if !tally.told {
                    let told = self.way.told(&failure);
                    let error = ApiError {
                        status: told.status,
                        message: &format!("{}; the answer is not complete", told.message.trim_end_matches('.')),
                        param: None,
                        code: told.code.or(Some(FAILED)),
                        request_id: Some(&record.request_id),
                    };
                    last = Bytes::from([last, self.way.task.error_event(&error, events)].concat());
                }
                record.error = Some(self.key.hidden_in(failure.message));
            }
        }
        if last.is_empty() {
            self.settle();
            return None;
        }
        Some(self.out(last, clock::now()))
    }

    fn out(&mut self, bytes: Bytes, now: Instant) -> Bytes {
        let bytes = self.key.hidden(bytes);
        self.spoke = now;
        if let Some(record) = &mut self.record {
            record.first_byte.get_or_insert(self.spoke);
            record.sent += bytes.len() as u64;
            if self.bodies {
                record.response_body.get_or_insert_default().push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        bytes
    }

    fn settle(&mut self) {
        if let Some(record) = self.record.take() {
            if let Some(lease) = self.lease.take() {
                lease.used(&record.usage);
            }
            self.finish.gateway.observer.metrics().stream_closed();
            self.finish.done(*record);
        }
        self.finish.pass.release();
    }

    fn abandon(&mut self, class: &'static str, why: &str) {
        self.upstream = None;
        if let Some(record) = &mut self.record {
            record.error_class = Some(class);
            record.error = Some(why.to_owned());
            if let Some(tap) = self.tap.take() {
                let tally = tap.finish(None);
                record.usage.replace(tally.usage);
                record.cut = !tally.finished;
            }
        }
        self.settle();
    }
}

/// On the server a client that leaves drops the body; with it goes the connection to the upstream, which cancels the call.
/// All that happens here is that the log says so: on Lambda nobody drops a body early.
impl Drop for Tail {
    fn drop(&mut self) {
        if self.record.is_some() {
            self.abandon("client_gone", "the client went away before the answer's end");
        }
    }
}

enum Alarm {
    Heartbeat,
    Deadline,
    End(Option<Failure>),
}

fn out_of_time() -> Failure {
    timeout("the answer took longer than this gateway allows")
}

fn timeout(message: &str) -> Failure {
    Failure::new(FailureKind::Timeout, 504, message)
}
