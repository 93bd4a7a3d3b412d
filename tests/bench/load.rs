//! Load from keep-alive connections on one thread, each with one request at a time. HTTP/1.1 is read by hand, so that
//! this side stays cheap and so that each HTTP chunk of an answer can be counted: a server that buffers nothing sends
//! one for each event of the upstream.
//!
//! `bench-load MODE TARGET [NAME=VALUE …]`; the result is one line of `name=value`.
//!
//! - `chat`: bodies of 1 KB, whole answers.
//! - `stream`: streams as fast as they come.
//! - `paced`: the upstream waits `pace` ms before each chunk; the times are from its sending to our reading.
//! - `memory`: one paced stream on each connection; prints `holding` when all are well under way.
//!
//! Names: `connections=16`, `seconds=3`, `warmup=1`, `pace=5`, `model=bench`, `path=/v1/chat/completions`.

use std::error::Error;
use std::io::{Write, stdout};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Buf, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

type Failure = Box<dyn Error + Send + Sync>;

const BODY_BYTES: usize = 1024;
/// So many chunks into a stream `memory` calls it established.
const UNDER_WAY: u32 = 10;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Chat,
    Stream,
    Paced,
    Memory,
}

#[derive(Clone)]
struct Plan {
    mode: Mode,
    target: String,
    connections: u32,
    seconds: u32,
    warmup: u32,
    pace: u32,
    model: String,
    path: String,
}

impl Plan {
    fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let usage = "usage: bench-load chat|stream|paced|memory HOST:PORT [NAME=VALUE …]";
        let mode = match arguments.next().as_deref() {
            Some("chat") => Mode::Chat,
            Some("stream") => Mode::Stream,
            Some("paced") => Mode::Paced,
            Some("memory") => Mode::Memory,
            _ => return Err(usage.into()),
        };
        let mut plan = Self {
            mode,
            target: arguments.next().ok_or(usage)?,
            connections: 16,
            seconds: 3,
            warmup: 1,
            pace: 5,
            model: "bench".to_owned(),
            path: "/v1/chat/completions".to_owned(),
        };
        for argument in arguments {
            match argument.split_once('=').ok_or(usage)? {
                ("connections", value) => plan.connections = value.parse()?,
                ("seconds", value) => plan.seconds = value.parse()?,
                ("warmup", value) => plan.warmup = value.parse()?,
                ("pace", value) => plan.pace = value.parse()?,
                ("model", value) => value.clone_into(&mut plan.model),
                ("path", value) => value.clone_into(&mut plan.path),
                _ => return Err(format!("unknown argument `{argument}`; {usage}").into()),
            }
        }
        Ok(plan)
    }

    /// The request as it goes over the wire; the question is padded until the body has 1 KB.
    fn request(&self) -> Vec<u8> {
        let stream = if self.mode == Mode::Chat { "" } else { ",\"stream\":true" };
        let pace = match (self.mode, self.path.ends_with("/messages")) {
            (Mode::Chat | Mode::Stream, _) => String::new(),
            (_, false) => format!(",\"user\":\"pace-{}\"", self.pace),
            (_, true) => format!(",\"metadata\":{{\"user_id\":\"pace-{}\"}}", self.pace),
        };
        let body = |question: &str| {
            format!(
                "{{\"model\":\"{}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{question}\"}}],\
                 \"max_tokens\":256,\"temperature\":0.7{stream}{pace}}}",
                self.model
            )
        };
        let padding = BODY_BYTES.saturating_sub(body("").len());
        let question: String =
            "Tell me about feathers, gates and what they weigh. ".chars().cycle().take(padding).collect();
        let body = body(&question);
        format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nuser-agent: bench-load\r\naccept: */*\r\nauthorization: Bearer sk-client\r\n\
             anthropic-version: 2023-06-01\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            self.target,
            body.len()
        )
        .into_bytes()
    }
}

#[derive(Default)]
struct Tally {
    /// Requests answered, the warm-up included.
    total: u32,
    /// Requests answered after the warm-up.
    counted: u32,
    frames: u32,
    events: u32,
    /// Microseconds: of each request, or of each chunk when paced.
    times: Vec<u32>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let plan = Arc::new(Plan::from_arguments(std::env::args().skip(1))?);
    let request: Arc<[u8]> = plan.request().into();
    let (ready, mut established) = unbounded_channel();
    let start = now();
    let mut clients = JoinSet::new();
    for _ in 0..plan.connections {
        let socket = TcpStream::connect(&plan.target).await?;
        socket.set_nodelay(true)?;
        let client = Client { socket, buffer: BytesMut::with_capacity(16 * 1024), tally: Tally::default() };
        clients.spawn(client.run(Arc::clone(&plan), Arc::clone(&request), ready.clone(), start));
    }
    if plan.mode == Mode::Memory {
        for _ in 0..plan.connections {
            tokio::select! {
                Some(()) = established.recv() => {}
                Some(over) = clients.join_next() => { over??; return Err("a stream ended before all were open".into()) }
            }
        }
        writeln!(stdout(), "holding")?;
    }
    let mut sum = Tally::default();
    while let Some(client) = clients.join_next().await {
        let tally = client??;
        sum.total += tally.total;
        sum.counted += tally.counted;
        sum.frames += tally.frames;
        sum.events += tally.events;
        sum.times.extend(tally.times);
    }
    report(&plan, sum)
}

fn report(plan: &Plan, mut sum: Tally) -> Result<(), Failure> {
    sum.times.sort_unstable();
    let at = |percent: usize| sum.times.get(sum.times.len() * percent / 100).copied().unwrap_or_default();
    let seconds = f64::from(plan.seconds);
    writeln!(
        stdout(),
        "total={} rate={:.1} p50_us={} p99_us={} events={} events_rate={:.1} frames_per_event={:.4}",
        sum.total,
        f64::from(sum.counted) / seconds,
        at(50),
        at(99),
        sum.events,
        f64::from(sum.events) / seconds,
        f64::from(sum.frames) / f64::from(sum.events.max(1)),
    )?;
    Ok(())
}

struct Client {
    socket: TcpStream,
    buffer: BytesMut,
    tally: Tally,
}

impl Client {
    async fn run(
        mut self,
        plan: Arc<Plan>,
        request: Arc<[u8]>,
        ready: UnboundedSender<()>,
        start: Instant,
    ) -> Result<Tally, Failure> {
        let warm = start + Duration::from_secs(plan.warmup.into());
        let end = warm + Duration::from_secs(plan.seconds.into());
        loop {
            let asked = now();
            if asked >= end {
                return Ok(self.tally);
            }
            self.socket.write_all(&request).await?;
            self.answer(plan.mode, asked >= warm, end, &ready).await?;
            self.tally.total += 1;
            if plan.mode == Mode::Memory {
                return Ok(self.tally);
            }
            let answered = now();
            if answered >= warm && answered < end {
                self.tally.counted += 1;
                if plan.mode != Mode::Paced {
                    self.tally.times.push(micros(answered - asked));
                }
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        if self.socket.read_buf(&mut self.buffer).await? == 0 {
            return Err("the server closed the connection inside an answer".into());
        }
        Ok(())
    }

    async fn answer(
        &mut self,
        mode: Mode,
        counts: bool,
        end: Instant,
        ready: &UnboundedSender<()>,
    ) -> Result<(), Failure> {
        let length = loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                let length = content_length(&head);
                if !head.starts_with(b"HTTP/1.1 200") {
                    while self.buffer.len() < length.unwrap_or_default() {
                        self.fill().await?;
                    }
                    let body = String::from_utf8_lossy(&self.buffer).into_owned();
                    return Err(format!("refused: {}{body}", String::from_utf8_lossy(&head)).into());
                }
                break length;
            }
            self.fill().await?;
        };
        if let Some(length) = length {
            if mode != Mode::Chat {
                return Err("asked for a stream, got a whole answer".into());
            }
            while self.buffer.len() < length {
                self.fill().await?;
            }
            self.buffer.advance(length);
            return Ok(());
        }
        let mut last = BytesMut::new();
        let mut frames = 0;
        loop {
            let Some((start, size)) = self.chunk_head()? else {
                self.fill().await?;
                continue;
            };
            while self.buffer.len() < start + size + 2 {
                self.fill().await?;
            }
            self.buffer.advance(start);
            let data = self.buffer.split_to(size);
            self.buffer.advance(2);
            if size == 0 {
                break;
            }
            frames += 1;
            if mode == Mode::Memory && frames == UNDER_WAY {
                ready.send(())?;
            }
            if counts && (mode == Mode::Paced || now() < end) {
                self.tally.frames += 1;
                for at in memmem::find_iter(&data, b"data: {") {
                    self.tally.events += 1;
                    if mode == Mode::Paced {
                        self.tally.times.extend(data.get(at..).and_then(age));
                    }
                }
                if memmem::find(&data, b"data: [DONE]").is_some() {
                    self.tally.events += 1;
                }
            }
            last = data;
        }
        if memmem::find(&last, b"[DONE]").is_none() && memmem::find(&last, b"message_stop").is_none() {
            return Err(format!("the stream ended without its end: {}", String::from_utf8_lossy(&last)).into());
        }
        Ok(())
    }

    /// Where the data of the chunk at the front starts, and how long it is.
    fn chunk_head(&self) -> Result<Option<(usize, usize)>, Failure> {
        let Some(end) = memmem::find(&self.buffer, b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(self.buffer.get(..end).unwrap_or_default())?;
        Ok(Some((end + 2, usize::from_str_radix(size, 16)?)))
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(b"content-length:".len())?;
        let value = name.eq_ignore_ascii_case(b"content-length:").then_some(value)?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    })
}

/// Microseconds since the upstream sent this event, if it carries the time.
fn age(event: &[u8]) -> Option<u32> {
    let start = memmem::find(event, b"\"@")? + 2;
    let digits = event.get(start..)?.split(|byte| !byte.is_ascii_digit()).next()?;
    let sent = Duration::from_nanos(std::str::from_utf8(digits).ok()?.parse().ok()?);
    Some(micros(UNIX_EPOCH.elapsed().ok()?.saturating_sub(sent)))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
