//! Private invariants: bytes of facts and rows, and folding what should not be.

use expect_test::expect;
use proptest::prelude::{any, prop, proptest};

use super::encode::{FORMAT, event_len, events_from_bytes, events_to_bytes, row_from_bytes, row_to_bytes};
use super::event::{End, Event, Finish, IncidentKind, Phase, Verdict, Withdrawal};
use super::fold::fold;
use super::row::{CaseRow, InstanceRow, ItemRow, ItemState};
use super::state::{Case, InRows, Live};
use crate::expr::Fragment;
use crate::id::{CaseId, SpecNumber, Time};

/// One event of each kind, in the order of their encoding.
fn one_of_each() -> Vec<Event> {
    let x = || Fragment::from_text("x");
    vec![
        Event::Created { spec: SpecNumber(3), business_key: Some("key".to_owned()) },
        Event::Opened { instance: 0, net: 1, parent: Some((2, 3)), place: 4, data: vec![(5, x())] },
        Event::Stepped {
            instance: 0,
            task: 1,
            phase: Phase::Pass,
            taken: vec![4],
            removed: vec![2, 3],
            put: vec![4],
            wrote: vec![(0, x())],
        },
        Event::Offered { item: 1, instance: 0, task: 1, verdict: Some(Verdict::NoMore) },
        Event::Started { item: 1, data: x() },
        Event::Finished { item: 1, how: Finish::Skipped { reason: "r".to_owned() }, data: x() },
        Event::Withdrawn { item: 1, why: Withdrawal::Cancelled },
        Event::Failed { item: 1, reason: "r".to_owned() },
        Event::Reoffered { item: 1 },
        Event::Incident {
            incident: 1,
            instance: 0,
            task: None,
            kind: IncidentKind::Nesting,
            detail: "d".to_owned(),
        },
        Event::IncidentCleared { incident: 1 },
        Event::Ended { instance: 0, how: End::Improper },
        Event::Suspended,
        Event::Resumed,
        Event::Closed { how: End::Cancelled, reason: Some("r".to_owned()) },
        Event::Unfinished,
    ]
}

/// Journals hold these bytes: a line that changes here makes every one of them unreadable.
#[test]
fn facts_are_encoded_as_they_always_were() {
    let mut text = String::new();
    for event in one_of_each() {
        let bytes = events_to_bytes(&[event]);
        let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&digits.join(" "));
        text.push('\n');
    }
    expect![[r"
        01 01 00 03 01 03 6b 65 79
        01 01 01 00 01 01 02 03 04 01 05 01 78
        01 01 02 00 01 02 01 04 02 02 03 01 04 01 00 01 78
        01 01 03 01 00 01 01 00
        01 01 04 01 01 78
        01 01 05 01 01 01 72 01 78
        01 01 06 01 03
        01 01 07 01 01 72
        01 01 08 01
        01 01 09 01 00 00 05 01 64
        01 01 0a 01
        01 01 0b 00 01
        01 01 0c
        01 01 0d
        01 01 0e 02 01 01 72
        01 01 0f
    "]]
    .assert_eq(&text);
}

#[test]
fn facts_read_back_and_their_sizes_add_up() {
    let events = one_of_each();
    let bytes = events_to_bytes(&events);
    assert_eq!(events_from_bytes(&bytes).unwrap(), events);
    let sum: usize = events.iter().map(event_len).sum();
    assert_eq!(bytes.len(), sum + 2, "a byte for the format, one for the count");
}

#[test]
fn other_bytes_are_errors_that_say_where() {
    let bytes = events_to_bytes(&one_of_each());
    for cut in 0..bytes.len() {
        assert!(events_from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let code = |bytes: &[u8]| events_from_bytes(bytes).unwrap_err().code().0;
    assert_eq!(code(&[]), 362);
    assert_eq!(code(&[&bytes[..], &[0]].concat()), 362);
    assert_eq!(code(&[&[FORMAT + 1], &bytes[1..]].concat()), 363);
    let row = InstanceRow { net: 1, parent: None, data: Vec::new(), tokens: vec![(1, 2)] };
    assert_eq!(row_from_bytes::<InstanceRow>(&row_to_bytes(&row)).unwrap(), row);
    assert!(row_from_bytes::<ItemRow>(&row_to_bytes(&row)).is_err());
}

#[test]
fn counts_of_offered_and_failed_items_follow_their_states() {
    let mut case = Case::new(CaseId(64));
    let mut go = |events: &[Event]| {
        for event in events {
            fold(&mut Live { case: &mut case, keeper: &mut InRows }, event, Time(1)).unwrap();
        }
        let row = case.existing();
        (row.enabled_count, row.failed_count)
    };
    let offered = |item| Event::Offered { item, instance: 0, task: 0, verdict: None };
    let started = |item| Event::Started { item, data: Fragment::empty() };
    let failed = |item| Event::Failed { item, reason: String::new() };
    assert_eq!(go(&[Event::Created { spec: SpecNumber(1), business_key: None }]), (0, 0));
    assert_eq!(go(&[offered(1), offered(2), offered(3)]), (3, 0));
    assert_eq!(go(&[started(1), started(2), failed(2)]), (1, 1));
    assert_eq!(go(&[Event::Reoffered { item: 2 }]), (2, 0));
    assert_eq!(go(&[failed(2)]), (1, 1));
    assert_eq!(go(&[Event::Withdrawn { item: 2, why: Withdrawal::Removed }]), (1, 0));
    let finished = Event::Finished { item: 1, how: Finish::Completed, data: Fragment::empty() };
    assert_eq!(go(&[finished, Event::Withdrawn { item: 3, why: Withdrawal::Choice }]), (0, 0));
}

#[test]
fn incidents_of_a_net_instance_end_with_it() {
    let mut case = Case::new(CaseId(64));
    let opened = |instance, parent| Event::Opened { instance, net: 0, parent, place: 0, data: Vec::new() };
    let incident = |incident, instance| Event::Incident {
        incident,
        instance,
        task: None,
        kind: IncidentKind::Deadlock,
        detail: String::new(),
    };
    for event in [
        Event::Created { spec: SpecNumber(1), business_key: None },
        opened(0, None),
        opened(1, Some((0, 0))),
        incident(1, 0),
        incident(2, 1),
        Event::Ended { instance: 1, how: End::Cancelled },
    ] {
        fold(&mut Live { case: &mut case, keeper: &mut InRows }, &event, Time(1)).unwrap();
    }
    let open: Vec<u32> = case.existing().incidents.iter().map(|open| open.number).collect();
    assert_eq!(open, [1]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        bytes.insert(0, FORMAT);
        if let Ok(events) = events_from_bytes(&bytes) {
            let again = events_to_bytes(&events);
            assert_eq!(events_from_bytes(&again).unwrap(), events);
        }
        if let Ok(row) = row_from_bytes::<CaseRow>(&bytes) {
            assert_eq!(row_from_bytes::<CaseRow>(&row_to_bytes(&row)).unwrap(), row);
        }
        if let Ok(row) = row_from_bytes::<ItemRow>(&bytes) {
            assert_eq!(row_from_bytes::<ItemRow>(&row_to_bytes(&row)).unwrap(), row);
        }
        if let Ok(row) = row_from_bytes::<InstanceRow>(&bytes) {
            assert_eq!(row_from_bytes::<InstanceRow>(&row_to_bytes(&row)).unwrap(), row);
        }
    }

    /// Damaged storage may bring facts in any order: folding refuses what does not fit, and never panics.
    #[test]
    fn facts_in_any_order_are_folded_or_refused(order in prop::collection::vec(0_usize..16, 0..40)) {
        let events = one_of_each();
        let mut case = Case::new(CaseId(64));
        for at in order {
            let before = case.clone();
            let folded = fold(&mut Live { case: &mut case, keeper: &mut InRows }, &events[at], Time(7));
            assert_eq!(before.row.is_none() && at > 0, case.row.is_none() && folded.is_err());
        }
        let states: Vec<ItemState> = case.items.iter().map(|(_, row)| row.state).collect();
        if let Some(row) = &case.row {
            let failed = states.iter().filter(|state| **state == ItemState::Failed).count();
            assert_eq!(row.failed_count as usize, failed);
        }
    }
}
