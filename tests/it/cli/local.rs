//! Commands that need no service, and how the binary ends.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use expect_test::expect;

use super::Home;

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
        "cache_size_mb 1024 HOME/knhk.toml:4",
        "OTEL_ENDPOINT http://127.0.0.1:4317 built-in",
        "OTEL_ENABLED false HOME/knhk.toml:5",
    ] {
        let words = |shown: &str| shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.lines().any(|shown| words(shown) == line), "{line} is not in\n{shown}");
    }
    let json = home.run(&["config", "show", "--json", "--origin"]);
    assert!(
        json.contains(
            r#""cache_size_mb":{"value":1024,"origin":{"from":"file","file":"HOME/knhk.toml","line":4}}"#
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
