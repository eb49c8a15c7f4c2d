//! What `knhk state verify` says beside its findings: which cases are concerned, and what to do next.

use serde_json::{Value, json};

use crate::backup::{self, Verdict};
use crate::config::Config;
use crate::engine::proof;
use crate::id::CaseId;
use crate::store::{self, Casualties, LmdbTables, Loss, RealDisk, Tables};

/// Most cases that are told one by one.
const TOLD_MAX: usize = 1_000;

/// Whom the damage concerns, in the words of people.
pub(super) struct Concerned {
    found: Result<Casualties, String>,
    /// The file to be restored from, as far as it is known.
    backup: String,
    /// Whether an opening refuses.
    is_closed: bool,
}

impl Concerned {
    /// Finds out after a verification that found something.
    pub(super) fn find(config: &Config, tables: Option<&LmdbTables>, findings: &[store::Error]) -> Self {
        let meta = tables.and_then(|tables| tables.meta().ok().flatten());
        let mut lasts = |tell: &mut dyn FnMut(u64, u64)| {
            let Some(tables) = tables else { return };
            // What cannot be read was found already.
            proof::last_entries(&mut |table, visit| drop(tables.scan(table, &[], visit)), tell);
        };
        let positions = meta.map(|meta| meta.positions);
        let found = store::casualties(&RealDisk, &config.store(), positions.as_ref(), &mut lasts);
        let mut found = found.map_err(|error| error.to_string());
        for finding in findings {
            if let (store::Error::ChainBroken { subject, .. }, Ok(found)) = (finding, &mut found)
                && *subject != 0
            {
                found.subjects.insert(*subject, Loss::Entry);
            }
        }
        let backups = backup::list(&config.backup_dir).unwrap_or_default();
        let newest = backups.iter().find(|one| one.verdict != Verdict::Damaged);
        let backup = newest.map_or_else(|| "FILE".to_owned(), |one| one.path.display().to_string());
        // What an opening looks at: not every segment.
        let info = store::info(&RealDisk, tables, &config.store());
        let folded = tables.and_then(|tables| tables.meta().ok().flatten()).map_or(0, |meta| meta.seq);
        let is_closed = info.is_ok_and(|info| info.damage.is_some() || folded > info.seq);
        if !is_closed && let Ok(found) = &mut found {
            // Nothing is cut off.
            found.subjects.retain(|_, loss| *loss == Loss::Entry);
        }
        Self { found, backup, is_closed }
    }

    pub(super) fn json(&self) -> Value {
        let Ok(found) = &self.found else { return json!({ "cases": null, "advice": self.advice() }) };
        let cases: Vec<Value> = found
            .subjects
            .iter()
            .take(TOLD_MAX)
            .map(|(subject, loss)| {
                let why = if *loss == Loss::Entry { "lost" } else { "behind" };
                json!({ "id": CaseId(*subject).to_string(), "why": why, "message": loss.to_string() })
            })
            .collect();
        json!({
            "cases": cases,
            "cases_count": found.subjects.len(),
            "cases_complete": found.is_complete,
            "lost_entries": found.lost_entries,
            "advice": self.advice(),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut lines = Vec::new();
        match &self.found {
            Err(error) => lines.push(format!("note: which cases are concerned cannot be told: {error}")),
            Ok(found) => {
                let told = found.subjects.iter().take(TOLD_MAX);
                lines.extend(told.map(|(subject, loss)| format!("case {}: {loss}", CaseId(*subject))));
                if found.subjects.len() > TOLD_MAX {
                    lines.push(format!("and {} more cases", found.subjects.len() - TOLD_MAX));
                }
                if !found.is_complete {
                    let others = "there may be others, of which no row and no later entry is left";
                    lines.push(format!("note: {others}"));
                }
            }
        }
        lines.extend(self.advice().iter().map(|step| format!("next: {step}")));
        lines.iter().map(|line| line.clone() + "\n").collect()
    }

    /// Returns what to do next, one step each.
    fn advice(&self) -> Vec<String> {
        let backup = &self.backup;
        let one = self.found.as_ref().ok().and_then(|found| found.subjects.keys().next());
        let id = one.map_or_else(|| "ID".to_owned(), |subject| CaseId(*subject).to_string());
        let has_cases = one.is_some();
        let whole = format!(
            "put the whole state back: sudo systemctl stop knhk; sudo knhk backup restore {backup}; \
             sudo systemctl start knhk"
        );
        let single = format!(
            "put each case back from a backup: knhk workflow restore --case-id {id} --from-backup {backup}"
        );
        if self.is_closed {
            let cut =
                "or keep what is good: sudo knhk state repair, which says first what is lost".to_owned();
            let mut advice = vec![whole, cut];
            advice.extend(has_cases.then(|| format!("then {single}")));
            advice
        } else if has_cases {
            vec![single, format!("or {whole}")]
        } else if self.found.as_ref().is_ok_and(|found| found.is_journal_damaged) {
            vec![
                "stop the service; sudo knhk state repair says whether anything is lost, and asks".to_owned(),
            ]
        } else {
            vec!["no case has lost anything; knhk explain CODE tells of each finding what to do".to_owned()]
        }
    }
}
