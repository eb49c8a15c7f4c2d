//! The unit of the service as a file: what is looser than it could be says why, and what holds for the log.

use std::fs;

use crate::support::service::root;

fn lines(name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("systemd").join(name)).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Returns the words of all lines that set something.
fn values(lines: &[String], setting: &str) -> Vec<String> {
    let of = |line: &String| line.strip_prefix(setting)?.strip_prefix('=').map(str::to_owned);
    lines
        .iter()
        .filter_map(of)
        .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Returns what the unit names as exceptions, each up to its reason.
fn exceptions(lines: &[String]) -> Vec<String> {
    let named = |line: &String| {
        line.strip_prefix("# Exception: ")?.split_once([':', '.']).map(|(what, _)| what.to_owned())
    };
    lines.iter().filter_map(named).collect()
}

#[test]
fn what_the_unit_leaves_open_is_an_exception_and_what_is_an_exception_is_left_open() {
    let lines = lines("knhk.service");
    let exceptions = exceptions(&lines);
    for setting in ["PrivateUsers=yes", "ProcSubset=pid", "PrivateNetwork=yes", "IPAddressDeny=any"] {
        let is_set = lines.iter().any(|line| line == setting);
        let is_excepted = exceptions.iter().any(|what| what == setting);
        assert!(is_set != is_excepted, "{setting}: set {is_set}, an exception {is_excepted}");
    }
    let families = values(&lines, "RestrictAddressFamilies");
    for (family, named) in
        [("AF_INET", "Internet addresses"), ("AF_INET6", "Internet addresses"), ("AF_NETLINK", "AF_NETLINK")]
    {
        let is_open = families.iter().any(|open| open == family);
        assert_eq!(is_open, exceptions.iter().any(|what| what == named), "{family}");
    }
    assert_eq!(families.len(), 4, "{families:?}: another family needs a line here");
    let calls = values(&lines, "SystemCallFilter");
    assert_eq!(calls, ["@system-service", "~@privileged", "@resources", "sched_setaffinity", "setrlimit"]);
    assert!(exceptions.iter().any(|what| what.starts_with("of @resources")));
}

#[test]
fn journald_leaves_no_line_of_the_service_out() {
    assert_eq!(values(&lines("knhk.service"), "LogRateLimitIntervalSec"), ["0"]);
}
