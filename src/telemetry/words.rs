//! Messages that people and scripts search the log for; they stay as they are.
//!
//! Every event at warning or above begins with one of these texts, and `tests/it/logs/words.rs` reads the sources for
//! it: `tracing::warn!(ticks, "{}", words::SLOW_STEPS)`. What is known only then follows after a colon.
//! `journalctl -u knhk | grep -i "tick\|performance\|slow"` must find what is slow, hence one of these words in those;
//! no message below a warning has `error` or `warn` in it, so that nobody is alarmed by a healthy service.

#![expect(clippy::doc_markdown, reason = "these sentences are also shown to people, outside Markdown")]

use super::logs::LogLevel;

/// One message: its text, its level, when it is written, and what a person does then.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// The text after `error: ` or `warning: `.
    pub text: &'static str,
    /// The level it is written at.
    pub level: LogLevel,
    /// When it is written.
    pub when: &'static str,
    /// What to do; empty below a warning.
    pub what_to_do: &'static str,
}

/// Writes one constant for each message and the list of all. What to do is missing below a warning.
macro_rules! words {
    ($($constant:ident: $level:ident, $text:literal, $when:literal $(, $what_to_do:literal)?;)+) => {
        $(#[doc = $when] pub const $constant: &str = $text;)+
        /// All messages, in the order of the documentation.
        pub const ALL: &[Words] = &[
            $(Words {
                text: $text,
                level: LogLevel::$level,
                when: $when,
                what_to_do: concat!("" $(, $what_to_do)?),
            },)+
        ];
    };
}

words! {
    STARTING: Info, "starting", "The program begins to open its state.";
    SERVES_AS_OWNER: Info, "root became the owner of the state", "Root started the service by hand: what it makes belongs to the user beside it.";
    SERVES_AS_ROOT: Info, "root serves: all that is made is root's own", "Root started the service, and the state folder is root's, or is made in a folder of root's.";
    NEW_STORE: Info, "a new store was made", "There was no state yet.";
    OPENING: Info, "the state is being opened", "Opening takes long; fields say how far it is.";
    OPENED_NOTE: Info, "opened the state", "Something about the state as it was found, nothing that needs a person.";
    READY: Info, "ready", "Requests are answered from now on.";
    STOPPING: Info, "stopping", "A signal was received; requests under way are finished.";
    STOPPED: Info, "stopped", "Everything acknowledged is durable and all threads have ended.";
    CONFIG_CHANGED: Info, "the configuration changed", "It was read again, by SIGHUP or for `knhk config set`; a line for each key.";
    CONFIG_SAME: Info, "the configuration was read again: nothing has changed", "By SIGHUP or for `knhk config set`.";
    SPECIFICATION_REGISTERED: Info, "specification registered", "A new version of a specification is stored.";
    WRITABLE: Info, "changes are taken again", "The journal can be written again, or the disk has space again.";
    CLOCK_RIGHT: Info, "the clock is right again, or believed", "A jump of the clock is over.";
    ENVIRONMENT_READY: Info, "the working environment is whole again", "It was made anew.";
    ENVIRONMENT_SMALLER: Info, "the working environment was half free and is smaller now", "Its file was copied into a smaller one.";
    SNAPSHOT_WRITTEN: Info, "a snapshot was written", "By itself or by `knhk state snapshot`.";
    HISTORY_WRITTEN: Info, "history was written", "Complete segments of the journal were sorted by case and compressed.";
    ARCHIVED: Info, "cases were archived", "By `knhk workflow archive`, or by themselves with archive_after_days.";
    HISTORY_SMALLER: Info, "history was written anew without archived cases", "Enough of a file had gone, and its grace is over.";
    FILE_GONE: Info, "a file that is no longer needed went", "Its grace is over.";
    KEPT_AGAIN: Info, "history and snapshots are written again", "They could not be kept before.";
    UPGRADED: Info, "the store was upgraded; the release before cannot read it", "By `knhk state upgrade`.";
    COLLECTOR_BACK: Info, "collector is back", "Spans and figures are sent again.";
    REMOTE_READY: Info, "other machines are served", "remote_listen is set; the fingerprint of the certificate is beside it.";
    REMOTE_CHANGE: Info, "remote change", "A request with a token that may change something was answered; its token, route, status and address are beside it. Part of the audit trail: written whatever log_level says, and not counted in log_lines_per_second_max.";
    CASE_INCIDENT: Warning, "cases became incidents", "At most once a second: so many cases, or items of them, cannot go on by themselves.", "`knhk workflow list --state incident`, `knhk workflow get ID` tells why; mend it, then `knhk workflow retry ID`.";
    SLOW_STEPS: Warning, "slow hot path: ticks a step are above the budget", "At most once a minute: waves of 64 and more steps took more than hot_path_max_ticks a step.", "`knhk performance benchmark`; look who shares the hot core, and whether cores are pinned and memory is locked.";
    SLOW_COMMIT: Warning, "slow commit: the disk took long", "At most once a minute: commits took longer than warm_path_timeout_ms, so clients heard that the outcome is unknown.", "Look what else writes to the disk (`iostat -x 1`); put state_dir on a faster one, or raise warm_path_timeout_ms.";
    CORES_NOT_PINNED: Warning, "cores not pinned: performance will vary", "The system refused to pin a hot thread to its core.", "Look at hot_path_cores and at CPUAffinity or AllowedCPUs of the unit.";
    MEMORY_NOT_LOCKED: Warning, "memory not locked: performance will vary", "The system refused to lock hot memory.", "Raise LimitMEMLOCK (`systemctl edit knhk`) and restart.";
    FILE_LIMIT_KEPT: Warning, "cannot raise the limit on open files", "The system refused to raise the soft limit to the hard one.", "Raise LimitNOFILE of the unit and restart.";
    FEW_FILES: Warning, "the limit on open files is low: fewer connections are taken", "Half of it is less than the service takes connections.", "Raise LimitNOFILE of the unit and restart, if so many connections are needed.";
    ACCEPT_FAILED: Warning, "connections cannot be accepted, trying again", "At most once a minute: mostly there are too many open files.", "Raise LimitNOFILE, or find the client that keeps so many connections (`ss -tnp`).";
    KEYS_FULL: Warning, "no new idempotency keys are taken", "idempotency_keys_max is reached, or one caller has as many as it may, which is three times as many as are free; requests with a new key are refused until the oldest are forgotten after idempotency_hours.", "Raise idempotency_keys_max or lower idempotency_hours (`knhk config set`, `systemctl reload knhk`); clients that need no repeats may leave the key out.";
    CLOCK_AHEAD: Warning, "the clock jumped ahead", "The wall clock is more than a minute ahead; that is believed once it has lasted two minutes.", "Look at the time server; `timedatectl` tells how it stands.";
    CLOCK_BEHIND: Warning, "the clock was set back; time goes on without it", "The wall clock is behind the time that was told.", "Look at the time server; nothing is lost, and times go on.";
    STATE_MENDED: Warning, "the state was mended", "The service found something at the start that it could mend by itself; the line says what.", "Read what it says; `knhk state verify` tells whether all is well now.";
    ENVIRONMENT_REBUILT: Warning, "working environment is made anew from the journal", "It was missing, old or damaged; nothing is lost, but it takes time.", "Nothing. If it comes again without a crash, check the disk and memory of the machine.";
    FILE_DAMAGED: Warning, "a file of the state is damaged", "A history file or snapshot is not what was written. What it covers stays, and it is written anew where it can be.", "`knhk state verify` tells what is concerned; make a backup, then check the disk.";
    NOT_ARCHIVED: Warning, "cases cannot be archived, trying again", "archive_after_days is set, and writing or reading failed; nothing is lost.", "Look at the cause in the line and at `df`.";
    CASE_STAYS: Warning, "a case stays, it could not be archived", "A line for each such case.", "Look at the cause in the line; `knhk state verify` tells whether its history is whole.";
    NOT_KEPT: Warning, "history and snapshots cannot be kept, trying again", "Writing or reading them failed; the journal grows meanwhile.", "Look at the cause in the line, at `df` and at `knhk state info`.";
    SEGMENT_NOT_PREPARED: Warning, "cannot prepare the next journal segment, trying again", "Mostly the disk is full; without a segment the journal cannot go on.", "Look at the cause in the line and at `df`.";
    NOT_COMPACTED: Warning, "cannot make the working environment smaller", "Copying it failed; it stays as it is.", "Look at the cause in the line and at `df` for cache_dir.";
    END_NOT_NOTED: Warning, "cannot note the clean end", "The next start looks more closely, as after a crash.", "Look at the cause in the line and at `df` for cache_dir.";
    CONFIG_WAITS: Warning, "the configuration waits for a restart", "It was read again, and a key that is read at the start only has another value.", "`systemctl restart knhk` when it suits.";
    CONFIG_REFUSED: Warning, "the configuration was read again and is refused", "It holds mistakes, a line for each; the service keeps the one that it has.", "`knhk config validate`, `knhk config fix`, then `systemctl reload knhk`.";
    COLLECTOR_AWAY: Warning, "collector is away, spans are dropped", "Nothing could be sent to otel_endpoint for 10 s; it is tried again by itself.", "`systemctl status otel-collector`, `journalctl -u otel-collector`; where there is none, `knhk config set otel_enabled false`.";
    REMOTE_PLAIN: Warning, "other machines are served without TLS: tokens can be read on their way", "remote_plain_http is set.", "Nothing, if only a container's own network reaches it; else unset remote_plain_http.";
    NO_TOKEN: Warning, "there is no remote token yet: nobody is let in before knhk token create", "remote_listen is set, or listen_allow is token, and no token was made.", "`knhk token create --name NAME --scope work`.";
    REMOTE_REFUSED: Warning, "remote request refused", "A request from another machine showed no token, a wrong one, or one that may not do this, or a connection was refused or closed because there are too many; at most one line a second for all without a good token, for all connections, and for each token. `left_out` counts those that have no line.", "`knhk token list` tells which there are; look at the address in the line if it comes again and again.";
    USES_NOT_WRITTEN: Warning, "the day of a token's last use cannot be written", "At most once a day for each token; requests are answered all the same.", "Look at the cause in the line, and at `df` and the owner of remote_dir.";
    USERS_UNKNOWN: Warning, "the system does not say who asks: the port is closed to all users", "listen_allow is \"group\", and the system has no AF_NETLINK sockets or forbids them; /health and /metrics answer all the same.", "Allow AF_NETLINK (RestrictAddressFamilies of the unit), or use the Unix socket, or set listen_allow.";
    KEY_OPEN: Warning, "everybody may read the key of the remote certificate", "Permissions of remote_key.", "`chmod 600` the file that the line names.";
    CERTIFICATE_KEPT: Warning, "the certificate was not read anew, the one before stays", "The service was to read its configuration and certificate again, and the certificate or its key cannot be used; nothing has changed.", "Look at the cause in the line, mend the files, then `systemctl reload knhk`.";
    LINES_DROPPED: Warning, "log lines dropped", "More than log_lines_per_second_max lines came in one second.", "Read the lines before it; raise the limit only to look for a fault.";
    GROUP_UNREADABLE: Error, "users and groups cannot be read", "/etc/passwd or /etc/group is missing or may not be read: only root and the service's own user may use the port.", "Look at the cause in the line; the files are read again when they have changed.";
    TOKENS_UNREADABLE: Error, "remote tokens cannot be read", "Their file is damaged or may not be read; nobody is let in from other machines.", "Look at the cause in the line; `knhk token list` says the same.";
    REMOTE_DEAF: Error, "the remote side cannot listen", "The system refused it; the local side goes on.", "Look at the cause in the line, then restart.";
    DISK_LOW: Error, "disk is below its reserve, no changes are taken", "Free space fell below disk_reserve_mb.", "Make space (`df -h /var/lib/knhk`, `knhk state info`, `knhk state trim --now`); it goes on by itself.";
    READ_ONLY: Error, "journal is not writable, no changes are taken", "A write or sync failed; it is tried again twice a second.", "Look at the cause in the line, at `df` and `dmesg`; when the disk takes writes again the service goes on by itself.";
    FRAME_REFUSED: Error, "a fault of the program: the journal did not take a frame", "Something that was to be written was not in order; it was not done, and its clients were told.", "Report it with the line and the version.";
    FOLD_FAILED: Error, "cannot fold a frame, the working environment is made anew", "What is durable could not be brought into rows.", "If lists are Busy for long, `knhk state verify`; report it with the line and the version.";
    CHECKPOINT_FAILED: Error, "the checkpoint failed, trying again", "The working environment could not be written; the journal grows meanwhile, nothing is lost.", "Look at the cause in the line and at `df` for cache_dir.";
    REBUILD_FAILED: Error, "cannot make the working environment anew, trying again", "Neither the environment nor what it is made from can be used; reads are Busy.", "`knhk state verify`; if the journal or history is damaged, restore a backup.";
    STATE_DAMAGED: Error, "state is damaged", "Stored rows are not what was written; they are made anew from the journal.", "`knhk state verify`; check the disk and memory of the machine.";
    SNAPSHOT_FAILED: Error, "no snapshot of the working environment", "Its rows do not add up; it is made anew from the journal.", "`knhk state verify`; check the disk and memory of the machine.";
    ASKED_FAILED: Error, "what was asked of the state could not be done", "`knhk state snapshot`, `trim` or `upgrade` failed; whoever asked was told the same.", "Look at the cause in the line.";
    THREAD_ENDED: Error, "a thread ended by a fault", "Seen when the service stops.", "Report it with the lines before it and the version.";
}
