//! The running service as it is asked about itself. Nobody answers in its place.

use serde_json::Value;

use crate::cli::Error;
use crate::cli::client::Client;
use crate::perf::exposition::Page;

/// The running service.
#[derive(Debug)]
pub(super) struct Running {
    /// Its process, where the system tells.
    pub(super) pid: Option<u32>,
    /// Its figures.
    pub(super) page: Page,
    /// What is less than well, and what fails.
    pub(super) degraded: Vec<String>,
}

/// Asks the service; otherwise says why it was not asked.
pub(super) fn ask(client: &Client) -> Result<Running, String> {
    let running = || {
        let pid = client.service_pid()?;
        let page = page(client)?;
        let health = client.ask_service("/health", "application/json")?;
        let health: Value = serde_json::from_slice(&health.body).unwrap_or_default();
        let reasons = ["degraded", "failing"].into_iter().filter_map(|name| health.get(name)?.as_array());
        let reasons = reasons.flatten().filter_map(Value::as_str).map(str::to_owned);
        Ok(Running { pid, page, degraded: reasons.collect() })
    };
    running().map_err(|error: Error| match (error.hint(), &error) {
        (Some(hint), Error::NotAllowed { .. }) => format!("{error}: {hint}"),
        _ => error.to_string(),
    })
}

/// Asks for the figures as they are now.
pub(super) fn page(client: &Client) -> Result<Page, Error> {
    let answer = client.ask_service("/metrics", "text/plain")?;
    if answer.status != 200 {
        return Err(Error::Answer { what: format!("/metrics answers {}", answer.status) });
    }
    Page::read(&String::from_utf8_lossy(&answer.body))
        .map_err(|misread| Error::Answer { what: misread.to_string() })
}
