//! The session of a login, kept in a file that its owner alone can read.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Outside;

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) url: String,
    pub(super) token: String,
    pub(super) expires_at: String,
}

/// Where it is kept: `feathergate/session.json` in `$XDG_CONFIG_HOME` or `~/.config`.
fn place(outside: &Outside<'_>) -> Option<PathBuf> {
    let folder = (outside.env)("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = folder.or_else(|| Some(PathBuf::from((outside.env)("HOME")?).join(".config")))?;
    Some(folder.join("feathergate").join("session.json"))
}

impl Session {
    /// The one that is kept, if there is one that can be read.
    pub(super) fn load(outside: &Outside<'_>) -> Option<Self> {
        let text = fs::read_to_string(place(outside)?).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Keeps it, in place of one that was.
    pub(super) fn save(&self, outside: &Outside<'_>) -> Result<PathBuf, String> {
        let path = place(outside).ok_or("there is no place to keep the session: set HOME or XDG_CONFIG_HOME")?;
        let failed = |error: std::io::Error| format!("cannot keep the session in {}: {error}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let text = serde_json::to_string(self).map_err(|error| error.to_string())?;
        // A new file, so that nobody who has an old one open, or may read it, sees the token; then in its place at once.
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        private(&new).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
        fs::rename(&new, &path).map_err(failed)?;
        Ok(path)
    }

    /// Forgets the one that is kept.
    pub(super) fn forget(outside: &Outside<'_>) {
        if let Some(path) = place(outside) {
            let _ = fs::remove_file(path);
        }
    }
}

/// A new file of its owner's alone.
fn private(path: &Path) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}
