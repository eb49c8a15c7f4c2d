//! What a token may do, and which route needs what: the one table of it.

use serde::{Deserialize, Serialize};

use crate::api::route;
use crate::telemetry::metrics::labels::{Label, Route};

/// What a token may do; a later one may do all that an earlier one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at everything.
    Read,
    /// Start cases, and change them and their work items.
    Work,
    /// Register specifications, and see to the state on disk.
    Admin,
}

impl Scope {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Work, Self::Admin];

    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Work => "work",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.word() == text);
        found.ok_or_else(|| format!("{text:?} is not read, work or admin"))
    }
}

/// Returns every route that can be asked for, as `METHOD /path`, with the scope that it takes.
pub fn scopes() -> impl Iterator<Item = (&'static str, Option<Scope>)> {
    route::served().map(|route| (route.value(), needed(route)))
}

/// Returns what a request needs; `None` is nothing, not even a token.
///
/// `Work` is whatever a line of `POST /batch` can do, so that a batch opens no way around the table. No arm stands for
/// the rest: whoever adds a route decides here.
pub(in crate::api) fn needed(route: Route) -> Option<Scope> {
    match route {
        // It tells no more than that something listens.
        Route::HealthLive => None,
        Route::Console
        | Route::Health
        | Route::Metrics
        | Route::OpenApi
        | Route::WorkflowList
        | Route::WorkflowGet
        | Route::WorkflowSvg
        | Route::CaseList
        | Route::CaseGet
        | Route::CaseSvg
        | Route::CaseHistory
        | Route::ItemList
        | Route::ItemGet
        // Whether something is served at a path is told to those who may look at all.
        | Route::Other => Some(Scope::Read),
        Route::CaseCreate
        | Route::CaseCancel
        | Route::CaseSuspend
        | Route::CaseResume
        | Route::CaseRetry
        | Route::CaseExecute
        | Route::ItemStart
        | Route::ItemComplete
        | Route::ItemFail
        | Route::ItemSkip
        | Route::Batch => Some(Scope::Work),
        Route::WorkflowRegister
        | Route::StateSnapshot
        | Route::StateTrim
        | Route::StateUpgrade
        | Route::ServiceReload
        | Route::Archive
        | Route::CaseRestore => Some(Scope::Admin),
    }
}
