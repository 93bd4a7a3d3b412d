//! `feathergate admin …`: the administration of a gateway, over HTTP, for people and for scripts.
//!
//! One table (`commands`) says which commands there are and what each takes; parsing and `--help` come from it. What a command
//! asks for is checked by the gateway, which names the field that is wrong; here only what has no form at all is refused.

mod call;
mod commands;
mod keyfile;
mod parse;
mod reports;
mod session;
mod settings;
mod show;
mod work;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use parse::Parsed;

/// What the command line takes from outside.
pub struct Outside<'a> {
    /// Variables of the environment that are set to something.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// Runs what stands behind `feathergate admin`.
///
/// # Errors
/// One sentence or more for a person.
pub fn run(arguments: Vec<OsString>, outside: &Outside<'_>) -> Result<ExitCode, String> {
    let parsed = match parse::parse(arguments)? {
        Parsed::Help(text) => {
            print(&text);
            return Ok(ExitCode::SUCCESS);
        }
        Parsed::Command(parsed) => parsed,
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(work::run(&parsed, outside))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output, which may be closed.
fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Writes a line to standard error, which may be closed.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
