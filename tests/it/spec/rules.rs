//! Each structural rule, broken once.

use std::fmt::Write as _;

use expect_test::expect;

use super::{OUTPUT, check, flow, input, root, set, task};

/// Returns a flow with something more in it.
fn flow_with(to: &str, more: &str) -> String {
    format!("<flowsInto><nextElementRef id='{to}'/>{more}</flowsInto>")
}

fn condition(id: &str, flows: &str) -> String {
    format!("<condition id='{id}'>{flows}</condition>\n")
}

#[test]
fn a_net_that_keeps_the_rules_is_accepted() {
    let xml = root("", &[&input("a"), &task("a", &flow("o"), "and", ""), OUTPUT].concat());
    check(
        xml,
        expect![[r#"
        accepted: "u" nets 1 tasks 1 gateways 1 data_root false
    "#]],
    );
}

#[test]
fn there_is_one_root_net() {
    let net = |id: &str, mark: &str| {
        format!(
            "<decomposition id='{id}' {mark} xsi:type='NetFactsType'><processControlElements>{}{}{OUTPUT}\
             </processControlElements></decomposition>\n",
            input("a"),
            task("a", &flow("o"), "and", "")
        )
    };
    let gateway = "<decomposition id='G' xsi:type='WebServiceGatewayFactsType'/>\n";
    check(
        set(&[&net("N", ""), gateway].concat()),
        expect![[r#"
        refused
        2:1: error[KN0120]: the specification has no root net
        hint: mark one net with isRootNet="true"
    "#]],
    );
    check(
        set(&[&net("N", "isRootNet='true'"), &net("M", "isRootNet='1'"), gateway].concat()),
        expect![[r#"
            refused
            6:1: error[KN0120]: net "M" is a root net, too
            hint: mark only the net where cases start
            6:20: warning[KN0182]: no task uses decomposition "M"
            hint: take it out, or use it
        "#]],
    );
    check(
        set(&(net("N", "isRootNet='maybe'") + &gateway.replace("id=", "isRootNet='true' id="))),
        expect![[r#"
            refused
            2:1: error[KN0120]: the specification has no root net
            hint: mark one net with isRootNet="true"
            3:34: error[KN0108]: "maybe" is neither true nor false
            hint: write true or false
            6:1: error[KN0120]: the root net is not a net
            hint: mark a decomposition of type NetFactsType
        "#]],
    );
}

#[test]
fn a_net_has_two_ends() {
    check(
        root("", ""),
        expect![[r#"
        refused
        3:20: error[KN0121]: net "N" has no input condition
        hint: a net has one input and one output condition
        3:20: error[KN0121]: net "N" has no output condition
        hint: a net has one input and one output condition
        6:20: warning[KN0182]: no task uses decomposition "G"
        hint: take it out, or use it
    "#]],
    );
    let two = [
        &input("a"),
        "<inputCondition id='i2'>",
        &flow("a"),
        "</inputCondition>",
        &task("a", &flow("o"), "and", ""),
        OUTPUT,
        "\n<outputCondition id='p'/>",
    ];
    check(
        root("", &two.concat()),
        expect![[r#"
        refused
        5:21: error[KN0121]: net "N" has 2 input conditions
        hint: a net has one input and one output condition
        7:22: error[KN0121]: net "N" has 2 output conditions
        hint: a net has one input and one output condition
    "#]],
    );
}

#[test]
fn flows_stay_in_the_net_and_away_from_its_ends() {
    let unknown = [&input("a"), &task("a", &flow("elsewhere"), "and", ""), OUTPUT].concat();
    check(
        root("", &unknown),
        expect![[r#"
        refused
        5:45: error[KN0122]: task "a" flows into "elsewhere", which is not in its net
        hint: correct the id, or write the element that is meant
    "#]],
    );
    let ends = [
        &input("a"),
        &task("a", &[flow("i"), flow("o"), flow("o")].concat(), "and", ""),
        "<outputCondition id='o'>",
        &flow("a"),
        "</outputCondition>",
    ];
    check(
        root("", &ends.concat()),
        expect![[r#"
        refused
        5:45: error[KN0123]: task "a" flows into the input condition "i"
        hint: put a condition after the input condition and flow into that
        5:139: error[KN0128]: task "a" has two flows to "o"
        hint: keep one of them
        6:56: error[KN0123]: a flow leads out of the output condition "o"
        hint: take it out
    "#]],
    );
    let conditions = [&input("c"), &condition("c", &flow("d")), &condition("d", &flow("o")), OUTPUT].concat();
    check(
        root("", &conditions),
        expect![[r#"
        refused
        3:20: warning[KN0183]: net "N" may complete without any work
        hint: nothing to do, if this is meant: there is a way on which no task has a decomposition
        4:55: error[KN0124]: condition "i" flows into condition "c"
        hint: put a task between two conditions
        5:50: error[KN0124]: condition "c" flows into condition "d"
        hint: put a task between two conditions
        6:50: error[KN0124]: condition "d" flows into condition "o"
        hint: put a task between two conditions
        9:20: warning[KN0182]: no task uses decomposition "G"
        hint: take it out, or use it
    "#]],
    );
}

#[test]
fn every_element_lies_on_a_way_from_input_to_output() {
    let elements = [
        &input("a"),
        &task("a", &[flow("o"), flow("b"), flow("e")].concat(), "and", ""),
        &task("b", &flow("c"), "and", ""),
        &task("c", &flow("b"), "and", ""),
        &task("d", &flow("o"), "and", ""),
        &task("e", "", "and", ""),
        OUTPUT,
    ];
    check(
        root("", &elements.concat()),
        expect![[r#"
        refused
        6:11: error[KN0127]: the output condition cannot be reached from task "b"
        hint: let it flow on to the output condition
        7:11: error[KN0127]: the output condition cannot be reached from task "c"
        hint: let it flow on to the output condition
        8:11: error[KN0126]: task "d" cannot be reached from the input condition
        hint: let something flow into it, or take it out
        9:11: error[KN0125]: task "e" has no flow out
        hint: write flowsInto with the element that comes next
    "#]],
    );
}

#[test]
fn flows_out_of_and_splits_and_conditions_carry_nothing() {
    let carried = "<predicate ordering='1'>true()</predicate><isDefaultFlow/>";
    let elements = [
        &input("c"),
        &condition("c", &flow_with("a", "<isDefaultFlow/>")),
        &task("a", &flow_with("o", carried), "and", ""),
        OUTPUT,
    ];
    check(
        root("", &elements.concat()),
        expect![[r#"
        refused
        4:55: error[KN0124]: condition "i" flows into condition "c"
        hint: put a task between two conditions
        5:50: error[KN0135]: a flow out of a condition has a predicate, an ordering or is a default
        hint: take these out: who starts first decides; or use a task with an XOR-split
        6:73: error[KN0130]: a flow out of the AND-split of task "a" has a predicate, an ordering or is a default
        hint: take these out, or make it an XOR-split or OR-split
    "#]],
    );
}

#[test]
fn flows_out_of_xor_splits_have_ordered_predicates_and_one_default() {
    let split = |flows: &[String]| {
        let ways: String = ["b", "c", "d"].map(|id| task(id, &flow("o"), "and", "")).concat();
        root("", &[&input("a"), &task("a", &flows.concat(), "xor", ""), &ways, OUTPUT].concat())
    };
    let asked = |to, ordering: &str| flow_with(to, &format!("<predicate {ordering}>true()</predicate>"));
    check(
        split(&[asked("b", "ordering='0'"), asked("c", "ordering='-1'"), flow_with("d", "<isDefaultFlow/>")]),
        expect![[r#"
            accepted: "u" nets 1 tasks 4 gateways 1 data_root false
        "#]],
    );
    check(
        split(&[asked("b", "ordering='1'"), asked("c", "ordering='1'"), asked("d", "")]),
        expect![[r#"
        refused
        5:11: error[KN0134]: task "a" has no default flow
        hint: write isDefaultFlow in exactly one of its flows
        5:162: error[KN0132]: two predicates of the XOR-split of task "a" have the ordering 1
        hint: give each another number; the smallest is asked first
        5:239: error[KN0132]: a predicate of the XOR-split of task "a" has no ordering
        hint: write <predicate ordering="0">, with another number for each
    "#]],
    );
    check(
        split(&[
            flow("b"),
            flow_with("c", "<isDefaultFlow/>"),
            flow_with("d", "<predicate ordering='x'> </predicate><isDefaultFlow/>"),
        ]),
        expect![[r#"
            refused
            5:45: error[KN0131]: a flow out of the XOR-split of task "a" has no predicate and is not the default
            hint: write a predicate, or isDefaultFlow
            5:155: error[KN0134]: task "a" has several default flows
            hint: write isDefaultFlow in exactly one of its flows
            5:159: error[KN0107]: predicate is empty
            hint: write its value, or leave the element out
            5:180: error[KN0108]: "x" is not a whole number
            hint: write digits only
        "#]],
    );
    check(
        split(&[
            flow("b"),
            flow_with("c", "<predicate>true()</predicate><isDefaultFlow/>"),
            asked("d", "ordering='x'"),
        ]),
        expect![[r#"
            refused
            5:45: error[KN0131]: a flow out of the XOR-split of task "a" has no predicate and is not the default
            hint: write a predicate, or isDefaultFlow
            5:107: error[KN0131]: the default flow of the XOR-split of task "a" has a predicate
            hint: take the predicate out: the default is taken when no predicate is true
            5:209: error[KN0108]: "x" is not a whole number
            hint: write digits only
            5:212: error[KN0132]: a predicate of the XOR-split of task "a" has no ordering
            hint: write <predicate ordering="0">, with another number for each
        "#]],
    );
}

#[test]
fn flows_out_of_or_splits_have_predicates_without_order_and_one_default() {
    let split = |flows: &[String]| {
        let ways: String = ["b", "c"].map(|id| task(id, &flow("o"), "and", "")).concat();
        root("", &[&input("a"), &task("a", &flows.concat(), "or", ""), &ways, OUTPUT].concat())
    };
    let good = "<predicate>true()</predicate><isDefaultFlow/>";
    check(
        split(&[flow_with("b", "<predicate>/N/x</predicate>"), flow_with("c", good)]),
        expect![[r#"
        accepted: "u" nets 1 tasks 3 gateways 1 data_root false
    "#]],
    );
    check(
        split(&[flow("b"), flow_with("c", "<predicate ordering='1'>true()</predicate>")]),
        expect![[r#"
        refused
        5:11: error[KN0134]: task "a" has no default flow
        hint: write isDefaultFlow in exactly one of its flows
        5:45: error[KN0133]: a flow out of the OR-split of task "a" has no predicate
        hint: write one; the default flow needs one, too, if only false()
        5:120: error[KN0133]: a predicate of the OR-split of task "a" has an ordering
        hint: take the ordering out: every predicate is asked
    "#]],
    );
    check(
        split(&[flow_with("b", good), flow_with("c", good)]),
        expect![[r#"
        refused
        5:137: error[KN0134]: task "a" has several default flows
        hint: write isDefaultFlow in exactly one of its flows
    "#]],
    );
}

#[test]
fn remove_sets_stay_in_the_net() {
    let removes = "<removesTokens id='i'/><removesTokens id='a'/><removesTokens id='b'/>\n\
        <removesTokensFromFlow><flowSource id='a'/><flowDestination id='z'/></removesTokensFromFlow>\n\
        <removesTokensFromFlow><flowSource id='a'/><flowDestination id='o'/></removesTokensFromFlow>\n\
        <removesTokensFromFlow><flowSource id='z'/><flowDestination id='a'/></removesTokensFromFlow>\n\
        <removesTokensFromFlow><flowSource id='z'/></removesTokensFromFlow>\n";
    let elements = [
        &input("a"),
        &task("a", &[flow("o"), flow("z")].concat(), "and", ""),
        &task("z", &flow("o"), "and", removes),
        OUTPUT,
    ];
    check(
        root("", &elements.concat()),
        expect![[r#"
        refused
        6:163: error[KN0136]: task "z" removes tokens from "b", which is not in its net
        hint: name a condition or task of the same net
        8:40: error[KN0136]: task "z" removes tokens from the flow from "a" to "o", and there is no such flow between two tasks
        hint: name two tasks of the same net with a flow between them; a condition goes in removesTokens
        9:40: error[KN0136]: task "z" removes tokens from the flow from "z" to "a", and there is no such flow between two tasks
        hint: name two tasks of the same net with a flow between them; a condition goes in removesTokens
        10:1: error[KN0107]: removesTokensFromFlow does not name both ends
        hint: write <flowSource id="..."/> <flowDestination id="..."/>
    "#]],
    );
}

#[test]
fn ids_are_unique_and_decompositions_exist() {
    let elements = [
        &input("a"),
        &task("a", &flow("b"), "and", ""),
        &condition("a", &flow("b")),
        &task("b", &flow("o"), "and", "").replace("'G'", "'H'"),
        OUTPUT,
    ];
    let xml = root("", &elements.concat()).replace(
        "</specification>",
        "<decomposition id='G' xsi:type='NetFactsType'><processControlElements/></decomposition>\n\
         <decomposition id='U' xsi:type='WebServiceGatewayFactsType'/></specification>",
    );
    check(
        xml,
        expect![[r#"
        refused
        4:55: error[KN0124]: condition "i" flows into condition "a"
        hint: put a task between two conditions
        5:11: error[KN0126]: task "a" cannot be reached from the input condition
        hint: let something flow into it, or take it out
        6:16: error[KN0111]: there is another element of the net with the name "a"
        hint: give each a name of its own
        7:116: error[KN0137]: there is no decomposition "H"
        hint: write a decomposition with this id, or correct the id
        11:20: error[KN0111]: there is another decomposition with the name "G"
        hint: give each a name of its own
        11:20: error[KN0121]: net "G" has no input condition
        hint: a net has one input and one output condition
        11:20: error[KN0121]: net "G" has no output condition
        hint: a net has one input and one output condition
        12:20: warning[KN0182]: no task uses decomposition "U"
        hint: take it out, or use it
    "#]],
    );
}

#[test]
fn nothing_runs_for_ever_without_work() {
    let elements = [
        &input("a"),
        &condition("c", &flow("b")),
        &task("a", &flow("c"), "and", ""),
        &task("b", &[flow("c"), flow("o")].concat(), "and", "").replace("<decomposesTo id='G'/>", ""),
        OUTPUT,
    ];
    check(
        root("", &elements.concat()),
        expect![[r#"
        refused
        5:16: error[KN0138]: this can go round for ever without any work: "c" -> "b" -> "c"
        hint: give one of these tasks a decomposition that does work, or break the circle
    "#]],
    );
    let itself = [&input("a"), &task("a", &flow("o"), "and", "").replace("'G'", "'N'"), OUTPUT].concat();
    check(
        root("", &itself),
        expect![[r#"
        refused
        4:21: error[KN0138]: this can go round for ever without any work: "i" -> "a" -> "i"
        hint: give one of these tasks a decomposition that does work, or break the circle
        8:20: warning[KN0182]: no task uses decomposition "G"
        hint: take it out, or use it
    "#]],
    );
    let only_routing =
        [&input("a"), &task("a", &flow("o"), "and", "").replace("<decomposesTo id='G'/>", ""), OUTPUT]
            .concat();
    check(
        root("", &only_routing),
        expect![[r#"
        accepted: "u" nets 1 tasks 1 gateways 1 data_root false
        3:20: warning[KN0183]: net "N" may complete without any work
        hint: nothing to do, if this is meant: there is a way on which no task has a decomposition
        8:20: warning[KN0182]: no task uses decomposition "G"
        hint: take it out, or use it
    "#]],
    );
}

#[test]
fn a_net_has_room_for_so_many_tasks_and_places() {
    let net = |tasks: usize| {
        let tasks: String = (0..tasks)
            .map(|number| {
                let next = if number + 1 == tasks { "o".to_owned() } else { format!("t{}", number + 1) };
                task(&format!("t{number}"), &flow(&next), "and", "")
            })
            .collect();
        root("", &[&input("t0"), &tasks, OUTPUT].concat())
    };
    // Between n tasks in a row lie n - 1 places; with both conditions that is n + 1.
    check(
        net(4_095),
        expect![[r#"
        accepted: "u" nets 1 tasks 4095 gateways 1 data_root false
    "#]],
    );
    check(
        net(4_097),
        expect![[r#"
        refused
        3:20: error[KN0112]: net "N" has 4097 tasks, more than 4096
        hint: make a part of it a net of its own
        3:20: error[KN0112]: net "N" has 4098 conditions and flows between tasks, more than 4096
        hint: make a part of it a net of its own
    "#]],
    );
}

#[test]
fn a_net_has_room_for_so_many_tasks() {
    let net = |count: usize| {
        let flows: String = (0..count).map(|number| flow(&format!("t{number}"))).collect();
        let tasks: String =
            (0..count).map(|number| task(&format!("t{number}"), &flow("o"), "and", "")).collect();
        root("", &["<inputCondition id='i'>", &flows, "</inputCondition>", &tasks, OUTPUT].concat())
    };
    check(
        net(4_096),
        expect![[r#"
        accepted: "u" nets 1 tasks 4096 gateways 1 data_root false
    "#]],
    );
    check(
        net(4_097),
        expect![[r#"
        refused
        3:20: error[KN0112]: net "N" has 4097 tasks, more than 4096
        hint: make a part of it a net of its own
    "#]],
    );
}

#[test]
fn a_long_circle_is_named_in_part() {
    let mut elements = input("t0");
    for number in 0..10 {
        let next = [flow(&format!("t{}", (number + 1) % 10)), flow("o")].concat();
        elements += &task(&format!("t{number}"), &next, "and", "").replace("<decomposesTo id='G'/>", "");
    }
    check(
        root("", &(elements + OUTPUT)),
        expect![[r#"
        refused
        3:20: warning[KN0183]: net "N" may complete without any work
        hint: nothing to do, if this is meant: there is a way on which no task has a decomposition
        5:11: error[KN0138]: this can go round for ever without any work: "t0" -> "t1" -> "t2" -> "t3" -> "t4" -> "t5" -> "t6" -> "t7" -> ... -> "t0"
        hint: give one of these tasks a decomposition that does work, or break the circle
        17:20: warning[KN0182]: no task uses decomposition "G"
        hint: take it out, or use it
    "#]],
    );
}

#[test]
fn a_specification_has_room_for_so_many_nets() {
    let nets = |count: usize| -> String {
        let one = [&input("a"), &task("a", &flow("o"), "and", ""), OUTPUT].concat();
        let mut others = String::new();
        for number in 1..count {
            writeln!(
                others,
                "<decomposition id='n{number}' xsi:type='NetFactsType'><processControlElements>{one}\
                 </processControlElements></decomposition>"
            )
            .unwrap();
        }
        root("", &one).replace("</specification>", &format!("{others}</specification>"))
    };
    let count = |number| {
        let reading = knhk::spec::read(nets(number).as_bytes());
        reading.mistakes.iter().filter(|mistake| mistake.code == knhk::spec::codes::TOO_MANY).count()
    };
    assert_eq!((count(1_024), count(1_025)), (0, 1));
}
