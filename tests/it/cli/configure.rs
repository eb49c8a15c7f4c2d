//! `knhk config set|unset|validate|fix` without a service: what becomes of the file, its owner, and the folders.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Output, Stdio};

use expect_test::{Expect, expect};
use knhk::config::KEYS;

use super::Home;
use crate::support::service::Place;
use crate::support::wait;

impl Home {
    fn file(&self) -> String {
        fs::read_to_string(self.path("knhk.toml")).unwrap()
    }

    /// Returns the file without the places that every home has.
    fn more(&self) -> String {
        let file = self.file();
        file.lines().skip(3).fold(String::new(), |text, line| text + line + "\n")
    }
}

#[test]
fn a_key_is_set_and_every_other_byte_stays() {
    let home = Home::new("\n# ours\ncache_size_mb   =  64 # much\nlog_level = 'info'\n# the end");
    fs::set_permissions(home.path("knhk.toml"), fs::Permissions::from_mode(0o604)).unwrap();
    home.check(
        &["config", "set", "cache_size_mb", "128"],
        &expect![[r#"
            key      cache_size_mb
            value    128 (HOME/knhk.toml:6)
            before   64 (HOME/knhk.toml:6)
            file     HOME/knhk.toml, line 6
            service  does not run; it takes it at its start
            = 0
        "#]],
    );
    home.check(
        &["config", "set", "http_workers", "7", "--json"],
        &expect![[r#"
            {"key":"http_workers","value":7,"origin":{"from":"file","file":"HOME/knhk.toml","line":9},"before":{"value":128,"origin":{"from":"built-in"}},"file":"HOME/knhk.toml","line":9,"is_changed":true,"overridden_by":null,"takes_effect":"restart","service":"not_running","service_value":null}
            = 0
        "#]],
    );
    let expected =
        "\n# ours\ncache_size_mb   =  128 # much\nlog_level = 'info'\n# the end\nhttp_workers = 7\n";
    assert_eq!(home.more(), expected);
    assert_eq!(fs::metadata(home.path("knhk.toml")).unwrap().mode() & 0o7777, 0o604);

    // Twice is once.
    let before = fs::metadata(home.path("knhk.toml")).unwrap().ino();
    home.check(
        &["config", "set", "http_workers", "7"],
        &expect![[r#"
            key      http_workers
            value    7 (HOME/knhk.toml:9)
            before   7 (HOME/knhk.toml:9)
            file     HOME/knhk.toml, line 9, had it already
            service  does not run; it takes it at its start
            = 0
        "#]],
    );
    assert_eq!(fs::metadata(home.path("knhk.toml")).unwrap().ino(), before);
    home.check(
        &["config", "unset", "cache_size_mb"],
        &expect![[r#"
            key      cache_size_mb
            value    512 (built-in)
            before   128 (HOME/knhk.toml:6)
            file     HOME/knhk.toml, line 6
            service  does not run; it takes it at its start
            = 0
        "#]],
    );
    assert_eq!(home.more(), expected.replace("cache_size_mb   =  128 # much\n", ""));
    assert_eq!(fs::read_dir(home.path("")).unwrap().count(), 1, "something lies about");
}

#[test]
fn what_is_wrong_changes_nothing_and_says_how_to_mend_it() {
    let home = Home::new("cache_size_mb = 64\n");
    let before = home.file();
    for (arguments, expected) in [
        (
            &["cache_size", "128"][..],
            expect![[r#"
                ! error[KN0630]: unknown key cache_size
                ! hint: nearest name is cache_size_mb
                = 2
            "#]],
        ),
        (
            &["frobnicate", "128"],
            expect![[r#"
                ! error[KN0630]: unknown key frobnicate
                ! hint: knhk config show lists all keys
                = 2
            "#]],
        ),
        (
            &["cache_size_mb", "15"],
            expect![[r#"
                ! error[KN0604]: cache_size_mb = 15 is not a number from 16 to 1048576
                = 2
            "#]],
        ),
        (
            &["otel_enabled", "maybe"],
            expect![[r#"
                ! error[KN0603]: otel_enabled must be true or false
                = 2
            "#]],
        ),
        (
            &["listen", "0.0.0.0:8080"],
            expect![[r#"
                ! error[KN0605]: listen = "0.0.0.0:8080" can be reached from other machines, which is refused for now
                = 2
            "#]],
        ),
        (
            &["segment_bytes", "65536"],
            expect![[r#"
                ! error[KN0608]: HOME/knhk.toml:5: frame_bytes_max = 4194304 is larger than half of segment_bytes = 65536
                ! error[KN0620]: configuration is invalid: 1 mistake
                = 78
            "#]],
        ),
    ] {
        home.check(&[&["config", "set"], arguments].concat(), &expected);
        assert_eq!(home.file(), before);
    }
}

#[test]
fn another_mistake_stays_one_and_the_mistake_itself_can_be_set_right() {
    let home = Home::new("cache_size_mb = \"much\"\n");
    home.check(
        &["config", "set", "http_workers", "7"],
        &expect![[r#"
            ! error[KN0603]: HOME/knhk.toml:4: cache_size_mb must be a whole number
            ! error[KN0620]: configuration is invalid: 1 mistake
            = 78
        "#]],
    );
    assert_eq!(home.more(), "cache_size_mb = \"much\"\n");
    home.check(
        &["config", "set", "cache_size_mb", "64"],
        &expect![[r#"
            key      cache_size_mb
            value    64 (HOME/knhk.toml:4)
            before   512 (built-in)
            file     HOME/knhk.toml, line 4
            service  does not run; it takes it at its start
            = 0
        "#]],
    );
    assert_eq!(home.more(), "cache_size_mb = 64\n");
}

#[test]
fn what_the_environment_overrides_is_said() {
    let home = Home::new("");
    let output =
        home.command(&["config", "set", "log_level", "debug"]).env("KNHK_LOG", "trace").output().unwrap();
    expect![[r#"
        key      log_level
        value    trace ($KNHK_LOG)
        before   trace ($KNHK_LOG)
        file     HOME/knhk.toml, line 4
        warning  $KNHK_LOG overrides HOME/knhk.toml
        service  does not run; it takes it at its start
        = 0
    "#]]
    .assert_eq(&home.text(&output));
}

#[test]
fn a_file_behind_a_link_is_changed_and_the_link_stays() {
    let home = Home::new("");
    fs::rename(home.path("knhk.toml"), home.path("real.toml")).unwrap();
    symlink("real.toml", home.path("knhk.toml")).unwrap();
    let said = home.run(&["config", "set", "cache_size_mb", "64"]);
    assert!(said.ends_with("= 0\n"), "{said}");
    assert!(fs::symlink_metadata(home.path("knhk.toml")).unwrap().is_symlink());
    assert!(fs::read_to_string(home.path("real.toml")).unwrap().ends_with("cache_size_mb = 64\n"));
}

#[test]
fn commands_at_the_same_time_lose_nothing() {
    let home = Home::new("");
    let numbers = [
        ("hot_path_max_ticks", 9),
        ("cache_size_mb", 33),
        ("http_workers", 34),
        ("checkpoint_seconds", 35),
        ("disk_reserve_mb", 36),
        ("shard_requests_max", 37),
        ("idempotency_hours", 38),
        ("backup_retain_days", 39),
        ("archive_after_days", 40),
        ("log_lines_per_second_max", 41),
        ("bulk_timeout_ms", 42),
        ("warm_path_timeout_ms", 43),
    ];
    let children: Vec<_> = numbers
        .iter()
        .map(|(key, value)| {
            let mut command = home.command(&["config", "set", key, &value.to_string()]);
            command.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for (key, value) in numbers {
        assert!(home.file().contains(&format!("\n{key} = {value}\n")), "{key} is lost:\n{}", home.file());
    }
}

#[test]
fn a_command_gives_up_when_another_one_holds_the_file_for_ever() {
    let home = Home::new("");
    let folder = fs::File::open(home.path("")).unwrap();
    let held = nix::fcntl::Flock::lock(folder, nix::fcntl::FlockArg::LockExclusive).unwrap();
    home.check(
        &["config", "set", "cache_size_mb", "64"],
        &expect![[r#"
            ! error[KN0633]: others are changing HOME/knhk.toml; 5 s were not enough
            ! hint: try again
            = 75
        "#]],
    );
    drop(held);
}

#[test]
fn more_memory_than_there_is_is_refused_wherever_it_is_asked_for_and_a_step_down_is_taken() {
    let home = Home::new("cache_size_mb = 1048576\n");
    let said = home.run(&["config", "validate"]);
    assert!(said.starts_with("! error[KN0670]: HOME/knhk.toml:4: the service may come to "), "{said}");
    assert!(said.contains("cases in memory 1048576 MiB (cache_size_mb), "), "{said}");
    assert!(said.contains("hint: knhk config set cache_size_mb "), "{said}");
    assert!(said.ends_with("= 78\n"), "{said}");
    let said = home.run(&["serve"]);
    assert!(said.contains("error[KN0670]") && said.ends_with("= 78\n"), "{said}");
    assert!(!home.path("state").exists(), "nothing was begun");
    let said = home.run(&["config", "set", "cache_size_mb", "1048575"]);
    assert!(said.ends_with("= 0\n"), "{said}");
    let said = home.run(&["config", "set", "cache_size_mb", "64"]);
    assert!(said.ends_with("= 0\n"), "{said}");
    let before = home.file();
    let said = home.run(&["config", "set", "cache_size_mb", "1048576"]);
    assert!(said.contains("error[KN0670]") && said.ends_with("= 78\n"), "{said}");
    assert_eq!(home.file(), before);
}

#[test]
fn the_parts_of_the_memory_are_shown_with_their_sum() {
    let home = Home::new("cache_size_mb = 64\n");
    let shown = home.run(&["config", "show"]);
    let table: Vec<&str> = shown.lines().skip_while(|line| !line.starts_with("MEMORY ")).collect();
    assert!(
        table
            .iter()
            .any(|line| line.starts_with("cases in memory ") && line.ends_with("  64 MiB  cache_size_mb")),
        "{shown}"
    );
    assert!(table.iter().any(|line| line.starts_with("together ")), "{shown}");
    let output = home.command(&["config", "show", "--json"]).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let memory = &document["memory"];
    let parts = memory["parts"].as_array().unwrap();
    assert_eq!(
        parts.len() + 3,
        table.iter().filter(|line| line.contains(" MiB") || line.starts_with("MEMORY")).count()
    );
    let sum: u64 = parts.iter().map(|part| part["bytes_max"].as_u64().unwrap()).sum();
    assert_eq!(memory["sum_bytes"].as_u64(), Some(sum));
    assert!(sum <= memory["limit_bytes"].as_u64().unwrap(), "{memory}");
    assert_eq!(parts[0]["key"], "cache_size_mb");
}

#[test]
fn every_default_can_be_set_as_it_is_shown() {
    let home = Home::new("");
    for key in KEYS {
        if ["socket", "state_dir", "cache_dir"].contains(&key.name) {
            continue;
        }
        let said = home.run(&["config", "set", key.name, &key.default.to_string()]);
        assert!(said.ends_with("= 0\n"), "{}: {said}", key.name);
    }
    home.check(
        &["config", "validate"],
        &expect![[r#"
        valid: HOME/knhk.toml
        = 0
    "#]],
    );
}

/// Returns what `diff` makes of the two files, without its two lines of names.
fn diff(home: &Home, old: &str) -> String {
    let output =
        Command::new("diff").arg("-u").args([home.path(old), home.path("knhk.toml")]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = text.replace(&home.path("").display().to_string(), "HOME/");
    text.lines().skip(2).fold(String::new(), |text, line| text + line + "\n")
}

/// Returns the file that a fix kept.
fn kept(home: &Home) -> String {
    let names = fs::read_dir(home.path("")).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.find(|name| name.starts_with("knhk.toml.before-fix-")).expect("the old file is kept")
}

/// Returns what a fix said and left, without the day and the name of the copy.
fn mended(home: &Home) -> String {
    let said = home.run(&["config", "fix"]);
    let kept = kept(home);
    said.replace(&kept, "KEPT").replace(&day_of(&kept), "DAY")
}

/// Returns the day that the name of a kept file tells, as notes write it.
fn day_of(kept: &str) -> String {
    let day = &kept["knhk.toml.before-fix-".len()..];
    format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..8])
}

#[test]
fn a_fix_sets_aside_what_is_wrong_and_keeps_the_old_file() {
    let before = "# ours\ncache_size = 64\nhttp_workers = 7\n\n\nlog_level = \"loud\"\nlog_lines_per_second_max = 9\n\
                  hot_path_max_ticks = 0\n\n\n\n\n\n\n\nwarm_path_timeout_ms = 5\nwarm_path_timeout_ms = 6\n\
                  listen = [\n  1,\n  2,\n]\nx y\n[store]\ncheckpoint_seconds = 7\n# more\nstate_dir = 1";
    let home = Home::new(before);
    let file = home.file();
    let dry = home.run(&["config", "fix", "--dry-run"]);
    assert_eq!(home.file(), file);
    assert_eq!(fs::read_dir(home.path("")).unwrap().count(), 1);
    let said = mended(&home);
    // An empty line of the file is a blank in the diff, which the expected text cannot hold.
    let shown = said.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n");
    expect![[r#"
        --- HOME/knhk.toml
        +++ HOME/knhk.toml
        @@ -2,13 +2,16 @@
         state_dir = "HOME/state"
         cache_dir = "HOME/cache"
         # ours
        -cache_size = 64
        +# set aside by `knhk config fix` on DAY: unknown key cache_size (nearest name is cache_size_mb)
        +# cache_size = 64
         http_workers = 7
 
 
        -log_level = "loud"
        +# set aside by `knhk config fix` on DAY: log_level = "loud" is not one of error, warning, info, debug, trace
        +# log_level = "loud"
         log_lines_per_second_max = 9
        -hot_path_max_ticks = 0
        +# set aside by `knhk config fix` on DAY: hot_path_max_ticks = 0 is not a number from 1 to 4096
        +# hot_path_max_ticks = 0
 
 
 
        @@ -17,13 +20,17 @@
 
 
         warm_path_timeout_ms = 5
        -warm_path_timeout_ms = 6
        -listen = [
        -  1,
        -  2,
        -]
        -x y
        -[store]
        -checkpoint_seconds = 7
        +# set aside by `knhk config fix` on DAY: duplicate key (write one `key = value` a line)
        +# warm_path_timeout_ms = 6
        +# set aside by `knhk config fix` on DAY: listen must be a loopback address and a port, such as 127.0.0.1:8080, not array
        +# listen = [
        +#   1,
        +#   2,
        +# ]
        +# set aside by `knhk config fix` on DAY: key with no value, expected `=` (write one `key = value` a line)
        +# x y
        +# set aside by `knhk config fix` on DAY: unknown section [store] (keys stand at the top, there are no sections)
        +# [store]
        +# checkpoint_seconds = 7
         # more
        -state_dir = 1
        \ No newline at end of file
        +# state_dir = 1
        \ No newline at end of file
        kept as HOME/KEPT
        = 0
    "#]].assert_eq(&shown);
    assert!(dry.contains("nothing was changed: this is what would be done\n= 0"), "{dry}");
    assert_eq!(
        dry.lines().filter(|line| line.starts_with(['+', '-'])).count(),
        said.lines().filter(|line| line.starts_with(['+', '-'])).count()
    );
    assert_eq!(fs::read_to_string(home.path(&kept(&home))).unwrap(), file);
    let hunks = said.lines().skip(2).take_while(|line| !line.starts_with("kept"));
    let hunks = hunks.fold(String::new(), |text, line| text + line + "\n");
    let old = kept(&home);
    assert_eq!(hunks, diff(&home, &old).replace(&day_of(&old), "DAY"), "not what diff -u says");
    home.check(
        &["config", "fix"],
        &expect![[r#"
        nothing needs mending
        = 0
    "#]],
    );
    let shown = home.run(&["config", "show", "--origin"]);
    for kept in ["http_workers", "log_lines_per_second_max", "warm_path_timeout_ms"] {
        assert!(shown.lines().any(|line| line.starts_with(kept) && line.contains("knhk.toml")), "{kept}");
    }
}

#[test]
fn values_that_do_not_go_together_are_set_aside_until_they_do() {
    let home = Home::new("segment_bytes = 65536\nframe_bytes_max = 65536\nbody_bytes_max = 65537\n");
    let said = mended(&home);
    assert!(said.ends_with("= 0\n"), "{said}");
    assert!(home.run(&["config", "validate"]).ends_with("= 0\n"));
}

#[test]
fn a_file_that_is_hardly_one_keeps_the_lines_that_are() {
    let mut bytes = Vec::new();
    for number in 0..3_000_u32 {
        bytes.extend_from_slice(format!("{number}: \"}}{{\n").as_bytes());
    }
    bytes.extend_from_slice(
        b"cache_size_mb = 77\n\xff\xfe\x00 = 1\n# kept\ncache_size_mb = 78\nhttp_workers = 0\n",
    );
    let home = Home::new("");
    let places = home.file();
    fs::write(home.path("knhk.toml"), [&bytes, places.as_bytes()].concat()).unwrap();
    let said = mended(&home);
    assert!(said.ends_with("= 0\n"), "{said}");
    let left: Vec<String> = home
        .file()
        .lines()
        .filter(|line| !line.starts_with("# ") && !line.is_empty())
        .map(str::to_owned)
        .collect();
    assert_eq!(left[0], "cache_size_mb = 77");
    assert_eq!(left[1..].join("\n") + "\n", places);
    assert!(home.file().contains("\n# kept\n"));
    assert_eq!(fs::read(home.path(&kept(&home))).unwrap(), [&bytes, places.as_bytes()].concat());
}

#[test]
fn what_has_no_safe_repair_is_left_and_told() {
    let home = Home::new("");
    fs::write(home.path("cache"), "a file").unwrap();
    home.check(
        &["config", "fix"],
        &expect![[r#"
        ! error[KN0614]: HOME/cache: cache_dir is not a folder
        ! error[KN0620]: configuration is invalid: 1 mistake
        = 78
    "#]],
    );
    home.check(
        &["config", "validate"],
        &expect![[r#"
        ! error[KN0614]: HOME/cache: cache_dir is not a folder
        ! error[KN0620]: configuration is invalid: 1 mistake
        = 78
    "#]],
    );
    let output = home.command(&["config", "fix", "--json"]).env("KNHK_LOG", "loud").output().unwrap();
    expect![[r#"
        {"dry_run":false,"files":[],"repairs":[],"left_count":2}
        ! {"code":"KN0620","message":"configuration is invalid: 2 mistakes","causes":[],"hint":null,"mistakes":[{"code":"KN0606","file":"$KNHK_LOG","line":0,"message":"log_level = \"loud\" is not one of error, warning, info, debug, trace","hint":""},{"code":"KN0614","file":"HOME/cache","line":0,"message":"cache_dir is not a folder","hint":""}]}
        = 78
    "#]].assert_eq(&home.text(&output));
    assert_eq!(fs::read_to_string(home.path("cache")).unwrap(), "a file");
}

/// Runs a script in a file system of its own, where an installed system has its folders, with a user `knhk` and the
/// binary as `knhk`. `None` where this user may not have one.
pub(crate) fn on_a_system(script: &str) -> Option<Output> {
    const MAKE: &str = "set -e
        mount -t tmpfs -o mode=0755 none /etc
        printf 'root:x:0:0::/root:/bin/sh\\nknhk:x:4711:4712::/nonexistent:/bin/false\\nann:x:4713:4713::/:/bin/sh\\n' > /etc/passwd
        printf 'root:x:0:\\nknhk:x:4712:\\nann:x:4713:\\n' > /etc/group
        printf 'passwd: files\\ngroup: files\\n' > /etc/nsswitch.conf
        for folder in /var/lib /var/cache /var/backups /run /opt; do mount -t tmpfs -o mode=0755 none $folder; done
        mkdir /etc/knhk
        install -m 0755 \"$BINARY\" /opt/knhk
        knhk() { /opt/knhk \"$@\"; echo \"= $?\"; }
        as() { setpriv --reuid=$1 --regid=$1 --clear-groups /opt/knhk config \"$2\" $3 $4; echo \"= $?\"; }
        set +e; exec 2>&1\n";
    let run = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("BINARY", Place::binary()).stdin(Stdio::null()).output()
    };
    if !run(MAKE).is_ok_and(|output| output.status.success()) {
        wait::absent("no file system of its own for a test: root may have one, by unshare");
        return None;
    }
    Some(run(&format!("{MAKE}{script}")).unwrap())
}

fn check_on_a_system(script: &str, expected: &Expect) {
    if let Some(output) = on_a_system(script) {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The day and time of a fix.
        let words = text.split_inclusive(['\n', ' ']).map(|word| {
            let end = word.find("before-fix-").map_or(word.len(), |at| at + "before-fix-".len());
            let is_day = word.starts_with("20") && word.ends_with(": ") && word.len() == "2026-01-31: ".len();
            if is_day {
                "DAY: ".to_owned()
            } else if end < word.len() {
                format!("{}TIME\n", &word[..end])
            } else {
                word.to_owned()
            }
        });
        expected.assert_eq(&words.collect::<String>());
    }
}

#[test]
fn root_sets_a_key_and_the_file_keeps_its_owner() {
    check_on_a_system(
        "install -d -o knhk -g knhk -m 0750 /var/lib/knhk /var/cache/knhk /var/backups/knhk
         umask 077
         knhk config set cache_size_mb 64
         stat -c '%U:%G %a %n' /etc/knhk/*
         chown knhk:ann /etc/knhk/knhk.toml; chmod 0640 /etc/knhk/knhk.toml
         knhk config set hot_path_max_ticks 9 --json
         stat -c '%U:%G %a %n' /etc/knhk/*
         cat /etc/knhk/knhk.toml
         mkdir -m 0755 /etc/knhk/knhk.toml.d; echo 'cache_size_mb = 99' > /etc/knhk/knhk.toml.d/10.toml
         chmod 0644 /etc/knhk/knhk.toml.d/10.toml
         knhk config set cache_size_mb 65
         as 4713 set cache_size_mb 66
         as 4711 set cache_size_mb 67
         chown knhk /etc/knhk
         as 4711 set cache_size_mb 68
         chown root /etc/knhk; chmod a+r /etc/knhk/knhk.toml; chown root:root /etc/knhk/knhk.toml
         knhk config validate
         ls -a /etc/knhk",
        &expect![[r#"
            key      cache_size_mb
            value    64 (/etc/knhk/knhk.toml:1)
            before   512 (built-in)
            file     /etc/knhk/knhk.toml, line 1
            service  does not run; it takes it at its start
            = 0
            root:root 644 /etc/knhk/knhk.toml
            {"key":"hot_path_max_ticks","value":9,"origin":{"from":"file","file":"/etc/knhk/knhk.toml","line":2},"before":{"value":8,"origin":{"from":"built-in"}},"file":"/etc/knhk/knhk.toml","line":2,"is_changed":true,"overridden_by":null,"takes_effect":"reload","service":"not_running","service_value":null}
            = 0
            knhk:ann 640 /etc/knhk/knhk.toml
            cache_size_mb = 64
            hot_path_max_ticks = 9
            key      cache_size_mb
            value    99 (/etc/knhk/knhk.toml.d/10.toml:1)
            before   99 (/etc/knhk/knhk.toml.d/10.toml:1)
            file     /etc/knhk/knhk.toml, line 1
            warning  /etc/knhk/knhk.toml.d/10.toml:1 overrides /etc/knhk/knhk.toml
            service  does not run; it takes it at its start
            = 0
            error[KN0631]: /etc/knhk/knhk.toml belongs to knhk; only its owner or root may change it
            hint: use sudo
            = 74
            error[KN0632]: could not change /etc/knhk/knhk.toml
            caused by: Permission denied (os error 13)
            hint: use sudo
            = 74
            error[KN0632]: could not change /etc/knhk/knhk.toml
            caused by: Operation not permitted (os error 1)
            hint: use sudo
            = 74
            valid: /etc/knhk/knhk.toml, /etc/knhk/knhk.toml.d/10.toml
            = 0
            .
            ..
            knhk.toml
            knhk.toml.d
        "#]],
    );
}

#[test]
fn folders_are_made_given_to_the_service_and_closed() {
    check_on_a_system(
        "mkdir -p /var/lib/knhk/journal /var/cache /run/knhk
         chmod 0755 /var/lib/knhk
         echo case data > /var/lib/knhk/journal/1; chmod 0400 /var/lib/knhk/journal/1
         ln -s /etc/passwd /var/lib/knhk/link
         ln /var/lib/knhk/journal/1 /var/lib/other
         install -d -o knhk -g knhk -m 0750 /var/backups/knhk; echo backup > /var/backups/knhk/by-root
         echo 'cache_size_mb = 0' > /etc/knhk/knhk.toml; chmod 0600 /etc/knhk/knhk.toml
         knhk config validate
         as 4713 validate
         as 4713 fix
         knhk config fix --dry-run
         knhk config fix
         rm /var/lib/other
         knhk config fix
         knhk config validate
         cd /; stat -c '%U:%G %a %n' etc/passwd etc/knhk/* var/lib/knhk var/lib/knhk/* var/lib/knhk/journal/* var/cache/knhk var/backups/knhk/* run/knhk
         cat var/lib/knhk/journal/1",
        &expect![[r#"
            error[KN0604]: /etc/knhk/knhk.toml:1: cache_size_mb = 0 is not a number from 16 to 1048576
            error[KN0617]: /etc/knhk/knhk.toml: the service (knhk:knhk) may not read it
            hint: knhk config fix
            error[KN0615]: /var/lib/knhk: state_dir belongs to root:root, not to knhk:knhk
            hint: knhk config fix
            error[KN0616]: /var/lib/knhk: other users may use state_dir (mode 755)
            hint: knhk config fix
            error[KN0615]: /var/lib/knhk: /var/lib/knhk/journal and 2 more in state_dir: not owned by knhk:knhk
            hint: knhk config fix
            error[KN0616]: /var/lib/knhk: /var/lib/knhk/journal/1 in state_dir: its owner may not read and write it
            hint: knhk config fix
            error[KN0613]: /var/cache/knhk: cache_dir is missing, and knhk:knhk may not make it
            hint: knhk config fix
            error[KN0615]: /run/knhk: the folder of socket belongs to root:root, and knhk:knhk may not write in it
            hint: knhk config fix
            error[KN0620]: configuration is invalid: 8 mistakes
            = 78
            note: this user may not look into /var/backups/knhk
            error[KN0600]: /etc/knhk/knhk.toml: could not be read: Permission denied (os error 13)
            hint: use sudo, or join the group knhk
            error[KN0615]: /var/lib/knhk: state_dir belongs to root:root, not to knhk:knhk
            hint: knhk config fix
            error[KN0616]: /var/lib/knhk: other users may use state_dir (mode 755)
            hint: knhk config fix
            error[KN0615]: /var/lib/knhk: /var/lib/knhk/journal and 2 more in state_dir: not owned by knhk:knhk
            hint: knhk config fix
            error[KN0616]: /var/lib/knhk: /var/lib/knhk/journal/1 in state_dir: its owner may not read and write it
            hint: knhk config fix
            error[KN0613]: /var/cache/knhk: cache_dir is missing, and knhk:knhk may not make it
            hint: knhk config fix
            error[KN0615]: /run/knhk: the folder of socket belongs to root:root, and knhk:knhk may not write in it
            hint: knhk config fix
            error[KN0620]: configuration is invalid: 7 mistakes
            = 78
            note: this user may not look into /var/backups/knhk
            error[KN0600]: /etc/knhk/knhk.toml: could not be read: Permission denied (os error 13)
            hint: use sudo, or join the group knhk
            error[KN0615]: /var/lib/knhk: state_dir belongs to root:root, not to knhk:knhk; it could not be mended: Operation not permitted (os error 1)
            hint: use sudo
            error[KN0616]: /var/lib/knhk: other users may use state_dir (mode 755); it could not be mended: Operation not permitted (os error 1)
            hint: use sudo
            error[KN0615]: /var/lib/knhk: /var/lib/knhk/journal and 2 more in state_dir: not owned by knhk:knhk; it could not be mended: Operation not permitted (os error 1)
            hint: use sudo
            error[KN0616]: /var/lib/knhk: /var/lib/knhk/journal/1 in state_dir: its owner may not read and write it; it could not be mended: Operation not permitted (os error 1)
            hint: use sudo
            error[KN0613]: /var/cache/knhk: cache_dir is missing, and knhk:knhk may not make it; it could not be mended: Permission denied (os error 13)
            hint: use sudo
            error[KN0615]: /run/knhk: the folder of socket belongs to root:root, and knhk:knhk may not write in it; it could not be mended: Operation not permitted (os error 1)
            hint: use sudo
            error[KN0620]: configuration is invalid: 7 mistakes
            = 78
            --- /etc/knhk/knhk.toml
            +++ /etc/knhk/knhk.toml
            @@ -1 +1,2 @@
            -cache_size_mb = 0
            +# set aside by `knhk config fix` on DAY: cache_size_mb = 0 is not a number from 16 to 1048576
            +# cache_size_mb = 0
            chmod a+rX /etc/knhk/knhk.toml
            chown -R knhk:knhk /var/lib/knhk
            chmod u+rwX,o= /var/lib/knhk
            chmod -R u+rwX,o= /var/lib/knhk
            install -d -m 0750 -o knhk -g knhk /var/cache/knhk
            chown knhk:knhk /run/knhk
            nothing was changed: this is what would be done
            = 0
            --- /etc/knhk/knhk.toml
            +++ /etc/knhk/knhk.toml
            @@ -1 +1,2 @@
            -cache_size_mb = 0
            +# set aside by `knhk config fix` on DAY: cache_size_mb = 0 is not a number from 16 to 1048576
            +# cache_size_mb = 0
            kept as /etc/knhk/knhk.toml.before-fix-TIME
            chmod a+rX /etc/knhk/knhk.toml
            chmod u+rwX,o= /var/lib/knhk
            chmod -R u+rwX,o= /var/lib/knhk
            install -d -m 0750 -o knhk -g knhk /var/cache/knhk
            chown knhk:knhk /run/knhk
            error[KN0615]: /var/lib/knhk: state_dir belongs to root:root, not to knhk:knhk; it could not be mended: 1 has a second name elsewhere
            hint: use sudo
            error[KN0615]: /var/lib/knhk: /var/lib/knhk/journal and 2 more in state_dir: not owned by knhk:knhk; it could not be mended: 1 has a second name elsewhere
            hint: use sudo
            error[KN0620]: configuration is invalid: 2 mistakes
            = 78
            chown -R knhk:knhk /var/lib/knhk
            = 0
            valid: /etc/knhk/knhk.toml
            = 0
            root:root 644 etc/passwd
            root:root 644 etc/knhk/knhk.toml
            root:root 600 etc/knhk/knhk.toml.before-fix-TIME
            knhk:knhk 750 var/lib/knhk
            knhk:knhk 750 var/lib/knhk/journal
            knhk:knhk 777 var/lib/knhk/link
            knhk:knhk 600 var/lib/knhk/journal/1
            knhk:knhk 750 var/cache/knhk
            root:root 644 var/backups/knhk/by-root
            knhk:knhk 755 run/knhk
            case data
        "#]],
    );
}
