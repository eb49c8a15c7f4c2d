//! The real service with the remote side on: commands, log, signals.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use super::client::{Client, PATIENCE, request, trusting};
use crate::support::service::{Place, root};
use crate::support::wait;

/// Returns a place whose service also listens for other machines, and where.
pub(super) fn place() -> (Place, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut place = Place::new();
    let folder = format!("{:?}", place.path("remote").display().to_string());
    let listen = format!("\"{address}\"");
    place.set(&[("remote_listen", &listen), ("remote_dir", &folder), ("remote_names", "\"knhk.example\"")]);
    (place, address)
}

/// Runs a command and returns what it said.
#[track_caller]
pub(super) fn said(place: &Place, arguments: &[&str]) -> String {
    let output = place.knhk(arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{said}", String::from_utf8_lossy(&output.stderr));
    said
}

fn wait_for_line(place: &Place, words: &str) -> String {
    let found = || place.log().lines().rev().find(|line| line.contains(words)).map(str::to_owned);
    wait::until(PATIENCE, found).unwrap_or_else(|| panic!("no line {words:?} in\n{}", place.log()))
}

#[test]
fn a_change_with_a_token_by_the_port_leaves_its_line_too() {
    let mut place = Place::new();
    let folder = format!("{:?}", place.path("remote").display().to_string());
    place.set(&[("listen_allow", "\"token\""), ("remote_dir", &folder)]);
    let mut service = place.start();
    let admin = said(&place, &["token", "create", "--name", "boss", "--scope", "admin"]).trim().to_owned();
    let mut client = Client::plain(service.address);
    client.ask("GET", "/cases", Some(&admin), b"").expect(200);
    let source = fs::read(root().join("examples/order/order.yawl")).unwrap();
    client.ask("POST", "/workflows", Some(&admin), &source).expect(201);
    let line = wait_for_line(&place, "remote change");
    for part in ["token=boss", "route=\"POST /workflows\"", "status=201", "peer=127.0.0.1"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(service.stop().success(), "{}", place.log());
    assert_eq!(place.log().matches("remote change").count(), 1, "{}", place.log());
}

#[test]
fn a_case_is_worked_from_another_machine_and_the_log_says_by_whom() {
    let (mut place, address) = place();
    let mut service = place.start();
    let fingerprint = wait_for_line(&place, "other machines are served: https://");
    wait_for_line(&place, "there is no remote token yet");
    let admin = said(&place, &["token", "create", "--name", "boss", "--scope", "admin"]).trim().to_owned();
    let work = said(&place, &["token", "create", "--name", "billing", "--scope", "work", "--expires", "90d"]);
    let certificate = place.path("remote/certificate.pem");
    let mut client = Client::tls(address, &certificate);
    let source = fs::read(root().join("examples/order/order.yawl")).unwrap();
    let registered = client.ask("POST", "/workflows", Some(&admin), &source).expect(201);
    let body = serde_json::json!({ "workflow": registered["id"] }).to_string();
    let case = client.ask("POST", "/cases", Some(work.trim()), body.as_bytes()).expect(201);
    let path = format!("/cases/{}", case["id"].as_str().unwrap());
    assert_eq!(client.ask("GET", &path, Some(work.trim()), b"").expect(200)["id"], case["id"]);
    let refused = client.ask("POST", "/workflows", Some(work.trim()), &source);
    assert_eq!((refused.status, refused.header("connection")), (403, Some("close")), "its body was not read");
    assert!(client.is_closed());
    let mut client = Client::tls(address, &certificate);
    assert_eq!(client.ask("GET", &path, Some("knhk_guessed"), b"").status, 401);
    let line = wait_for_line(&place, "remote change");
    for part in ["token=billing", "route=\"POST /cases\"", "status=201", "peer=127.0.0.1"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    wait_for_line(&place, "remote request refused: its scope is work, it takes admin");
    wait_for_line(&place, "remote request refused: unknown token");
    let log = place.log();
    assert!(!log.contains(admin.as_str()) && !log.contains(work.trim()), "a token is in the log:\n{log}");
    let page = client.ask("GET", "/metrics", Some(&admin), b"").text();
    assert!(page.contains("knhk_remote_refused_total{reason=\"token\"} 1\n"), "{page}");
    // The certificate is the same after another start, and SIGHUP has it read anew.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(service.pid()).unwrap()),
        nix::sys::signal::Signal::SIGHUP,
    )
    .unwrap();
    let twice = || (place.log().matches("other machines are served").count() == 2).then_some(());
    wait::until(PATIENCE, twice).expect("a line about the certificate");
    assert!(service.stop().success(), "{}", place.log());
    let mut service = place.start();
    let config = trusting(&certificate, tokio_rustls::rustls::DEFAULT_VERSIONS);
    assert!(Client::with(address, config, "knhk.example").is_ok(), "remote_names is in the certificate");
    let again = wait_for_line(&place, "other machines are served: https://");
    let only = |line: &str| line.split_once("fingerprint=").unwrap().1.to_owned();
    assert_eq!(only(&again), only(&fingerprint));
    assert_eq!(Client::tls(address, &certificate).ask("GET", &path, Some(&admin), b"").status, 200);
    assert!(service.stop().success());
}

#[test]
fn tokens_are_managed_by_commands() {
    let (place, _) = place();
    let json =
        |arguments: &[&str]| -> serde_json::Value { serde_json::from_str(&said(&place, arguments)).unwrap() };
    let made = json(&["token", "create", "--name", "a", "--scope", "read", "--expires", "1ms", "--json"]);
    assert_eq!((&made["name"], &made["scope"]), (&"a".into(), &"read".into()));
    said(&place, &["token", "create", "--name", "b", "--scope", "admin"]);
    let listed = json(&["token", "list", "--json"]);
    assert_eq!(listed["items"][0]["expired"], true);
    assert_eq!(listed["items"][1]["expires"], serde_json::Value::Null);
    assert!(!listed.to_string().contains(made["token"].as_str().unwrap()));
    let table = said(&place, &["token", "list"]);
    assert!(table.contains("(expired)") && table.contains("never"), "{table}");
    assert!(table.contains("LAST USED") && listed["items"][0]["last_used"].is_null(), "{table}{listed}");
    let status = |arguments: &[&str]| place.knhk(arguments).status.code();
    assert_eq!(status(&["token", "create", "--name", "b", "--scope", "read"]), Some(1));
    assert_eq!(status(&["token", "create", "--name", "c", "--scope", "root"]), Some(2));
    assert_eq!(status(&["token", "create", "--name", "a b", "--scope", "read"]), Some(2));
    assert_eq!(said(&place, &["token", "revoke", "a"]), "a is revoked\n");
    assert_eq!(status(&["token", "revoke", "a"]), Some(1));
    let mode = fs::metadata(place.path("remote/tokens")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn health_is_asked_of_the_service_and_of_nobody_else() {
    let mut place = Place::new();
    // With nobody there the store cannot speak for it.
    let output = place.knhk(&["health"]);
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));
    let mut service = place.start();
    // It may become degraded between two questions, when the first look for a backup has found none.
    let both = || {
        let text = said(&place, &["health"]);
        assert!(text.starts_with("ok\n") || text.starts_with("degraded\n"), "{text}");
        let document: serde_json::Value = serde_json::from_str(&said(&place, &["health", "--json"])).unwrap();
        (document["status"].as_str() == text.lines().next()).then_some(())
    };
    assert!(wait::until(PATIENCE, both).is_some(), "both forms say the same");
    assert!(service.stop().success());
    assert_eq!(place.knhk(&["health"]).status.code(), Some(69));
}

#[test]
fn without_tls_the_service_warns() {
    let (mut place, address) = place();
    place.set(&[("remote_plain_http", "true")]);
    let mut service = place.start();
    let line = wait_for_line(&place, "without TLS");
    assert!(line.contains("warning: ") && line.contains(&address.to_string()), "{line}");
    assert_eq!(Client::plain(address).ask("GET", "/health", None, b"").status, 401);
    assert!(!place.path("remote/key.pem").exists());
    assert!(service.stop().success());
}

#[test]
fn a_certificate_that_is_wrong_keeps_the_service_from_starting() {
    let (mut place, _) = place();
    let file = format!("{:?}", place.path("x.pem").display().to_string());
    place.set(&[("remote_certificate", &file)]);
    let output = place.knhk(&["config", "validate"]);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("remote_certificate is set and remote_key is not"), "{text}");
    place.set(&[("remote_key", &file)]);
    let mut service = place.spawn(&[]);
    assert_eq!(service.wait().code(), Some(74), "{}", place.log());
    fs::write(place.path("x.pem"), "nothing").unwrap();
    let mut service = place.spawn(&[]);
    assert_eq!(service.wait().code(), Some(78), "{}", place.log());
    assert!(
        place.log().contains("KN0556") && place.log().contains("holds no PEM certificate"),
        "{}",
        place.log()
    );
}

#[test]
fn no_flood_of_refused_requests_drowns_the_line_of_a_change() {
    const REFUSED: usize = 4_000;
    const CANCELS: usize = 10;
    let (mut place, address) = place();
    // As little room for other lines as there can be, and only for those of errors.
    place.set(&[
        ("remote_plain_http", "true"),
        ("log_lines_per_second_max", "1"),
        ("log_level", "\"warning\""),
    ]);
    let mut service = place.start();
    let admin = said(&place, &["token", "create", "--name", "boss", "--scope", "admin"]).trim().to_owned();
    let read = said(&place, &["token", "create", "--name", "reader", "--scope", "read"]).trim().to_owned();
    let path = "/cases/000000000000/cancel";
    let flood = request("POST", path, Some(&read), b"").repeat(REFUSED / CANCELS);
    let (mut reader, mut boss) = (Client::plain(address), Client::plain(address));
    for _ in 0..CANCELS {
        reader.send(&flood);
        let answer = boss.ask("POST", path, Some(&admin), br#"{"reason":"over"}"#);
        assert!((400..500).contains(&answer.status) && answer.status != 403, "{}", answer.text());
        for _ in 0..REFUSED / CANCELS {
            assert_eq!(reader.answer().expect("an answer").status, 403);
        }
    }
    let page = boss.ask("GET", "/metrics", Some(&admin), b"").text();
    assert!(page.contains(&format!("knhk_remote_refused_total{{reason=\"scope\"}} {REFUSED}\n")), "{page}");
    assert!(service.stop().success());
    let log = place.log();
    let of = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!(of("remote change token=boss"), CANCELS, "{log}");
}

#[test]
fn refusals_of_a_token_are_a_line_a_second_and_their_number() {
    const REFUSED: u64 = 500;
    let (mut place, address) = place();
    place.set(&[("remote_plain_http", "true")]);
    let mut service = place.start();
    let read = said(&place, &["token", "create", "--name", "reader", "--scope", "read"]).trim().to_owned();
    let mut reader = Client::plain(address);
    for _ in 0..REFUSED {
        assert_eq!(reader.ask("POST", "/cases", Some(&read), b"").status, 403);
    }
    drop(reader);
    assert!(service.stop().success());
    let log = place.log();
    let lines: Vec<&str> =
        log.lines().filter(|line| line.contains("its scope is read, it takes work")).collect();
    let left_out = |line: &&str| line.split_once("left_out=").unwrap().1.parse::<u64>().unwrap();
    assert_eq!(lines.len() as u64 + lines.iter().map(left_out).sum::<u64>(), REFUSED, "{log}");
    let mut seconds: Vec<&str> = lines.iter().map(|line| &line[..19]).collect();
    seconds.dedup();
    // The last one is written when the service stops.
    assert!(lines.len() <= seconds.len() + 1, "{log}");
}

/// Makes a certificate in a folder, as a command for it would.
fn certificate(folder: &std::path::Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.join("c.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.join("k.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn every_kind_of_reload_reads_the_certificate() {
    let (mut place, address) = place();
    let folder = place.path("pem");
    fs::create_dir(&folder).unwrap();
    certificate(&folder);
    let quoted = |name: &str| format!("{:?}", folder.join(name).display().to_string());
    place.set(&[("remote_certificate", &quoted("c.pem")), ("remote_key", &quoted("k.pem"))]);
    let mut service = place.start();
    let admin = said(&place, &["token", "create", "--name", "boss", "--scope", "admin"]).trim().to_owned();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(service.pid()).unwrap());
    let is_served = || {
        let config = trusting(&folder.join("c.pem"), tokio_rustls::rustls::DEFAULT_VERSIONS);
        Client::with(address, config, "localhost").is_ok()
    };
    assert!(is_served());
    let body = serde_json::json!({});
    let ask_again = || service.client().post("/service/reload", None, &body).unwrap();
    let reloads: [&dyn Fn(); 4] = [
        &|| nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap(),
        &|| drop(ask_again().expect(200)),
        &|| drop(said(&place, &["config", "set", "log_lines_per_second_max", "201"])),
        &|| {
            // The certificate that the client trusts is the one that is still served.
            let old = fs::read(place.path("old.pem")).unwrap();
            fs::write(place.path("trusted.pem"), old).unwrap();
            let mut client = Client::tls(address, &place.path("trusted.pem"));
            assert_eq!(client.ask("POST", "/service/reload", Some(&admin), b"").status, 200);
        },
    ];
    for (number, reload) in reloads.iter().enumerate() {
        fs::copy(folder.join("c.pem"), place.path("old.pem")).unwrap();
        certificate(&folder);
        assert!(!is_served(), "{number}: nothing has read it yet");
        reload();
        wait::until(PATIENCE, || is_served().then_some(()))
            .unwrap_or_else(|| panic!("{number}: the new one is not served\n{}", place.log()));
    }
    // One that is wrong keeps the one before, and the answer says why.
    fs::copy(folder.join("c.pem"), place.path("good.pem")).unwrap();
    fs::write(folder.join("c.pem"), "nonsense").unwrap();
    let problem = ask_again().expect(500);
    assert_eq!(problem["code"], "KN0556");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("c.pem") && detail.contains("the one before stays"), "{detail}");
    let output = place.knhk(&["config", "set", "log_lines_per_second_max", "202", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["service"], "refused", "{said}");
    let warned = place.log().matches("the certificate was not read anew, the one before stays").count();
    assert_eq!(warned, 2, "{}", place.log());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    let again = || (place.log().matches("the certificate was not read anew").count() == 3).then_some(());
    wait::until(PATIENCE, again).expect("a line about it");
    fs::copy(place.path("good.pem"), folder.join("c.pem")).unwrap();
    assert!(is_served(), "the one before is served");
    ask_again().expect(200);
    assert!(service.stop().success());
}
