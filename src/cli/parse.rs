//! The words and flags of a command, and its help.

use std::ffi::OsString;
use std::fmt::Write as _;

use super::commands::{COMMANDS, COMMON, Command, Flag, Value};
use crate::route::nearest;

/// What a command line asks for.
pub(super) enum Parsed {
    Help(String),
    Command(Line),
}

/// A command line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) command: &'static Command,
    /// What is named beside the flags.
    pub(super) names: Vec<String>,
    pub(super) flags: Vec<(&'static Flag, String)>,
}

impl Line {
    /// The value of a flag.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(flag, _)| flag.name == name).map(|(_, value)| value.as_str())
    }
}

/// Reads what stands behind `feathergate admin`.
///
/// # Errors
/// What is wrong, and what would be right.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Parsed, String> {
    use lexopt::Arg;

    let mut parser = lexopt::Parser::from_args(arguments);
    let mut words: Vec<String> = Vec::new();
    let mut flags: Vec<(String, Option<String>)> = Vec::new();
    let mut help = false;
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => help = true,
            Arg::Short(short) => {
                return Err(format!("there is no flag `-{short}`; flags are written out, as `--json`"));
            }
            Arg::Long(name) => {
                let name = name.to_owned();
                let known = every_flag().find(|flag| flag.name == name).ok_or_else(|| unknown(&name, every_flag()))?;
                let value = if known.value == Value::Switch {
                    None
                } else {
                    let value = parser.value().map_err(|_| format!("`--{name}` needs a value: {}", known.doc))?;
                    Some(value.into_string().map_err(|_| format!("the value of `--{name}` is not UTF-8"))?)
                };
                flags.push((name, value));
            }
            Arg::Value(word) => words.push(word.into_string().map_err(|_| "an argument is not UTF-8".to_owned())?),
        }
    }
    let begins = |command: &&Command| {
        words.iter().map(String::as_str).take(command.words.len()).eq(command.words.iter().copied())
    };
    let Some(command) = COMMANDS.iter().find(begins) else {
        return if help || words.is_empty() {
            Ok(Parsed::Help(overview(words.first())))
        } else {
            Err(no_command(&words))
        };
    };
    if help {
        return Ok(Parsed::Help(help_of(command)));
    }
    let names: Vec<String> = words.into_iter().skip(command.words.len()).collect();
    let (least, most) = command.count;
    let name = command.words.join(" ");
    if names.len() < least {
        return Err(format!("`{name}` has to be told: {}", command.takes));
    }
    if let Some(more) = names.get(most) {
        let takes = if command.takes.is_empty() { "nothing" } else { command.takes };
        return Err(format!("`{name}` takes {takes} beside flags, so `{more}` is one too many"));
    }
    let mut own: Vec<(&'static Flag, String)> = Vec::new();
    for (flag, value) in flags {
        let known = own_flags(command).find(|known| known.name == flag);
        let known = known.ok_or_else(|| format!("{} for `{name}`", unknown(&flag, own_flags(command))))?;
        if own.iter().any(|(other, _)| other.name == flag) {
            return Err(format!("`--{flag}` comes twice"));
        }
        own.push((known, value.unwrap_or_else(|| "true".to_owned())));
    }
    Ok(Parsed::Command(Line { command, names, flags: own }))
}

fn own_flags(command: &'static Command) -> impl Iterator<Item = &'static Flag> {
    command.flags.iter().flat_map(|flags| flags.iter()).chain(&COMMON)
}

fn every_flag() -> impl Iterator<Item = &'static Flag> {
    COMMANDS.iter().flat_map(|command| command.flags.iter()).flat_map(|flags| flags.iter()).chain(&COMMON)
}

fn unknown(name: &str, flags: impl Iterator<Item = &'static Flag>) -> String {
    let near = nearest(name, flags.map(|flag| flag.name));
    let near = near.map(|near| format!(" (is it `--{near}`?)")).unwrap_or_default();
    format!("there is no flag `--{name}`{near}")
}

fn no_command(words: &[String]) -> String {
    let first = words.first().map(String::as_str).unwrap_or_default();
    let group: Vec<&str> = COMMANDS
        .iter()
        .filter(|command| command.words.first() == Some(&first))
        .filter_map(|command| command.words.get(1).copied())
        .collect();
    if group.is_empty() {
        let near = nearest(first, COMMANDS.iter().filter_map(|command| command.words.first().copied()));
        let near = near.map(|near| format!("; is it `{near}`?")).unwrap_or_default();
        return format!("there is no command `admin {first}`{near}; `feathergate admin --help` lists them");
    }
    let said = words.get(1).map(|word| format!("there is no `{word}` of `{first}`: ")).unwrap_or_default();
    format!("{said}`{first}` is followed by {}", group.join(", "))
}

/// The help of all commands, or of those that begin with a word.
fn overview(word: Option<&String>) -> String {
    let mut text = "Administration of a running gateway.\n\nUsage:\n".to_owned();
    let own = |command: &&Command| word.is_none_or(|word| command.words.first() == Some(&word.as_str()));
    let shown: Vec<&Command> = COMMANDS.iter().filter(own).collect();
    let shown = if shown.is_empty() { COMMANDS.iter().collect() } else { shown };
    for command in shown {
        let line = format!("feathergate admin {} {}", command.words.join(" "), command.takes);
        let _ = writeln!(text, "  {:44} {}", line.trim_end(), command.about);
    }
    text.push_str("\nEach takes --help, and:\n");
    list(&mut text, &COMMON);
    text.push_str(
        "\nA KEY is its secret, its hash, its id or its alias. Who has the master key puts it into $FEATHERGATE_MASTER_KEY;\n\
         others log in, once an `admins add` has registered their public key.\n\n\
         Examples:\n  \
         feathergate admin login --key ~/.ssh/id_ed25519 --url https://gateway.example.com\n  \
         feathergate admin keys create --alias app --budget 10 --period 30d --models fast,smart\n  \
         feathergate admin usage --by key --since 7d\n",
    );
    text
}

fn help_of(command: &'static Command) -> String {
    let flags: Vec<&Flag> = command.flags.iter().flat_map(|flags| flags.iter()).collect();
    let takes = if command.takes.is_empty() { String::new() } else { format!(" {}", command.takes) };
    let mut text =
        format!("feathergate admin {}{takes} [FLAGS]: {}.\n\nFlags:\n", command.words.join(" "), command.about);
    list(&mut text, flags);
    list(&mut text, &COMMON);
    text
}

fn list<'a>(text: &mut String, flags: impl IntoIterator<Item = &'a Flag>) {
    for flag in flags {
        let value = match flag.value {
            Value::Text => " TEXT",
            Value::Number => " NUMBER",
            Value::List => " A,B",
            Value::Json => " JSON",
            Value::Switch => "",
        };
        let _ = writeln!(text, "  --{:24} {}", format!("{}{value}", flag.name), flag.doc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, String> {
        match parse(text.split(' ').map(OsString::from).collect())? {
            Parsed::Command(line) => Ok(line),
            Parsed::Help(text) => Err(format!("HELP {text}")),
        }
    }

    #[test]
    fn flags_and_words_come_in_any_order() {
        let line = line("keys update app --budget 10 --json --models a,b").unwrap();
        assert_eq!(line.command.words, ["keys", "update"]);
        assert_eq!(line.names, ["app"]);
        let flags = ["budget", "models", "json", "rpm"].map(|name| line.flag(name));
        assert_eq!(flags, [Some("10"), Some("a,b"), Some("true"), None]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, want) in [
            ("keys", "`keys` is followed by list, show, create, update, block, unblock, rotate, delete"),
            ("keys lst", "there is no `lst` of `keys`"),
            ("kyes list", "is it `keys`?"),
            ("keys show", "`keys show` has to be told: KEY"),
            ("keys show a b", "so `b` is one too many"),
            ("keys list --bugdet 1", "there is no flag `--bugdet` (is it `--budget`?)"),
            ("keys list --budget 1", "there is no flag `--budget` for `keys list`"),
            ("keys create --budget", "`--budget` needs a value"),
            ("keys create --budget 1 --budget 2", "`--budget` comes twice"),
            ("keys list -x", "there is no flag `-x`"),
        ] {
            let told = line(text).unwrap_err();
            assert!(told.contains(want), "{text}: {told}");
        }
    }

    #[test]
    fn every_command_has_its_help_and_no_flag_twice() {
        for command in &COMMANDS {
            let text = format!("{} --help", command.words.join(" "));
            let told = line(&text).unwrap_err();
            assert!(told.starts_with("HELP") && told.contains(command.about), "{text}");
            let names: Vec<&str> = own_flags(command).map(|flag| flag.name).collect();
            for (place, name) in names.iter().enumerate() {
                assert!(!names.iter().skip(place + 1).any(|other| other == name), "{text}: --{name}");
            }
        }
        assert!(line("--help").unwrap_err().contains("audit"));
        assert!(!line("keys --help").unwrap_err().contains("teams list"));
        // A flag of one name takes a value in all commands or in none: it is read before the command is known.
        for flag in every_flag() {
            let switch = |flag: &Flag| flag.value == Value::Switch;
            assert!(
                every_flag().all(|other| other.name != flag.name || switch(other) == switch(flag)),
                "{}",
                flag.name
            );
        }
    }
}
