//! Specifications as text in, trees and mistakes as text out.
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use knhk::spec::{self, Reading};

mod data;
mod format;
mod generated;
mod rules;

/// Writes what reading gave as text: the verdict, a summary of the tree, the mistakes.
fn shown(reading: &Reading) -> String {
    let mut out = String::from(if reading.is_accepted() { "accepted" } else { "refused" });
    if let Some(tree) = &reading.specification {
        let tasks: usize = tree.nets.iter().map(|net| net.tasks.len()).sum();
        write!(
            out,
            ": {:?} nets {} tasks {tasks} gateways {} data_root {}",
            tree.uri.text,
            tree.nets.len(),
            tree.gateways.len(),
            tree.data_root
        )
        .unwrap();
    }
    out.push('\n');
    for mistake in &reading.mistakes {
        writeln!(out, "{mistake}").unwrap();
    }
    out
}

/// Reads `xml` and compares verdict, tree in short and mistakes.
fn check(xml: impl AsRef<[u8]>, expected: Expect) {
    expected.assert_eq(&shown(&spec::read(xml.as_ref())));
}

const HEAD: &str = "<specificationSet xmlns='http://www.yawlfoundation.org/yawlschema' \
    xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' version='4.0'>\n<specification uri='u'>\n";
const TAIL: &str = "\n</specification>\n</specificationSet>\n";

/// Returns a specification of version 4.0 with these decompositions.
fn set(decompositions: &str) -> String {
    format!("{HEAD}{decompositions}{TAIL}")
}

/// Returns a specification whose root net N has the variables and elements of `inside`, and the gateway G.
fn root(variables: &str, elements: &str) -> String {
    set(&format!(
        "<decomposition id='N' isRootNet='true' xsi:type='NetFactsType'>{variables}<processControlElements>\n{elements}\n\
         </processControlElements></decomposition>\n\
         <decomposition id='G' xsi:type='WebServiceGatewayFactsType'><inputParam><name>p</name><type>xs:string</type>\
         </inputParam></decomposition>"
    ))
}

fn flow(to: &str) -> String {
    format!("<flowsInto><nextElementRef id='{to}'/></flowsInto>")
}

/// Returns a task with these parts between its flows and its decomposition.
fn task(id: &str, flows: &str, split: &str, more: &str) -> String {
    format!(
        "<task id='{id}'>{flows}<join code='xor'/><split code='{split}'/>{more}<decomposesTo id='G'/></task>\n"
    )
}

fn input(to: &str) -> String {
    format!("<inputCondition id='i'>{}</inputCondition>\n", flow(to))
}

const OUTPUT: &str = "<outputCondition id='o'/>";

/// Returns the folder of YAWL files, and whether it is the one that the expectations below were written for.
fn corpus() -> Option<(PathBuf, bool)> {
    #[expect(clippy::disallowed_methods, reason = "a test may be pointed at other files")]
    if let Some(given) = std::env::var_os("KNHK_CORPUS_DIR") {
        return Some((PathBuf::from(given), false));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let near = ["../shared/corpora/yawl", "../../shared/corpora/yawl"].map(|path| root.join(path));
    near.into_iter().find(|folder| folder.is_dir()).map(|folder| (folder, true))
}

#[test]
fn files_in_circulation_are_read() {
    let Some((folder, is_known)) = corpus() else {
        writeln!(std::io::stdout(), "spec: no folder of YAWL files, nothing read").unwrap();
        #[expect(clippy::disallowed_methods, reason = "only a test asks whether it runs in CI")]
        let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!is_ci, "set KNHK_CORPUS_DIR");
        return;
    };
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut out = String::new();
    for path in names {
        let reading = spec::read(&std::fs::read(&path).unwrap());
        write!(out, "== {}: {}", path.file_name().unwrap().to_string_lossy(), shown(&reading)).unwrap();
    }
    if !is_known {
        writeln!(std::io::stdout(), "{out}").unwrap();
        return;
    }
    expect![[r#"
        == CancellationTest.xml: accepted: "unnamed.ywl" nets 1 tasks 6 gateways 6 data_root true
        == ORJoin_ORsplit.xml: accepted: "OrJoin_OrSplit.ywl" nets 1 tasks 5 gateways 5 data_root false
        == TestImproperCompletion.xml: accepted: "TestImproperCompletion" nets 1 tasks 2 gateways 2 data_root true
        == TestOrJoin.xml: accepted: "TestOrJoin" nets 1 tasks 6 gateways 6 data_root true
        == YAWLOrJoinTestSpecification.xml: accepted: "YAWLOrJoinTestSpecification.xml" nets 1 tasks 5 gateways 4 data_root true
        == YAWL_Specification4.xml: accepted: "YAWL_Specification4.xml" nets 2 tasks 5 gateways 4 data_root true
        == orderfulfillment.yawl: refused: "orderfulfillment" nets 9 tasks 66 gateways 39 data_root false
        587:7: warning[KN0180]: codelet: read, and without effect here
        hint: nothing to do, unless the work depends on it
        747:11: warning[KN0180]: resourcing: read, and without effect here (50 times)
        hint: nothing to do, unless the work depends on it
        789:11: error[KN0161]: task "Carrier_Timeout_388" has a timer, and timers are not run yet
        hint: take the timer out, or wait for a later release
        1850:7: warning[KN0180]: extended attributes of a parameter: read, and without effect here (6 times)
        hint: nothing to do, unless the work depends on it
        2140:11: error[KN0160]: task "Log_Trackpoint_Order_Entry_4514" has multiple instances, which are not run yet
        hint: write one task for each instance, or wait for a later release
        3116:11: error[KN0161]: task "Order_Timeout_1791" has a timer, and timers are not run yet
        hint: take the timer out, or wait for a later release
        3606:11: error[KN0161]: task "Claims_Timeout_254" has a timer, and timers are not run yet
        hint: take the timer out, or wait for a later release
        3805:3: warning[KN0180]: layout: read, and without effect here
        hint: nothing to do, unless the work depends on it
    "#]].assert_eq(&out);
}
