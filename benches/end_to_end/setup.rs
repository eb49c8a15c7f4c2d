//! How much is measured: in less than two minutes, in some, or all there is.

use std::path::PathBuf;
use std::time::Duration;

/// How long a run may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Hardly anything, to see that it works: what a test of all benches runs.
    Smoke,
    /// In less than two minutes: what the whole test suite runs.
    Quick,
    /// What a developer waits for.
    Ordinary,
    /// Up to 1 M live and 10 M closed cases.
    Full,
}

impl Mode {
    /// Returns the word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Ordinary => "ordinary",
            Self::Full => "full",
        }
    }
}

/// How much is measured.
pub(crate) struct Setup {
    /// The program under test.
    pub(crate) binary: PathBuf,
    /// The stripped static one, when it is at hand.
    pub(crate) static_binary: Option<PathBuf>,
    /// Where states lie.
    pub(crate) folder: PathBuf,
    /// How the run was started.
    pub(crate) command: String,
    /// How long it may take.
    pub(crate) mode: Mode,
    /// Rounds that count; one more comes first.
    pub(crate) rounds: usize,
    /// Time of one turn.
    pub(crate) slice: Duration,
    /// Live cases where no goal names a number.
    pub(crate) live: usize,
    /// Connections of P2.
    pub(crate) connections: usize,
}

impl Setup {
    /// Tells whether the run must be short.
    pub(crate) fn is_quick(&self) -> bool {
        matches!(self.mode, Mode::Smoke | Mode::Quick)
    }

    /// Returns the seconds after which a change is in a checkpoint: less than the service has by itself, so that
    /// every run has some.
    pub(crate) fn checkpoint_seconds(&self) -> u64 {
        if self.is_quick() { 1 } else { 10 }
    }

    /// Returns how many checkpoints a measurement of what lasts goes over.
    pub(crate) fn checkpoints(&self) -> f64 {
        if self.mode == Mode::Smoke { 0.0 } else { 2.0 }
    }

    /// Returns what the configuration of the services has in it.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("checkpoint_seconds", self.checkpoint_seconds().to_string())]
    }

    /// Returns the numbers of live cases.
    pub(crate) fn live_sizes(&self) -> &'static [usize] {
        match self.mode {
            Mode::Smoke | Mode::Quick => &[10_000],
            Mode::Ordinary => &[10_000, 100_000],
            Mode::Full => &[10_000, 100_000, 1_000_000],
        }
    }

    /// Returns the numbers of closed cases.
    pub(crate) fn closed_sizes(&self) -> &'static [usize] {
        match self.mode {
            Mode::Smoke | Mode::Quick => &[20_000],
            Mode::Ordinary => &[10_000, 100_000, 1_000_000],
            Mode::Full => &[10_000, 100_000, 1_000_000, 10_000_000],
        }
    }

    /// Returns the number of cases that are archived.
    pub(crate) fn archived_cases(&self) -> usize {
        match self.mode {
            Mode::Smoke | Mode::Quick => 20_000,
            Mode::Ordinary => 100_000,
            Mode::Full => 1_000_000,
        }
    }

    /// Returns the steps that P8 takes.
    pub(crate) fn written_steps(&self) -> u64 {
        match self.mode {
            Mode::Smoke | Mode::Quick => 200_000,
            Mode::Ordinary => 2_000_000,
            Mode::Full => 10_000_000,
        }
    }

    /// Returns the size of the disk that P8 is measured on.
    pub(crate) fn disk_bytes(&self) -> u64 {
        match self.mode {
            Mode::Smoke | Mode::Quick => 1 << 30,
            Mode::Ordinary => 8 << 30,
            Mode::Full => 24 << 30,
        }
    }

    /// Returns the time that P8 takes at most.
    pub(crate) fn written_time(&self) -> Duration {
        Duration::from_secs(match self.mode {
            Mode::Smoke | Mode::Quick => 6,
            Mode::Ordinary => 60,
            Mode::Full => 600,
        })
    }
}
