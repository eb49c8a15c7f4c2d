//! Ten thousand connections, and ten times the load: what takes long (`KNHK_SLOW_TESTS=1`).

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use knhk::api::remote::Scope;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Running;
use super::client::{Client, PATIENCE, request, trusting};
use crate::api::fake::Fake;
use crate::support::wait;

/// Set for the process that holds the other ends of the connections: each end takes a file descriptor.
const CHILD: &str = "KNHK_TEST_REMOTE_CHILD";
const CONNECTIONS: usize = 10_000;
/// Tokens by which they are known: one alone may have half of them.
const TOKENS: usize = 8;
/// Most memory a resting connection may take, in kilobytes: TLS session, buffers, and what waits for the next request.
const CONNECTION_KB_MAX: usize = 64;
/// Requests that the service under load does at a time.
const AT_ONCE: usize = 8;
/// How long each load lasts.
const LOAD_TIME: Duration = Duration::from_secs(3);

fn is_slow() -> bool {
    wait::variable("KNHK_SLOW_TESTS").is_some()
}

fn resident_kb() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4
}

#[test]
fn ten_thousand_connections_rest_and_nobody_else_notices() {
    if !is_slow() {
        return;
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard > CONNECTIONS as u64 + 1_000, "the limit on open files is {hard}: too few for this test");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    // A quarter is for strangers, and eight tokens have eight ninths of the rest.
    let running = Running::start_tls(|options| options.connections_max = CONNECTIONS * 2);
    let tokens: Vec<_> =
        (0..TOKENS).map(|number| running.token(&format!("t{number}"), Scope::Read)).collect();
    let token = running.token("one", Scope::Read);
    let before_kb = resident_kb();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "remote::many::the_other_ends", "--nocapture", "--test-threads=1"])
        .env(
            CHILD,
            format!(
                "{} {} {}",
                running.remote().address(),
                running.path("certificate.pem").display(),
                tokens.join(" ")
            ),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // A handshake a millisecond and more, on a machine that does other things too.
    let all = wait::until(PATIENCE * 20, || {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "the other process ended: {ended:?}");
        (running.remote().connections() == CONNECTIONS).then_some(())
    });
    all.unwrap_or_else(|| panic!("{} connections", running.remote().connections()));
    let each_kb = resident_kb().saturating_sub(before_kb) / CONNECTIONS;
    assert!(each_kb <= CONNECTION_KB_MAX, "{each_kb} kB a connection");
    let mut out = std::io::stdout();
    writeln!(out, "{CONNECTIONS} connections rest, {each_kb} kB each").unwrap();
    let mut client = Client::tls(running.remote().address(), &running.path("certificate.pem"));
    for _ in 0..100 {
        assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 200);
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let gone = wait::until(PATIENCE, || (running.remote().connections() == 1).then_some(()));
    gone.unwrap_or_else(|| panic!("{} connections are still counted", running.remote().connections()));
    drop(client);
    running.stop();
}

/// Runs as a child of the test above; otherwise it does nothing.
#[test]
fn the_other_ends() {
    let Some(told) = wait::variable(CHILD) else { return };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let told: Vec<&str> = told.split(' ').collect();
    let address: SocketAddr = told[0].parse().unwrap();
    let config = trusting(told[1].as_ref(), tokio_rustls::rustls::DEFAULT_VERSIONS);
    let clients: Vec<Client> = (0..CONNECTIONS)
        .map(|number| {
            let mut client = Client::with(address, config.clone(), "localhost").unwrap();
            // Known, so that it may rest.
            let token = told[2 + number % TOKENS];
            assert_eq!(client.ask("GET", "/health", Some(token), b"").status, 200);
            client
        })
        .collect();
    let mut rest = String::new();
    std::io::stdin().read_to_string(&mut rest).unwrap();
    drop(clients);
}

/// Lets so many clients ask as fast as they can, and returns how many answers were 200 and how many 503.
fn load(running: &Running, token: &str, clients: usize) -> (u64, u64) {
    let (good, refused, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let path = format!("/cases/{}", crate::api::fake::case_id());
    std::thread::scope(|scope| {
        for _ in 0..clients {
            let body = || {
                let mut client = running.connect();
                while !is_over.load(Ordering::Relaxed) {
                    client.send(request("GET", &path, Some(token), b""));
                    match client.answer().expect("an answer").status {
                        200 => good.fetch_add(1, Ordering::Relaxed),
                        503 => {
                            // As Retry-After asks, though sooner than that.
                            wait::pause();
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        other => panic!("{other}"),
                    };
                }
            };
            std::thread::Builder::new().spawn_scoped(scope, body).unwrap();
        }
        std::thread::sleep(LOAD_TIME);
        is_over.store(true, Ordering::Relaxed);
    });
    (good.into_inner(), refused.into_inner())
}

#[test]
fn ten_times_the_load_takes_little_from_what_is_answered() {
    if !is_slow() {
        return;
    }
    // Each of them takes a while.
    let mut fake = Fake::new();
    fake.before_case = Box::new(|| std::thread::sleep(Duration::from_millis(5)));
    let running = Running::start(fake, |options| {
        // One token has half of it.
        options.requests_max = AT_ONCE * 2;
        options.http_workers = AT_ONCE;
        options.connections_max = 1_000;
    });
    let token = running.token("one", Scope::Read);
    let (full, _) = load(&running, &token, AT_ONCE);
    let (over, refused) = load(&running, &token, AT_ONCE * 10);
    writeln!(std::io::stdout(), "answered {full} at the limit, {over} at ten times it, {refused} refused")
        .unwrap();
    assert!(refused > 0, "nothing was refused");
    // Half, because eighty clients and the service share one machine.
    assert!(over * 2 >= full, "{over} answered under ten times the load, {full} without");
    running.stop();
}
