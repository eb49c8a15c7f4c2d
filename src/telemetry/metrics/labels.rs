//! The closed sets that labels are taken from.

/// The labels of a family of figures: a closed set, numbered from 0.
pub trait Labels: Copy {
    /// How many there are.
    const COUNT: usize;
    /// Returns the number of this one.
    fn index(self) -> usize;
    /// Returns the text between the braces: `state="running"`.
    fn text(index: usize) -> String;
}

/// One label: its name and all its values. Made by `closed_set!` only.
pub trait Label: Copy + 'static {
    /// Name of the label.
    const NAME: &'static str;
    /// All values in order.
    const ALL: &'static [Self];
    /// Returns the value as written.
    fn value(self) -> &'static str;
    /// Returns the place in [`Label::ALL`].
    fn place(self) -> usize;
}

impl<L: Label> Labels for L {
    const COUNT: usize = L::ALL.len();

    fn index(self) -> usize {
        self.place()
    }

    fn text(index: usize) -> String {
        format!("{}=\"{}\"", L::NAME, L::ALL[index].value())
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const COUNT: usize = A::ALL.len() * B::ALL.len();

    fn index(self) -> usize {
        self.0.place() * B::ALL.len() + self.1.place()
    }

    fn text(index: usize) -> String {
        let (first, second) = (index / B::ALL.len(), index % B::ALL.len());
        format!("{},{}", <A as Labels>::text(first), <B as Labels>::text(second))
    }
}

/// Writes an enum with the text of each value beside it, so that neither can be forgotten.
macro_rules! closed_set {
    ($(#[$doc:meta])* $set:ident, $name:literal: $($(#[$line:meta])* $variant:ident = $text:literal,)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $set {
            $($(#[$line])* #[doc = concat!("`", $text, "`")] $variant,)+
        }

        impl Label for $set {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn value(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

closed_set! {
    /// States of a case.
    CaseState, "state":
    Running = "running",
    Suspended = "suspended",
    Incident = "incident",
    Completed = "completed",
    Cancelled = "cancelled",
}

closed_set! {
    /// States of a work item that the service keeps.
    ItemState, "state":
    Enabled = "enabled",
    Executing = "executing",
    Failed = "failed",
    Suspended = "suspended",
}

closed_set! {
    /// The bounded queues of the service.
    Queue, "queue":
    /// Single commands on their way to shards.
    Inbox = "inbox",
    /// Lines of batches on their way to shards.
    Batches = "batches",
    /// Commands that wait for their case, all cases together.
    Parked = "parked",
    /// Frames for the journal.
    Journal = "journal",
    /// Durable frames for the follower.
    Follower = "follower",
    /// Questions for the helper, and what takes shards too long.
    Helper = "helper",
    /// Questions for lists and searches.
    Queries = "queries",
    /// Requests that are being answered or wait for it.
    Http = "http",
    /// Bytes of answers under way, with what they are made of.
    Answers = "answers",
    /// Spans for the collector.
    Spans = "spans",
    /// Idempotency keys of clients that are remembered.
    Keys = "keys",
}

closed_set! {
    /// What the service keeps in memory up to a limit.
    Cache, "cache":
    /// Live cases.
    Cases = "cases",
    /// Rows that changed since the last checkpoint.
    ChangedRows = "changed_rows",
    /// What is staged and not durable.
    Undurable = "undurable",
    /// Requests that are not answered.
    Requests = "requests",
    /// Durable frames that the follower has to fold.
    Lag = "lag",
}

closed_set! {
    /// How many steps a wave of the hot path has.
    WaveSize, "wave":
    One = "1",
    Few = "2-7",
    Some = "8-63",
    /// Enough to amortise the pair of clock readings.
    Many = "64+",
}

impl WaveSize {
    /// Returns the label of a wave of so many steps.
    pub fn of(steps: usize) -> Self {
        match steps {
            0 | 1 => Self::One,
            2..=7 => Self::Few,
            8..=63 => Self::Some,
            _ => Self::Many,
        }
    }
}

closed_set! {
    /// How the markings of a wave are held.
    Markings, "markings":
    /// One word: at most 64 places, never two tokens in one.
    Bits = "bits",
    /// At most 64 places, counted.
    Counters = "counters",
    /// More than 64 places.
    WideBits = "wide_bits",
    /// More than 64 places, counted.
    WideCounters = "wide_counters",
    /// Several kinds in one wave.
    Mixed = "mixed",
}

closed_set! {
    /// Which joins the steps of a wave ask.
    Join, "join":
    And = "and",
    Xor = "xor",
    Or = "or",
    /// None: the steps complete tasks.
    Nothing = "none",
    /// Several kinds in one wave.
    Mixed = "mixed",
}

closed_set! {
    /// Routes of the HTTP interface; a request that fits none is `other`.
    Route, "route":
    Console = "GET /",
    Health = "GET /health",
    HealthLive = "GET /health/live",
    Metrics = "GET /metrics",
    OpenApi = "GET /openapi.json",
    WorkflowRegister = "POST /workflows",
    WorkflowList = "GET /workflows",
    WorkflowGet = "GET /workflows/{id}",
    WorkflowSvg = "GET /workflows/{id}.svg",
    CaseCreate = "POST /cases",
    CaseList = "GET /cases",
    CaseGet = "GET /cases/{id}",
    CaseSvg = "GET /cases/{id}.svg",
    CaseHistory = "GET /cases/{id}/history",
    CaseCancel = "POST /cases/{id}/cancel",
    CaseSuspend = "POST /cases/{id}/suspend",
    CaseResume = "POST /cases/{id}/resume",
    CaseRetry = "POST /cases/{id}/retry",
    CaseExecute = "POST /cases/{id}/execute",
    CaseRestore = "POST /cases/{id}/restore",
    ItemList = "GET /workitems",
    ItemGet = "GET /workitems/{id}",
    ItemStart = "POST /workitems/{id}/start",
    ItemComplete = "POST /workitems/{id}/complete",
    ItemFail = "POST /workitems/{id}/fail",
    ItemSkip = "POST /workitems/{id}/skip",
    Batch = "POST /batch",
    Archive = "POST /archive",
    ServiceReload = "POST /service/reload",
    StateSnapshot = "POST /state/snapshot",
    StateTrim = "POST /state/trim",
    StateUpgrade = "POST /state/upgrade",
    Other = "other",
}

closed_set! {
    /// Why the remote side refuses.
    Remote, "reason":
    /// No token, or no good one.
    Token = "token",
    /// A token that may not do this.
    Scope = "scope",
    /// Too many requests, or too large bodies, at a time.
    Busy = "busy",
    /// Too many connections: the oldest without a token was closed, or a token has its share.
    Connections = "connections",
    /// Too many connections of one address.
    Address = "address",
    /// No room for the line about a change.
    Audit = "audit",
}

closed_set! {
    /// Statuses of HTTP answers; any that the service does not give by itself is `other`.
    Status, "status":
    Ok = "200",
    Created = "201",
    NoContent = "204",
    BadRequest = "400",
    Unauthorized = "401",
    Forbidden = "403",
    NotFound = "404",
    MethodNotAllowed = "405",
    NotAcceptable = "406",
    RequestTimeout = "408",
    Conflict = "409",
    TooLarge = "413",
    PathTooLong = "414",
    MediaType = "415",
    Unprocessable = "422",
    HeaderTooLarge = "431",
    Internal = "500",
    Unavailable = "503",
    Timeout = "504",
    Other = "other",
}

impl Status {
    /// Returns the label of an HTTP status.
    pub fn of(status: u16) -> Self {
        match status {
            200 => Self::Ok,
            201 => Self::Created,
            204 => Self::NoContent,
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            406 => Self::NotAcceptable,
            408 => Self::RequestTimeout,
            409 => Self::Conflict,
            413 => Self::TooLarge,
            414 => Self::PathTooLong,
            415 => Self::MediaType,
            422 => Self::Unprocessable,
            431 => Self::HeaderTooLarge,
            500 => Self::Internal,
            503 => Self::Unavailable,
            504 => Self::Timeout,
            _ => Self::Other,
        }
    }
}
