//! Messages that people and scripts search the log for; they stay as they are.
//!
//! `journalctl -u knhk | grep -i "tick\|performance\|slow"` must find what is slow, hence `slow` or `tick` in those.
//! Use them as `tracing::warn!(ticks, "{}", words::SLOW_STEPS)`.

#![expect(clippy::doc_markdown, reason = "these sentences are also shown to people, outside Markdown")]

use super::logs::LogLevel;

/// One message: its text, its level, and when it is written.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// The text after `error: ` or `warning: `.
    pub text: &'static str,
    /// The level it is written at.
    pub level: LogLevel,
    /// When it is written.
    pub when: &'static str,
}

/// Writes one constant for each message and the list of all.
macro_rules! words {
    ($($constant:ident: $level:ident, $text:literal, $when:literal;)+) => {
        $(#[doc = $when] pub const $constant: &str = $text;)+
        /// All messages, in the order of the documentation.
        pub const ALL: &[Words] = &[$(Words { text: $text, level: LogLevel::$level, when: $when },)+];
    };
}

words! {
    STARTING: Info, "starting", "The program begins to open its state.";
    READY: Info, "ready", "Requests are answered from now on.";
    STOPPING: Info, "stopping", "A signal was received; requests under way are finished.";
    STOPPED: Info, "stopped", "Everything acknowledged is durable and all threads have ended.";
    SPECIFICATION_REGISTERED: Info, "specification registered", "A new version of a specification is stored.";
    CASE_INCIDENT: Warning, "case became an incident", "A case cannot go on by itself.";
    SLOW_STEPS: Warning, "slow steps: ticks a step are above the budget", "Waves of 64 and more steps took more than hot_path_max_ticks a step.";
    SLOW_COMMIT: Warning, "slow commit: the disk took long", "One commit took longer than warm_path_timeout_ms.";
    CORES_NOT_PINNED: Warning, "cores not pinned: performance will vary", "The system refused to pin hot threads.";
    MEMORY_NOT_LOCKED: Warning, "memory not locked: performance will vary", "The system refused to lock memory; raise LimitMEMLOCK.";
    DISK_LOW: Warning, "disk is below its reserve, no changes are taken", "Free space fell below disk_reserve_mb.";
    READ_ONLY: Error, "journal is not writable, no changes are taken", "A write or sync failed; it is tried again by itself.";
    WRITABLE: Info, "changes are taken again", "The journal can be written again.";
    STATE_DAMAGED: Error, "state is damaged", "Stored bytes are not what was written.";
    ENVIRONMENT_REBUILT: Warning, "working environment is made anew from the journal", "It was missing, old or damaged; nothing is lost.";
    ACCEPT_FAILED: Warning, "connections cannot be accepted, trying again", "Mostly too many open files; raise LimitNOFILE.";
    REMOTE_CHANGE: Info, "remote change", "A request from another machine that may change something was answered; its token, route, status and address are beside it.";
    REMOTE_REFUSED: Warning, "remote request refused", "A request from another machine showed no token, a wrong one, or one that may not do this; at most one line a second without a good token.";
    LINES_DROPPED: Warning, "log lines dropped", "More than log_lines_per_second_max lines in one second.";
}
