//! The environment variables that mean something here, read once.

#![expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the environment says. An empty variable counts as not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `KNHK_CONFIG`: one file in place of those under /etc.
    pub config: Option<PathBuf>,
    /// `KNHK_LOG`: overrides `log_level`.
    pub log: Option<String>,
    /// `KNHK_NO_PROGRESS`: no progress lines.
    pub no_progress: bool,
    /// `NO_COLOR`: no colours.
    pub no_color: bool,
    /// `TERM`: no colours when `dumb`.
    pub term: Option<String>,
    /// `JOURNAL_STREAM`: device and inode of the journal's stream, set by systemd.
    pub journal_stream: Option<String>,
}

impl Environment {
    /// Returns the environment of this process.
    pub fn read() -> Self {
        Self {
            config: variable("KNHK_CONFIG").map(PathBuf::from),
            log: words("KNHK_LOG"),
            no_progress: variable("KNHK_NO_PROGRESS").is_some(),
            no_color: variable("NO_COLOR").is_some(),
            term: words("TERM"),
            journal_stream: words("JOURNAL_STREAM"),
        }
    }
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn words(name: &str) -> Option<String> {
    variable(name).map(|value| value.to_string_lossy().into_owned())
}
