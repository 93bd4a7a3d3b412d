//! The program: on Lambda the Lambda front, elsewhere the command line. The one place that puts the parts together.

use std::io::Write as _;
#[cfg(feature = "server")]
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[cfg(feature = "server")]
use feathergate::cli;
#[cfg(feature = "server")]
use feathergate::config::check;
#[cfg(feature = "server")]
use feathergate::config::raw::Document;
use feathergate::config::resolve::{self, Resolved};
use feathergate::config::settings::Settings;
#[cfg(feature = "server")]
use feathergate::config::settings::StoreSettings;
#[cfg(feature = "server")]
use feathergate::front::server::{self, Reload, Stamps};
use feathergate::front::stores::{self, Means};
#[cfg(feature = "server")]
use feathergate::gateway::Exposure;
use feathergate::gateway::Gateway;
use feathergate::gateway::secrets::SecretSource;
use feathergate::observe;
use feathergate::upstream::client::{HttpUpstream, http_client};

#[cfg(feature = "server")]
const HELP: &str = "\
FeatherGate: an LLM gateway in one small binary.

Usage:
  feathergate [--config FILE] [--bind ADDRESS:PORT]   serve
  feathergate check FILE [--strict]                   say what each key of a configuration does here
  feathergate admin COMMAND                           keys, teams, usage, logs of a running gateway; admin --help lists all

Options:
  -c, --config FILE    the configuration; else $FEATHERGATE_CONFIG, else ./feathergate.yaml
  -b, --bind ADDRESS   where to listen; else $FEATHERGATE_BIND, else 127.0.0.1:8080
      --strict         check: exit with 2 when a key of the file would have no effect
  -h, --help           this text
  -V, --version        the version

Examples:
  feathergate --config config/demo.yaml
  feathergate --config my.yaml --bind 0.0.0.0:8080
  feathergate check my.yaml --strict

Exit codes: 0 all is well, 1 an error, 2 `check --strict` found something that would be lost.
On AWS Lambda (AWS_LAMBDA_RUNTIME_API is set) the program takes no arguments; FEATHERGATE_CONFIG names the file in the
package. Levels of the log: RUST_LOG (info, warn, error, off), on Lambda also AWS_LAMBDA_LOG_LEVEL.
";

#[cfg(feature = "server")]
/// What the command line asks for.
enum Command {
    Serve { config: Option<PathBuf>, bind: Option<String> },
    Check { config: Option<PathBuf>, strict: bool },
    Admin(Vec<std::ffi::OsString>),
    Print(String),
}

fn main() -> ExitCode {
    let outcome = if env("AWS_LAMBDA_RUNTIME_API").is_some() { lambda() } else { command() };
    outcome.unwrap_or_else(|message| {
        // Standard error may be closed; there is nobody else to tell.
        let _ = writeln!(std::io::stderr(), "{message}");
        ExitCode::FAILURE
    })
}

#[cfg(feature = "server")]
fn command() -> Result<ExitCode, String> {
    match parse() {
        Ok(Command::Print(text)) => {
            print(&text);
            Ok(ExitCode::SUCCESS)
        }
        Ok(Command::Check { config, strict }) => check(config, strict),
        Ok(Command::Serve { config, bind }) => serve(config, bind),
        Ok(Command::Admin(arguments)) => cli::run(arguments, &cli::Outside { env: &env }),
        Err(message) => Err(format!("{message}\n\n`feathergate --help` shows how to call it")),
    }
}

#[cfg(not(feature = "server"))]
fn command() -> Result<ExitCode, String> {
    Err("this build runs on AWS Lambda only; it has no server and no command line (feature `server`)".to_owned())
}

/// A variable of the environment, if it is set to something.
fn env(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let value = std::env::var(name);
    value.ok().filter(|value| !value.is_empty())
}

#[cfg(feature = "server")]
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(feature = "server")]
fn parse() -> Result<Command, String> {
    use lexopt::Arg::{Long, Short, Value};

    let mut arguments = lexopt::Parser::from_env();
    let (mut config, mut bind, mut checking, mut strict) = (None, None, false, false);
    while let Some(argument) = arguments.next().map_err(|error| error.to_string())? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Print(HELP.to_owned())),
            Short('V') | Long("version") => {
                return Ok(Command::Print(concat!("feathergate ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
            }
            Short('c') | Long("config") => {
                config = Some(PathBuf::from(arguments.value().map_err(|error| error.to_string())?));
            }
            Short('b') | Long("bind") => {
                let value = arguments.value().map_err(|error| error.to_string())?;
                bind = Some(value.to_string_lossy().into_owned());
            }
            Long("strict") => strict = true,
            Value(word) if word == "check" && !checking => checking = true,
            Value(word) if word == "admin" && !checking && config.is_none() && bind.is_none() && !strict => {
                return Ok(Command::Admin(arguments.raw_args().map_err(|error| error.to_string())?.collect()));
            }
            Value(file) if checking && config.is_none() => config = Some(PathBuf::from(file)),
            Value(file) if Path::new(&file).exists() => {
                let file = file.to_string_lossy();
                return Err(format!("`{file}` is no command; did you mean `--config {file}` or `check {file}`?"));
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    match (checking, strict, bind) {
        (true, _, Some(_)) => Err("`check` does not listen, so `--bind` means nothing to it".to_owned()),
        (true, strict, None) => Ok(Command::Check { config, strict }),
        (false, true, _) => Err("`--strict` belongs to `check`".to_owned()),
        (false, false, bind) => Ok(Command::Serve { config, bind }),
    }
}

/// The configuration's path: named, or one that is found.
fn config_path(named: Option<PathBuf>) -> Result<PathBuf, String> {
    if let Some(path) = named.or_else(|| env("FEATHERGATE_CONFIG").map(PathBuf::from)) {
        return Ok(path);
    }
    let here = PathBuf::from("feathergate.yaml");
    if here.exists() {
        return Ok(here);
    }
    Err("there is no configuration: name one with `--config FILE` or FEATHERGATE_CONFIG, or put a `feathergate.yaml` here; \
         `config/demo.yaml` needs no account"
        .to_owned())
}

#[cfg(feature = "server")]
fn check(config: Option<PathBuf>, strict: bool) -> Result<ExitCode, String> {
    let path = config_path(config)?;
    let document =
        Document::load(&path, &|path| std::fs::read_to_string(path)).map_err(|problems| problems.to_string())?;
    let report = check::report(&document, &env);
    print(&report.render());
    Ok(if report.has_errors() {
        ExitCode::FAILURE
    } else if strict && report.loses() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
}

#[cfg(feature = "server")]
fn serve(config: Option<PathBuf>, bind: Option<String>) -> Result<ExitCode, String> {
    let path = config_path(config)?;
    let bind = bind.or_else(|| env("FEATHERGATE_BIND")).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let address = address(&bind)?;
    observe::init(env("RUST_LOG").as_deref());
    let mut files = Vec::new();
    let settings = load(&path, &mut files)?;
    let seen = server::stamps(&files);
    let exposure = server::exposure(address);
    if exposure == Exposure::Public && unguarded(&settings) {
        return Err(needs_key(&bind));
    }
    let store = settings.store.clone();
    runtime(parallelism())?.block_on(async {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}; `--bind` takes another address"))?;
        let local = listener.local_addr().map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let gateway = gateway(settings, false).await?;
        if let Some(keeper) = gateway.keeper() {
            keeper.ready().await.map_err(|error| error.to_string())?;
        }
        let _ = writeln!(std::io::stderr(), "feathergate {} listening on http://{local}", env!("CARGO_PKG_VERSION"));
        let reload = FileReload { path, files, seen, exposure, store };
        server::serve(gateway, listener, exposure, reload).await.map_err(|error| format!("the server failed: {error}"))
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "server")]
fn address(bind: &str) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs as _;

    let bad = || format!("`{bind}` is no address to listen on; write it like `127.0.0.1:8080` or `0.0.0.0:8080`");
    let whole = if bind.starts_with(':') { format!("0.0.0.0{bind}") } else { bind.to_owned() };
    whole.to_socket_addrs().map_err(|_| bad())?.next().ok_or_else(bad)
}

#[cfg(feature = "server")]
/// Whether anybody who reaches it is served.
fn unguarded(settings: &Settings) -> bool {
    settings.master_key.is_none() && !settings.allow_unauthenticated
}

#[cfg(feature = "server")]
fn needs_key(bind: &str) -> String {
    format!(
        "others could reach `{bind}`, and the configuration has no master key, so anybody could spend your upstream keys. Set \
         `general_settings.master_key`, or bind to 127.0.0.1, or, if that is what you want, set \
         `feathergate: {{allow_unauthenticated: true}}`"
    )
}

/// Loads a configuration and says its warnings in the log. `files` are those that it was read from, also where that failed.
fn load(path: &Path, files: &mut Vec<PathBuf>) -> Result<Settings, String> {
    let resolved;
    (*files, resolved) = resolve::load(path, &env);
    let Resolved { settings, warnings } = resolved.map_err(|problems| problems.to_string())?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    Ok(settings)
}

fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// On one core tasks need not move between threads, which is cheaper.
fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, String> {
    let mut builder = if threads > 1 {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads);
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build().map_err(|error| format!("cannot start the runtime: {error}"))
}

async fn gateway(settings: Settings, lambda: bool) -> Result<Arc<Gateway>, String> {
    let client = http_client()?;
    let source = secret_source(&client);
    let means = Means {
        lambda,
        table: env("FEATHERGATE_TABLE"),
        http: &client,
        secrets: source.as_ref(),
        #[cfg(feature = "dynamodb")]
        place: place("AWS_ENDPOINT_URL_DYNAMODB"),
    };
    let keeper = stores::keeper(&settings, means).await?;
    let gateway = Gateway::new(settings, Arc::new(HttpUpstream::new(client)), source, lambda);
    if let Some(keeper) = keeper {
        gateway.keep(keeper);
    }
    Ok(gateway)
}

/// Where AWS is; `endpoint` names a service's own variable.
#[cfg(any(feature = "ssm", feature = "dynamodb"))]
fn place(endpoint: &str) -> feathergate::upstream::aws::Place {
    feathergate::upstream::aws::Place {
        region: env("AWS_REGION").or_else(|| env("AWS_DEFAULT_REGION")),
        endpoint: env(endpoint).or_else(|| env("AWS_ENDPOINT_URL")),
    }
}

#[cfg(feature = "ssm")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature there is none")]
fn secret_source(client: &reqwest::Client) -> Option<Arc<dyn SecretSource>> {
    use feathergate::front::aws::Ssm;

    let place = place("AWS_ENDPOINT_URL_SSM");
    Some(Arc::new(Ssm::new(place, client.clone())))
}

#[cfg(not(feature = "ssm"))]
fn secret_source(_: &reqwest::Client) -> Option<Arc<dyn SecretSource>> {
    None
}

#[cfg(feature = "server")]
/// Reads the file again. A bad one is refused, and so is one that would leave an open address unguarded.
struct FileReload {
    path: PathBuf,
    files: Vec<PathBuf>,
    seen: Stamps,
    exposure: Exposure,
    /// What was said of the store when it was opened.
    store: StoreSettings,
}

#[cfg(feature = "server")]
impl Reload for FileReload {
    fn changed(&mut self) -> bool {
        server::stamps(&self.files) != self.seen
    }

    fn reload(&mut self, gateway: &Gateway) {
        // Before reading: what is written meanwhile is a change.
        self.seen = server::stamps(&self.files);
        let before = self.files.clone();
        let loaded = load(&self.path, &mut self.files);
        if self.files != before {
            self.seen = server::stamps(&self.files);
        }
        match loaded {
            Ok(settings) if self.exposure == Exposure::Public && unguarded(&settings) => {
                tracing::error!("the new configuration is refused, the last one stays: it has no master key");
            }
            Ok(settings) => {
                for stays in stores::stays(&self.store, &settings.store) {
                    tracing::warn!("{stays}");
                }
                gateway.reload(settings);
                tracing::info!("the configuration was read again");
            }
            Err(problems) => tracing::error!("the new configuration is refused, the last one stays: {problems}"),
        }
    }
}

#[cfg(feature = "lambda")]
fn lambda() -> Result<ExitCode, String> {
    use feathergate::front::lambda::{self, Mode};

    observe::init(env("RUST_LOG").or_else(|| env("AWS_LAMBDA_LOG_LEVEL")).map(|level| level.to_lowercase()).as_deref());
    let mode = match env("FEATHERGATE_RESPONSE").as_deref() {
        None | Some("streamed") => Mode::Streamed,
        Some("buffered") => Mode::Buffered,
        Some(_) => return Err("FEATHERGATE_RESPONSE must be `streamed` or `buffered`".to_owned()),
    };
    let settings = load(&config_path(None)?, &mut Vec::new())?;
    let parallel = env("AWS_LAMBDA_MAX_CONCURRENCY").and_then(|value| value.parse::<usize>().ok()).unwrap_or(1);
    runtime(if parallel > 1 { parallelism() } else { 1 })?.block_on(async {
        let gateway = gateway(settings, true).await?;
        lambda::run(gateway, mode).await.map_err(|error| format!("the Lambda runtime failed: {error}"))
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(not(feature = "lambda"))]
fn lambda() -> Result<ExitCode, String> {
    Err("this build has no Lambda front (feature `lambda`)".to_owned())
}
