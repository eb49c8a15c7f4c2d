//! No answer leaves before the sync that covers it: the real binary under strace.
//!
//! `kill -9` cannot show a missing fdatasync, because the kernel keeps what a killed process wrote. So this test
//! looks at the order of system calls: what a request changed is in a frame, the frame's write ends, then a sync
//! of that file begins and ends, and only then the answer's write to its socket begins.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::http::Client;
use crate::support::service::{Place, root};
use crate::support::wait;
use serde_json::json;

/// Clients at a time, so that frames hold several requests and syncs overlap with other requests' work.
const CLIENTS: usize = 4;
/// Cases of each client; three requests a case.
const CASES: usize = 6;
const REQUESTS: usize = CLIENTS * CASES * 3;
/// The calls that write a file or a socket or make a file durable.
const CALLS: &str = "trace=write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,fdatasync,fsync";
/// Longest part of a call's data that the trace keeps; a longer frame would hide what it holds.
const DATA_BYTES_MAX: &str = "100000";
/// Longest time from the end of the process to the end of its trace.
const TRACE_END_MAX: Duration = Duration::from_secs(30);

/// A call with the lines of the trace where it begins and ends: their order is the order of what happened.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    name: String,
    /// Descriptor with what it stands for, then the data.
    arguments: String,
    result: String,
    begins: usize,
    ends: usize,
}

/// Reads what `strace -f -yy -o` wrote.
fn read_trace(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    // Calls that were interrupted by another thread's in the trace, by thread.
    let mut open: Vec<(String, usize)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some(at) = open.iter().position(|(owner, _)| owner == thread) else { continue };
            let (_, call) = open.swap_remove(at);
            calls[call].ends = index;
            calls[call].result = result(resumed);
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let mut call = Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            result: result(arguments),
            begins: index,
            ends: index,
        };
        if let Some(begun) = arguments.strip_suffix(" <unfinished ...>") {
            begun.clone_into(&mut call.arguments);
            call.ends = usize::MAX;
            call.result = String::new();
            open.push((thread.to_owned(), calls.len()));
        }
        calls.push(call);
    }
    calls
}

fn result(line: &str) -> String {
    line.rsplit_once(" = ").map(|(_, result)| result.to_owned()).unwrap_or_default()
}

impl Call {
    fn is_on_journal(&self) -> bool {
        self.arguments.split('>').next().is_some_and(|descriptor| descriptor.contains("/state/journal/"))
    }

    /// Returns the path of the descriptor.
    fn file(&self) -> &str {
        self.arguments.split('<').nth(1).and_then(|rest| rest.split('>').next()).unwrap_or_default()
    }

    fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync")
    }

    fn is_answer_to(&self, port: u16) -> bool {
        self.arguments.contains(&format!("->127.0.0.1:{port}]>")) && self.arguments.contains("\"HTTP/1.1 2")
    }
}

/// A request: the port that its client spoke from, and what only its frame holds.
#[derive(Debug, Clone)]
struct Request {
    port: u16,
    mark: String,
}

/// Tells what is wrong with the order of one request's frame, sync and answer.
fn check(calls: &[Call], request: &Request) -> Result<(), String> {
    let frame = calls
        .iter()
        .find(|call| !call.is_sync() && call.is_on_journal() && call.arguments.contains(&request.mark))
        .ok_or(format!("no frame holds {}", request.mark))?;
    let answer = calls
        .iter()
        .find(|call| call.is_answer_to(request.port))
        .ok_or(format!("no answer to {request:?}"))?;
    let covered = calls.iter().any(|call| {
        call.is_sync()
            && call.file() == frame.file()
            && call.result.starts_with('0')
            && call.begins > frame.ends
            && call.ends < answer.begins
    });
    if covered {
        Ok(())
    } else {
        Err(format!(
            "{} was written in lines {} to {}, answered in line {}, and no sync lies between",
            request.mark, frame.begins, frame.ends, answer.begins
        ))
    }
}

/// Asks from a connection of its own, so that its port names the request.
fn post(
    address: std::net::SocketAddr,
    path: &str,
    mark: &str,
    body: &serde_json::Value,
) -> (Request, String) {
    let mut client = Client::new(address);
    let port = client.local_address().unwrap().port();
    let answer = client.post(path, None, body).unwrap();
    assert!(answer.status < 300, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
    (Request { port, mark: mark.to_owned() }, id)
}

fn only_item(client: &mut Client, case: &str) -> String {
    let list = client.get(&format!("/workitems?case={case}")).unwrap().expect(200);
    list["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{list}")).to_owned()
}

fn work(address: std::net::SocketAddr, client_number: usize) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut reader = Client::new(address);
    for number in 0..CASES {
        let name = format!("customer-{client_number:03}-{number:03}");
        let body = json!({"workflow": "order", "data": {"customer": name}});
        let (created, case) = post(address, "/cases", &name, &body);
        // A number that no other request has, and below the amount from which orders need approval.
        let amount = format!("-1{client_number:03}{number:03}");
        let item = only_item(&mut reader, &case);
        let body = json!({"data": {"amount": amount.parse::<i64>().unwrap()}});
        let (entered, _) = post(address, &format!("/workitems/{item}/complete"), &amount, &body);
        let parcel = format!("parcel-{client_number:03}-{number:03}");
        let item = only_item(&mut reader, &case);
        let body = json!({"data": {"parcel": parcel}});
        let (shipped, _) = post(address, &format!("/workitems/{item}/complete"), &parcel, &body);
        requests.extend([created, entered, shipped]);
    }
    requests
}

/// Returns whether strace is here and may trace.
fn may_trace() -> bool {
    Command::new("strace")
        .args(["-D", "-f", "-yy", "-o", "/dev/null", "-e", CALLS, "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn no_answer_is_written_before_the_sync_that_covers_it() {
    if !may_trace() {
        return wait::absent("durable: strace is not here or may not trace");
    }
    let mut place = Place::new();
    let trace = place.path("trace");
    let trace_text = trace.to_str().unwrap().to_owned();
    // -D: the service stays our child and gets our signals.
    let mut service = place.start_under(&[
        "strace",
        "-D",
        "-f",
        "-yy",
        "-s",
        DATA_BYTES_MAX,
        "-e",
        "signal=none",
        "-e",
        CALLS,
        "-o",
        &trace_text,
    ]);
    let source = fs::read(root().join("examples/order/order.yawl")).unwrap();
    let kind = [("Content-Type", "application/xml")];
    service.client().send("POST", "/workflows", &kind, &source).unwrap().expect(201);
    let address = service.address;
    let requests: Vec<Request> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || work(address, number))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(requests.len(), REQUESTS);
    assert!(service.stop().success(), "{}", place.log());
    // strace writes its last line, of the process's own end, after we may have waited for the process.
    let text = wait::until(TRACE_END_MAX, || {
        let text = fs::read_to_string(&trace).ok()?;
        text.trim_end().ends_with("+++").then_some(text)
    })
    .expect("the trace ends");
    let calls = read_trace(&text);
    let wrong: Vec<String> = requests.iter().filter_map(|request| check(&calls, request).err()).collect();
    assert!(wrong.is_empty(), "{} of {REQUESTS} requests:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_answer_before_its_sync_is_found() {
    let frame = "7 pwrite64(5</x/state/journal/1-1.jnl>, \"..mark..\", 8, 0";
    let sync = "7 fdatasync(5</x/state/journal/1-1.jnl>";
    let answer =
        "9 sendto(8<TCP:[127.0.0.1:80->127.0.0.1:4000]>, \"HTTP/1.1 201 Created\", 20, 0, NULL, 0) = 20";
    let request = Request { port: 4000, mark: "mark".to_owned() };
    let verdict = |lines: &[&str]| check(&read_trace(&lines.join("\n")), &request);
    let whole = |begun: &str, result: &str| format!("{begun}) = {result}");
    assert_eq!(verdict(&[&whole(frame, "8"), &whole(sync, "0"), answer]), Ok(()));
    assert!(verdict(&[&whole(frame, "8"), answer, &whole(sync, "0")]).is_err());
    assert!(verdict(&[&whole(sync, "0"), &whole(frame, "8"), answer]).is_err());
    assert!(verdict(&[&whole(frame, "8"), &whole(sync, "-1 EIO (Input/output error)"), answer]).is_err());
    // A sync that has begun is not one that is done.
    let (begun, done) = (format!("{sync} <unfinished ...>"), "7 <... fdatasync resumed>) = 0");
    assert_eq!(verdict(&[&whole(frame, "8"), &begun, done, answer]), Ok(()));
    assert!(verdict(&[&whole(frame, "8"), &begun, answer, done]).is_err());
    // Nor does one cover a frame whose write had not ended when it began.
    let (begun, done) = (format!("{frame} <unfinished ...>"), "7 <... pwrite64 resumed>) = 8");
    assert!(verdict(&[&begun, &whole(&sync.replace('7', "6"), "0"), done, answer]).is_err());
}
