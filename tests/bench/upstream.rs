//! A fake provider that costs next to nothing, so that the server under test is what gets measured: it reads HTTP/1.1
//! by hand and answers with canned bytes.
//!
//! `POST …/chat/completions`, `…/messages` and `…:generateContent`. With `"stream":true` in the body, or asked for
//! `:streamGenerateContent`, it sends an SSE stream of 100 content chunks, each in an HTTP chunk and a `write` of its own. `"user":"pace-MS"` (for Anthropic inside `metadata`
//! as `"user_id":"pace-MS"`) makes it wait that many milliseconds before each content chunk and write the time of
//! sending into it, as `@` and nanoseconds since 1970.
//!
//! `bench-upstream [BIND]`, for example `127.0.0.1:9100`.

use std::error::Error;
use std::io::{self, Write, stderr};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Buf, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const CONTENT_CHUNKS: usize = 100;
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
    x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const NO_LENGTH: &[u8] = b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\n\r\n";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let bind: SocketAddr = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:0").parse()?;
    let listener = TcpListener::bind(bind).await?;
    writeln!(stderr(), "upstream listening on http://{}", listener.local_addr()?)?;
    let dialects: Arc<[Dialect]> = Arc::new([Dialect::openai(), Dialect::anthropic(), Dialect::gemini()]);
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let dialects = Arc::clone(&dialects);
        connections.spawn(async move { serve(socket, &dialects).await });
        while connections.try_join_next().is_some() {}
    }
}

/// What one kind of provider answers, ready to be written.
struct Dialect {
    path: &'static [u8],
    whole: Vec<u8>,
    /// Frames before the content, each as one HTTP chunk.
    opening: Vec<Vec<u8>>,
    /// A content event up to and after its text.
    content: (&'static str, &'static str),
    closing: Vec<Vec<u8>>,
    /// Sent before `last` when the caller asked for `include_usage`.
    usage: Option<Vec<u8>>,
    last: Vec<u8>,
}

impl Dialect {
    fn openai() -> Self {
        let event = |rest: &str| {
            chunk(&format!(
                "data: {{\"id\":\"chatcmpl-bench0123456789\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1785000000,\"model\":\"bench-2026-01-01\",\"system_fingerprint\":\"fp_bench\",{rest}}}\n\n"
            ))
        };
        Self {
            path: b"/chat/completions ",
            whole: whole(
                "{\"id\":\"chatcmpl-bench0123456789\",\"object\":\"chat.completion\",\"created\":1785000000,\
                 \"model\":\"bench-2026-01-01\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\
                 \"content\":\"A bench reply of a usual size: it says a little more than yes, but it does not go on \
                 for long.\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\
                 \"usage\":{\"prompt_tokens\":230,\"completion_tokens\":24,\"total_tokens\":254,\
                 \"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},\"completion_tokens_details\":\
                 {\"reasoning_tokens\":0,\"audio_tokens\":0}},\"service_tier\":\"default\",\
                 \"system_fingerprint\":\"fp_bench\"}",
            ),
            opening: vec![event(
                "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]",
            )],
            content: (
                "data: {\"id\":\"chatcmpl-bench0123456789\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1785000000,\"model\":\"bench-2026-01-01\",\"system_fingerprint\":\"fp_bench\",\
                 \"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
                "\"},\"finish_reason\":null}]}\n\n",
            ),
            closing: vec![event("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]")],
            usage: Some(event(
                "\"choices\":[],\"usage\":{\"prompt_tokens\":230,\"completion_tokens\":100,\"total_tokens\":330}",
            )),
            last: chunk("data: [DONE]\n\n"),
        }
    }

    fn anthropic() -> Self {
        Self {
            path: b"/messages ",
            whole: whole(
                "{\"id\":\"msg_bench0123456789\",\"type\":\"message\",\"role\":\"assistant\",\
                 \"model\":\"bench-2026-01-01\",\"content\":[{\"type\":\"text\",\"text\":\"A bench reply of a usual \
                 size: it says a little more than yes, but it does not go on for long.\"}],\
                 \"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":230,\
                 \"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":24}}",
            ),
            opening: vec![
                chunk(
                    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\
                     \"id\":\"msg_bench0123456789\",\"type\":\"message\",\"role\":\"assistant\",\
                     \"model\":\"bench-2026-01-01\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\
                     \"usage\":{\"input_tokens\":230,\"output_tokens\":1}}}\n\n",
                ),
                chunk(
                    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
                     \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
                ),
            ],
            content: (
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
                 \"delta\":{\"type\":\"text_delta\",\"text\":\"",
                "\"}}\n\n",
            ),
            closing: vec![
                chunk("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"),
                chunk(
                    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\
                     \"stop_sequence\":null},\"usage\":{\"output_tokens\":100}}\n\n",
                ),
            ],
            usage: None,
            last: chunk("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        }
    }

    fn gemini() -> Self {
        const USAGE: &str = "\"usageMetadata\":{\"promptTokenCount\":230,\"candidatesTokenCount\":24,\
             \"totalTokenCount\":254,\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":230}]},\
             \"modelVersion\":\"bench-2026-01-01\",\"responseId\":\"bench0123456789\"";
        const BEFORE: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"";
        const AFTER: &str = "\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":230,\
             \"candidatesTokenCount\":24,\"totalTokenCount\":254,\"promptTokensDetails\":[{\"modality\":\"TEXT\",\
             \"tokenCount\":230}]},\"modelVersion\":\"bench-2026-01-01\",\"responseId\":\"bench0123456789\"}\r\n\r\n";
        Self {
            path: b"enerateContent",
            whole: whole(&format!(
                "{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"A bench reply of a usual size: it says a \
                 little more than yes, but it does not go on for long.\"}}],\"role\":\"model\"}},\
                 \"finishReason\":\"STOP\",\"index\":0}}],{USAGE}}}"
            )),
            opening: Vec::new(),
            content: (BEFORE, AFTER),
            closing: Vec::new(),
            usage: None,
            last: chunk(&format!(
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"\"}}],\"role\":\"model\"}},\
                 \"finishReason\":\"STOP\",\"index\":0}}],{USAGE}}}\r\n\r\n"
            )),
        }
    }
}

fn whole(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn chunk(event: &str) -> Vec<u8> {
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

async fn serve(mut socket: TcpStream, dialects: &[Dialect]) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    loop {
        let body_start = loop {
            if let Some(end) = memmem::find(&buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = buffer.split_to(body_start);
        let Some(length) = content_length(&head) else {
            return socket.write_all(NO_LENGTH).await;
        };
        while buffer.len() < length {
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let line = memchr::memchr(b'\r', &head).and_then(|end| head.get(..end)).unwrap_or_default();
        match dialects.iter().find(|dialect| memmem::find(line, dialect.path).is_some()) {
            None => socket.write_all(NOT_FOUND).await?,
            Some(dialect) => {
                let body = buffer.get(..length).unwrap_or_default();
                let streams = memmem::find(body, b"\"stream\":true").or(memmem::find(line, b":stream")).is_some();
                answer(&mut socket, dialect, body, streams).await?;
            }
        }
        buffer.advance(length);
        drop(head); // so that `buffer` can be reused from its beginning
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(b"content-length:".len())?;
        let value = name.eq_ignore_ascii_case(b"content-length:").then_some(value)?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    })
}

async fn answer(socket: &mut TcpStream, dialect: &Dialect, body: &[u8], streams: bool) -> io::Result<()> {
    if !streams {
        return socket.write_all(&dialect.whole).await;
    }
    let pace = pace(body);
    socket.write_all(STREAM_HEAD).await?;
    for frame in &dialect.opening {
        socket.write_all(frame).await?;
    }
    let (before, after) = dialect.content;
    let plain = chunk(&format!("{before} token{after}"));
    for _ in 0..CONTENT_CHUNKS {
        if let Some(pace) = pace {
            tokio::time::sleep(pace).await;
            let sent = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
            socket.write_all(&chunk(&format!("{before}@{sent}{after}"))).await?;
        } else {
            socket.write_all(&plain).await?;
            tokio::task::yield_now().await; // the streams take turns, as those of many users do
        }
    }
    for frame in &dialect.closing {
        socket.write_all(frame).await?;
    }
    if let Some(usage) = &dialect.usage
        && memmem::find(body, b"\"include_usage\":true").is_some()
    {
        socket.write_all(usage).await?;
    }
    socket.write_all(&dialect.last).await?;
    socket.write_all(b"0\r\n\r\n").await
}

fn pace(body: &[u8]) -> Option<Duration> {
    let start = memmem::find(body, b"\":\"pace-")? + b"\":\"pace-".len();
    let digits = body.get(start..)?.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(Duration::from_millis)
}
