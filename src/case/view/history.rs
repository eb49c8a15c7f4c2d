//! From facts to the lines of a history.

use std::collections::BTreeMap;

use super::build::{incident_word, parameters, task_id, variables};
use super::{Detail, HistoryView};
use crate::case::event::{
    End, Event, Finish, InstanceNumber, ItemNumber, Phase, PlaceNumber, TaskNumber, Verdict, Withdrawal,
    Writes,
};
use crate::expr::Fragment;
use crate::id::Time;
use crate::net::{Net, Workflow};

/// Tells the history of one case. Facts name instances and items by number only, so it hears all of them from the
/// first on; facts that fit nothing it heard are told with numbers in place of names.
#[derive(Debug)]
pub struct Historian<'a> {
    workflow: &'a Workflow,
    seq: u32,
    nets: BTreeMap<InstanceNumber, u16>,
    items: BTreeMap<ItemNumber, (InstanceNumber, TaskNumber)>,
}

type Details = Vec<(&'static str, Detail)>;

impl<'a> Historian<'a> {
    /// Returns one who has heard nothing yet.
    pub fn new(workflow: &'a Workflow) -> Self {
        Self { workflow, seq: 0, nets: BTreeMap::new(), items: BTreeMap::new() }
    }

    /// Hears the next fact and tells it.
    pub fn tell(&mut self, event: &Event, time: Time) -> HistoryView {
        self.seq = self.seq.saturating_add(1);
        let (event, details) = self.line(event);
        HistoryView { seq: self.seq, time, event, details }
    }

    /// Hears that something happened to the case as a whole, and tells it.
    pub fn note(
        &mut self,
        event: &'static str,
        time: Time,
        details: Vec<(&'static str, Detail)>,
    ) -> HistoryView {
        self.seq = self.seq.saturating_add(1);
        HistoryView { seq: self.seq, time, event, details }
    }

    fn line(&mut self, event: &Event) -> (&'static str, Details) {
        match event {
            Event::Created { business_key, .. } => {
                let mut details = vec![("workflow", Detail::Text(self.workflow.uri.clone()))];
                details.extend(business_key.as_ref().map(|key| ("key", Detail::Text(key.clone()))));
                ("created", details)
            }
            Event::Opened { instance, net, parent, data, .. } => {
                self.nets.insert(*instance, *net);
                ("opened", self.opened(*instance, *parent, data))
            }
            Event::Stepped { instance, task, phase, taken, removed, put, wrote } => {
                let word = match phase {
                    Phase::Start => "entered",
                    Phase::Complete => "left",
                    Phase::Pass => "passed",
                };
                let mut details = self.at(*instance, Some(*task));
                for (name, places) in [("taken", taken), ("removed", removed), ("put", put)] {
                    let places = self.places(*instance, places);
                    details.extend((!places.is_empty()).then_some((name, Detail::List(places))));
                }
                details.extend(self.written(*instance, wrote));
                (word, details)
            }
            Event::Ended { instance, how } => {
                let mut details = self.at(*instance, None);
                details.push(("how", text(end_word(*how))));
                ("ended", details)
            }
            Event::Offered { .. }
            | Event::Started { .. }
            | Event::Finished { .. }
            | Event::Withdrawn { .. }
            | Event::Failed { .. }
            | Event::Reoffered { .. } => self.item_line(event),
            Event::Incident { incident, instance, task, kind, detail } => {
                let mut details = vec![("incident", Detail::Number(u64::from(*incident)))];
                details.extend(self.at(*instance, *task));
                details.push(("kind", text(incident_word(*kind))));
                details.push(("detail", text(detail)));
                ("incident", details)
            }
            Event::IncidentCleared { incident } => {
                ("cleared", vec![("incident", Detail::Number(u64::from(*incident)))])
            }
            Event::Suspended => ("suspended", Vec::new()),
            Event::Resumed => ("resumed", Vec::new()),
            Event::Closed { how, reason } => {
                let mut details = vec![("how", text(end_word(*how)))];
                details.extend(reason.as_ref().map(|reason| ("reason", text(reason))));
                ("closed", details)
            }
            Event::Unfinished => ("unfinished", Vec::new()),
        }
    }

    fn item_line(&mut self, event: &Event) -> (&'static str, Details) {
        match event {
            Event::Offered { item, instance, task, verdict } => {
                self.items.insert(*item, (*instance, *task));
                let mut details = self.item(*item);
                if let Some(Verdict::NoMore) = verdict {
                    details.push(("join", text("no more tokens can come")));
                }
                ("offered", details)
            }
            Event::Started { item, data } => {
                let mut details = self.item(*item);
                let values = self.values(*item, data, |task| &task.inputs);
                details.extend(values);
                ("started", details)
            }
            Event::Finished { item, how, data } => {
                let mut details = self.item(*item);
                details.extend(self.values(*item, data, |task| &task.outputs));
                self.items.remove(item);
                match how {
                    Finish::Completed => ("completed", details),
                    Finish::Skipped { reason } => {
                        details.push(("reason", text(reason)));
                        ("skipped", details)
                    }
                }
            }
            Event::Withdrawn { item, why } => {
                let mut details = self.item(*item);
                details.push(("why", text(withdrawal_word(*why))));
                self.items.remove(item);
                ("withdrawn", details)
            }
            Event::Failed { item, reason } => {
                let mut details = self.item(*item);
                details.push(("reason", text(reason)));
                ("failed", details)
            }
            Event::Reoffered { item } => ("reoffered", self.item(*item)),
            _ => unreachable!("invariant: only events of items come here"),
        }
    }

    fn opened(
        &self,
        instance: InstanceNumber,
        parent: Option<(InstanceNumber, TaskNumber)>,
        data: &Writes,
    ) -> Details {
        let mut details = Vec::new();
        if let Some((parent, task)) = parent {
            details.extend(self.at(parent, Some(task)));
        }
        details
            .push(("net", Detail::Text(self.net(instance).map_or_else(String::new, |net| net.id.clone()))));
        details.push(("number", Detail::Number(u64::from(instance))));
        details.extend(self.written(instance, data));
        details
    }

    fn net(&self, instance: InstanceNumber) -> Option<&'a Net> {
        let number = self.nets.get(&instance)?;
        self.workflow.nets.get(usize::from(*number)).map(AsRef::as_ref)
    }

    /// Where something is; the root net, where most things are, is not named.
    fn at(&self, instance: InstanceNumber, task: Option<TaskNumber>) -> Details {
        let mut details = Vec::new();
        details.extend(task.map(|task| ("task", Detail::Text(task_id(self.net(instance), task)))));
        if instance != 0 {
            details.push(("instance", Detail::Number(u64::from(instance))));
        }
        details
    }

    fn item(&self, item: ItemNumber) -> Details {
        let mut details = vec![("item", Detail::Number(u64::from(item)))];
        if let Some((instance, task)) = self.items.get(&item) {
            details.extend(self.at(*instance, Some(*task)));
        }
        details
    }

    /// Names of conditions; busy places have none.
    fn places(&self, instance: InstanceNumber, places: &[PlaceNumber]) -> Vec<String> {
        let net = self.net(instance);
        let name = |place: &PlaceNumber| match net.and_then(|net| net.places.get(usize::from(*place))) {
            Some(key) => key.name(),
            None => Some(format!("#{place}")),
        };
        places.iter().filter_map(name).collect()
    }

    fn written(&self, instance: InstanceNumber, data: &Writes) -> Option<(&'static str, Detail)> {
        let values = variables(self.net(instance)?, data);
        (!values.is_empty()).then_some(("data", Detail::Data(values)))
    }

    fn values(
        &self,
        item: ItemNumber,
        data: &Fragment,
        of: impl FnOnce(&'a crate::net::Task) -> &'a [crate::net::Parameter],
    ) -> Option<(&'static str, Detail)> {
        let (instance, task) = self.items.get(&item)?;
        let task = self.net(*instance)?.tasks.get(usize::from(*task))?;
        let values = parameters(of(task), data);
        (!values.is_empty()).then_some(("data", Detail::Data(values)))
    }
}

fn text(text: &str) -> Detail {
    Detail::Text(text.to_owned())
}

fn end_word(how: End) -> &'static str {
    match how {
        End::Completed => "completed",
        End::Improper => "completed with tokens left",
        End::Cancelled => "cancelled",
    }
}

fn withdrawal_word(why: Withdrawal) -> &'static str {
    match why {
        Withdrawal::Choice => "another task of the choice took the token",
        Withdrawal::Removed => "a remove set reached its task",
        Withdrawal::Discarded => "its net completed",
        Withdrawal::Cancelled => "its net was cancelled",
    }
}
