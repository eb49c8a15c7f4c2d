//! Refusals reach clients that are still sending: after the answer the server reads on for a while.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use knhk::api::remote::Scope;
use knhk::api::server::TIMES;

use super::{Both, PATIENCE, Side, Talk};
use crate::api::fake::{Fake, case_id};
use crate::support::wait;

/// What a client has still to send when it is refused.
const OUTSTANDING: usize = 2 << 20;

/// Sends all of a head and its body before it looks for an answer, as most clients do.
fn status(talk: &mut Talk, head: &[u8]) -> Option<(u16, String)> {
    talk.send(head);
    talk.send(&vec![b' '; OUTSTANDING]);
    let answer = talk.answer(false);
    assert!(matches!(talk.0.read(&mut [0]), Ok(0)), "after the answer comes the end, and no reset");
    answer
}

fn post(more: &str) -> Vec<u8> {
    format!("POST /workflows HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").into_bytes()
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let both = Both::start();
    let length = format!("Content-Length: {OUTSTANDING}\r\n");
    let large = post(&format!("@A@{length}"));
    let chunk =
        [post("@A@Transfer-Encoding: chunked\r\n"), format!("{OUTSTANDING:x}\r\n").into_bytes()].concat();
    let broken = [post("@A@Transfer-Encoding: chunked\r\n"), b"zz\r\n".to_vec()].concat();
    let twice = post(&format!("@A@{length}{length}"));
    let hostless = format!("POST /workflows HTTP/1.1\r\n@A@{length}\r\n").into_bytes();
    let expects = post(&format!("@A@Expect: x\r\n{length}"));
    let endless = post("@A@A: ")[..].strip_suffix(b"\r\n").unwrap().to_vec();
    for (head, wanted) in [
        (&large, (413, "KN0502")),
        (&chunk, (413, "KN0502")),
        (&broken, (400, "KN0524")),
        (&twice, (400, "KN0366")),
        (&hostless, (400, "KN0367")),
        (&expects, (417, "KN0368")),
        (&endless, (431, "KN0526")),
    ] {
        for side in [Side::Local, Side::Remote] {
            for _ in 0..3 {
                let answer = status(&mut both.connect(side), &both.bytes(side, head));
                let wanted = Some((wanted.0, wanted.1.to_owned()));
                assert_eq!(answer, wanted, "{side:?}: {}", String::from_utf8_lossy(head));
            }
        }
    }
    // What only the remote side asks for.
    let reader = both.remote.as_ref().unwrap().token("reader", Scope::Read);
    let wrong = post(&format!("Authorization: Bearer knhk_wrong\r\n{length}"));
    let weak = post(&format!("Authorization: Bearer {reader}\r\n{length}"));
    for (head, wanted) in [(wrong, (401, "KN0552")), (weak, (403, "KN0554"))] {
        for _ in 0..3 {
            let answer = status(&mut both.connect(Side::Remote), &head);
            assert_eq!(answer, Some((wanted.0, wanted.1.to_owned())));
        }
    }
    both.stop();
}

#[test]
fn that_there_is_no_place_reaches_a_client_that_is_still_sending() {
    let gate = Arc::new((Mutex::new(false), Condvar::new(), AtomicUsize::new(0)));
    let fake = || {
        let mut fake = Fake::new();
        let inside = Arc::clone(&gate);
        fake.before_case = Box::new(move || {
            inside.2.fetch_add(1, Ordering::SeqCst);
            let guard = inside.0.lock().unwrap();
            drop(inside.1.wait_while(guard, |is_open| !*is_open).unwrap());
        });
        fake
    };
    // One connection is the limit of the local side, one request that of the remote.
    let both = Both::start_with(fake, TIMES, 1);
    let busy = Some((503, "KN0527".to_owned()));
    let mut held = Vec::new();
    for (side, count) in [(Side::Local, 1), (Side::Remote, 2)] {
        let mut talk = both.connect(side);
        let get = format!("GET /cases/{} HTTP/1.1\r\nHost: localhost\r\n@A@\r\n", case_id());
        talk.send(&both.bytes(side, get.as_bytes()));
        held.push(talk);
        let waiting = || (gate.2.load(Ordering::SeqCst) == count).then_some(());
        wait::until(PATIENCE, waiting).expect("a request that waits");
    }
    for side in [Side::Local, Side::Remote] {
        // A body within the limits, so that nothing else is wrong with it.
        let sent = if side == Side::Local { OUTSTANDING } else { 60_000 };
        let head = both.bytes(side, &post(&format!("@A@Content-Length: {sent}\r\n")));
        for _ in 0..3 {
            let mut talk = both.connect(side);
            talk.send(&head);
            talk.send(&vec![b' '; sent]);
            assert_eq!(talk.answer(false), busy, "{side:?}");
            if side == Side::Local {
                assert!(
                    matches!(talk.0.read(&mut [0]), Ok(0)),
                    "after the answer comes the end, and no reset"
                );
            }
        }
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for talk in &mut held {
        assert_eq!(talk.answer(false).map(|(status, _)| status), Some(200));
    }
    both.stop();
}
