//! The binary in a control group with little memory, under the worst mixture of all that clients can send: it refuses
//! what it has no room for, lives, and answers a small client meanwhile. Slow, and for root: it makes the group.
//! `KNHK_MEMORY_INGREDIENTS` names those that are wanted, to see which one weighs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::support::http::{Answer, Client};
use crate::support::service::{Place, root};
use crate::support::wait;

/// Memory of the group. Any of the larger ingredients alone took more than this before there were budgets in bytes.
const MEMORY_BYTES: u64 = 768 << 20;
const MIB: usize = 1 << 20;
/// Connections that hold half a head each, and the bytes of it.
const HALF_HEADS: usize = 4_000;
const HALF_HEAD_BYTES: usize = 60_000;
/// Connections that hold all of a large body but its last byte.
const SLOW_BODIES: usize = 200;
/// Large cases, and who creates them.
const CREATORS: usize = 4;
const CREATES: usize = 25;
/// Lines of a batch, who send one, and how often.
const LINES: usize = 2_000;
const BATCHERS: usize = 3;
const BATCHES: usize = 2;
const LISTERS: usize = 6;
const LISTS: usize = 10;
const KEYED: usize = 5_000;
const BOMBS: usize = 4;
/// Bytes that a bomb unpacks to.
const BOMB_BYTES: usize = 256 * MIB;
/// Answers that the small client must have had, so that it was there at all; how many it comes to is the machine's.
const ANSWERED_LEAST: usize = 5;
/// Of so many that the small client asked, one may have been refused or lost.
const REFUSED_PART: usize = 10;
/// Longest time that a client of this test waits for a byte.
const PATIENCE: Duration = Duration::from_secs(60);

/// A control group with a limit, of whichever version has the memory here.
struct Group {
    folder: PathBuf,
    is_new: bool,
}

impl Group {
    /// Makes a group.
    ///
    /// # Errors
    /// Says what is missing.
    fn make(bytes: u64) -> Result<Self, String> {
        let name = format!("knhk-test-{}", std::process::id());
        let new = PathBuf::from("/sys/fs/cgroup");
        let kinds = fs::read_to_string(new.join("cgroup.controllers")).unwrap_or_default();
        if kinds.split_whitespace().any(|kind| kind == "memory") {
            // It may be so already, or the group be one where it cannot be changed: then the next step says it.
            let _ = fs::write(new.join("cgroup.subtree_control"), "+memory");
            let group = Self { folder: new.join(name), is_new: true };
            group.limit(&[("memory.max", bytes), ("memory.swap.max", 0)])?;
            return Ok(group);
        }
        let old = new.join("memory");
        if !old.join("memory.limit_in_bytes").exists() {
            return Err("no control groups for memory under /sys/fs/cgroup: mount cgroup2 there".to_owned());
        }
        let group = Self { folder: old.join(name), is_new: false };
        group.limit(&[("memory.limit_in_bytes", bytes), ("memory.memsw.limit_in_bytes", bytes)])?;
        Ok(group)
    }

    fn limit(&self, limits: &[(&str, u64)]) -> Result<(), String> {
        let failed = |what: PathBuf| move |error| format!("{}: {error}", what.display());
        fs::create_dir(&self.folder).map_err(failed(self.folder.clone()))?;
        for (at, (name, bytes)) in limits.iter().enumerate() {
            let file = self.folder.join(name);
            // Swap is not counted everywhere; where it is not, there mostly is none.
            if at == 0 || file.exists() {
                fs::write(&file, bytes.to_string()).map_err(failed(file))?;
            }
        }
        Ok(())
    }

    /// Returns how many processes of the group were ended for want of memory.
    fn killed(&self) -> u64 {
        let file = if self.is_new { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.folder.join(file)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.expect("the system counts them").parse().unwrap()
    }

    /// Returns the most bytes that the group ever had, page cache that was given up again included.
    fn peak_bytes(&self) -> u64 {
        let file = if self.is_new { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It goes when its last process has gone.
        wait::until(Duration::from_secs(10), || fs::remove_dir(&self.folder).ok());
    }
}

/// What the ingredients share: whom they ask, and what was answered.
struct Mix {
    address: SocketAddr,
    /// A case with a megabyte of data.
    large: String,
    statuses: std::sync::Mutex<BTreeMap<(&'static str, u16), usize>>,
    is_over: AtomicBool,
    left: AtomicUsize,
}

impl Mix {
    /// Sends a request, reads and drops the answer, and returns its status; 0 when there was none.
    fn ask(&self, who: &'static str, method: &str, path: &str, kind: &str, body: &[u8]) -> u16 {
        let status = ask(self.address, method, path, kind, body).unwrap_or(0);
        *self.statuses.lock().unwrap().entry((who, status)).or_default() += 1;
        status
    }
}

/// Sends one request on a connection of its own, and reads its answer to the end without keeping it.
fn ask(address: SocketAddr, method: &str, path: &str, kind: &str, body: &[u8]) -> std::io::Result<u16> {
    let mut stream = connect(address)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    // A refusal may come before all of it is sent.
    let _ = stream.write_all(body);
    let mut piece = vec![0; 64 << 10];
    let mut first = Vec::new();
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) if first.len() < 12 => first.extend_from_slice(&piece[..length]),
            Ok(_) => {}
            Err(error) if first.len() < 12 => return Err(error),
            Err(_) => break,
        }
    }
    let status = first.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    status.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn large_data() -> Vec<u8> {
    [&b"<d><customer>"[..], &b"<a/>".repeat(200_000), b"</customer></d>"].concat()
}

fn batches_of_executes(mix: &Mix) {
    let line = json!({ "op": "execute", "case": mix.large }).to_string() + "\n";
    for _ in 0..BATCHES {
        mix.ask("batch", "POST", "/batch", "application/x-ndjson", line.repeat(LINES).as_bytes());
    }
}

fn lists_of_large_cases(mix: &Mix) {
    for list in 0..LISTS {
        let path = match list % 3 {
            0 => format!("/cases/{}/history?limit=1000", mix.large),
            1 => "/workitems?limit=1000".to_owned(),
            _ => "/cases?limit=100&verify=true".to_owned(),
        };
        mix.ask("list", "GET", &path, "text/plain", b"");
    }
}

fn creates_of_large_cases(mix: &Mix) {
    let data = large_data();
    for _ in 0..CREATES {
        mix.ask("create", "POST", "/cases?workflow=order", "application/xml", &data);
    }
}

/// Every large case is read back, and changed.
fn changes_of_all_cases(mix: &Mix) {
    let mut client = Client::new(mix.address);
    for op in ["suspend", "resume", "suspend"] {
        let Ok(Answer { status: 200, body, .. }) = client.get("/cases?limit=1000") else { continue };
        let listed: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let ids = listed["items"].as_array().unwrap().iter();
        let lines: String =
            ids.map(|case| json!({ "op": op, "case": case["id"] }).to_string() + "\n").collect();
        mix.ask("change", "POST", "/batch", "application/x-ndjson", lines.as_bytes());
    }
}

fn keyed_no_ops(mix: &Mix) {
    let line = |number: usize| json!({ "op": "execute", "case": mix.large, "key": format!("k{number}") });
    let lines: String = (0..KEYED).map(|number| line(number).to_string() + "\n").collect();
    mix.ask("keyed", "POST", "/batch", "application/x-ndjson", lines.as_bytes());
}

fn restore_bombs(mix: &Mix) {
    let packed = zstd::bulk::compress(&vec![0; BOMB_BYTES], 3).unwrap();
    let mut bomb = b"KNHKCASE".to_vec();
    bomb.extend(1_u32.to_le_bytes());
    bomb.extend((BOMB_BYTES as u64).to_le_bytes());
    bomb.extend(packed);
    bomb.extend(crc32c::crc32c(&bomb).to_le_bytes());
    let path = format!("/cases/{}/restore", mix.large);
    mix.ask("bomb", "POST", &path, "application/octet-stream", &bomb);
}

fn halves_of_heads(mix: &Mix) {
    let half = [&b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "[..], &vec![b'x'; HALF_HEAD_BYTES]].concat();
    let send = || {
        let mut stream = connect(mix.address).ok()?;
        stream.write_all(&half).ok()?;
        Some(stream)
    };
    let held: Vec<_> = (0..HALF_HEADS).filter_map(|_| send()).collect();
    wait_for_the_others(mix);
    drop(held);
}

fn slow_large_bodies(mix: &Mix) {
    let body = vec![b' '; 2 * MIB - 1];
    let send = || {
        let mut stream = connect(mix.address).ok()?;
        let head = "POST /cases HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2097152\r\n\r\n";
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&body).ok()?;
        Some(stream)
    };
    let held: Vec<_> = (0..SLOW_BODIES).filter_map(|_| send()).collect();
    wait_for_the_others(mix);
    drop(held);
}

/// Holds on until all that ends by itself has.
fn wait_for_the_others(mix: &Mix) {
    wait::until(PATIENCE, || (mix.left.load(Ordering::Acquire) == 0).then_some(()));
}

/// Something that clients do: its name, how many do it at a time, and what it is.
type Ingredient = (&'static str, usize, fn(&Mix));

/// What comes to an end by itself.
const ENDING: &[Ingredient] = &[
    ("batch", BATCHERS, batches_of_executes),
    ("list", LISTERS, lists_of_large_cases),
    ("create", CREATORS, creates_of_large_cases),
    ("change", 1, changes_of_all_cases),
    ("keyed", 1, keyed_no_ops),
    ("bomb", BOMBS, restore_bombs),
];
/// What is held until all of those have ended.
const HOLDING: &[Ingredient] = &[("heads", 1, halves_of_heads), ("bodies", 1, slow_large_bodies)];

fn wanted(of: &[Ingredient]) -> Vec<Ingredient> {
    let named = wait::variable("KNHK_MEMORY_INGREDIENTS");
    let is_wanted = |name: &str| named.as_ref().is_none_or(|named| named.split(',').any(|one| one == name));
    of.iter().copied().filter(|(name, ..)| is_wanted(name)).collect()
}

/// Asks for little, one after the other, until the mixture is over.
fn small_client(mix: &Mix) {
    let body = json!({ "workflow": "order", "data": { "customer": "Ann" } }).to_string();
    while !mix.is_over.load(Ordering::Acquire) {
        mix.ask("small", "POST", "/cases", "application/json", body.as_bytes());
        mix.ask("health", "GET", "/health/live", "text/plain", b"");
        wait::pause();
    }
}

#[test]
fn the_worst_mixture_of_all_inputs_stays_within_the_memory_there_is() {
    if wait::variable("KNHK_SLOW_TESTS").is_none() {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        return wait::elsewhere("only root may make a control group: the worst mixture of all inputs");
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let group = Group::make(MEMORY_BYTES).unwrap_or_else(|missing| panic!("no control group: {missing}"));
    let mut place = Place::with(&[
        ("segment_bytes", "67108864"),
        ("frame_bytes_max", "4194304"),
        ("body_bytes_max", "2097152"),
        ("cache_size_mb", "64"),
        ("http_workers", "32"),
        ("warm_path_timeout_ms", "5000"),
        ("bulk_timeout_ms", "10000"),
    ]);
    let into = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", group.folder.display());
    let mut service = place.start_under(&["/bin/sh", "-c", &into]);
    let order = root().join("examples/order/order.yawl");
    assert!(place.knhk(&["workflow", "register", order.to_str().unwrap()]).status.success());
    let created = service
        .client()
        .send("POST", "/cases?workflow=order", &[("Content-Type", "application/xml")], &large_data())
        .unwrap();
    let large = created.expect(201)["id"].as_str().unwrap().to_owned();
    let ingredients = wanted(ENDING);
    let mix = Mix {
        address: service.address,
        large,
        statuses: std::sync::Mutex::default(),
        is_over: AtomicBool::new(false),
        left: AtomicUsize::new(ingredients.iter().map(|(_, count, _)| count).sum()),
    };
    std::thread::scope(|scope| {
        let mix = &mix;
        let small = scope.spawn(|| small_client(mix));
        let holders = wanted(HOLDING).into_iter();
        let holders: Vec<_> = holders.map(|(_, _, hold)| scope.spawn(move || hold(mix))).collect();
        for (_, count, ingredient) in ingredients.iter().copied() {
            for _ in 0..count {
                scope.spawn(move || {
                    ingredient(mix);
                    mix.left.fetch_sub(1, Ordering::AcqRel);
                });
            }
        }
        for holder in holders {
            holder.join().unwrap();
        }
        wait_for_the_others(mix);
        mix.is_over.store(true, Ordering::Release);
        small.join().unwrap();
    });
    let statuses = mix.statuses.lock().unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "at most {} MiB of {} MiB: {statuses:?}", group.peak_bytes() >> 20, MEMORY_BYTES >> 20)
        .unwrap();
    assert_eq!(group.killed(), 0, "it took more than it has: {statuses:?}\n{}", place.log());
    for who in ["small", "health"] {
        let of = |is_good: fn(u16) -> bool| -> usize {
            let counts = statuses.iter().filter(|((asked, status), _)| *asked == who && is_good(*status));
            counts.map(|(_, count)| count).sum()
        };
        let (good, asked) = (of(|status| status == 200 || status == 201), of(|_| true));
        let is_served = good >= ANSWERED_LEAST && (asked - good) * REFUSED_PART <= asked;
        assert!(is_served, "{who}: {good} of {asked}: {statuses:?}");
    }
    // None of what was to weigh was left out: each had an answer, if only that there is no room.
    for (who, ..) in ingredients {
        let answered = statuses.iter().filter(|((asked, status), _)| *asked == who && *status != 0).count();
        assert!(answered > 0, "{who} had no answer: {statuses:?}");
    }
    let body = json!({ "workflow": "order", "data": { "customer": "Ann" } });
    let after = wait::until(PATIENCE, || {
        service.client().post("/cases", None, &body).ok().filter(|answer| answer.status == 201)
    });
    assert!(after.is_some(), "it takes nothing any more:\n{}", place.log());
    assert!(service.stop().success());
    drop(group);
}
