//! Heads of all connections together are bounded in bytes, from their first byte until their answer.

use std::io::Write;
use std::sync::mpsc;

use knhk::api::Limits;
use knhk::api::server::TIMES;

use super::{Both, PATIENCE, Side};
use crate::api::LIMITS;
use crate::api::fake::Fake;

/// Bytes that heads have together.
const HEADS_BYTES: usize = 512 * 1024;
/// Bytes of a head that is held back.
const HALF_BYTES: usize = 40_000;
/// Bytes of each of its headers.
const HEADER_BYTES: usize = 4_000;
const CONNECTIONS: usize = 20;

/// Returns how many of these are held at a time: the remote side counts a head twice, strangers have half of all, and one
/// address half of that.
fn held_most(side: Side) -> usize {
    match side {
        Side::Local => HEADS_BYTES / HALF_BYTES,
        Side::Remote => HEADS_BYTES / 2 / 2 / (2 * HALF_BYTES),
    }
}

#[test]
fn more_bytes_of_heads_than_there_is_room_for_are_refused_as_busy_and_come_back() {
    let limits = Limits { heads_bytes_max: HEADS_BYTES, ..LIMITS };
    let both = Both::start_within(limits, Fake::new, TIMES, 1_000);
    for side in [Side::Local, Side::Remote] {
        let head = "GET /health/live HTTP/1.1\r\nHost: localhost".to_owned()
            + &format!("\r\nX: {}", "x".repeat(HEADER_BYTES)).repeat(HALF_BYTES / HEADER_BYTES);
        let (sender, answers) = mpsc::channel();
        let mut streams = Vec::new();
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                let mut talk = both.connect(side);
                streams.push(talk.0.get_ref().try_clone().unwrap());
                talk.send(head.as_bytes());
                let sender = sender.clone();
                scope.spawn(move || sender.send(talk.answer(false)).unwrap());
            }
            // Those for which there is no room are told so while the others are held back.
            let refused_least = CONNECTIONS - held_most(side);
            for _ in 0..refused_least {
                let answer = answers.recv_timeout(PATIENCE).expect("it is refused");
                assert_eq!(answer, Some((503, "KN0527".to_owned())), "{side:?}");
            }
            for stream in &mut streams {
                // One that was refused may be gone.
                let _ = stream.write_all(b"\r\n\r\n");
            }
            for _ in refused_least..CONNECTIONS {
                let status = answers.recv_timeout(PATIENCE).expect("it is answered").map(|answer| answer.0);
                assert!(matches!(status, Some(200 | 503)), "{side:?}: {status:?}");
            }
        });
        drop(streams);
        // All of it is there again, and a connection that goes on holds nothing between two requests.
        let mut talks: Vec<_> = (0..CONNECTIONS).map(|_| both.connect(side)).collect();
        for talk in &mut talks {
            talk.send(format!("{head}\r\n\r\n").as_bytes());
            assert_eq!(talk.answer(false).map(|answer| answer.0), Some(200), "{side:?}");
        }
    }
    both.stop();
}

#[test]
fn one_that_is_wrong_behind_others_that_came_with_it_is_refused_in_its_turn() {
    let both = Both::start();
    for side in [Side::Local, Side::Remote] {
        let good = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut talk = both.connect(side);
        talk.send(format!("{good}{good}{good}GET\r\n\r\n{good}").as_bytes());
        let statuses: Vec<_> = (0..4).map(|_| talk.answer(false).map(|answer| answer.0)).collect();
        assert_eq!(statuses, [Some(200), Some(200), Some(200), Some(400)], "{side:?}");
        assert_eq!(talk.answer(false), None, "{side:?}");
    }
    both.stop();
}
