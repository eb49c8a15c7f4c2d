//! From figures to findings: what costs the service speed, and what to change. Pure; a rule a function, a threshold a
//! constant with where it comes from.

use serde::Serialize;

use super::watch::{HotThread, Taker};

/// Beyond such a share of a core that others take, figures of this machine are not judged any more (docs/performance.md,
/// "How it is measured"); a hot thread that waits for its core so much of the time that it wants it is held up as much.
pub const SHARE_MAX: f64 = 0.15;
/// A core of which others take half is busy with them more often than it is free when the hot thread wakes up, whether
/// that just now has work or not.
pub const TAKEN_SHARE_MAX: f64 = 0.5;
/// A thread that waited less than this in a watch tells nothing: the scheduler gives time in slices of some milliseconds
/// (sched(7)), and a few of them are chance.
pub const WAITED_MS_MIN: f64 = 50.0;
/// A mean of ticks is recorded over so many steps (docs/reference/metrics.md); fewer tell nothing here either.
pub const STEPS_MIN: u64 = 256;
/// The cache counts as full from such a share of its limit: idle cases leave one by one as soon as it is reached, so it
/// stays just below.
pub const CACHE_FULL_SHARE: f64 = 0.9;
/// A step whose case is read back takes several times as long as one whose case is there
/// (docs/reference/performance-commands.md has the measurement); one such step in ten is felt.
pub const READ_BACK_SHARE_MAX: f64 = 0.1;
/// Fewer commits have no percentiles to speak of.
pub const COMMITS_MIN: u64 = 100;
/// No flash disk takes so long: half a turn of a disk that turns 7,200 times a minute, in microseconds.
pub const SYNC_US_MAX: u64 = 4_167;
/// The first edge of `knhk_journal_commit_seconds` above [`SYNC_US_MAX`].
pub const COMMIT_US_MAX: u64 = 5_000;
/// A command waits for the commit that is under way, and then for its own.
pub const COMMITS_A_COMMAND: u64 = 2;
/// Commits are held up by the processor, and not by the disk, when their thread waits for a core such a share of them.
pub const WAITING_SHARE_MIN: f64 = 0.5;
/// Counters cost 2.55 times the bits (docs/performance.md, P1): a tenth of all steps in them costs the hot path 15 %,
/// [`SHARE_MAX`]; wide nets cost more.
pub const HEAVY_SHARE_MAX: f64 = 0.1;
/// Below two steps a wave most waves have one.
pub const WAVE_STEPS_MIN: f64 = 2.0;
/// Steps one by one are worth a change when commits keep the journal busy such a share of the time: ten such clients,
/// and it is full.
pub const JOURNAL_BUSY_SHARE: f64 = 0.1;
/// So many heavy nets are named.
const NETS_NAMED_MAX: usize = 5;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Something to change.
    Finding,
    /// Something to know.
    Note,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Which rule found it; docs/reference/performance-commands.md has a section of this name.
    pub name: &'static str,
    /// How much it weighs.
    pub weight: Weight,
    /// What is so, with its figures.
    pub what: String,
    /// What to change.
    pub advice: String,
    /// The command that does it, or shows more.
    pub command: Option<String>,
}

fn finding(name: &'static str, what: String, advice: &str, command: Option<String>) -> Finding {
    Finding { name, weight: Weight::Finding, what, advice: advice.to_owned(), command }
}

fn note(name: &'static str, what: String, advice: &str, command: Option<String>) -> Finding {
    Finding { weight: Weight::Note, ..finding(name, what, advice, command) }
}

/// Tells whether a hot thread has its core when it wants it. `cores` are those of the machine.
pub fn hot_core(hot: &HotThread, cores: usize) -> Option<Finding> {
    const NAME: &str = "hot-core-shared";
    let thread = &hot.thread;
    let wanted_ms = hot.ran_ms + hot.waited_ms;
    let is_held_up = hot.waited_ms >= WAITED_MS_MIN && hot.waited_ms >= SHARE_MAX * wanted_ms;
    let waited = format!("it waited {:.0} ms of the {wanted_ms:.0} ms that it wanted to run", hot.waited_ms);
    let Some(core) = hot.core else {
        let what = format!("{thread} is not pinned to a core; {waited}");
        let advice = "pin it, so that it can be told whom it shares its core with";
        return is_held_up.then(|| note(NAME, what, advice, Some(set("hot_path_cores", "auto"))));
    };
    if hot.stolen_share >= SHARE_MAX {
        let stolen = percent(hot.stolen_share);
        let what =
            format!("the host of this virtual machine takes {stolen} of core {core}, where {thread} runs");
        let advice = "ask whoever runs the host for cores that are not shared";
        return Some(finding(NAME, what, advice, None));
    }
    let others = percent(hot.others_share);
    if hot.others_share >= TAKEN_SHARE_MAX || hot.others_share >= SHARE_MAX && is_held_up {
        let who = names(&hot.busiest);
        let what =
            format!("other processes take {others} of core {core}, where {thread} runs{who}; {waited}");
        let advice = if cores < 2 {
            "give the machine another core, or move these processes elsewhere"
        } else {
            "keep these processes off that core, for good by CPUAffinity= in their units, or give the hot thread another by hot_path_cores"
        };
        let command =
            hot.busiest.first().filter(|_| cores > 1).map(|taker| elsewhere(core, cores, taker.pid));
        return Some(finding(NAME, what, advice, command));
    }
    if hot.service_share >= SHARE_MAX && is_held_up {
        let own = percent(hot.service_share);
        let what =
            format!("the service's other threads take {own} of core {core}, where {thread} runs; {waited}");
        let advice = "from 4 cores on hot threads have cores of their own; on fewer an exclusive one costs more than it brings";
        return Some(note(NAME, what, advice, None));
    }
    None
}

fn names(takers: &[Taker]) -> String {
    let names: Vec<String> = takers
        .iter()
        .map(|taker| format!("{} (process {}) {}", taker.name, taker.pid, percent(taker.share)))
        .collect();
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
}

fn elsewhere(core: usize, cores: usize, pid: u32) -> String {
    let others: Vec<String> =
        (0..cores).filter(|other| *other != core).map(|other| other.to_string()).collect();
    format!("sudo taskset -acp {} {pid}", others.join(","))
}

fn set(key: &str, value: &str) -> String {
    format!("sudo knhk config set {key} {value}")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// How cases are kept in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cache {
    /// Bytes that cases take.
    pub bytes: u64,
    /// Bytes that they may take.
    pub limit_bytes: u64,
    /// Cases read back.
    pub read_back: u64,
    /// Steps meanwhile.
    pub steps: u64,
    /// Memory of the machine.
    pub memory_bytes: Option<u64>,
}

/// Tells whether cases that are asked for have left memory.
pub fn cache(cache: &Cache) -> Option<Finding> {
    const NAME: &str = "cache-too-small";
    const MIB: u64 = 1 << 20;
    let is_full = whole(cache.bytes) >= CACHE_FULL_SHARE * whole(cache.limit_bytes) && cache.limit_bytes > 0;
    let is_read_back = whole(cache.read_back) >= READ_BACK_SHARE_MAX * whole(cache.steps);
    if !is_full || !is_read_back || cache.steps < STEPS_MIN {
        return None;
    }
    let limit_mb = cache.limit_bytes / MIB;
    let what = format!(
        "cases fill the {limit_mb} MB of cache_size_mb, and of {} steps {} had to read their case back from disk",
        cache.steps, cache.read_back
    );
    let wanted_mb = limit_mb * 2;
    // Half of the memory is for the rest: rows that changed, the file cache below LMDB, everybody else.
    let has_room = cache.memory_bytes.is_none_or(|bytes| wanted_mb <= bytes / 2 / MIB);
    Some(if has_room {
        let advice = "double it, and look again when the service has worked with it for a while";
        finding(NAME, what, advice, Some(set("cache_size_mb", &wanted_mb.to_string())))
    } else {
        finding(NAME, what, "the machine has not the memory for twice as much: give it more", None)
    })
}

/// How long commits take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Disk {
    /// Commits of the service.
    pub commits: u64,
    /// At least so many microseconds took the median one.
    pub commit_us_p50_min: u64,
    /// At least so many microseconds took one in a hundred.
    pub commit_us_p99_min: u64,
    /// Microseconds of all of them, mean.
    pub commit_us_mean: u64,
    /// Microseconds a commit, mean, that its thread waited for a core.
    pub waited_us_mean: Option<u64>,
    /// Microseconds of an append and its sync just now, which one in ten is below.
    pub sync_us_fastest_tenth: Option<u64>,
    /// Longest time of a command on one case.
    pub command_us_max: u64,
}

/// Tells whether the disk holds commands up.
pub fn disk(disk: &Disk) -> Option<Finding> {
    const NAME: &str = "slow-disk";
    let has_commits = disk.commits >= COMMITS_MIN;
    let is_slow = has_commits && disk.commit_us_p50_min >= COMMIT_US_MAX;
    let is_late = has_commits && disk.commit_us_p99_min * COMMITS_A_COMMAND >= disk.command_us_max;
    let is_slow_now = disk.sync_us_fastest_tenth.is_some_and(|us| us >= SYNC_US_MAX);
    if !(is_slow || is_late || is_slow_now) {
        return None;
    }
    let commits = match (is_slow, is_late) {
        _ if !has_commits => format!("{} commits so far", disk.commits),
        (false, true) => format!(
            "one commit in a hundred took {} or longer, and a command waits for {COMMITS_A_COMMAND}: clients hear that \
             the outcome is unknown (warm_path_timeout_ms)",
            in_ms(disk.commit_us_p99_min)
        ),
        _ => format!(
            "half of the commits took {} or longer, one in a hundred {}",
            in_ms(disk.commit_us_p50_min),
            in_ms(disk.commit_us_p99_min)
        ),
    };
    let now = match disk.sync_us_fastest_tenth {
        Some(us) => format!("of single syncs just now nine in ten took {} or longer", in_ms(us)),
        None => "single syncs could not be tried".to_owned(),
    };
    let is_processor = !is_slow_now
        && disk.waited_us_mean.is_some_and(|us| whole(us) >= WAITING_SHARE_MIN * whole(disk.commit_us_mean));
    if is_processor {
        let waited = in_ms(disk.waited_us_mean.unwrap_or_default());
        let what = format!(
            "{commits}; of {} a commit (mean) its thread waited {waited} for a core; {now}",
            in_ms(disk.commit_us_mean)
        );
        return Some(note(
            NAME,
            what,
            "the processor holds commits up, not the disk: see who else uses it",
            Some("top".to_owned()),
        ));
    }
    let what = format!("{commits}; {now}");
    let advice = if is_slow_now {
        "put state_dir on a disk with a sync below a millisecond: flash, or a controller with a protected cache"
    } else {
        "the disk is quick now and was not: see who else writes to it, and whether it is a volume with a rate"
    };
    Some(finding(NAME, what, advice, Some("iostat -x 1".to_owned())))
}

fn in_ms(us: u64) -> String {
    format!("{:.1} ms", whole(us) / 1_000.0)
}

#[expect(clippy::cast_precision_loss, reason = "figures of one machine are far below 2^52")]
fn whole(value: u64) -> f64 {
    value as f64
}

/// A net that does not fit one word of bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeavyNet {
    /// Specification and version.
    pub workflow: String,
    /// The net.
    pub net: String,
    /// Its places, those in which busy tasks keep their token among them.
    pub places: usize,
    /// Whether no place ever holds two tokens, as far as that could be shown.
    pub at_most_one_token: bool,
}

/// Most places of a net whose marking is one word.
pub const WORD_PLACES_MAX: usize = 64;

impl HeavyNet {
    fn why(&self) -> String {
        let wide = (self.places > WORD_PLACES_MAX)
            .then(|| format!("it has {} places, and {WORD_PLACES_MAX} fit a word", self.places));
        let counted = (!self.at_most_one_token).then(|| {
            "a place of it may hold two tokens, or it has too many states to tell: it is counted".to_owned()
        });
        let why: Vec<String> = wide.into_iter().chain(counted).collect();
        format!("net {} of {}: {}", self.net, self.workflow, why.join("; "))
    }
}

/// How markings are held.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Markings {
    /// Steps of waves that are of one kind.
    pub steps: u64,
    /// Of these, on nets that do not fit one word of bits.
    pub heavy_steps: u64,
    /// Registered nets that do not.
    pub nets: Vec<HeavyNet>,
}

/// Tells whether nets are wider than they should be.
pub fn nets(markings: &Markings) -> Option<Finding> {
    const NAME: &str = "wide-net";
    if markings.nets.is_empty() {
        return None;
    }
    let mut why: Vec<String> = markings.nets.iter().take(NETS_NAMED_MAX).map(HeavyNet::why).collect();
    let more = markings.nets.len().saturating_sub(NETS_NAMED_MAX);
    if more > 0 {
        why.push(format!("{more} more"));
    }
    let share = if markings.steps == 0 { 0.0 } else { whole(markings.heavy_steps) / whole(markings.steps) };
    let what =
        format!("{} of steps on nets that do not fit one word of bits. {}", percent(share), why.join(". "));
    let advice = "move parts of a wide net into nets of their own, as composite tasks; where two tokens meet, an AND-join in place of an XOR-join keeps one";
    let command = markings.nets.first().map(|net| format!("knhk workflow show {}", quoted(&net.workflow)));
    let is_felt = markings.steps >= STEPS_MIN && share >= HEAVY_SHARE_MAX;
    Some(if is_felt { finding(NAME, what, advice, command) } else { note(NAME, what, advice, command) })
}

/// Returns a word for a shell.
fn quoted(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@%+,".contains(&byte));
    if is_plain && !text.is_empty() { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// How steps come together, during one watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Waves {
    /// Length of the watch.
    pub seconds: f64,
    /// Steps.
    pub steps: u64,
    /// Waves.
    pub waves: u64,
    /// Their ticks a step.
    pub ticks_a_step: f64,
    /// Ticks a step of large waves, on this machine just now.
    pub ticks_a_step_large: f64,
    /// Commits.
    pub commits: u64,
    /// Seconds of all of them.
    pub commit_seconds: f64,
}

/// Tells whether steps come one by one though there are many. `listen` is the address of the interface.
pub fn waves(waves: &Waves, listen: &str) -> Option<Finding> {
    const NAME: &str = "small-batches";
    if waves.waves == 0 || waves.seconds <= 0.0 {
        return None;
    }
    let a_wave = whole(waves.steps) / whole(waves.waves);
    let busy = waves.commit_seconds / waves.seconds;
    if a_wave >= WAVE_STEPS_MIN || busy < JOURNAL_BUSY_SHARE {
        return None;
    }
    let what = format!(
        "steps come one by one, {:.0} a second: {:.0} ticks a step, where large waves take {:.1} on this machine, and \
         commits that keep the journal busy {} of the time",
        whole(waves.steps) / waves.seconds,
        waves.ticks_a_step,
        waves.ticks_a_step_large,
        percent(busy)
    );
    let advice = "send many steps in one request by POST /batch, a line each, or have more requests under way at the same time";
    let command = format!(
        "curl -H 'Content-Type: application/x-ndjson' --data-binary @steps.ndjson http://{listen}/batch"
    );
    Some(finding(NAME, what, advice, Some(command)))
}

/// How service and machine are set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// What /health says is less than well.
    pub degraded: Vec<String>,
    /// What sets the frequency of the cores.
    pub frequency_governor: Option<String>,
    /// When memory is given in huge pages.
    pub huge_pages: Option<String>,
    /// Whether the time-stamp counter runs at one speed.
    pub steady_ticks: Option<bool>,
}

/// Tells which settings cost speed.
pub fn settings(settings: &Settings) -> Vec<Finding> {
    let is_degraded = |text: &str| settings.degraded.iter().any(|reason| reason.contains(text));
    let mut found = Vec::new();
    if is_degraded("cores not pinned") {
        let what = "the system refused to pin hot threads to their cores".to_owned();
        let advice = "hot_path_cores must name cores that the unit may use: see CPUAffinity= and AllowedCPUs= of the unit";
        found.push(finding(
            "cores-not-pinned",
            what,
            advice,
            Some("systemctl show knhk -p CPUAffinity -p AllowedCPUs".to_owned()),
        ));
    }
    if is_degraded("memory not locked") {
        let what = "the system refused to lock hot memory, which may be swapped out".to_owned();
        let advice = "raise LimitMEMLOCK of the unit to more than cache_size_mb, and restart";
        found.push(finding("memory-not-locked", what, advice, Some("sudo systemctl edit knhk".to_owned())));
    }
    if let Some(governor) =
        settings.frequency_governor.as_deref().filter(|governor| *governor != "performance")
    {
        let what =
            format!("the frequency of the cores is set by {governor}: a core that was idle is slow at first");
        let command =
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor".to_owned();
        found.push(note("frequency", what, "where power allows, keep the frequency up", Some(command)));
    }
    if settings.huge_pages.as_deref() == Some("never") {
        let what = "the system gives no huge pages: beyond a million live cases steps take longer".to_owned();
        let command = "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled".to_owned();
        found.push(note("huge-pages", what, "let who asks have them, and restart knhk", Some(command)));
    }
    if settings.steady_ticks == Some(false) {
        let what = "the tick counter of this processor does not run at one speed: figures in ticks cannot be compared".to_owned();
        found.push(note("ticks", what, "compare microseconds instead", None));
    }
    found
}
