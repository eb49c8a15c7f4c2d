//! What can go wrong with a command, apart from what the service or the configuration say themselves.

use std::io;
use std::path::PathBuf;

use serde_json::Value;

use super::problem::Problem;
use crate::error::{Code, Kind};
use crate::{api, backup, config, engine, perf, store};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line cannot be understood.
    #[error("{message}")] // KN0650
    Usage {
        /// What is wrong with it.
        message: String,
        /// The command to ask for help.
        command: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// Nothing listens at the socket.
    #[error("no service answers at {}", socket.display())] // KN0651
    NoService {
        /// The socket of the configuration.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file could not be read.
    #[error("could not read {}", path.display())] // KN0652
    Read {
        /// The file, `-` for standard input.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The answer could not be written.
    #[error("could not write the answer")] // KN0653
    Write(#[source] io::Error),
    /// The service took longer than the limit.
    #[error("the service did not answer within {limit_ms} ms; what was asked may still happen")]
    // KN0654
    TimedOut {
        /// The limit: `client_timeout_ms`.
        limit_ms: u64,
    },
    /// What came back is not an answer of the service.
    #[error("the answer cannot be understood: {what}")] // KN0655
    Answer {
        /// What is wrong with it.
        what: String,
    },
    /// The answer is larger than a command takes.
    #[error("the answer is larger than {limit_bytes} bytes")] // KN0656
    AnswerTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The connection ended before the answer did.
    #[error("the service ended the connection before its answer; what was asked may still happen")]
    // KN0657
    BrokenOff,
    /// There is no page for this code.
    #[error("there is no error code {code:?}")] // KN0658
    NoPage {
        /// As typed.
        code: String,
    },
    /// Many things would change, and nobody agreed to it.
    #[error("{what} needs --yes")] // KN0659
    NotAgreed {
        /// What would happen.
        what: String,
    },
    /// At least one specification is refused.
    #[error("{refused} of {files} refused")] // KN0660
    Refused {
        /// Files with mistakes.
        refused: usize,
        /// All files.
        files: usize,
    },
    /// The data is not what a case takes.
    #[error("the data is not a JSON object: {what}")] // KN0661
    Data {
        /// What is wrong with it.
        what: String,
    },
    /// Some of many could not be changed.
    #[error("{failed} of {total} could not be changed")] // KN0662
    Partly {
        /// How many could not.
        failed: usize,
        /// How many were tried.
        total: usize,
    },
    /// This user may not use the socket.
    #[error("this user may not use {}", socket.display())] // KN0663
    NotAllowed {
        /// The socket of the configuration.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is larger than the service takes.
    #[error("{} is larger than {limit_bytes} bytes", path.display())] // KN0664
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit: `body_bytes_max`.
        limit_bytes: u64,
    },
    /// The state is damaged.
    #[error("{count} findings: the state is damaged")] // KN0665
    NotVerified {
        /// How many things are wrong.
        count: usize,
    },
    /// The service cannot do its work.
    #[error("the service cannot do its work: {reasons}")] // KN0669
    NotHealthy {
        /// Why, joined.
        reasons: String,
    },
    /// A case that was read out of a backup cannot be given to the service.
    #[error("case {case} cannot be restored by itself: {reason}")] // KN0691
    HistoryTooLarge {
        /// Its id.
        case: String,
        /// Why.
        reason: String,
    },
    /// The histories of cases are damaged.
    #[error("the histories of {count} cases are damaged")] // KN0690
    DamagedCases {
        /// How many.
        count: usize,
    },
    /// The hot path takes longer than its budget.
    #[error("the hot path is over its budget of {limit} ticks a step")] // KN0667
    OverBudget {
        /// The budget: `hot_path_max_ticks`.
        limit: u64,
    },
    /// Nothing could be measured.
    #[error(transparent)]
    Measure(#[from] perf::durable::Error),
    /// Something costs the service speed.
    #[error("something costs the service speed: {count} found")] // KN0680
    Found {
        /// How many things.
        count: usize,
    },
    /// A file could not be written.
    #[error("could not write {}", path.display())] // KN0681
    Save {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system refused something that the program needs.
    #[error("cannot {what}")] // KN0666
    System {
        /// What, as a verb.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Root would make files in a state that the unit could not use.
    #[error("{} does not belong to {wanted}, whom the service runs as: root makes no files in it", state_dir.display())]
    // KN0534
    StateOfAnother {
        /// The folder of the state.
        state_dir: PathBuf,
        /// User and group of the service.
        wanted: String,
        /// What to do once the folder belongs to them.
        next: &'static str,
    },
    /// The service cannot listen.
    #[error(transparent)]
    Api(#[from] api::Error),
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] engine::running::Error),
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A backup was not made, is not good, or was not restored.
    #[error(transparent)]
    Backup(#[from] backup::Error),
    /// The service refused, in its own words and with its own code.
    #[error("{0}")]
    Service(Box<Problem>),
    /// The configuration is invalid.
    #[error(transparent)]
    Configuration(#[from] config::Error),
}

impl Error {
    /// Returns the error of a command line whose parts do not go together.
    pub(super) fn usage(message: impl Into<String>, command: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), command: command.into(), nearest: None }
    }

    /// Returns how to make an error of what the system said when `what` was tried.
    pub(super) fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { what, source: error.into() }
    }

    /// Returns the permanent code; `None` for an answer that brought none.
    pub fn code(&self) -> Option<Code> {
        let number = match self {
            Self::Usage { .. } => 650,
            Self::NoService { .. } => 651,
            Self::Read { .. } => 652,
            Self::Write(_) => 653,
            Self::TimedOut { .. } => 654,
            Self::Answer { .. } => 655,
            Self::AnswerTooLarge { .. } => 656,
            Self::BrokenOff => 657,
            Self::NoPage { .. } => 658,
            Self::NotAgreed { .. } => 659,
            Self::Refused { .. } => 660,
            Self::Data { .. } => 661,
            Self::Partly { .. } => 662,
            Self::NotAllowed { .. } => 663,
            Self::FileTooLarge { .. } => 664,
            Self::NotVerified { .. } => 665,
            Self::System { .. } => 666,
            Self::OverBudget { .. } => 667,
            Self::DamagedCases { .. } => 690,
            Self::HistoryTooLarge { .. } => 691,
            Self::Measure(_) => 668,
            Self::Found { .. } => 680,
            Self::Save { .. } => 681,
            Self::NotHealthy { .. } => 669,
            Self::StateOfAnother { .. } => 534,
            Self::Api(error) => return Some(error.code()),
            Self::Engine(error) => return Some(error.code()),
            Self::Store(error) => return Some(error.code()),
            Self::Backup(error) => return Some(error.code()),
            Self::Service(problem) => return problem.code,
            Self::Configuration(error) => return Some(error.code()),
        };
        Some(Code(number))
    }

    /// Returns what it means outside.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Usage { .. } | Self::NotAgreed { .. } => Kind::Usage,
            Self::NoService { .. } | Self::NotAllowed { .. } => Kind::Unavailable,
            Self::Read { .. }
            | Self::Write(_)
            | Self::System { .. }
            | Self::Measure(_)
            | Self::Save { .. } => Kind::Io,
            Self::TimedOut { .. } | Self::BrokenOff => Kind::Unknown,
            Self::Answer { .. } | Self::AnswerTooLarge { .. } => Kind::Internal,
            Self::NoPage { .. } => Kind::NotFound,
            Self::Refused { .. } => Kind::Unacceptable,
            Self::Data { .. } => Kind::Invalid,
            Self::Partly { .. } | Self::OverBudget { .. } | Self::Found { .. } | Self::NotHealthy { .. } => {
                Kind::Conflict
            }
            Self::FileTooLarge { .. } | Self::HistoryTooLarge { .. } => Kind::TooLarge,
            Self::NotVerified { .. } | Self::DamagedCases { .. } => Kind::Corrupt,
            Self::StateOfAnother { .. } => Kind::Configuration,
            Self::Api(error) => error.kind(),
            Self::Engine(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Backup(error) => error.kind(),
            Self::Service(problem) => problem.kind,
            Self::Configuration(error) => error.kind(),
        }
    }

    /// Returns what to do about it, where that is not obvious.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { command, nearest: None, .. } => Some(format!("{command} --help")),
            Self::Usage { command, nearest: Some(nearest), .. } => {
                Some(format!("nearest is {nearest}; {command} --help"))
            }
            Self::NoService { .. } => Some("systemctl status knhk, or knhk serve".to_owned()),
            Self::NotAllowed { .. } => Some("use sudo, or join the group knhk".to_owned()),
            Self::TimedOut { .. } | Self::BrokenOff => {
                Some("look with knhk workflow list, or ask again with the same key".to_owned())
            }
            Self::NoPage { .. } => Some("a code is KN and four digits".to_owned()),
            Self::FileTooLarge { .. } => Some("body_bytes_max sets the limit".to_owned()),
            Self::OverBudget { .. } => Some(
                "a shared or throttled core is the usual cause: knhk performance analyze tells".to_owned(),
            ),
            Self::HistoryTooLarge { .. } => {
                Some("restore the whole state: knhk backup restore FILE".to_owned())
            }
            Self::Measure(_) => Some("look at the disk that holds state_dir: df -h, dmesg".to_owned()),
            Self::Found { .. } => Some("each finding above names what to change".to_owned()),
            Self::DamagedCases { .. } => Some(
                "knhk workflow restore --case-id ID --from-backup FILE; knhk backup list shows the files"
                    .to_owned(),
            ),
            Self::NotVerified { .. } => Some("knhk explain CODE tells of each finding what to do".to_owned()),
            Self::Api(error) => error.hint(),
            Self::StateOfAnother { next, .. } => Some(format!("sudo knhk config fix, then {next}")),
            Self::NotHealthy { .. } => Some("journalctl -u knhk tells when it began".to_owned()),
            Self::Store(error) => Some(format!("knhk explain {}", error.code())),
            Self::Backup(error) => Some(error.hint()),
            Self::Engine(error) => Some(format!("knhk explain {}", error.code())),
            Self::Service(problem) => problem.hint.clone(),
            Self::Configuration(error) => error.hint(),
            _ => None,
        }
    }

    /// Returns the single mistakes that this error sums up.
    pub fn mistakes(&self) -> Vec<Value> {
        match self {
            Self::Service(problem) => problem.mistakes.clone(),
            Self::Backup(error) => super::backup::findings(error),
            Self::Configuration(error) => error
                .mistakes()
                .iter()
                .map(|mistake| {
                    serde_json::json!({
                        "code": mistake.code.to_string(),
                        "file": mistake.file,
                        "line": mistake.line,
                        "message": mistake.message,
                        "hint": mistake.hint,
                    })
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}
