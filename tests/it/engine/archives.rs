//! What leaves for an archive comes back: a case that could not be read out of one again stays where it is.

use knhk::engine::service::{CaseAct, CaseFilter, Once, Operation, PageOf, Service};

use super::disk::LossyTables;
use super::{Options, Queues, Room, everything_closed, options, start, wait_for};

const KIB: usize = 1 << 10;
/// All that requests may unpack together: as much as it takes to read a small case, whose block of rows has 64 KiB.
const UNPACKED_BYTES: usize = 400 * KIB;
/// Bytes of the reasons for which cases are cancelled: most of their histories. The largest takes more than there is.
const REASONS_BYTES: [usize; 4] = [KIB, 30 * KIB, 60 * KIB, 200 * KIB];

#[test]
fn a_case_is_archived_only_where_there_is_the_memory_to_read_it_again() {
    let queues = Queues { unpacked_bytes_max: UNPACKED_BYTES, ..Queues::AMPLE };
    let service = start(Options { queues, ..options() }, LossyTables::default());
    let cases = REASONS_BYTES.map(|bytes| {
        let case = service.create(None).unwrap();
        let reason = "x".repeat(bytes);
        service.operate((Operation::Case(case, CaseAct::Cancel { reason }), Once::default())).unwrap();
        case
    });
    wait_for(|| service.engine.archive(&everything_closed()).is_ok_and(|done| done.cases == 0));
    let page = PageOf { after: None, limit: 10 };
    let ids = |is_archived| -> Vec<_> {
        let filter = CaseFilter { is_archived, ..CaseFilter::default() };
        let found = service.engine.cases(&filter, &page, &Room::default()).unwrap();
        found.items.into_iter().map(|case| case.id).collect()
    };
    let (mut archived, live) = (ids(true), ids(false));
    let mut expected = cases[..3].to_vec();
    archived.sort_unstable();
    expected.sort_unstable();
    assert_eq!((archived, live), (expected, vec![cases[3]]));
    // What a read has unpacked is given back: there is room for hundreds of them, one after the other.
    for case in cases.into_iter().cycle().take(400) {
        assert_eq!(service.engine.case(case, &Room::default()).unwrap().id, case);
        let history = service.engine.history(case, &page, &Room::default()).unwrap();
        assert!(!history.items.is_empty());
    }
    let unpacked = &service.engine.shared().unpacked;
    assert_eq!((unpacked.taken_bytes(), unpacked.limit_bytes()), (0, UNPACKED_BYTES));
    service.stop();
}
