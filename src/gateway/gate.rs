//! Who has to wait and who is sent away: rates and concurrency, for all requests, for each address and for each model group.
//! Only calls of models count, and this process counts for itself alone.
//!
//! Who sends too much (over a rate, or too many at once from one address) gets a 429; where all places are taken and the queue is
//! full, or a place does not become free in time, the answer is a 503 (529 in Anthropic's dialect). A request that waits for its
//! model's place keeps that of the whole: its body is in memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::Call;
use super::account::Slot;
use super::pipeline::{Refused, Request};
use super::refusal::Refusal;
use crate::config::network::Network;
use crate::config::settings::{Limit, Settings};
use crate::observe::Record;
use crate::observe::clock::{self, Instant};
use crate::observe::metrics;
use crate::route::Millis;
use crate::route::limit::{Buckets, Callers, Over, Own};
use crate::wire::Wire;

/// The most addresses that are told apart: about 2 MB.
const MOST_CALLERS: usize = 10_000;

const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The classes in log and metrics; an upstream's own limits are `rate_limited` and `overloaded`.
const LIMITED: &str = "gateway_limit";
const FULL: &str = "gateway_full";

/// The limits of a configuration, with what is counted for them.
pub(crate) struct Gate {
    began: Instant,
    trust: usize,
    allowed: Option<Vec<Network>>,
    global: Scope,
    per_ip: Limit,
    callers: Arc<Mutex<Callers<Held>>>,
    models: HashMap<String, Scope>,
}

impl Gate {
    /// The gate of `settings`. What was counted `before` goes on counting where its setting is the same; places that are taken
    /// stay taken.
    pub(super) fn new(settings: &Settings, before: Option<&Self>) -> Self {
        let limits = &settings.limits;
        let callers = before.map_or_else(
            || Arc::new(Mutex::new(Callers::new(MOST_CALLERS))),
            |before| {
                if before.per_ip.rates != limits.per_ip.rates {
                    lock(&before.callers).refill();
                }
                Arc::clone(&before.callers)
            },
        );
        let models = settings.groups.iter().filter_map(|group| {
            let limit = limits.model(&group.name)?;
            let before = before.and_then(|before| before.models.get(&group.name));
            Some((group.name.clone(), Scope::new(*limit, before)))
        });
        Self {
            began: before.map_or_else(clock::now, |before| before.began),
            trust: limits.trust_forwarded,
            allowed: limits.allowed.clone(),
            global: Scope::new(limits.global, before.map(|before| &before.global)),
            per_ip: limits.per_ip,
            callers,
            models: models.collect(),
        }
    }

    fn now(&self) -> Millis {
        clock::millis(self.began.elapsed())
    }

    /// The client's address: the connection's, or what the outermost of the trusted proxies saw. An address that is not there,
    /// since the request came past them, is nobody's but the connection's.
    pub(super) fn address(&self, call: &Call, headers: &HeaderMap) -> Option<IpAddr> {
        let seen = || {
            let lines = headers.get_all(FORWARDED).iter().filter_map(|line| line.to_str().ok());
            let all: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
            parse(all.get(all.len().checked_sub(self.trust)?)?)
        };
        let forwarded = if self.trust == 0 { None } else { seen() };
        forwarded.or(call.peer).map(|address| address.to_canonical())
    }

    /// Whether an address may ask anything at all.
    pub(super) fn allows(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(allowed) = &self.allowed else { return Ok(()) };
        if address.is_some_and(|address| allowed.iter().any(|network| network.contains(address))) {
            return Ok(());
        }
        let address = address.map_or_else(|| "that cannot be told".to_owned(), |address| address.to_string());
        let message = format!("this gateway does not serve the address {address}");
        Err(Refusal::new(StatusCode::FORBIDDEN, "address", message).code("address_not_allowed"))
    }

    /// Counts a call of a model for the rates of its address. Before its key is looked at, so that guessing keys counts.
    pub(super) fn knock(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let rates = &self.per_ip.rates;
        if rates.none() {
            return Ok(());
        }
        let now = self.now();
        let mut callers = lock(&self.callers);
        let caller = callers.at(key(address), rates, now);
        rates.take(&mut caller.buckets, now).map_err(|over| limited(" from one address", over))
    }

    /// Counts it for the rates of all, and waits for a place of its address and one of the whole, no longer than `until`.
    pub(super) async fn enter(
        &self,
        address: Option<IpAddr>,
        until: Instant,
        wire: Wire,
        pass: &mut Pass,
    ) -> Result<(), Refusal> {
        self.global.take(self.now()).map_err(|over| limited("", over))?;
        if let Some(places) = self.places_of(address) {
            let place = pass.wait(&places, &self.per_ip, until).await;
            let place = place.map_err(|why| why.refusal(" from one address", &self.per_ip));
            // Its own doing, however busy the gateway is.
            pass.held.push(place.map_err(|refusal| refusal.with(StatusCode::TOO_MANY_REQUESTS, LIMITED))?);
        }
        self.global.enter("", until, wire, pass).await
    }

    /// What is taken and who waits, as Prometheus text. Of addresses there is the sum.
    pub(super) fn gauges(&self) -> String {
        let mut all: Vec<(&str, &str, (u32, u32))> = Vec::new();
        if let Some(places) = &self.global.places {
            all.push(("global", "", places.counts()));
        }
        if self.per_ip.concurrency.is_some() {
            let callers = lock(&self.callers);
            let counts = callers.each().filter_map(|held| held.0.as_ref()).map(|places| places.counts());
            all.push(("per_ip", "", counts.fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1))));
        }
        let models = self.models.iter();
        let mut models: Vec<_> = models
            .filter_map(|(group, scope)| Some(("per_model", &**group, scope.places.as_ref()?.counts())))
            .collect();
        models.sort_unstable();
        all.extend(models);
        let gauge = |name: &str, help: &str, of: fn((u32, u32)) -> u32| {
            let rows =
                all.iter().map(|(limit, group, counts)| ([("limit", *limit), ("model_group", *group)], of(*counts)));
            metrics::gauge(name, help, rows)
        };
        if all.is_empty() {
            return String::new();
        }
        gauge("taken_places", "Requests that have a place, by limit.", |(taken, _)| taken)
            + &gauge("waiting_requests", "Requests that wait for a place, by limit.", |(_, waiting)| waiting)
    }

    fn places_of(&self, address: Option<IpAddr>) -> Option<Arc<Places>> {
        let concurrency = self.per_ip.concurrency?;
        let mut callers = lock(&self.callers);
        let caller = callers.at(key(address), &self.per_ip.rates, self.now());
        let places = caller.own.0.get_or_insert_with(|| Arc::new(Places::new(concurrency, self.per_ip.queue)));
        places.set(concurrency, self.per_ip.queue);
        Some(Arc::clone(places))
    }
}

/// Counts a request for the limits of the model group that it calls `asked`, and waits for a place there, no longer than `until`.
/// The place is in `pass` then.
pub(super) async fn model(
    request: &Request<'_>,
    (group, asked): (&str, &str),
    until: Instant,
    record: &mut Record,
    pass: &mut Pass,
) -> Result<(), Refused> {
    let gate = &request.state.gate;
    let Some(scope) = gate.models.get(group) else { return Ok(()) };
    let whom = format!(" for model `{asked}`");
    scope.take(gate.now()).map_err(|over| Box::new(limited(&whom, over)))?;
    let before = pass.queued();
    let entered = scope.enter(&whom, until, request.task.wire(), pass).await;
    record.waited += pass.queued().saturating_sub(before);
    entered.map_err(Box::new)
}

/// One limit, with what is counted for it.
struct Scope {
    limit: Limit,
    buckets: Arc<Mutex<Buckets>>,
    places: Option<Arc<Places>>,
}

impl Scope {
    fn new(limit: Limit, before: Option<&Self>) -> Self {
        let kept = before.filter(|before| before.limit.rates == limit.rates);
        let places = limit.concurrency.map(|concurrency| match before.and_then(|before| before.places.as_ref()) {
            Some(places) => {
                places.set(concurrency, limit.queue);
                Arc::clone(places)
            }
            None => Arc::new(Places::new(concurrency, limit.queue)),
        });
        Self { limit, buckets: kept.map(|kept| Arc::clone(&kept.buckets)).unwrap_or_default(), places }
    }

    fn take(&self, now: Millis) -> Result<(), Over> {
        if self.limit.rates.none() { Ok(()) } else { self.limit.rates.take(&mut lock(&self.buckets), now) }
    }

    async fn enter(&self, whom: &str, until: Instant, wire: Wire, pass: &mut Pass) -> Result<(), Refusal> {
        let Some(places) = &self.places else { return Ok(()) };
        let place = pass.wait(places, &self.limit, until).await.map_err(|why| {
            // Anthropic's clients know a busy server by this status.
            let status = if wire == Wire::AnthropicMessages { 529 } else { 503 };
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            why.refusal(whom, &self.limit).with(status, FULL)
        })?;
        pass.held.push(place);
        Ok(())
    }
}

/// The places that a request has taken, until it is over, and what is counted for it.
#[derive(Default)]
pub(crate) struct Pass {
    /// What it may come to, where that is counted.
    pub(super) account: Option<Slot>,
    held: Vec<Place>,
    queued: Duration,
    /// When the wait that goes on now began.
    since: Option<Instant>,
}

impl Pass {
    /// How long it waited, so far.
    pub(super) fn queued(&self) -> Duration {
        self.queued + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Gives the places to others.
    pub(super) fn release(&mut self) {
        self.held.clear();
    }

    async fn wait(&mut self, places: &Arc<Places>, limit: &Limit, until: Instant) -> Result<Place, Full> {
        self.since = Some(clock::now());
        let until = until.min(clock::now() + limit.queue_wait);
        let place = places.enter(until).await;
        self.queued = self.queued();
        self.since = None;
        place
    }
}

/// Why there is no place.
enum Full {
    /// Nor in the queue.
    Queue,
    /// Nobody left in time.
    Late,
}

impl Full {
    fn refusal(&self, whom: &str, limit: &Limit) -> Refusal {
        let places = limit.concurrency.unwrap_or_default();
        let (why, wait) = match (self, limit.queue) {
            (Self::Queue, 0) => (String::new(), Duration::from_secs(1)),
            // By then everybody who waits now has had his turn, or gave up.
            (Self::Queue, queue) => (format!(", and {queue} more wait already"), limit.queue_wait),
            (Self::Late, _) => (", and no place became free in time".to_owned(), Duration::from_secs(1)),
        };
        let wait = clock::millis(wait);
        let message = format!(
            "this gateway works on at most {places} request{} at one time{whom}{why}; {}",
            if places == 1 { "" } else { "s" },
            again(wait)
        );
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, FULL, message).retry_after(wait)
    }
}

/// The places of one address.
#[derive(Default)]
struct Held(Option<Arc<Places>>);

impl Own for Held {
    /// Whether one of its requests has a place or waits for one: each of them has a hold on all.
    fn busy(&self) -> bool {
        self.0.as_ref().is_some_and(|places| Arc::strong_count(places) > 1)
    }
}

/// Places for so many requests, and a queue before them: first come, first served.
struct Places {
    free: Semaphore,
    room: Mutex<Room>,
}

struct Room {
    places: u32,
    queue: u32,
    waiting: u32,
    /// Places that are taken and do not exist any more: whoever leaves one takes it with him.
    surplus: u32,
}

impl Places {
    fn new(places: u32, queue: u32) -> Self {
        let free = Semaphore::new((places as usize).min(Semaphore::MAX_PERMITS));
        Self { free, room: Mutex::new(Room { places, queue, waiting: 0, surplus: 0 }) }
    }

    /// Another number of places. Nobody who has one loses it, and who waits goes on waiting.
    fn set(&self, places: u32, queue: u32) {
        let mut room = lock(&self.room);
        room.queue = queue;
        if places > room.places {
            let more = places - room.places;
            let kept = more.min(room.surplus);
            room.surplus -= kept;
            self.free.add_permits((more - kept) as usize);
        } else {
            let less = room.places - places;
            let gone = u32::try_from(self.free.forget_permits(less as usize)).unwrap_or(less);
            room.surplus += less - gone;
        }
        room.places = places;
    }

    /// How many are taken, and how many wait.
    fn counts(&self) -> (u32, u32) {
        let room = lock(&self.room);
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        ((room.places + room.surplus).saturating_sub(free), room.waiting)
    }

    async fn enter(self: &Arc<Self>, until: Instant) -> Result<Place, Full> {
        // Free ones are only left where nobody waits.
        if let Ok(permit) = self.free.try_acquire() {
            permit.forget();
            return Ok(Place(Arc::clone(self)));
        }
        let _waiting = Waiting::new(self).ok_or(Full::Queue)?;
        match timeout_at(until, self.free.acquire()).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(Place(Arc::clone(self)))
            }
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Full::Late),
        }
    }
}

/// A place that is taken. Whoever drops it leaves it to the next.
struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut room = lock(&self.0.room);
        if room.surplus > 0 {
            room.surplus -= 1;
        } else {
            self.0.free.add_permits(1);
        }
    }
}

/// A place in the queue, until its owner is served, gives up or goes away.
struct Waiting<'a>(&'a Places);

impl<'a> Waiting<'a> {
    fn new(places: &'a Places) -> Option<Self> {
        let mut room = lock(&places.room);
        if room.waiting >= room.queue {
            return None;
        }
        room.waiting += 1;
        Some(Self(places))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.room).waiting -= 1;
    }
}

fn limited(whom: &str, over: Over) -> Refusal {
    let count = over.rate.count;
    let message = format!(
        "this gateway takes at most {count} request{} a {}{whom}; {}",
        if count == 1 { "" } else { "s" },
        if over.rate.per == 1000 { "second" } else { "minute" },
        again(over.wait)
    );
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, LIMITED, message).retry_after(over.wait)
}

fn again(wait: Millis) -> String {
    format!("try again in {} s", wait.div_ceil(1000))
}

/// What an address counts as. A client has a whole IPv6 network of 64 bits; where the address is not known, all are one.
fn key(address: Option<IpAddr>) -> u128 {
    match address {
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped().to_bits(),
        Some(IpAddr::V6(address)) => address.to_bits() >> 64 << 64,
        None => 0,
    }
}

/// An entry of `X-Forwarded-For`; some proxies write a port, and brackets around IPv6.
fn parse(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(entry, |(address, _)| address);
    let without_port = || bare.rsplit_once(':').and_then(|(address, _)| address.parse::<std::net::Ipv4Addr>().ok());
    bare.parse().ok().or_else(|| without_port().map(IpAddr::V4))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
