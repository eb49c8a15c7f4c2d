//! Each rule on both sides of each of its thresholds.

use knhk::perf::rules::{
    self, Cache, Disk, Finding, HeavyNet, Markings, Settings, WORD_PLACES_MAX, Waves, Weight,
};
use knhk::perf::watch::{HotThread, Taker};

/// What a rule says: nothing, or name and weight.
fn said(found: Option<Finding>) -> Option<(&'static str, Weight)> {
    found.map(|finding| (finding.name, finding.weight))
}

fn hot() -> HotThread {
    HotThread { thread: "hot-0".to_owned(), core: Some(1), ran_ms: 500.0, ..HotThread::default() }
}

#[test]
fn a_hot_core_that_others_take_is_found() {
    const FINDING: Option<(&str, Weight)> = Some(("hot-core-shared", Weight::Finding));
    const NOTE: Option<(&str, Weight)> = Some(("hot-core-shared", Weight::Note));
    let quiet = hot();
    let held_up = HotThread { waited_ms: 500.0, ..hot() };
    let others = |others_share, hot: &HotThread| HotThread { others_share, ..hot.clone() };
    for (number, (hot, expected)) in [
        (quiet.clone(), None),
        (held_up.clone(), None),
        (others(0.49, &quiet), None),
        (others(0.5, &quiet), FINDING),
        // Nobody knows how an idle thread would fare; that others take half its core is seen all the same.
        (HotThread { ran_ms: 0.0, ..others(0.5, &quiet) }, FINDING),
        (others(0.14, &held_up), None),
        (others(0.15, &held_up), FINDING),
        (HotThread { waited_ms: 49.0, ran_ms: 1.0, ..others(0.3, &quiet) }, None),
        (HotThread { waited_ms: 50.0, ran_ms: 1.0, ..others(0.3, &quiet) }, FINDING),
        (HotThread { waited_ms: 80.0, ran_ms: 500.0, ..others(0.3, &quiet) }, None),
        (HotThread { waited_ms: 90.0, ran_ms: 500.0, ..others(0.3, &quiet) }, FINDING),
        (HotThread { stolen_share: 0.14, ..quiet.clone() }, None),
        (HotThread { stolen_share: 0.15, ..quiet.clone() }, FINDING),
        (HotThread { service_share: 0.15, ..held_up.clone() }, NOTE),
        (HotThread { service_share: 0.15, ..quiet.clone() }, None),
        (HotThread { core: None, ..held_up }, NOTE),
        (HotThread { core: None, ..quiet }, None),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(said(rules::hot_core(&hot, 2)), expected, "{number}: {hot:?}");
    }
}

#[test]
fn who_takes_the_hot_core_is_named_with_the_command_that_moves_it() {
    let busiest = vec![Taker { pid: 77, name: "make".to_owned(), share: 0.8 }];
    let found = HotThread { others_share: 0.8, busiest, core: Some(1), ..hot() };
    let finding = rules::hot_core(&found, 4).unwrap();
    assert!(
        finding.what.contains("80 % of core 1") && finding.what.contains("make (process 77)"),
        "{finding:?}"
    );
    assert_eq!(finding.command.as_deref(), Some("sudo taskset -acp 0,2,3 77"));
    assert_eq!(rules::hot_core(&found, 1).unwrap().command, None);
}

#[test]
fn a_full_cache_whose_cases_are_asked_for_is_found() {
    let small = Cache {
        bytes: 16 << 20,
        limit_bytes: 16 << 20,
        read_back: 100,
        steps: 1_000,
        memory_bytes: Some(1 << 30),
    };
    let finding = rules::cache(&small).unwrap();
    assert_eq!(finding.command.as_deref(), Some("sudo knhk config set cache_size_mb 32"));
    for (fine, is_found) in [
        (Cache { read_back: 99, ..small }, false),
        (Cache { bytes: 15 << 20, ..small }, true),
        // After a start every case is read back once: the cache is not full.
        (Cache { bytes: 14 << 20, ..small }, false),
        (Cache { steps: 256, read_back: 256, ..small }, true),
        (Cache { steps: 255, read_back: 255, ..small }, false),
        (Cache::default(), false),
        // A service of another version tells nothing of cases read back.
        (Cache { limit_bytes: 0, bytes: 0, ..small }, false),
    ] {
        assert_eq!(rules::cache(&fine).is_some(), is_found, "{fine:?}");
    }
    let command = |memory_bytes| rules::cache(&Cache { memory_bytes, ..small }).unwrap().command;
    assert!(command(Some(64 << 20)).is_some() && command(None).is_some());
    assert_eq!(command(Some(63 << 20)), None, "no memory for twice as much");
}

#[test]
fn a_slow_disk_is_told_from_a_busy_processor() {
    const FINDING: Option<(&str, Weight)> = Some(("slow-disk", Weight::Finding));
    const NOTE: Option<(&str, Weight)> = Some(("slow-disk", Weight::Note));
    let fast = Disk {
        commits: 1_000,
        commit_us_p50_min: 100,
        commit_us_p99_min: 2_500,
        commit_us_mean: 200,
        waited_us_mean: Some(10),
        sync_us_fastest_tenth: Some(90),
        command_us_max: 100_000,
    };
    let slow = Disk { commit_us_p50_min: 5_000, commit_us_mean: 8_000, ..fast };
    for (number, (disk, expected)) in [
        (fast, None),
        (Disk { commit_us_p50_min: 2_500, ..slow }, None),
        (slow, FINDING),
        (Disk { commits: 99, ..slow }, None),
        (Disk { commits: 100, ..slow }, FINDING),
        (Disk { commit_us_p99_min: 25_000, ..fast }, None),
        (Disk { commit_us_p99_min: 50_000, ..fast }, FINDING),
        (Disk { commit_us_p99_min: 50_000, command_us_max: 100_001, ..fast }, None),
        (Disk { waited_us_mean: Some(3_999), ..slow }, FINDING),
        (Disk { waited_us_mean: Some(4_000), ..slow }, NOTE),
        (Disk { waited_us_mean: None, ..slow }, FINDING),
        (Disk { waited_us_mean: Some(4_000), sync_us_fastest_tenth: Some(4_167), ..slow }, FINDING),
        (Disk { sync_us_fastest_tenth: Some(4_166), ..fast }, None),
        (Disk { sync_us_fastest_tenth: Some(4_167), commits: 0, ..fast }, FINDING),
        (Disk { sync_us_fastest_tenth: None, ..fast }, None),
        (Disk { sync_us_fastest_tenth: None, ..slow }, FINDING),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(said(rules::disk(&disk)), expected, "{number}: {disk:?}");
    }
}

fn net(places: usize, at_most_one_token: bool) -> HeavyNet {
    HeavyNet { workflow: "an order@2".to_owned(), net: "Order".to_owned(), places, at_most_one_token }
}

#[test]
fn heavy_nets_are_found_when_steps_are_taken_on_them_and_noted_otherwise() {
    const FINDING: Option<(&str, Weight)> = Some(("wide-net", Weight::Finding));
    const NOTE: Option<(&str, Weight)> = Some(("wide-net", Weight::Note));
    let of = |steps, heavy_steps, nets: &[HeavyNet]| {
        said(rules::nets(&Markings { steps, heavy_steps, nets: nets.to_vec() }))
    };
    let wide = [net(WORD_PLACES_MAX + 1, true)];
    assert_eq!(of(1_000, 100, &wide), FINDING);
    assert_eq!(of(1_000, 99, &wide), NOTE);
    assert_eq!(of(256, 256, &wide), FINDING);
    assert_eq!(of(255, 255, &wide), NOTE);
    assert_eq!(of(0, 0, &wide), NOTE);
    assert_eq!(of(1_000, 1_000, &[]), None);
}

#[test]
fn why_a_net_is_heavy_is_said() {
    let said = |net: HeavyNet| rules::nets(&Markings { nets: vec![net], ..Markings::default() }).unwrap();
    let wide = said(net(70, true));
    assert!(wide.what.contains("net Order of an order@2: it has 70 places, and 64 fit a word"), "{wide:?}");
    assert!(!wide.what.contains("counted"), "{wide:?}");
    assert_eq!(wide.command.as_deref(), Some("knhk workflow show 'an order@2'"));
    let counted = said(net(64, false));
    assert!(
        counted.what.contains("may hold two tokens") && !counted.what.contains("fit a word:"),
        "{counted:?}"
    );
    let many = Markings { nets: vec![net(70, true); 7], ..Markings::default() };
    assert!(rules::nets(&many).unwrap().what.ends_with("2 more"));
}

#[test]
fn steps_one_by_one_are_found_when_they_keep_the_journal_busy() {
    let single = Waves {
        seconds: 2.0,
        steps: 1_000,
        waves: 1_000,
        ticks_a_step: 900.0,
        ticks_a_step_large: 12.0,
        commits: 1_000,
        commit_seconds: 0.2,
    };
    let found = rules::waves(&single, "127.0.0.1:8080").unwrap();
    assert_eq!((found.name, found.weight), ("small-batches", Weight::Finding));
    assert!(found.command.unwrap().ends_with("http://127.0.0.1:8080/batch"));
    for fine in [
        Waves { commit_seconds: 0.19, ..single },
        Waves { steps: 2_000, ..single },
        Waves { waves: 0, steps: 0, ..single },
        Waves { seconds: 0.0, ..single },
        Waves::default(),
    ] {
        assert_eq!(rules::waves(&fine, ""), None, "{fine:?}");
    }
    assert!(rules::waves(&Waves { steps: 1_999, ..single }, "").is_some());
}

#[test]
fn settings_that_cost_speed_are_told() {
    let names = |settings: &Settings| -> Vec<(&'static str, Weight)> {
        rules::settings(settings).into_iter().map(|finding| (finding.name, finding.weight)).collect()
    };
    let fine = Settings {
        degraded: vec!["scrub running".to_owned()],
        frequency_governor: Some("performance".to_owned()),
        huge_pages: Some("madvise".to_owned()),
        steady_ticks: Some(true),
    };
    assert_eq!(names(&fine), []);
    assert_eq!(names(&Settings::default()), []);
    let poor = Settings {
        degraded: vec!["cores not pinned".to_owned(), "memory not locked: 7 bytes".to_owned()],
        frequency_governor: Some("schedutil".to_owned()),
        huge_pages: Some("never".to_owned()),
        steady_ticks: Some(false),
    };
    let expected = [
        ("cores-not-pinned", Weight::Finding),
        ("memory-not-locked", Weight::Finding),
        ("frequency", Weight::Note),
        ("huge-pages", Weight::Note),
        ("ticks", Weight::Note),
    ];
    assert_eq!(names(&poor), expected);
}

#[test]
fn every_finding_has_a_section() {
    let page = std::fs::read_to_string(
        crate::support::service::root().join("docs/reference/performance-commands.md"),
    )
    .unwrap();
    for name in [
        "hot-core-shared",
        "cache-too-small",
        "slow-disk",
        "wide-net",
        "small-batches",
        "cores-not-pinned",
        "memory-not-locked",
        "frequency",
        "huge-pages",
        "ticks",
    ] {
        assert!(
            page.contains(&format!("\n### {name}\n")),
            "docs/reference/performance-commands.md lacks {name}"
        );
    }
}
