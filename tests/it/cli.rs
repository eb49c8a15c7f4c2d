//! The real binary in an empty environment with a configuration of its own: stdout, stderr and status.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
#![expect(clippy::too_many_lines, reason = "snapshots are long")]
#![expect(clippy::disallowed_methods, reason = "a test may start the thread of its fake service")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use expect_test::{Expect, expect, expect_file};
use tempfile::TempDir;

/// A folder with a configuration, where commands run.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("knhk.sock");
        fs::write(folder.path().join("knhk.toml"), format!("socket = \"{}\"\n{more}", socket.display()))
            .unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_knhk"));
        command.args(arguments).env_clear().env("KNHK_CONFIG", self.path("knhk.toml"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command and returns what it printed and how it ended, without the folder's name.
    fn run(&self, arguments: &[&str]) -> String {
        self.text(&self.command(arguments).output().unwrap())
    }

    fn text(&self, output: &Output) -> String {
        let part = |bytes: &[u8], prefix: &str| {
            String::from_utf8_lossy(bytes)
                .lines()
                .fold(String::new(), |text, line| text + prefix + line + "\n")
        };
        let status = output.status.code().map_or_else(|| output.status.to_string(), |code| code.to_string());
        let text = part(&output.stdout, "") + &part(&output.stderr, "! ") + &format!("= {status}\n");
        text.replace(&self.folder.path().display().to_string(), "HOME")
    }

    fn check(&self, arguments: &[&str], expected: &Expect) {
        expected.assert_eq(&self.run(arguments));
    }
}

/// What the fake service answers: status, content type, body.
type Canned = (u16, &'static str, String);

/// A service with canned answers that keeps what was asked.
struct Fake {
    count: usize,
    asked: mpsc::Receiver<String>,
}

impl Fake {
    /// Listens at the socket of `home` for `count` requests.
    fn start(home: &Home, count: usize, answer: impl Fn(&str) -> Canned + Send + 'static) -> Self {
        let listener = UnixListener::bind(home.path("knhk.sock")).unwrap();
        let (tell, asked) = mpsc::channel();
        thread::spawn(move || {
            for number in 0..count {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let request = read_request(&mut stream);
                let canned = answer(&request);
                // Every other answer comes in chunks, as a real server may choose.
                write_answer(&mut stream, &canned, number % 2 == 1);
                tell.send(request).unwrap();
            }
        });
        Self { count, asked }
    }

    fn asked(&self) -> String {
        let wait = Duration::from_secs(30);
        let next = || self.asked.recv_timeout(wait).expect("as many requests as the test says");
        (0..self.count).fold(String::new(), |all, _| all + &next() + "\n")
    }
}

/// Returns `METHOD path [key] body`.
fn read_request(stream: &mut UnixStream) -> String {
    let (mut bytes, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut part).unwrap();
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(count > 0, "a request broke off: {text:?}");
            continue;
        };
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        if body.len() >= header("Content-Length: ").parse().unwrap_or(0) {
            assert_eq!(header("Connection: "), "close");
            let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
            let parts = [line, header("Idempotency-Key: "), header("Content-Type: "), body];
            return parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        }
    }
}

fn write_answer(stream: &mut UnixStream, (status, content_type, body): &Canned, in_chunks: bool) {
    let head = format!("HTTP/1.1 {status} x\r\nContent-Type: {content_type}\r\n");
    let answer = if in_chunks {
        let chunks = body
            .as_bytes()
            .chunks(7)
            .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks.collect::<String>())
    } else {
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    stream.write_all(answer.as_bytes()).unwrap();
}

const JSON: &str = "application/json";

fn problem(status: u16, body: &str) -> Canned {
    (status, "application/problem+json", body.to_owned())
}

const CASE: &str = r#"{"id":"00000000002d","workflow":"order","version":3,"state":"running","net":"Net","instance":0,
"marking":{"c1":2,"c{A_B}":1},"busy":[],"enabled":["Ship","Pay"],"data":{"amount":5},
"children":{"Check":[{"net":"Sub","instance":1,"marking":{"x":1},"busy":["Look"],"enabled":[],"data":{},"children":{}}]},
"incidents":[{"kind":"deadlock","instance":0,"task":null,"item":null,"detail":"nothing can go on","since":"2026-01-31T09:30:00.000000Z"}],
"events":9,"created":"2026-01-31T09:00:00.000000Z","changed":"2026-01-31T09:30:00.000000Z","key":"K-7"}"#;

#[test]
fn help_goes_to_stdout_and_wrong_usage_to_stderr_with_2() {
    let home = Home::new("");
    home.check(
        &["--help"],
        &expect![[r#"
        Usage: knhk [--version] [<command>] [<args>]

        Run workflows: register specifications, start cases, work their items, see what happened

        Options:
          --version         print the version
          -h, --help, help  display usage information

        Commands:
          workflow          Register specifications, start cases, see and steer them
          workitem          See and do the work of cases
          config            Show and check the configuration
          explain           Print what an error code means and what to do
          completions       Print the completions of a shell
        = 0
    "#]],
    );
    home.check(&["workflow", "list", "-h"], &expect![[r#"
        Usage: knhk workflow list [--state <state>] [--workflow <workflow>] [--older-than <older-than>] [--limit <limit>] [--after <after>] [-q] [--json] [--color <color>]

        List cases

        Options:
          --state           only in this state: running, suspended, incident, completed,
                            cancelled
          --workflow        only of this specification: id, or id@version
          --older-than      only unchanged for so long, such as 90d
          --limit           most cases
          --after           where to begin: the token of an earlier answer
          -q, --quiet       print only the ids
          --json            print JSON
          --color           when to use colours: auto, always, never
          -h, --help, help  display usage information
        = 0
    "#]]);
    home.check(
        &["--version"],
        &expect![[r#"
        knhk 0.1.0
        = 0
    "#]],
    );
    home.check(
        &[],
        &expect![[r#"
        ! error[KN0650]: a command is missing
        ! hint: knhk --help
        = 2
    "#]],
    );
    home.check(&["workflow"], &expect![[r#"
        ! error[KN0650]: one of the following subcommands must be present: help register validate show create list get history cancel suspend resume retry
        ! hint: knhk workflow --help
        = 2
    "#]]);
    home.check(
        &["workflow", "lst"],
        &expect![[r#"
            ! error[KN0650]: unrecognized argument: lst
            ! hint: nearest is list; knhk workflow --help
            = 2
        "#]],
    );
    home.check(&["workflow", "list", "--older-than", "90"], &expect![[r#"
        ! error[KN0650]: error parsing option '--older-than' with value '90': "90" is not a length of time such as 90d, 12h or 1h30m
        ! hint: knhk workflow list --help
        = 2
    "#]]);
    home.check(
        &["workflow", "list", "--limit=5"],
        &expect![[r#"
            ! error[KN0650]: unrecognized argument: --limit=5
            ! hint: nearest is --limit 5; knhk workflow list --help
            = 2
        "#]],
    );
    home.check(
        &["workitem", "fail", "x"],
        &expect![[r#"
        ! error[KN0650]: required options not provided: --reason
        ! hint: knhk workitem fail --help
        = 2
    "#]],
    );
    home.check(&["workflow", "get", "--json"], &expect![[r#"
        ! {"code":"KN0650","message":"required positional arguments not provided: id","causes":[],"hint":"knhk workflow get --help","mistakes":[]}
        = 2
    "#]]);
    home.check(
        &["workflow", "cancel"],
        &expect![[r#"
        ! error[KN0650]: name cases, or choose them by --state, --workflow, --older-than
        ! hint: knhk workflow cancel --help
        = 2
    "#]],
    );
    home.check(
        &["workflow", "cancel", "x", "--state", "running"],
        &expect![[r#"
        ! error[KN0650]: name cases or choose them by filters, not both
        ! hint: knhk workflow cancel --help
        = 2
    "#]],
    );
    home.check(
        &["completions", "fish"],
        &expect![[r#"
        ! error[KN0650]: there are no completions for "fish", only for bash
        ! hint: knhk completions --help
        = 2
    "#]],
    );
    let output = home.command(&["workflow"]).arg(std::ffi::OsStr::from_bytes(b"\xff")).output().unwrap();
    expect![[r#"
        ! error[KN0650]: � is not UTF-8
        ! hint: knhk --help
        = 2
    "#]]
    .assert_eq(&home.text(&output));
}

#[test]
fn without_a_service_commands_say_so_with_69() {
    let home = Home::new("");
    home.check(
        &["workflow", "list"],
        &expect![[r#"
        ! error[KN0651]: no service answers at HOME/knhk.sock
        ! caused by: No such file or directory (os error 2)
        ! hint: systemctl status knhk, or knhk serve
        = 69
    "#]],
    );
    home.check(&["workitem", "list", "--json"], &expect![[r#"
        ! {"code":"KN0651","message":"no service answers at HOME/knhk.sock","causes":["No such file or directory (os error 2)"],"hint":"systemctl status knhk, or knhk serve","mistakes":[]}
        = 69
    "#]]);
    // A socket that nobody listens at, as a service leaves it that was killed.
    drop(UnixListener::bind(home.path("knhk.sock")).unwrap());
    home.check(
        &["workflow", "get", "00000000002d"],
        &expect![[r#"
        ! error[KN0651]: no service answers at HOME/knhk.sock
        ! caused by: Connection refused (os error 111)
        ! hint: systemctl status knhk, or knhk serve
        = 69
    "#]],
    );
    let long = Home::new("");
    fs::write(long.path("knhk.toml"), format!("socket = \"/{}\"", "x".repeat(200))).unwrap();
    let text = long.run(&["workflow", "list"]);
    assert!(
        text.starts_with("! error[KN0651]: no service answers at /xxx") && text.ends_with("= 69\n"),
        "{text}"
    );
}

#[test]
fn a_service_that_does_not_answer_is_given_up_with_75() {
    let home = Home::new("client_timeout_ms = 100");
    let listener = UnixListener::bind(home.path("knhk.sock")).unwrap();
    home.check(
        &["workflow", "list"],
        &expect![[r#"
        ! error[KN0654]: the service did not answer within 100 ms; what was asked may still happen
        ! hint: look with knhk workflow list, or ask again with the same key
        = 75
    "#]],
    );
    drop(listener);
    for (bytes, expected) in [
        (
            "",
            expect![[r#"
            ! error[KN0657]: the service ended the connection before its answer; what was asked may still happen
            ! hint: look with knhk workflow list, or ask again with the same key
            = 75
        "#]],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"items\":",
            expect![[r#"
            ! error[KN0657]: the service ended the connection before its answer; what was asked may still happen
            ! hint: look with knhk workflow list, or ask again with the same key
            = 75
        "#]],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
            expect![[r#"
            ! error[KN0655]: the answer cannot be understood: it is not JSON: expected ident at line 1 column 2
            = 70
        "#]],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            expect![[r#"
            ! error[KN0655]: the answer cannot be understood: a list has no items
            = 70
        "#]],
        ),
        (
            "220 mail.example.org ESMTP\r\n\r\n",
            expect![[r#"
            ! error[KN0655]: the answer cannot be understood: it is not HTTP
            = 70
        "#]],
        ),
    ] {
        let home = Home::new("");
        let listener = UnixListener::bind(home.path("knhk.sock")).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            stream.write_all(bytes.as_bytes()).unwrap();
        });
        home.check(&["workflow", "list"], &expected);
        server.join().unwrap();
    }
}

#[test]
fn lists_page_through_everything_and_both_forms_say_the_same() {
    let answer = |request: &str| {
        let after = request.contains("after=T1");
        let item = |id: &str, state: &str| {
            format!(
                r#"{{"id":"{id}","workflow":"order","version":3,"state":"{state}","enabled_count":2,
                "created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null}}"#
            )
        };
        let body = if after {
            format!(r#"{{"items":[{}],"next":null}}"#, item("00000000002e", "incident"))
        } else {
            format!(
                r#"{{"items":[{},{}],"next":"T1"}}"#,
                item("00000000002c", "running"),
                item("00000000002d", r"x\u001b[2J")
            )
        };
        (200, JSON, body)
    };
    for (arguments, count, expected) in [
        (
            &["workflow", "list", "--older-than", "90d", "--state", "running", "--workflow", "a b/c@2"][..],
            2,
            expect![[r#"
                GET /cases?state=running&workflow=a%20b%2Fc%402&older_than=90d&limit=1000
                GET /cases?state=running&workflow=a%20b%2Fc%402&older_than=90d&limit=1000&after=T1
                ID            WORKFLOW  VERSION  STATE       AGE  ENABLED
                00000000002c  order           3  running      0s        2
                00000000002d  order           3  x\u{1b}[2J   0s        2
                00000000002e  order           3  incident   0s        2
                = 0
            "#]],
        ),
        (
            &["workflow", "list", "--json"][..],
            2,
            expect![[r#"
            GET /cases?limit=1000
            GET /cases?limit=1000&after=T1
            {"items":[{"id":"00000000002c","workflow":"order","version":3,"state":"running","enabled_count":2,"created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null},{"id":"00000000002d","workflow":"order","version":3,"state":"x\u001b[2J","enabled_count":2,"created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null},{"id":"00000000002e","workflow":"order","version":3,"state":"incident","enabled_count":2,"created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null}],"next":null}
            = 0
        "#]],
        ),
        (
            &["workflow", "list", "-q"][..],
            2,
            expect![[r#"
            GET /cases?limit=1000
            GET /cases?limit=1000&after=T1
            00000000002c
            00000000002d
            00000000002e
            = 0
        "#]],
        ),
        (
            &["workflow", "list", "--limit", "2"][..],
            1,
            expect![[r#"
            GET /cases?limit=2
            ID            WORKFLOW  VERSION  STATE       AGE  ENABLED
            00000000002c  order           3  running      0s        2
            00000000002d  order           3  x\u{1b}[2J   0s        2
            ! there is more: --after T1
            = 0
        "#]],
        ),
        (
            &["workflow", "list", "--limit", "2", "--json", "--after", "T0"][..],
            1,
            expect![[r#"
            GET /cases?limit=2&after=T0
            {"items":[{"id":"00000000002c","workflow":"order","version":3,"state":"running","enabled_count":2,"created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null},{"id":"00000000002d","workflow":"order","version":3,"state":"x\u001b[2J","enabled_count":2,"created":"2026-01-31T09:00:00.000000Z","changed":"2999-01-31T09:30:00.000000Z","key":null}],"next":"T1"}
            = 0
        "#]],
        ),
    ] {
        let home = Home::new("");
        let fake = Fake::start(&home, count, answer);
        let printed = home.run(arguments);
        expected.assert_eq(&(fake.asked() + &printed));
    }
}

#[test]
fn cases_are_created_shown_and_steered() {
    let home = Home::new("");
    fs::write(home.path("data.json"), r#"{"amount": 5}"#).unwrap();
    let fake = Fake::start(&home, 12, |request| {
        if request.starts_with("GET /cases/00000000002d/history") {
            let items = r#"{"items":[{"seq":1,"time":"2026-01-31T09:00:00.000000Z","event":"created","workflow":"order"},
                {"seq":2,"time":"2026-01-31T09:00:01.000000Z","event":"task enabled","task":"Pay","item":null,"taken":["a","b"]}],"next":null}"#;
            return (200, JSON, items.to_owned());
        }
        if request.starts_with("GET /cases/unknown") {
            return problem(
                404,
                r#"{"code":"KN0350","detail":"there is no case unknown","title":"no such thing","hint":"knhk workflow list"}"#,
            );
        }
        (200, JSON, CASE.to_owned())
    });
    home.check(
        &["workflow", "create", "order", "--data", r#"{"amount": 5}"#, "--key", "K-7", "-q"],
        &expect![[r#"
            00000000002d
            = 0
        "#]],
    );
    home.check(
        &["workflow", "create", "order@3", "--data", "data.json", "--idempotency-key", "i1", "--json"],
        &expect![[r#"
            {"id":"00000000002d","workflow":"order","version":3,"state":"running","net":"Net","instance":0,"marking":{"c1":2,"c{A_B}":1},"busy":[],"enabled":["Ship","Pay"],"data":{"amount":5},"children":{"Check":[{"net":"Sub","instance":1,"marking":{"x":1},"busy":["Look"],"enabled":[],"data":{},"children":{}}]},"incidents":[{"kind":"deadlock","instance":0,"task":null,"item":null,"detail":"nothing can go on","since":"2026-01-31T09:30:00.000000Z"}],"events":9,"created":"2026-01-31T09:00:00.000000Z","changed":"2026-01-31T09:30:00.000000Z","key":"K-7"}
            = 0
        "#]],
    );
    home.check(
        &["workflow", "create", "order@3", "--data", "@data.json"],
        &expect![[r#"
        id        00000000002d
        workflow  order@3
        state     running
        created   2026-01-31T09:00:00.000000Z
        changed   2026-01-31T09:30:00.000000Z
        key       K-7
        enabled   Ship, Pay
        busy      -
        marking   c1=2, c{A_B}
        incident  kind=deadlock instance=0 detail=nothing can go on since=2026-01-31T09:30:00.000000Z
        below     Check: x; enabled -; busy Look
        data
        {
          "amount": 5
        }
        = 0
    "#]],
    );
    home.check(
        &["workflow", "get", "00000000002d"],
        &expect![[r#"
        id        00000000002d
        workflow  order@3
        state     running
        created   2026-01-31T09:00:00.000000Z
        changed   2026-01-31T09:30:00.000000Z
        key       K-7
        enabled   Ship, Pay
        busy      -
        marking   c1=2, c{A_B}
        incident  kind=deadlock instance=0 detail=nothing can go on since=2026-01-31T09:30:00.000000Z
        below     Check: x; enabled -; busy Look
        data
        {
          "amount": 5
        }
        = 0
    "#]],
    );
    home.check(
        &["workflow", "get", "unknown"],
        &expect![[r#"
        ! error[KN0350]: there is no case unknown
        ! hint: knhk workflow list
        = 1
    "#]],
    );
    home.check(&["workflow", "get", "unknown", "--json"], &expect![[r#"
        ! {"code":"KN0350","message":"there is no case unknown","causes":[],"hint":"knhk workflow list","mistakes":[]}
        = 1
    "#]]);
    home.check(
        &["workflow", "history", "00000000002d"],
        &expect![[r#"
        SEQ  TIME                         EVENT         DETAILS
          1  2026-01-31T09:00:00.000000Z  created       workflow=order
          2  2026-01-31T09:00:01.000000Z  task enabled  task=Pay taken=["a","b"]
        = 0
    "#]],
    );
    home.check(
        &["workflow", "cancel", "00000000002d", "--reason", "wrong customer"],
        &expect![[r#"
        00000000002d  running
        = 0
    "#]],
    );
    home.check(&["workflow", "suspend", "00000000002d", "--json"], &expect![[r#"
        {"id":"00000000002d","workflow":"order","version":3,"state":"running","net":"Net","instance":0,"marking":{"c1":2,"c{A_B}":1},"busy":[],"enabled":["Ship","Pay"],"data":{"amount":5},"children":{"Check":[{"net":"Sub","instance":1,"marking":{"x":1},"busy":["Look"],"enabled":[],"data":{},"children":{}}]},"incidents":[{"kind":"deadlock","instance":0,"task":null,"item":null,"detail":"nothing can go on","since":"2026-01-31T09:30:00.000000Z"}],"events":9,"created":"2026-01-31T09:00:00.000000Z","changed":"2026-01-31T09:30:00.000000Z","key":"K-7"}
        = 0
    "#]]);
    home.check(
        &["workflow", "resume", "00000000002d", "--idempotency-key", "k\r\nX: y"],
        &expect![[r#"
        00000000002d  running
        = 0
    "#]],
    );
    home.check(
        &["workflow", "retry", "00000000002d", "-q"],
        &expect![[r#"
        = 0
    "#]],
    );
    home.check(
        &["workflow", "create", "order", "--data", "{}"],
        &expect![[r#"
        id        00000000002d
        workflow  order@3
        state     running
        created   2026-01-31T09:00:00.000000Z
        changed   2026-01-31T09:30:00.000000Z
        key       K-7
        enabled   Ship, Pay
        busy      -
        marking   c1=2, c{A_B}
        incident  kind=deadlock instance=0 detail=nothing can go on since=2026-01-31T09:30:00.000000Z
        below     Check: x; enabled -; busy Look
        data
        {
          "amount": 5
        }
        = 0
    "#]],
    );
    expect![[r#"
        POST /cases application/json {"workflow":"order","data":{"amount":5},"key":"K-7"}
        POST /cases i1 application/json {"workflow":"order@3","data":{"amount":5}}
        POST /cases application/json {"workflow":"order@3","data":{"amount":5}}
        GET /cases/00000000002d
        GET /cases/unknown
        GET /cases/unknown
        GET /cases/00000000002d/history?limit=1000
        POST /cases/00000000002d/cancel application/json {"reason":"wrong customer"}
        POST /cases/00000000002d/suspend application/json {}
        POST /cases/00000000002d/resume k??X: y application/json {}
        POST /cases/00000000002d/retry application/json {}
        POST /cases application/json {"workflow":"order","data":{}}
    "#]]
    .assert_eq(&fake.asked());
    home.check(
        &["workflow", "create", "order", "--data", "[1]"],
        &expect![[r#"
        ! error[KN0652]: could not read [1]
        ! caused by: No such file or directory (os error 2)
        = 74
    "#]],
    );
    home.check(
        &["workflow", "create", "order", "--data", "{oops"],
        &expect![[r#"
        ! error[KN0661]: the data is not a JSON object: key must be a string at line 1 column 2
        = 1
    "#]],
    );
    home.check(
        &["workflow", "create", "order", "--data", "absent.json"],
        &expect![[r#"
        ! error[KN0652]: could not read absent.json
        ! caused by: No such file or directory (os error 2)
        = 74
    "#]],
    );
}

#[test]
fn many_cases_change_only_when_somebody_agrees() {
    let list = r#"{"items":[{"id":"00000000002c"},{"id":"00000000002d"}],"next":null}"#;
    let answer = move |request: &str| {
        if request.starts_with("GET") {
            (200, JSON, list.to_owned())
        } else if request.contains("2c") {
            problem(
                409,
                r#"{"code":"KN0352","detail":"the case has ended","title":"state does not allow this now"}"#,
            )
        } else {
            (200, JSON, CASE.to_owned())
        }
    };
    for (arguments, count, expected) in [
        (
            &["workflow", "cancel", "--state", "incident"][..],
            1,
            expect![[r#"
            GET /cases?state=incident&limit=1000
            ! error[KN0659]: to cancel 2 cases needs --yes
            = 2
        "#]],
        ),
        (
            &["workflow", "cancel", "--state", "incident", "--yes"][..],
            3,
            expect![[r#"
            GET /cases?state=incident&limit=1000
            POST /cases/00000000002c/cancel application/json {}
            POST /cases/00000000002d/cancel application/json {}
            00000000002d  running
            ! 00000000002c: the case has ended
            ! error[KN0662]: 1 of 2 could not be changed
            = 1
        "#]],
        ),
        (
            &["workflow", "cancel", "--older-than", "1h30m", "--yes", "--json"][..],
            3,
            expect![[r#"
            GET /cases?older_than=1h30m&limit=1000
            POST /cases/00000000002c/cancel application/json {}
            POST /cases/00000000002d/cancel application/json {}
            {"done":1,"failed":[{"id":"00000000002c","code":"KN0352","message":"the case has ended"}]}
            ! {"code":"KN0662","message":"1 of 2 could not be changed","causes":[],"hint":null,"mistakes":[]}
            = 1
        "#]],
        ),
    ] {
        let home = Home::new("");
        let fake = Fake::start(&home, count, answer);
        let printed = home.run(arguments);
        expected.assert_eq(&(fake.asked() + &printed));
    }
}

#[test]
fn work_items_are_listed_and_done() {
    let home = Home::new("");
    let item = r#"{"id":"00000000002d-3","case":"00000000002d","workflow":"order","task":"Pay","name":"Pay","instance":0,
        "state":"executing","since":"2999-01-31T09:30:00.000000Z","data":{},"outputs":[],"reason":null,"case_state":"running"}"#;
    let fake = Fake::start(&home, 7, move |request| match request {
        _ if request.starts_with("GET") => (200, JSON, format!(r#"{{"items":[{item}],"next":null}}"#)),
        _ if request.contains("busy") => {
            problem(503, r#"{"code":"KN0302","detail":"too many commands wait","title":"busy","key":"s-1"}"#)
        }
        _ if request.contains("stopping") => problem(
            503,
            r#"{"code":"KN0303","detail":"the service is stopping","title":"service not available"}"#,
        ),
        _ => (200, JSON, item.to_owned()),
    });
    home.check(
        &["workitem", "list", "--case", "00000000002d", "--task", "Pay", "--state", "enabled"],
        &expect![[r#"
            ID              WORKFLOW  TASK  STATE      AGE
            00000000002d-3  order     Pay   executing   0s
            = 0
        "#]],
    );
    home.check(
        &["workitem", "start", "00000000002d-3"],
        &expect![[r#"
        id          00000000002d-3
        task        Pay
        state       executing
        case        00000000002d
        case_state  running
        = 0
    "#]],
    );
    home.check(
        &["workitem", "complete", "00000000002d-3", "--data", r#"{"paid":true}"#, "-q"],
        &expect![[r#"
            = 0
        "#]],
    );
    home.check(&["workitem", "fail", "00000000002d-3", "--reason", "card refused", "--json"], &expect![[r#"
        {"id":"00000000002d-3","case":"00000000002d","workflow":"order","task":"Pay","name":"Pay","instance":0,"state":"executing","since":"2999-01-31T09:30:00.000000Z","data":{},"outputs":[],"reason":null,"case_state":"running"}
        = 0
    "#]]);
    home.check(
        &["workitem", "skip", "00000000002d-3", "--reason", "ä\n"],
        &expect![[r#"
        id          00000000002d-3
        task        Pay
        state       executing
        case        00000000002d
        case_state  running
        = 0
    "#]],
    );
    home.check(
        &["workitem", "start", "busy"],
        &expect![[r#"
        ! error[KN0302]: too many commands wait
        ! hint: ask again with --idempotency-key s-1
        = 75
    "#]],
    );
    home.check(
        &["workitem", "start", "stopping"],
        &expect![[r#"
        ! error[KN0303]: the service is stopping
        = 69
    "#]],
    );
    expect![[r#"
        GET /workitems?case=00000000002d&task=Pay&state=enabled&limit=1000
        POST /workitems/00000000002d-3/start application/json {}
        POST /workitems/00000000002d-3/complete application/json {"data":{"paid":true}}
        POST /workitems/00000000002d-3/fail application/json {"reason":"card refused"}
        POST /workitems/00000000002d-3/skip application/json {"reason":"ä\n"}
        POST /workitems/busy/start application/json {}
        POST /workitems/stopping/start application/json {}
    "#]]
    .assert_eq(&fake.asked());
}

#[test]
fn specifications_are_registered_and_shown() {
    let home = Home::new("body_bytes_max = 4096");
    fs::write(home.path("order.yawl"), "<specificationSet/>").unwrap();
    fs::write(home.path("large.yawl"), "x".repeat(4_097)).unwrap();
    let workflow = r#"{"id":"http://x.org/order","version":3,"name":null,"registered":"2026-01-31T09:00:00.000000Z",
        "warnings":["soundness not checked"],"nets":[{"id":"Net","name":null,"conditions":["i","o"],"input":"i","output":"o","tasks":[
        {"id":"Pay","name":"Pay","kind":"manual","net":null,"join":"xor","split":"and","from":["i"],"to":["o","c1"],"removes":[]},
        {"id":"Check","name":null,"kind":"composite","net":"Sub","join":"or","split":"or","from":["c1"],"to":["o"],"removes":["i"]}],
        "variables":[],"at_most_one_token":true}]}"#;
    let fake = Fake::start(&home, 10, move |request| match request {
        _ if request.contains("accept_unsound") => problem(
            422,
            r#"{"code":"KN0210","detail":"the specification is refused","title":"x","mistakes":[
              {"code":"KN0211","severity":"error","line":12,"column":5,"message":"task Pay has no flow","hint":"add one"},
              {"code":"KN0212","severity":"warning","line":0,"column":0,"message":"unused decomposition","hint":""}]}"#,
        ),
        _ if request.starts_with("POST") => (
            201,
            JSON,
            r#"{"id":"http://x.org/order","version":3,"warnings":["soundness not checked"]}"#.to_owned(),
        ),
        _ if request.contains("/cases/0000000000zz") => {
            problem(404, r#"{"code":"KN0350","detail":"no such case"}"#)
        }
        _ if request.contains(".svg") => (200, "image/svg+xml", "<svg/>\n".to_owned()),
        _ if request.contains("/cases/") => (200, JSON, CASE.to_owned()),
        _ => (200, JSON, workflow.to_owned()),
    });
    home.check(
        &["workflow", "register", "order.yawl"],
        &expect![[r#"
        id       http://x.org/order
        version  3
        warning  soundness not checked
        = 0
    "#]],
    );
    home.check(
        &["workflow", "register", "order.yawl", "-q"],
        &expect![[r#"
        http://x.org/order@3
        = 0
    "#]],
    );
    home.check(
        &["workflow", "register", "order.yawl", "--accept-unsound"],
        &expect![[r#"
        ! error[KN0211]: order.yawl:12:5: task Pay has no flow
        ! hint: add one
        ! warning[KN0212]: order.yawl: unused decomposition
        ! error[KN0210]: the specification is refused
        = 1
    "#]],
    );
    home.check(
        &["workflow", "show", "http://x.org/order"],
        &expect![[r#"
        id       http://x.org/order
        version  3
        warning  soundness not checked

        net Net
        TASK   KIND           JOIN  SPLIT  FROM  TO     REMOVES
        Pay    manual         xor   and    i     o, c1
        Check  composite Sub  or    or     c1    o      i
        = 0
    "#]],
    );
    home.check(
        &["workflow", "show", "http://x.org/order@3", "--svg"],
        &expect![[r#"
        <svg/>
        = 0
    "#]],
    );
    home.check(
        &["workflow", "show", "0000000000zz", "--svg"],
        &expect![[r#"
        <svg/>
        = 0
    "#]],
    );
    home.check(
        &["workflow", "show", "00000000002d"],
        &expect![[r#"
        id        00000000002d
        workflow  order@3
        state     running
        created   2026-01-31T09:00:00.000000Z
        changed   2026-01-31T09:30:00.000000Z
        key       K-7
        enabled   Ship, Pay
        busy      -
        marking   c1=2, c{A_B}
        incident  kind=deadlock instance=0 detail=nothing can go on since=2026-01-31T09:30:00.000000Z
        below     Check: x; enabled -; busy Look
        data
        {
          "amount": 5
        }

        net Net
        TASK   KIND           JOIN  SPLIT  FROM  TO     REMOVES
        Pay    manual         xor   and    i     o, c1
        Check  composite Sub  or    or     c1    o      i
        = 0
    "#]],
    );
    home.check(
        &["workflow", "show", "00000000002d", "--svg"],
        &expect![[r#"
        <svg/>
        = 0
    "#]],
    );
    expect![[r#"
        POST /workflows application/xml <specificationSet/>
        POST /workflows application/xml <specificationSet/>
        POST /workflows?accept_unsound=true application/xml <specificationSet/>
        GET /workflows/http%3A%2F%2Fx%2Eorg%2Forder
        GET /workflows/http%3A%2F%2Fx%2Eorg%2Forder%403.svg
        GET /cases/0000000000zz.svg
        GET /workflows/0000000000zz.svg
        GET /cases/00000000002d
        GET /workflows/order%403
        GET /cases/00000000002d.svg
    "#]]
    .assert_eq(&fake.asked());
    home.check(
        &["workflow", "register", "large.yawl"],
        &expect![[r#"
        ! error[KN0664]: large.yawl is larger than 4096 bytes
        ! hint: body_bytes_max sets the limit
        = 1
    "#]],
    );
    home.check(
        &["workflow", "register", "."],
        &expect![[r#"
        ! error[KN0652]: could not read .
        ! caused by: Is a directory (os error 21)
        = 74
    "#]],
    );
}

#[test]
fn specifications_are_validated_without_a_service() {
    let home = Home::new("");
    let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/spec/choice.yawl");
    fs::copy(good, home.path("good.yawl")).unwrap();
    fs::write(home.path("bad.yawl"), "<specificationSet>\n  <oops>").unwrap();
    home.check(
        &["workflow", "validate", "good.yawl"],
        &expect![[r#"
        warning: good.yawl: soundness not checked
        good.yawl: accepted: choice
        = 0
    "#]],
    );
    home.check(
        &["workflow", "validate", "bad.yawl", "good.yawl"],
        &expect![[r#"
        error[KN0101]: bad.yawl:2:9: not well-formed: the text ends within an element
        hint: mend the XML here; an XML editor shows the same place
        bad.yawl: refused
        warning: good.yawl: soundness not checked
        good.yawl: accepted: choice
        ! error[KN0660]: 1 of 2 refused
        = 1
    "#]],
    );
    home.check(&["workflow", "validate", "bad.yawl", "good.yawl", "--json"], &expect![[r#"
        {"files":[{"file":"bad.yawl","accepted":false,"id":null,"mistakes":[{"code":"KN0101","severity":"error","line":2,"column":9,"message":"not well-formed: the text ends within an element","hint":"mend the XML here; an XML editor shows the same place"}],"warnings":[]},{"file":"good.yawl","accepted":true,"id":"choice","mistakes":[],"warnings":["soundness not checked"]}]}
        ! {"code":"KN0660","message":"1 of 2 refused","causes":[],"hint":null,"mistakes":[]}
        = 1
    "#]]);
    home.check(
        &["workflow", "validate", "absent.yawl"],
        &expect![[r#"
        ! error[KN0652]: could not read absent.yawl
        ! caused by: No such file or directory (os error 2)
        = 74
    "#]],
    );
    home.check(
        &["workflow", "validate"],
        &expect![[r#"
        ! error[KN0650]: a file is missing
        ! hint: knhk workflow validate --help
        = 2
    "#]],
    );
    let mut child = home.command(&["workflow", "validate", "-"]);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"not XML").unwrap();
    expect![[r#"
        error[KN0101]: /dev/stdin:1:1: not well-formed: unknown token
        hint: mend the XML here; an XML editor shows the same place
        /dev/stdin: refused
        ! error[KN0660]: 1 of 1 refused
        = 1
    "#]]
    .assert_eq(&home.text(&child.wait_with_output().unwrap()));
}

#[test]
fn the_configuration_is_shown_and_checked() {
    let home = Home::new("cache_size_mb = 1024\notel_enabled = false\n");
    let shown = home.run(&["config", "show", "--origin"]);
    for line in [
        "cache_size_mb 1024 HOME/knhk.toml:2",
        "OTEL_ENDPOINT http://127.0.0.1:4317 built-in",
        "OTEL_ENABLED false HOME/knhk.toml:3",
    ] {
        let words = |shown: &str| shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.lines().any(|shown| words(shown) == line), "{line} is not in\n{shown}");
    }
    let json = home.run(&["config", "show", "--json", "--origin"]);
    assert!(
        json.contains(
            r#""cache_size_mb":{"value":1024,"origin":{"from":"file","file":"HOME/knhk.toml","line":2}}"#
        ),
        "{json}"
    );
    home.check(
        &["config", "validate"],
        &expect![[r#"
        valid: HOME/knhk.toml
        = 0
    "#]],
    );
    home.check(
        &["config", "validate", "--json"],
        &expect![[r#"
        {"valid":true,"files":["HOME/knhk.toml"],"mistakes":[]}
        = 0
    "#]],
    );
    fs::write(home.path("knhk.toml"), "cache_size = 1\nlisten = \"0.0.0.0:80\"\nx y\n").unwrap();
    home.check(&["config", "validate"], &expect![[r#"
        ! error[KN0602]: HOME/knhk.toml:1: unknown key cache_size
        ! hint: nearest name is cache_size_mb
        ! error[KN0605]: HOME/knhk.toml:2: listen = "0.0.0.0:80" can be reached from other machines, which is refused for now
        ! error[KN0601]: HOME/knhk.toml:3: key with no value, expected `=`
        ! hint: write one `key = value` a line
        ! error[KN0620]: configuration is invalid: 3 mistakes
        = 78
    "#]]);
    home.check(&["config", "show", "--json"], &expect![[r#"
        ! {"code":"KN0620","message":"configuration is invalid: 3 mistakes","causes":[],"hint":null,"mistakes":[{"code":"KN0602","file":"HOME/knhk.toml","line":1,"message":"unknown key cache_size","hint":"nearest name is cache_size_mb"},{"code":"KN0605","file":"HOME/knhk.toml","line":2,"message":"listen = \"0.0.0.0:80\" can be reached from other machines, which is refused for now","hint":""},{"code":"KN0601","file":"HOME/knhk.toml","line":3,"message":"key with no value, expected `=`","hint":"write one `key = value` a line"}]}
        = 78
    "#]]);
    home.check(&["workflow", "list"], &expect![[r#"
        ! error[KN0602]: HOME/knhk.toml:1: unknown key cache_size
        ! hint: nearest name is cache_size_mb
        ! error[KN0605]: HOME/knhk.toml:2: listen = "0.0.0.0:80" can be reached from other machines, which is refused for now
        ! error[KN0601]: HOME/knhk.toml:3: key with no value, expected `=`
        ! hint: write one `key = value` a line
        ! error[KN0620]: configuration is invalid: 3 mistakes
        = 78
    "#]]);
    fs::remove_file(home.path("knhk.toml")).unwrap();
    home.check(
        &["config", "validate"],
        &expect![[r#"
        ! error[KN0600]: HOME/knhk.toml: could not be read: No such file or directory (os error 2)
        ! error[KN0620]: configuration is invalid: 1 mistake
        = 78
    "#]],
    );
}

#[test]
fn error_codes_are_explained() {
    let home = Home::new("");
    home.check(&["explain", "KN0602"], &expect![[r#"
        # KN0602: unknown key in the configuration

        ## What happened

        No key has this name; most often it is a slip, or a key in a section. A mistyped key would otherwise be ignored in silence.

        ## What to do

        Take the name that the message suggests, or look it up with `knhk config show`. All keys stand at the top of the file, without sections.
        = 0
    "#]]);
    home.check(&["explain", "kn602", "--json"], &expect![[r##"
        {"code":"KN0602","title":"unknown key in the configuration","text":"# KN0602: unknown key in the configuration\n\n## What happened\n\nNo key has this name; most often it is a slip, or a key in a section. A mistyped key would otherwise be ignored in silence.\n\n## What to do\n\nTake the name that the message suggests, or look it up with `knhk config show`. All keys stand at the top of the file, without sections.\n"}
        = 0
    "##]]);
    home.check(
        &["explain", "KN9999"],
        &expect![[r#"
        ! error[KN0658]: there is no error code "KN9999"
        ! hint: a code is KN and four digits
        = 1
    "#]],
    );
    home.check(
        &["explain", "KN00602"],
        &expect![[r#"
        ! error[KN0658]: there is no error code "KN00602"
        ! hint: a code is KN and four digits
        = 1
    "#]],
    );
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
    let home = Home::new("");
    let mut child =
        home.command(&["config", "show"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    // The pipe may have been open still when the answer was written: both ends are quiet.
    expect![[r"
        = 0
    "]]
    .assert_eq(&home.text(&output));
    let full = fs::File::create("/dev/full").unwrap();
    let output = home.command(&["explain", "KN0602"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    expect![[r#"
        ! error[KN0653]: could not write the answer
        ! caused by: No space left on device (os error 28)
        = 74
    "#]]
    .assert_eq(&home.text(&output));
}

#[test]
fn colours_and_progress_are_for_terminals() {
    let home = Home::new("");
    let plain = home.run(&["config", "show"]);
    assert!(!plain.contains('\u{1b}'));
    let colored = home.run(&["config", "show", "--color", "always"]);
    assert!(colored.starts_with("\u{1b}[1mKEY"), "{colored}");
    assert_eq!(colored.replace("\u{1b}[1m", "").replace("\u{1b}[0m", ""), plain);
}

fn names_in(folder: &Path, found: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_in(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found(&fs::read_to_string(path).unwrap());
        }
    }
}

/// Returns the three-digit number that a text begins with, as its code is written.
fn number_at(text: &str) -> Option<String> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    (digits.len() == 3).then(|| format!("0{digits}"))
}

#[test]
fn pages_and_codes_pair_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(root.join("docs/errors")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let number = name.strip_prefix("KN").and_then(|name| name.strip_suffix(".md")).unwrap().to_owned();
        let text = fs::read_to_string(root.join("docs/errors").join(&name)).unwrap();
        assert!(text.starts_with(&format!("# KN{number}: ")), "{name}: its first line");
        for heading in ["\n## What happened\n\n", "\n## What to do\n\n"] {
            assert!(text.contains(heading), "{name}: {heading:?} is missing");
        }
        pages.insert(number);
    }
    let mut source = "\
//! Every page of docs/errors, built in. A test holds it against the folder: `UPDATE_EXPECT=1` writes it anew.

/// Number of each code, and its page.
pub(super) static PAGES: &[(u16, &str)] = &[
"
    .to_owned();
    for number in &pages {
        let plain = number.trim_start_matches('0');
        let line = format!("    ({plain}, include_str!(\"../../docs/errors/KN{number}.md\")),\n");
        source.push_str(&line);
    }
    source.push_str("];\n");
    expect_file!["../../src/cli/pages.rs"].assert_eq(&source);

    let (mut used, mut mentioned) = (BTreeSet::new(), BTreeSet::new());
    names_in(&root.join("src"), &mut |text| {
        if text != source {
            let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
            mentioned.extend(words.filter(|word| word.len() == 3).filter_map(number_at));
        }
        used.extend(text.match_indices("Code(").filter_map(|(at, _)| number_at(&text[at + 5..])));
        // A table in `fn code` names the numbers alone.
        for (at, _) in text.match_indices("fn code(") {
            let body = text[at..].split("\n    }\n").next().unwrap_or_default();
            used.extend(body.match_indices("=> ").filter_map(|(at, _)| number_at(&body[at + 3..])));
        }
    });
    // Codes whose pages are still being written; the list only shrinks.
    let pending = [310..=321, 360..=364, 400..=424, 500..=540];
    used.retain(|code| {
        pages.contains(code) || !pending.iter().any(|range| range.contains(&code.parse().unwrap()))
    });
    let without_page: Vec<_> = used.difference(&pages).collect();
    assert!(without_page.is_empty(), "codes without a page in docs/errors: {without_page:?}");
    let without_code: Vec<_> = pages.difference(&mentioned).collect();
    assert!(without_code.is_empty(), "pages of codes that nothing uses: {without_code:?}");
}

#[test]
fn completions_know_every_command() {
    let home = Home::new("");
    let script = home.run(&["completions", "bash"]);
    let reference = knhk::cli::reference();
    for command in ["workflow register", "workflow retry", "workitem skip", "config validate", "explain"] {
        assert!(reference.contains(&format!("## `knhk {command}")), "{command}");
    }
    for line in reference.lines().filter_map(|line| line.strip_prefix("## `knhk ")) {
        let command: Vec<_> =
            line.split([' ', '`']).take_while(|word| word.chars().all(char::is_lowercase)).collect();
        let path = command
            .iter()
            .filter(|word| !word.is_empty())
            .fold(String::new(), |path, word| path + " " + word);
        assert!(script.contains(&format!("\"{path}\") echo")), "{path}");
    }
    expect_file!["../../docs/reference/commands.md"].assert_eq(&reference);
    // The shell itself says what it would offer.
    let script = script.trim_end_matches("= 0\n");
    let question = "COMP_WORDS=(knhk workflow --json re); COMP_CWORD=3; _knhk; echo ${COMPREPLY[@]}";
    let output =
        Command::new("bash").args(["--norc", "-c", &format!("{script}\n{question}")]).output().unwrap();
    expect![[r#"
        register resume retry
        = 0
    "#]]
    .assert_eq(&home.text(&output));
}

#[test]
fn the_page_of_statuses_says_what_the_table_says() {
    use knhk::error::Kind;
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/statuses.md")).unwrap();
    for kind in [
        Kind::Invalid,
        Kind::Unacceptable,
        Kind::NotFound,
        Kind::Conflict,
        Kind::TooLarge,
        Kind::Busy,
        Kind::Unknown,
        Kind::Unavailable,
        Kind::Usage,
        Kind::Configuration,
        Kind::Io,
        Kind::Corrupt,
        Kind::Internal,
    ] {
        let outside = kind.outside();
        let line = format!("\n| {kind:?} | {} | {} |", outside.exit, outside.http);
        assert!(page.contains(&line), "{line:?} is not in docs/reference/statuses.md");
    }
}
