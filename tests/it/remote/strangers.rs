//! Strangers in numbers, and holders of tokens who take much: what each leaves for the others.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use knhk::api::audit::Lane;
use knhk::api::remote::{Folder, Network, Options, STRANGERS_PART, Scope};

use super::client::{Client, PATIENCE, request};
use super::limits::{figure, gated, until_connected};
use super::{Running, short};
use crate::api::LIMITS;
use crate::api::fake::{Fake, case_id};
use crate::support::wait;

/// Long enough for a client that has to be faster, also on a machine with much else to do.
const ENOUGH: Duration = Duration::from_secs(2);
const STRANGER: [u8; 4] = [127, 0, 0, 2];
const ANOTHER: [u8; 4] = [127, 0, 0, 3];

impl Running {
    fn connect_from(&self, address: [u8; 4]) -> Client {
        Client::plain_from(IpAddr::from(address), self.remote().address())
    }

    fn refused(&self, reason: &str) -> u64 {
        figure(self, &format!("knhk_remote_refused_total{{reason=\"{reason}\"}}")).parse().unwrap()
    }
}

#[test]
fn silent_connections_of_one_address_keep_no_holder_of_a_token_out() {
    const ADDRESS_MAX: usize = 6;
    const SILENT: usize = 200;
    let running = Running::start(Fake::new(), |options| {
        options.connections_max = 40;
        options.address_connections_max = ADDRESS_MAX;
    });
    let token = running.token("one", Scope::Read);
    let mut silent: Vec<_> = (0..SILENT).map(|_| running.connect_from(STRANGER)).collect();
    wait::until(PATIENCE, || (running.refused("address") == (SILENT - ADDRESS_MAX) as u64).then_some(()))
        .expect("all beyond the bound are refused");
    until_connected(&running, ADDRESS_MAX);
    for _ in 0..50 {
        assert_eq!(running.connect().ask("GET", "/health", Some(&token), b"").status, 200);
    }
    // The first are still there, the others are not.
    assert_eq!(silent[0].ask("GET", "/health/live", None, b"").status, 200);
    assert!(silent[SILENT - 1].is_closed());
    assert_eq!(running.refused("connections"), 0);
    running.stop();
}

#[test]
fn an_exempt_address_has_as_many_as_there_are() {
    let running = Running::start(Fake::new(), |options| {
        options.address_connections_max = 1;
        options.proxies = vec!["127.0.0.2".parse().unwrap()];
    });
    let mut of_proxy: Vec<_> = (0..5).map(|_| running.connect_from(STRANGER)).collect();
    for client in &mut of_proxy {
        assert_eq!(client.ask("GET", "/health/live", None, b"").status, 200);
    }
    let _first = running.connect_from(ANOTHER);
    assert!(running.connect_from(ANOTHER).is_closed());
    running.stop();
}

#[test]
fn when_strangers_are_too_many_the_oldest_of_the_address_with_most_goes() {
    const PLACES: usize = 5;
    let running = Running::start(Fake::new(), |options| {
        options.connections_max = PLACES * STRANGERS_PART;
    });
    let token = running.token("one", Scope::Read);
    let mut alone = running.connect_from(ANOTHER);
    let mut flood = Vec::new();
    for _ in 0..PLACES * 20 {
        flood.push(running.connect_from(STRANGER));
        // One that comes while all places are taken, and shows a token.
        assert_eq!(running.connect().ask("GET", "/health", Some(&token), b"").status, 200);
        assert!(running.remote().connections() <= PLACES * STRANGERS_PART);
    }
    assert_eq!(alone.ask("GET", "/health/live", None, b"").status, 200);
    assert!(flood[0].is_closed());
    assert!(running.refused("connections") > 0 && running.refused("address") == 0);
    running.stop();
}

#[test]
fn a_stranger_ends_at_a_fixed_moment_whatever_it_sends() {
    let running = Running::start(Fake::new(), |options| {
        options.times = short(|times| times.first = ENOUGH);
    });
    let token = running.token("one", Scope::Read);
    let mut known = running.connect();
    assert_eq!(known.ask("GET", "/health", Some(&token), b"").status, 200);
    // One asks for what needs no token, one shows wrong ones, one sends a head a byte at a time.
    let mut strangers: Vec<_> = (0..3).map(|_| running.connect()).collect();
    strangers[2].send("GET /health/live HTTP/1.1\r\nX: ");
    until_connected(&running, 4);
    let mut rounds = 0;
    while running.remote().connections() > 1 {
        strangers[0].send(request("GET", "/health/live", None, b""));
        strangers[1].send(request("GET", "/health", Some("knhk_wrong"), b""));
        strangers[2].send("x");
        wait::pause();
        rounds += 1;
        // None of the other times is as short as this is long.
        assert!(rounds < 500, "{} connections are still open", running.remote().connections());
    }
    assert_eq!(known.ask("GET", "/health", Some(&token), b"").status, 200);
    running.stop();
}

#[test]
fn a_connection_whose_token_is_revoked_is_a_strangers_again() {
    let running = Running::start(Fake::new(), |options| {
        options.times = short(|times| times.first = ENOUGH);
    });
    let token = running.token("one", Scope::Read);
    let mut client = running.connect();
    assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 200);
    Folder::at(running.folder.path()).revoke("one").unwrap();
    assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 401);
    // Sooner than one that is known, which may rest for longer than we wait.
    until_connected(&running, 0);
    running.stop();
}

#[test]
fn a_token_has_its_share_of_the_connections() {
    // Twelve of them for those who have shown a token.
    let running = Running::start(Fake::new(), |options| options.connections_max = 16);
    let (one, other) = (running.token("one", Scope::Read), running.token("other", Scope::Read));
    let known = |token: &str| {
        let mut held = Vec::new();
        loop {
            let mut client = running.connect();
            let answer = client.ask("GET", "/health", Some(token), b"");
            assert_eq!(answer.status, 200, "it is answered all the same");
            if answer.header("connection") == Some("close") {
                assert!(client.is_closed());
                return held;
            }
            held.push(client);
        }
    };
    let of_one = known(&one);
    let of_other = known(&other);
    assert_eq!((of_one.len(), of_other.len()), (6, 3));
    assert_eq!(running.refused("connections"), 2);
    drop((of_one, of_other));
    until_connected(&running, 0);
    assert_eq!(known(&other).len(), 6);
    running.stop();
}

#[test]
fn requests_of_one_token_leave_places_for_the_others() {
    const PLACES: usize = 8;
    let (fake, gate) = gated();
    let running = Running::start(fake, |options| {
        options.requests_max = PLACES;
        options.http_workers = PLACES;
    });
    let (one, other) = (running.token("one", Scope::Read), running.token("other", Scope::Read));
    let case = format!("/cases/{}", case_id());
    let mut of_one: Vec<_> = (0..PLACES / 2).map(|_| running.connect()).collect();
    for client in &mut of_one {
        client.send(request("GET", &case, Some(&one), b""));
    }
    gate.until_waiting(PLACES / 2);
    for _ in 0..10 {
        let answer = running.connect().ask("GET", &case, Some(&one), b"");
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(answer.json()["code"], "KN0375");
    }
    let mut of_other = running.connect();
    of_other.send(request("GET", &case, Some(&other), b""));
    gate.until_waiting(PLACES / 2 + 1);
    gate.open();
    for client in of_one.iter_mut().chain([&mut of_other]) {
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    running.stop();
}

/// Returns the head of a request whose body does not come.
fn slow(token: &str, bytes: usize) -> String {
    format!(
        "POST /workflows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {bytes}\r\n\r\n"
    )
}

#[test]
fn slow_bodies_hold_no_place_among_the_requests() {
    let running = Running::start(Fake::new(), |options| options.requests_max = 1);
    let (one, other) = (running.token("one", Scope::Admin), running.token("other", Scope::Admin));
    let mut slow_ones: Vec<_> = (0..20).map(|_| running.connect()).collect();
    for client in &mut slow_ones {
        client.send(slow(&one, 3));
    }
    for token in [&one, &other] {
        for _ in 0..5 {
            assert_eq!(running.connect().ask("GET", "/health", Some(token), b"").status, 200);
            assert_eq!(running.connect().ask("POST", "/workflows", Some(token), b"new").status, 201);
        }
    }
    for client in &mut slow_ones {
        client.send("new");
        assert_eq!(client.answer().expect("an answer").status, 201);
    }
    assert_eq!(running.refused("busy"), 0);
    running.stop();
}

#[test]
fn bytes_of_bodies_are_shared_by_token() {
    // All bodies together have room for 64 of the largest, and one token for half of that.
    const SHARE: usize = 32;
    let running = Running::start(Fake::new(), |options| options.connections_max = 400);
    let (one, other) = (running.token("one", Scope::Admin), running.token("other", Scope::Admin));
    let mut slow_ones: Vec<_> = (0..SHARE).map(|_| running.connect()).collect();
    for client in &mut slow_ones {
        client.send(slow(&one, LIMITS.body_bytes_max));
    }
    // One of these or of those finds none left; all others wait for their bodies.
    let mut last = running.connect();
    last.send(slow(&one, LIMITS.body_bytes_max));
    wait::until(PATIENCE, || (running.refused("busy") == 1).then_some(())).expect("one is refused");
    let small = running.connect().ask("POST", "/workflows", Some(&one), b"new");
    assert_eq!((small.status, small.header("retry-after")), (503, Some("1")));
    assert_eq!(small.json()["code"], "KN0375");
    // What has no body needs none of it, and another token has a share of its own.
    assert_eq!(running.connect().ask("GET", "/health", Some(&one), b"").status, 200);
    let body = vec![b'x'; LIMITS.body_bytes_max];
    assert_ne!(running.connect().ask("POST", "/workflows", Some(&other), &body).status, 503);
    drop((slow_ones, last));
    let free = || running.connect().ask("POST", "/workflows", Some(&one), b"new").status == 201;
    wait::until(PATIENCE, || free().then_some(())).expect("what is held comes back");
    running.stop();
}

#[test]
fn a_change_begins_only_with_room_for_its_line() {
    let running = Running::start_with(Fake::new(), Arc::new(Lane::new(4)), |_| {});
    let (one, other) = (running.token("one", Scope::Work), running.token("other", Scope::Work));
    let mut client = running.connect();
    let path = format!("/cases/{}/cancel", case_id());
    let mut cancel = |token: &str| client.ask("POST", &path, Some(token), br#"{"reason":"over"}"#);
    let mut begun = 0;
    let refused = (0..10_000).find_map(|_| {
        let answer = cancel(&one);
        begun += usize::from(answer.status == 200);
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.expect("more than its share in a second");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.json()["code"], "KN0376");
    assert_eq!(cancel(&other).status, 200, "another token has a share of its own");
    assert_eq!(running.fake.calls().len(), begun + 1, "one without room reached the service");
    assert_eq!(running.refused("audit"), 1);
    // What changes nothing needs no line.
    assert_eq!(running.connect().ask("GET", "/health", Some(&one), b"").status, 200);
    running.stop();
}

/// Returns a head that takes so many bytes, without its end.
fn held_back(path: &str, more: &str, bytes: usize) -> String {
    let line = format!("X: {}\r\n", "x".repeat(5_000));
    let lines = line.repeat(bytes / line.len());
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}{lines}")
}

/// Starts one where a head may be held back for longer than a test lasts.
fn patient(change: impl FnOnce(&mut Options)) -> Running {
    Running::start(Fake::new(), |options| {
        options.connections_max = 400;
        options.times = short(|times| (times.head, times.first) = (PATIENCE * 10, PATIENCE * 10));
        change(options);
    })
}

fn until_refused_as_busy(running: &Running, least: usize) {
    let name = "knhk_http_request_seconds_count{route=\"other\",status=\"503\"}";
    let refused = || figure(running, name).parse().unwrap_or(0);
    wait::until(PATIENCE, || (refused() >= least).then_some(()))
        .unwrap_or_else(|| panic!("{} are refused", refused()));
}

#[test]
fn heads_that_one_address_holds_back_leave_room_for_others() {
    const HELD_BACK: usize = 60;
    let running = patient(|_| {});
    let token = running.token("one", Scope::Read);
    let shown = format!("Authorization: Bearer {token}\r\n");
    let mut strangers: Vec<_> = (0..HELD_BACK).map(|_| running.connect_from(STRANGER)).collect();
    for stranger in &mut strangers {
        stranger.send(held_back("/health/live", "", 60_000));
    }
    // Strangers have half of the room, and each of these heads counts twice.
    let fit = LIMITS.heads_bytes_max / 2 / (2 * 55_000);
    until_refused_as_busy(&running, HELD_BACK - fit);
    // New connections, that nobody has shown a token on yet: of another address, and of this one.
    for _ in 0..20 {
        let mut client = running.connect_from(ANOTHER);
        client.send(held_back("/health", &shown, 40_000) + "\r\n");
        assert_eq!(client.answer().expect("an answer").status, 200);
        let mut client = running.connect_from(STRANGER);
        assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 200);
    }
    drop(strangers);
    running.stop();
}

#[test]
fn a_small_head_is_read_however_many_addresses_hold_theirs_back() {
    let running = patient(|options| {
        options.connections_max = 1_600;
        options.limits.heads_bytes_max = 512 << 10;
    });
    let token = running.token("one", Scope::Read);
    let mut strangers = Vec::new();
    // The small ones take what the large ones leave.
    for bytes in [60_000, 0] {
        for last in 2..80 {
            let mut stranger = running.connect_from([127, 0, 0, last]);
            stranger.send(held_back("/health/live", &format!("Y: {}\r\n", "y".repeat(1_000)), bytes));
            strangers.push(stranger);
        }
    }
    until_refused_as_busy(&running, 70);
    for last in 2..120 {
        let mut client = running.connect_from([127, 0, 0, last]);
        assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 200);
    }
    drop(strangers);
    running.stop();
}

#[test]
fn heads_that_one_token_holds_back_leave_room_for_others() {
    const HELD_BACK: usize = 60;
    let running = patient(|_| {});
    let (one, other) = (running.token("one", Scope::Read), running.token("other", Scope::Read));
    let known = |token: &str| {
        let mut client = running.connect();
        assert_eq!(client.ask("GET", "/health", Some(token), b"").status, 200);
        client
    };
    let mut of_other = known(&other);
    let mut of_one: Vec<_> = (0..HELD_BACK).map(|_| known(&one)).collect();
    for client in &mut of_one {
        client.send(held_back("/health/live", "", 60_000));
    }
    until_refused_as_busy(&running, HELD_BACK - LIMITS.heads_bytes_max / (2 * 55_000));
    for _ in 0..20 {
        let shown = format!("Authorization: Bearer {other}\r\n");
        of_other.send(held_back("/health", &shown, 40_000) + "\r\n");
        assert_eq!(of_other.answer().expect("an answer").status, 200);
    }
    drop(of_one);
    running.stop();
}

#[test]
fn heads_that_come_by_an_exempt_address_have_no_share() {
    // Together more than one address may hold, and less than there is for strangers.
    const HELD_BACK: usize = 12;
    let of_stranger = |proxies: &[&str]| {
        let proxies: Vec<Network> = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        let running = patient(|options| options.proxies = proxies);
        let mut clients: Vec<_> = (0..HELD_BACK).map(|_| running.connect_from(STRANGER)).collect();
        for client in &mut clients {
            client.send(held_back("/health/live", "", 60_000));
        }
        for client in &mut clients {
            client.send("\r\n");
        }
        let statuses: Vec<_> =
            clients.iter_mut().map(|client| client.answer().map(|answer| answer.status)).collect();
        running.stop();
        statuses
    };
    assert!(of_stranger(&[]).contains(&Some(503)));
    assert_eq!(of_stranger(&["127.0.0.2"]), [Some(200); HELD_BACK]);
}

#[test]
fn an_address_is_one_of_ipv4_and_64_bits_of_ipv6() {
    let of = |text: &str| Network::of(text.parse().unwrap());
    assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff:ffff:ffff:ffff"));
    assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    // As a listener on [::] sees it.
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    let network = |text: &str| text.parse::<Network>();
    for (exempt, within, outside) in [
        ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
        ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
        ("::/0", "2001:db8::1", "::ffff:192.0.2.7"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
    ] {
        let exempt = network(exempt).unwrap();
        assert!(exempt.contains(within.parse().unwrap()), "{exempt:?} {within}");
        assert!(!exempt.contains(outside.parse().unwrap()), "{exempt:?} {outside}");
    }
    let wrongs = [
        "",
        "192.0.2.7/33",
        "192.0.2.7/24",
        "::1/129",
        "::ffff:192.0.2.7",
        "10.0.0.0/",
        "knhk.example",
        "1/8",
        "::/-1",
    ];
    for wrong in wrongs {
        assert!(network(wrong).is_err(), "{wrong}");
    }
}
