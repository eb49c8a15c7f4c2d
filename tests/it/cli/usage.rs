//! Help, wrong usage, and services that are absent or silent.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
#![expect(clippy::too_many_lines, reason = "snapshots are long")]
#![expect(clippy::disallowed_methods, reason = "a test may start the thread of its fake service")]

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::thread;

use expect_test::expect;

use super::{Home, read_request};

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
              serve             Run the service until SIGTERM
              workflow          Register specifications, start cases, see and steer them
              workitem          See and do the work of cases
              state             Look at, verify, repair, trim and upgrade the state on disk
              config            Show and check the configuration
              performance       Measure what this machine does
              explain           Print what an error code means and what to do
              completions       Print the completions of a shell
            = 0
        "#]],
    );
    home.check(&["workflow", "list", "-h"], &expect![[r#"
        Usage: knhk workflow list [--state <state>] [--workflow <workflow>] [--older-than <older-than>] [--archived] [--limit <limit>] [--after <after>] [-q] [--json] [--color <color>]

        List cases

        Options:
          --state           only in this state: running, suspended, incident, completed,
                            cancelled
          --workflow        only of this specification: id, or id@version
          --older-than      only unchanged for so long, such as 90d
          --archived        those in archives, in place of those in the live store
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
        ! error[KN0650]: one of the following subcommands must be present: help register validate show create list get history cancel suspend resume retry archive restore
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
    let state = long.path("state").display().to_string();
    let socket = "x".repeat(200);
    fs::write(long.path("knhk.toml"), format!("socket = \"/{socket}\"\nstate_dir = \"{state}\"\n")).unwrap();
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
