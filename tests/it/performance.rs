//! `knhk performance` beside the real service: what it writes, what it leaves alone, and whether it finds faults that were
//! planted.
//!
//! Other work on the same machine may take the hot core or hold commits up, and is then found as well; so each test asks
//! for its own fault, and a service without one is only held to have none of those that come from itself.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]
#![expect(clippy::too_many_lines, reason = "snapshots are long")]

mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use expect_test::expect;
use serde_json::{Value, json};

use knhk::perf::durable::LOOP;

use crate::support::http::Client;
use crate::support::service::{Place, Service, root};
use crate::support::wait;

/// So many tasks one after the other, which nobody has to do.
fn chain(tasks: usize) -> String {
    let task = |at: usize| {
        let next = if at + 1 == tasks { "end".to_owned() } else { format!("t{}", at + 1) };
        format!(
            "<task id=\"t{at}\"><flowsInto><nextElementRef id=\"{next}\"/></flowsInto>\
             <join code=\"xor\"/><split code=\"and\"/></task>"
        )
    };
    let tasks: String = (0..tasks).map(task).collect();
    format!(
        "<specificationSet xmlns=\"http://www.yawlfoundation.org/yawlschema\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" version=\"4.0\">\
         <specification uri=\"chain\"><metaData/><decomposition id=\"Chain\" isRootNet=\"true\" xsi:type=\"NetFactsType\">\
         <processControlElements><inputCondition id=\"begin\"><flowsInto><nextElementRef id=\"t0\"/></flowsInto>\
         </inputCondition>{tasks}<outputCondition id=\"end\"/></processControlElements></decomposition>\
         </specification></specificationSet>"
    )
}

fn register(service: &Service, source: &str) {
    let kind = [("Content-Type", "application/xml")];
    service.client().send("POST", "/workflows", &kind, source.as_bytes()).unwrap().expect(201);
}

/// Sends lines to /batch and returns their answers, each of which went well.
fn batch(client: &mut Client, lines: &[Value]) -> Vec<Value> {
    let body = lines.iter().fold(String::new(), |body, line| body + &line.to_string() + "\n");
    let kind = [("Content-Type", "application/x-ndjson")];
    let answer = client.send("POST", "/batch", &kind, body.as_bytes()).unwrap();
    let answers: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), lines.len());
    for answer in &answers {
        assert!(answer["status"].as_u64().is_some_and(|status| status < 300), "{answer}");
    }
    answers
}

/// Runs `analyze` and returns what it says with its status.
fn analyze_under(place: &Place, before: &[&str], more: &[&str]) -> (Value, i32) {
    let mut command = place.command(before);
    let output =
        command.args(["performance", "analyze", "--hot-path", "--json"]).args(more).output().unwrap();
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (document, output.status.code().unwrap())
}

/// Returns what was found by name, and holds the status against it.
fn findings(place: &Place, before: &[&str]) -> BTreeMap<String, Value> {
    let (document, status) = analyze_under(place, before, &[]);
    let found = document["findings"].as_array().unwrap();
    let found = found.iter().filter(|finding| finding["weight"] == "finding");
    let found: BTreeMap<String, Value> =
        found.map(|finding| (finding["name"].as_str().unwrap().to_owned(), finding.clone())).collect();
    assert_eq!(status, i32::from(!found.is_empty()), "{found:?}");
    assert!(document["service"].is_object(), "{}", document["service_not_seen"]);
    found
}

/// Findings that come from the service and its work alone, and never from other work on the machine.
const OWN: [&str; 4] = ["cache-too-small", "wide-net", "small-batches", "cores-not-pinned"];

fn assert_none_of_its_own(found: &BTreeMap<String, Value>) {
    for name in OWN {
        assert!(!found.contains_key(name), "{found:?}");
    }
}

/// Calls `work` again and again while `meanwhile` runs.
fn beside<T>(work: impl Fn() + Sync, meanwhile: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                work();
            }
        });
        let _over = Over(&is_over);
        meanwhile()
    })
}

/// Also when a test fails, or the work would never end.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Cases of `loop`, each with the number of its next item.
struct Turns {
    client: Client,
    cases: Vec<(String, u64)>,
}

impl Turns {
    fn new(service: &Service, count: usize) -> Self {
        register(service, LOOP);
        let mut client = service.client();
        let lines = vec![json!({ "op": "create", "workflow": "loop" }); count];
        let created = batch(&mut client, &lines);
        let id = |answer: &Value| (answer["body"]["id"].as_str().unwrap().to_owned(), 1);
        Self { client, cases: created.iter().map(id).collect() }
    }

    fn one_by_one(&mut self) {
        for (case, number) in &mut self.cases {
            let path = format!("/workitems/{case}-{number}/complete");
            self.client.post(&path, None, &json!({})).unwrap().expect(200);
            *number += 1;
        }
    }

    fn together(&mut self) {
        let line = |(case, number): &(String, u64)| json!({ "op": "complete", "item": format!("{case}-{number}"), "data": {} });
        let lines: Vec<Value> = self.cases.iter().map(line).collect();
        batch(&mut self.client, &lines);
        for case in &mut self.cases {
            case.1 += 1;
        }
    }
}

#[test]
fn a_healthy_service_has_no_fault_of_its_own_idle_or_loaded() {
    let mut place = Place::new();
    let service = place.start();
    assert_none_of_its_own(&findings(&place, &[]));
    let turns = std::sync::Mutex::new(Turns::new(&service, 64));
    let found = beside(|| turns.lock().unwrap().together(), || findings(&place, &[]));
    assert_none_of_its_own(&found);
}

#[test]
fn steps_one_by_one_are_found() {
    let mut place = Place::new();
    let service = place.start();
    let turns = std::sync::Mutex::new(Turns::new(&service, 4));
    let found = beside(|| turns.lock().unwrap().one_by_one(), || findings(&place, &[]));
    let finding = found.get("small-batches").unwrap_or_else(|| panic!("{found:?}"));
    assert!(finding["command"].as_str().unwrap().ends_with(&format!("http://{}/batch", place.address)));
}

#[test]
fn a_busy_process_on_the_hot_core_is_found() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return wait::absent("a hot core of its own: this machine has one core");
    }
    let mut place = Place::with(&[("hot_path_cores", "\"auto\"")]);
    let _service = place.start();
    let (document, _) = analyze_under(&place, &[], &["--seconds", "1"]);
    let core = document["service"]["hot_threads"][0]["core"].as_u64();
    let core = usize::try_from(core.expect("the hot thread is pinned")).unwrap();
    // Several threads of one process, so that it is among those that take most whatever else runs.
    let is_over = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        let over = Over(&is_over);
        for _ in 0..4 {
            scope.spawn(|| {
                let mut set = nix::sched::CpuSet::new();
                set.set(core).unwrap();
                nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let found = findings(&place, &[]);
        drop(over);
        found
    });
    let finding = found.get("hot-core-shared").unwrap_or_else(|| panic!("{found:?}"));
    let what = finding["what"].as_str().unwrap();
    assert!(what.contains(&format!("of core {core}, where hot-0 runs")), "{what}");
    assert!(what.contains(&format!("(process {})", std::process::id())), "{what}");
}

#[test]
fn a_cache_that_is_too_small_is_found() {
    // The smallest there is; each case brings some kilobytes.
    let mut place = Place::with(&[("cache_size_mb", "16")]);
    let service = place.start();
    register(&service, &fs::read_to_string(root().join("examples/order/order.yawl")).unwrap());
    let mut client = service.client();
    let customer = "x".repeat(16_000);
    let line = json!({ "op": "create", "workflow": "order", "data": { "customer": customer } });
    let mut cases = Vec::new();
    for _ in 0..200 {
        cases.extend(batch(&mut client, &vec![line.clone(); 10]));
    }
    let (document, _) = analyze_under(&place, &[], &["--seconds", "1"]);
    let names: Vec<&Value> =
        document["findings"].as_array().unwrap().iter().map(|found| &found["name"]).collect();
    assert!(!names.contains(&&json!("cache-too-small")), "nobody has asked for a case again: {names:?}");
    for cases in cases.chunks(50) {
        let item = |case: &Value| format!("{}-1", case["body"]["id"].as_str().unwrap());
        let line = |case: &Value| json!({ "op": "complete", "item": item(case), "data": { "amount": 7 } });
        batch(&mut client, &cases.iter().map(line).collect::<Vec<_>>());
    }
    let found = findings(&place, &[]);
    let finding = found.get("cache-too-small").unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!(finding["command"], "sudo knhk config set cache_size_mb 32");
}

#[test]
fn a_wide_net_is_found_when_it_works_and_noted_when_it_does_not() {
    let mut place = Place::new();
    let service = place.start();
    register(&service, &chain(40));
    let (document, _) = analyze_under(&place, &[], &["--seconds", "1"]);
    let noted =
        document["findings"].as_array().unwrap().iter().find(|found| found["name"] == "wide-net").cloned();
    let noted = noted.unwrap_or_else(|| panic!("{document}"));
    assert_eq!(noted["weight"], "note");
    // An input and an output, 39 places between tasks, and 40 for busy tasks.
    assert!(noted["what"].as_str().unwrap().contains("net Chain of chain@1: it has 81 places"), "{noted}");
    batch(&mut service.client(), &vec![json!({ "op": "create", "workflow": "chain" }); 10]);
    let found = findings(&place, &[]);
    let finding = found.get("wide-net").unwrap_or_else(|| panic!("{found:?}"));
    assert_eq!(finding["command"], "knhk workflow show chain@1");
}

/// Runs a program with a disk that takes 60 ms for each sync.
const SLOW_DISK: [&str; 11] = [
    "strace",
    "-D",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "-e",
    "signal=none",
    "-e",
    "trace=fdatasync",
    "--inject=fdatasync:delay_exit=60000",
];

#[test]
fn a_slow_disk_is_found() {
    let may_trace = Command::new(SLOW_DISK[0]).args(&SLOW_DISK[1..]).arg("true").status();
    if !may_trace.is_ok_and(|status| status.success()) {
        return wait::absent("a slow disk: strace is not here or may not trace");
    }
    let mut place = Place::new();
    let service = place.start_under(&SLOW_DISK);
    register(&service, LOOP);
    let mut client = service.client();
    let line = json!({ "op": "create", "workflow": "loop" });
    for _ in 0..110 {
        batch(&mut client, std::slice::from_ref(&line));
    }
    // What clients are told is judged by what the service is usually set to; here it waits, so that all is acknowledged.
    place.set(&[("warm_path_timeout_ms", "100")]);
    let found = findings(&place, &SLOW_DISK);
    let finding = found.get("slow-disk").unwrap_or_else(|| panic!("{found:?}"));
    let what = finding["what"].as_str().unwrap();
    assert!(what.contains("of single syncs just now nine in ten took"), "{what}");
}

/// Collects the names of all members, those of lists once. Labels come from closed sets of their own.
fn members(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(found) if !path.ends_with(".labels") => {
            for (name, value) in found {
                let path = format!("{path}.{name}");
                members(value, &path, out);
                out.insert(path);
            }
        }
        Value::Array(found) => found.iter().for_each(|value| members(value, &format!("{path}[]"), out)),
        _ => {}
    }
}

#[test]
fn a_report_has_its_members_with_and_without_a_service() {
    let mut place = Place::new();
    let output = place.path("report.json");
    let report = |place: &Place, more: &[&str]| -> Value {
        let path = output.to_str().unwrap();
        let done = place.knhk(&[&["performance", "report", "--output", path], more].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(String::from_utf8_lossy(&done.stdout).contains("report.html"));
        serde_json::from_slice(&fs::read(&output).unwrap()).unwrap()
    };
    let alone = report(&place, &["--no-benchmark"]);
    assert_eq!((&alone["service"]["running"], &alone["benchmark"]), (&json!(false), &Value::Null));
    assert!(alone["service"]["reason"].as_str().unwrap().contains("no service answers at"), "{alone}");

    let service = place.start();
    Turns::new(&service, 64).together();
    let before = service.client().get("/cases").unwrap().text();
    let whole = report(&place, &[]);
    assert_eq!(service.client().get("/cases").unwrap().text(), before, "the service's state is its own");
    let mut names = BTreeSet::new();
    members(&whole, "", &mut names);
    let names = names.iter().fold(String::new(), |text, name| text + name + "\n");
    expect![[r#"
        .benchmark
        .benchmark.beside_service
        .benchmark.budget_ticks
        .benchmark.commits
        .benchmark.commits[].entries
        .benchmark.commits[].journal_us_p50
        .benchmark.commits[].raw_us_p50
        .benchmark.disk_not_measured
        .benchmark.engine
        .benchmark.engine[].operations
        .benchmark.engine[].round_us_p50
        .benchmark.engine[].steps_per_second_p50
        .benchmark.hot_path
        .benchmark.hot_path[].live_cases
        .benchmark.hot_path[].markings
        .benchmark.hot_path[].ticks_mean
        .benchmark.hot_path[].ticks_p50
        .benchmark.hot_path[].ticks_p99
        .benchmark.hot_path[].wave_steps
        .benchmark.hot_path[].way
        .benchmark.seconds
        .benchmark.tick_hertz
        .benchmark.verdict_ticks_p99
        .benchmark.within_budget
        .build
        .build.commit
        .build.profile
        .build.version
        .machine
        .machine.cores
        .machine.device
        .machine.file_system
        .machine.frequency_governor
        .machine.hardware_counters
        .machine.huge_pages
        .machine.kernel
        .machine.memory_bytes
        .machine.processor
        .machine.steady_ticks
        .machine.tick_hertz
        .made_at
        .schema
        .service
        .service.degraded
        .service.distributions
        .service.distributions[].buckets
        .service.distributions[].buckets[].count
        .service.distributions[].buckets[].le
        .service.distributions[].count
        .service.distributions[].help
        .service.distributions[].labels
        .service.distributions[].mean
        .service.distributions[].name
        .service.distributions[].p50
        .service.distributions[].p50.at_least
        .service.distributions[].p50.at_most
        .service.distributions[].p90
        .service.distributions[].p90.at_least
        .service.distributions[].p90.at_most
        .service.distributions[].p99
        .service.distributions[].p99.at_least
        .service.distributions[].p99.at_most
        .service.distributions[].sum
        .service.distributions[].unit
        .service.figures
        .service.figures[].help
        .service.figures[].labels
        .service.figures[].name
        .service.figures[].unit
        .service.figures[].value
        .service.pid
        .service.reason
        .service.running
        .service.since
        .service.version
    "#]]
    .assert_eq(&names);
    let ticks = whole["service"]["distributions"].as_array().unwrap();
    let ticks = ticks.iter().find(|found| found["name"] == "knhk_hot_path_wave_steps").unwrap();
    assert!(ticks["count"].as_u64().unwrap() > 0, "{ticks}");

    let page = fs::read_to_string(output.with_extension("html")).unwrap();
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme:dark"));
    for outside in ["src=", "href=", "url(", "@import", "http:", "https:"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let left: Vec<_> =
        fs::read_dir(output.parent().unwrap()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

#[test]
fn a_report_that_cannot_be_written_says_so_before_it_measures() {
    let place = Place::new();
    let nowhere = place.path("nowhere/report.json");
    let done = place.knhk(&["performance", "report", "--output", nowhere.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&done.stderr).contains("KN0681"));
    let page = place.path("report.html");
    let done = place.knhk(&["performance", "report", "--output", page.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(2));
}

#[test]
fn a_benchmark_leaves_the_running_service_and_its_folders_as_they_were() {
    let mut place = Place::new();
    let service = place.start();
    let mut turns = Turns::new(&service, 2);
    // What runs left behind that were killed goes; no process has such a number.
    let stale = place.path("cache/benchmark-4194305");
    fs::create_dir(&stale).unwrap();
    let done = place.knhk(&["performance", "benchmark", "--quick", "--json"]);
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(i32::from(document["within_budget"] != true)));
    assert_eq!((&document["beside_service"], &document["disk_not_measured"]), (&json!(true), &Value::Null));
    assert_eq!(document["engine"].as_array().unwrap().len(), 3);
    let left = |folder: &str| -> Vec<String> {
        let names = fs::read_dir(place.path(folder)).unwrap().flatten();
        names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("benchmark"))
            .collect()
    };
    assert_eq!((left("cache"), left("state")), (Vec::new(), Vec::new()));
    turns.together();
    place.verify();
}

#[test]
fn run_by_root_a_report_is_roots_and_the_disk_is_measured_as_the_owner_of_the_state() {
    let nobody = nix::unistd::Uid::from_raw(65_534);
    if !nix::unistd::geteuid().is_root() {
        return wait::absent("root, whose files and the owner's are told apart");
    }
    let place = Place::new();
    let above = place.path("knhk.toml").parent().unwrap().to_owned();
    fs::set_permissions(&above, fs::Permissions::from_mode(0o711)).unwrap();
    for folder in ["state", "cache"] {
        fs::create_dir(place.path(folder)).unwrap();
    }
    nix::unistd::chown(&place.path("state"), Some(nobody), None).unwrap();
    let output = place.path("report.json");
    let report = || -> Value {
        let done = place.knhk(&["performance", "report", "--output", output.to_str().unwrap()]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&fs::read(&output).unwrap()).unwrap()
    };
    let refused = report();
    assert!(
        refused["benchmark"]["disk_not_measured"].as_str().unwrap().contains("cannot write in"),
        "{refused}"
    );
    assert_eq!(fs::metadata(&output).unwrap().uid(), 0);
    nix::unistd::chown(&place.path("cache"), Some(nobody), None).unwrap();
    assert_eq!(report()["benchmark"]["commits"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_disk_that_may_not_be_touched_is_left_out_and_told() {
    // Where a folder should be there is a file: nobody may write in it, root neither.
    let place = Place::new();
    fs::write(place.path("cache"), "").unwrap();
    let done = place.knhk(&["performance", "benchmark", "--quick", "--json"]);
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(document["disk_not_measured"].as_str().unwrap().contains("cannot write in"), "{document}");
    assert!(document["commits"].is_null() && document["engine"].is_null());
    let full = Place::with(&[("disk_reserve_mb", "1048576")]);
    let free = nix::sys::statvfs::statvfs(&full.path("knhk.toml")).unwrap();
    if free.blocks_available().saturating_mul(free.fragment_size()) >= 1 << 40 {
        return wait::absent("a disk that is too full: more is free than can be reserved");
    }
    let done = full.knhk(&["performance", "benchmark", "--quick", "--json"]);
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(document["disk_not_measured"].as_str().unwrap().contains("disk_reserve_mb"), "{document}");
}
