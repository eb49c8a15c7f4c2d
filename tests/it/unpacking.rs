//! What is packed small and unpacks to much: refused while it is unpacked, within a bound for each request and for all.

use std::fs;
use std::io::Write;

use knhk::engine::past::{self, Past};
use knhk::engine::record::{Body, Record, Restored};
use knhk::engine::unpacking::UNPACKED_BYTES_TOGETHER_MAX;
use knhk::id::{CaseId, SpecNumber, Time};
use knhk::store::{
    CASE_HISTORY_BYTES_MAX, CaseHistory, Entry, FRAME_BYTES_MAX, Link, NotUnpacked, UNPACKED_BYTES_MAX,
    Unpacking,
};

use crate::support::service::{Place, Service};

const MIB: usize = 1024 * 1024;
/// What one entry says at most in these tests.
const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// What stands before the entries.
const HEAD_BYTES: usize = 2 + 8 + 2 * 24;

fn case() -> CaseId {
    CaseId(64 * 77 + 5)
}

/// Packs rows as a history is, whatever they say; `length` is what they claim to unpack to.
fn pack(rows: &[&[u8]], length: usize) -> Vec<u8> {
    let mut out = b"KNHKCASE".to_vec();
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&(length as u64).to_le_bytes());
    let mut encoder = zstd::stream::write::Encoder::new(out, 3).unwrap();
    for row in rows {
        encoder.write_all(row).unwrap();
    }
    let mut out = encoder.finish().unwrap();
    let checksum = crc32c::crc32c(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// Returns a history of entries that say nothing that can be read, and that are a chain.
fn chain(payloads: impl Iterator<Item = Vec<u8>>) -> CaseHistory {
    let case = case();
    let mut previous = Link::default();
    let entries = payloads.zip(1..).map(|(payload, n)| {
        let entry = Entry::new(case.partition(), n, case.0, previous, payload);
        previous = entry.link();
        entry
    });
    CaseHistory { case, entries: entries.collect(), specifications: Vec::new() }
}

fn zeros(bytes: usize) -> CaseHistory {
    chain((0..bytes.div_ceil(MIB)).map(|_| vec![0; MIB]))
}

/// Returns `history` as the beginning of another one, as if the case had been restored from it.
fn within(history: &CaseHistory, more: usize) -> CaseHistory {
    let fact = Restored { spec: SpecNumber(1), from: "a backup".to_owned(), packed: history.pack().unwrap() };
    let record = Record { at: Time(1), key: None, body: Body::Restored(Box::new(fact)) };
    chain([record.encode(), vec![0; more]].into_iter())
}

fn too_much(limit_bytes: usize) -> NotUnpacked {
    NotUnpacked::TooMuch { limit_bytes }
}

#[test]
fn what_unpacks_to_more_than_its_bound_is_refused_before_it_is_there() {
    const LIMIT: usize = 8 * MIB;
    let refused = |packed: &[u8]| {
        assert!(packed.len() < 64 * 1024, "{} bytes", packed.len());
        let mut unpacking = Unpacking::alone(LIMIT);
        let error = unpacking.history(packed).unwrap_err();
        assert!(unpacking.bytes_most() <= LIMIT);
        (error, unpacking.bytes_most())
    };
    // Large entries: all but the last piece of what is allowed was taken, and nothing beyond.
    let (error, most) = refused(&zeros(64 * MIB).pack().unwrap());
    assert_eq!(error, too_much(LIMIT));
    assert!(most > LIMIT / 2);
    // Entries that say nothing take more memory than they have bytes.
    let count = 500_000_u32;
    let mut rows = vec![0; HEAD_BYTES];
    rows.extend_from_slice(&count.to_le_bytes());
    rows.resize(rows.len() + count as usize * 12, 0);
    rows.extend_from_slice(&0_u32.to_le_bytes());
    assert!(rows.len() < LIMIT);
    assert_eq!(refused(&pack(&[&rows], rows.len())).0, too_much(LIMIT));
    // Lengths that are not true: nothing is set aside for what does not come.
    for (length, claimed) in
        [(PAYLOAD_BYTES_MAX, 256 * MIB), (PAYLOAD_BYTES_MAX + 1, 256 * MIB), (usize::MAX, 1 << 62)]
    {
        let mut rows = vec![0; HEAD_BYTES];
        rows.extend_from_slice(&1_u32.to_le_bytes());
        rows.extend_from_slice(&1_u64.to_le_bytes());
        rows.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        let (error, most) = refused(&pack(&[&rows], claimed));
        let is_refused =
            matches!(error, NotUnpacked::Damaged(_)) || error == too_much(CASE_HISTORY_BYTES_MAX);
        assert!(is_refused && most <= FRAME_BYTES_MAX + 1024, "{length}: {error:?}, {most} bytes");
    }
    // Zeros, as many as a history may have: they are no entries.
    let piece = vec![0; MIB];
    let (error, most) = refused(&pack(&vec![&piece[..]; 256], CASE_HISTORY_BYTES_MAX));
    assert_eq!((error, most), (NotUnpacked::Damaged("it has another length than it says".to_owned()), 0));
}

#[test]
fn a_frame_that_wants_a_large_window_is_refused() {
    let history = zeros(20 * MIB);
    let rows = {
        // The rows of a history as they are packed, with nothing changed but how far back the packing refers.
        let packed = history.pack().unwrap();
        zstd::stream::decode_all(&packed[20..packed.len() - 4]).unwrap()
    };
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&rows).unwrap();
    let mut packed = b"KNHKCASE".to_vec();
    packed.extend_from_slice(&1_u32.to_le_bytes());
    packed.extend_from_slice(&(rows.len() as u64).to_le_bytes());
    packed.extend_from_slice(&encoder.finish().unwrap());
    packed.extend_from_slice(&crc32c::crc32c(&packed).to_le_bytes());
    let error = Unpacking::alone(UNPACKED_BYTES_MAX).history(&packed).unwrap_err();
    assert!(error.to_string().contains("cannot be unpacked"), "{error}");
}

#[test]
fn the_largest_history_comes_back_as_it_was() {
    // As long as a history may be, of entries of ordinary length, and not all alike.
    let count = (CASE_HISTORY_BYTES_MAX - HEAD_BYTES - 8) / MIB;
    let mut history = chain((0..count).map(|number| {
        let word = number.to_le_bytes();
        word.iter().copied().cycle().take(MIB - 12).collect()
    }));
    let left = CASE_HISTORY_BYTES_MAX - HEAD_BYTES - 8 - count * MIB;
    history.specifications = vec![(3, vec![7; left.saturating_sub(8)])];
    let packed = history.pack().unwrap();
    let mut unpacking = Unpacking::alone(UNPACKED_BYTES_MAX);
    assert!(unpacking.history(&packed).unwrap() == history);
    assert!(unpacking.bytes() <= UNPACKED_BYTES_MAX && unpacking.bytes() > CASE_HISTORY_BYTES_MAX - 2 * MIB);
    history.specifications.push((4, vec![0; MIB]));
    assert!(history.pack().unwrap_err().contains("more than the limit"));
}

#[test]
fn histories_within_histories_share_one_bound() {
    // Each of 16 takes 2 MiB.
    let nothing = Record { at: Time(1), key: None, body: Body::Case(&[]) };
    let mut history = chain([nothing.encode(), vec![0; 2 * MIB]].into_iter());
    for _ in 0..15 {
        history = within(&history, 2 * MIB);
    }
    let packed = history.pack().unwrap();
    assert!(packed.len() < 64 * 1024, "{} bytes", packed.len());
    let walk = |limit: usize| {
        let mut unpacking = Unpacking::alone(limit);
        let history = unpacking.history(&packed)?;
        let mut count = 0;
        past::each(&history, &mut unpacking, &mut |_| {
            count += 1;
            Ok(true)
        })?;
        Ok((count, unpacking.bytes_most()))
    };
    let (count, most) = walk(UNPACKED_BYTES_MAX).unwrap();
    assert_eq!(count, 2 * 16);
    assert!(most > 32 * MIB && most < 33 * MIB, "{most} bytes");
    assert_eq!(walk(most).unwrap(), (count, most));
    assert_eq!(walk(most - 1), Err(too_much(most - 1)));
    // Too deep, however small.
    let mut history = chain([vec![0]].into_iter());
    for _ in 0..=past::RESTORED_DEPTH_MAX {
        history = within(&history, 1);
    }
    let error = past::each(&history, &mut Unpacking::known(), &mut |_| Ok(true)).unwrap_err();
    assert!(error.to_string().contains("restored too often"), "{error}");
}

#[test]
fn facts_that_come_to_much_are_refused_before_they_are_read() {
    // A payload that says how many facts it holds, each of a byte.
    let count = 3 * MIB;
    let mut payload = vec![1];
    let mut left = count;
    while left >= 0x80 {
        payload.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    payload.push(u8::try_from(left).unwrap());
    payload.resize(payload.len() + count, 0);
    let record = Record { at: Time(1), key: None, body: Body::Case(&payload) };
    let history = chain([record.encode()].into_iter());
    let mut unpacking = Unpacking::alone(UNPACKED_BYTES_MAX);
    let error = Past::of(&history, &mut unpacking).unwrap_err();
    assert_eq!(error, too_much(UNPACKED_BYTES_MAX));
    assert_eq!(unpacking.bytes_most(), 0);
}

/// Returns the most memory that a process had so far, in bytes.
fn peak_bytes(service: &Service) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Returns the bytes that all requests of a service may unpack together, as people are shown them.
fn unpacked_bytes_max(place: &Place) -> usize {
    let shown = place.knhk(&["config", "show", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let parts = document["memory"]["parts"].as_array().unwrap();
    let part = parts.iter().find(|part| part["name"] == "histories that are unpacked").unwrap();
    usize::try_from(part["bytes_max"].as_u64().unwrap()).unwrap()
}

#[test]
fn bombs_sent_side_by_side_take_no_more_than_the_bound_for_all() {
    let mut place = Place::new();
    let mut service = place.start();
    // Much of what there is for all, of which nothing can be read as what happened in a case.
    let all = unpacked_bytes_max(&place);
    assert!((32 * MIB..=UNPACKED_BYTES_TOGETHER_MAX).contains(&all), "{all}");
    let bomb = zeros(all / 8 * 5).pack().unwrap();
    assert!(bomb.len() < 64 * 1024, "{} bytes", bomb.len());
    let beyond = pack(&[b""], CASE_HISTORY_BYTES_MAX + 1);
    let path = format!("/cases/{}/restore", case());
    let octets = [("Content-Type", "application/octet-stream")];
    let refused = service.client().send("POST", &path, &octets, &beyond).unwrap();
    assert_eq!((refused.status, &refused.json()["code"]), (413, &"KN0535".into()));
    let before = peak_bytes(&service);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let send = || {
            let mut client = service.client();
            (0..4).map(|_| client.send("POST", &path, &octets, &bomb).unwrap()).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    for answer in &answers {
        let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
        match answer.status {
            422 => assert_eq!(code, "KN0335"),
            503 => {
                assert_eq!(code, "KN0536");
                assert!(answer.header("retry-after").is_some());
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 422));
    let grown = peak_bytes(&service) - before;
    // As much again for what the allocator of each thread keeps in between; without a bound it is 1.6 GB.
    assert!(grown < all * 2, "{} MiB", grown / MIB);
    assert!(service.stop().success());
}
