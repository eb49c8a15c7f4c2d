//! Compiling: specifications to numbered tables, and what is said about wrong ones.

use std::fmt::Write;
use std::path::PathBuf;

use expect_test::{Expect, expect};
use knhk::net::svg::{SVG_ELEMENTS_MAX, render};
use knhk::net::{
    FLOW_COUNT_MAX, Net, Numbering, PLACE_COUNT_MAX, SAFETY_STATES_MAX, TASK_COUNT_MAX, TaskKind,
    VARIABLE_COUNT_MAX, Workflow, compile,
};
use knhk::spec::Mistake;
use knhk::spec::tree::{ConditionKind, Flow, Specification, Text};
use proptest::prelude::proptest;

use crate::support::nets;

fn read(name: &str) -> Specification {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/spec").join(name);
    knhk::spec::read(&std::fs::read(path).unwrap()).specification.unwrap()
}

fn names(net: &Net, places: &[u16]) -> String {
    let name = |place: &u16| {
        let key = &net.places[usize::from(*place)];
        key.name().unwrap_or_else(|| {
            format!("busy {}", net.tasks.iter().find(|task| task.busy == *place).unwrap().id)
        })
    };
    places.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn describe(workflow: &Workflow) -> String {
    let mut text = format!("{} root {}\n", workflow.uri, workflow.root);
    for net in &workflow.nets {
        let places: Vec<u16> = (0..u16::try_from(net.places.len()).unwrap()).collect();
        let safe = if net.is_safe { "bits" } else { "counters" };
        writeln!(text, "net {:?} {safe}: {}", net.id, names(net, &places)).unwrap();
        for variable in &net.variables {
            let way = match (variable.is_input, variable.is_output) {
                (true, true) => "in out",
                (true, false) => "in",
                (false, true) => "out",
                (false, false) => "local",
            };
            let initial = variable.initial.as_ref().map_or("-", |fragment| fragment.as_xml());
            writeln!(text, "  variable {} {way} {initial}", variable.name).unwrap();
        }
        for task in &net.tasks {
            let kind = match task.kind {
                TaskKind::Composite(child) => format!("net {child}"),
                other => format!("{other:?}").to_lowercase(),
            };
            let (join, split) = (task.join, task.split);
            write!(text, "  {} ({kind}) {join:?}[{}] -> {split:?}[", task.id, names(net, &task.preset))
                .unwrap();
            for flow in &task.flows {
                write!(text, " {}", names(net, &[flow.place])).unwrap();
                if let Some(predicate) = &flow.predicate {
                    write!(text, " if {}", predicate.text).unwrap();
                }
                text.push_str(if flow.is_default { " default" } else { "" });
            }
            write!(text, " ] removes[{}]", names(net, &task.removes)).unwrap();
            for mapping in &task.starting {
                let target = &task.inputs[usize::from(mapping.target)].name;
                write!(text, "\n    {target} := {}", mapping.text).unwrap();
            }
            for mapping in &task.completed {
                let target = &net.variables[usize::from(mapping.target)].name;
                write!(text, "\n    {} -> {target}", mapping.text).unwrap();
            }
            text.push('\n');
        }
    }
    text
}

fn check(name: &str, expected: &Expect) {
    let specification = read(name);
    let compiled = compile(&specification, None).unwrap();
    expected.assert_eq(&describe(&compiled.workflow));
    let again = compile(&specification, Some(&compiled.numbering)).unwrap();
    assert_eq!(describe(&again.workflow), describe(&compiled.workflow));
}

#[test]
fn a_sequence_a_choice_parallel_branches_and_a_subnet() {
    check(
        "sequence.yawl",
        &expect![[r#"
        sequence root 0
        net "Main" bits: start c{a_b} c{b_c} end busy a busy b busy c
          a (manual) Xor[start] -> And[ c{a_b} ] removes[]
          b (manual) Xor[c{a_b}] -> And[ c{b_c} ] removes[]
          c (manual) Xor[c{b_c}] -> And[ end ] removes[]
    "#]],
    );
    check(
        "choice.yawl",
        &expect![[r#"
        choice root 0
        net "Order" bits: start c{enter_approve} c{enter_ship} c{approve_ship} c{approve_enter} end busy enter busy approve busy ship
          variable customer in -
          variable amount out -
          variable approved local false
          enter (manual) Xor[start c{approve_enter}] -> Xor[ c{enter_approve} if /Order/amount > 1000 c{enter_ship} default ] removes[]
            customer := <customer>{/Order/customer/text()}</customer>
            <amount>{/Enter/amount/text()}</amount> -> amount
          approve (manual) Xor[c{enter_approve}] -> Xor[ c{approve_ship} if /Order/approved = 'true' c{approve_enter} default ] removes[]
            amount := <amount>{/Order/amount/text()}</amount>
            <approved>{/Approve/approved/text()}</approved> -> approved
          ship (manual) Xor[c{enter_ship} c{approve_ship}] -> And[ end ] removes[]
    "#]],
    );
    check(
        "parallel.yawl",
        &expect![[r#"
            parallel root 0
            net "Trip" bits: start extras done c{plan_flight} c{plan_hotel} c{flight_confirm} c{hotel_confirm} c{confirm_car} c{confirm_insurance} c{car_pay} c{insurance_pay} end busy plan busy flight busy hotel busy confirm busy car busy insurance busy pay
              variable wantsCar local false
              variable wantsInsurance local true
              plan (manual) Xor[start] -> And[ c{plan_flight} c{plan_hotel} ] removes[]
                <wantsCar>{/Plan/wantsCar/text()}</wantsCar> -> wantsCar
                <wantsInsurance>{/Plan/wantsInsurance/text()}</wantsInsurance> -> wantsInsurance
              flight (manual) Xor[c{plan_flight}] -> And[ c{flight_confirm} ] removes[]
              hotel (manual) Xor[c{plan_hotel}] -> And[ c{hotel_confirm} ] removes[]
              confirm (manual) And[c{flight_confirm} c{hotel_confirm}] -> Or[ c{confirm_car} if /Trip/wantsCar = 'true' c{confirm_insurance} if /Trip/wantsInsurance = 'true' extras done if false() default ] removes[]
              car (manual) Xor[c{confirm_car}] -> And[ c{car_pay} ] removes[]
              insurance (manual) Xor[c{confirm_insurance}] -> And[ c{insurance_pay} ] removes[]
              pay (manual) Or[extras done c{car_pay} c{insurance_pay}] -> And[ end ] removes[]
        "#]],
    );
    check(
        "subnet.yawl",
        &expect![[r#"
        subnet root 0
        net "Sale" bits: start c{sell_deliver} c{deliver_send receipt} end busy sell busy deliver busy send receipt
          variable parcel out -
          variable item local -
          variable receipt local -
          sell (manual) Xor[start] -> And[ c{sell_deliver} ] removes[]
            <item>{/Sell/item/text()}</item> -> item
          deliver (net 1) Xor[c{sell_deliver}] -> And[ c{deliver_send receipt} ] removes[]
            content := <content>{/Sale/item/text()}</content>
            <parcel>{/Delivery/label/text()}</parcel> -> parcel
          send receipt (automated) Xor[c{deliver_send receipt}] -> And[ end ] removes[]
            receipt := <receipt>{/Sale/item/text()}</receipt>
            <receipt>{/Receipt/receipt/text()}</receipt> -> receipt
        net "Delivery" bits: start picked end busy pick busy pack
          variable content in -
          variable label out -
          pick (manual) Xor[start] -> And[ picked ] removes[]
            content := <content>{/Delivery/content/text()}</content>
          pack (manual) Xor[picked] -> And[ end ] removes[]
            <label>{/Pack/label/text()}</label> -> label
    "#]],
    );
}

#[test]
fn stored_numbers_are_used_as_they_are() {
    let specification = read("choice.yawl");
    let mut numbering = compile(&specification, None).unwrap().numbering;
    let net = &mut numbering.nets[0];
    net.places.reverse();
    net.tasks.reverse();
    net.variables.reverse();
    let compiled = compile(&specification, Some(&numbering)).unwrap();
    assert_eq!(compiled.numbering, numbering);
    let net = &compiled.workflow.nets[0];
    assert_eq!(net.places, numbering.nets[0].places);
    assert!(net.tasks.iter().map(|task| &task.id).eq(&numbering.nets[0].tasks));
    assert!(net.variables.iter().map(|variable| &variable.name).eq(&numbering.nets[0].variables));
    assert!(net.tasks.iter().all(|task| task.preset.is_sorted()));
}

fn said(mistakes: &[Mistake]) -> String {
    let line = |mistake: &Mistake| {
        format!("{}:{} {} {}\n", mistake.at.line, mistake.at.column, mistake.code, mistake.message)
    };
    mistakes.iter().map(line).collect()
}

fn wrong(change: impl FnOnce(&mut Specification, &mut Numbering) -> bool, expected: &Expect) {
    let mut specification = read("choice.yawl");
    let mut numbering = compile(&specification, None).unwrap().numbering;
    let stored = change(&mut specification, &mut numbering);
    let mistakes = compile(&specification, stored.then_some(&numbering)).unwrap_err();
    assert!(mistakes.iter().all(|mistake| !mistake.hint.is_empty()));
    expected.assert_eq(&said(&mistakes));
}

fn text(text: &str) -> Text {
    Text { text: text.to_owned(), at: knhk::spec::Position::default() }
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    wrong(
        |_, numbering| {
            numbering.nets[0].places.pop();
            numbering.nets[0].tasks.push("more".to_owned());
            let twice = numbering.nets[0].variables[0].clone();
            numbering.nets[0].variables.push(twice);
            true
        },
        &expect![[r#"
            0:0 KN0254 the stored numbering lacks place Busy("ship")
            0:0 KN0254 the stored numbering has the unknown task "more"
            0:0 KN0254 the stored numbering repeats a variable "customer"
        "#]],
    );
}

#[test]
fn all_mistakes_are_said_at_once_and_in_order() {
    wrong(
        |specification, _| {
            let task = &mut specification.nets[0].tasks[0];
            task.flows[0].target.text = "nowhere".to_owned();
            task.removes.push(text("nobody"));
            task.removes_flows.push((text("no"), text("flow")));
            task.decomposition = Some(text("nothing"));
            let task = &mut specification.nets[0].tasks[1];
            for flow in &mut task.flows {
                if let Some(predicate) = &mut flow.predicate {
                    predicate.text = "average rating < 3 out of 5".to_owned();
                }
            }
            for mapping in task.starting.iter_mut().chain(&mut task.completed) {
                mapping.target.text = "nothing".to_owned();
            }
            false
        },
        &expect![[r#"
            0:0 KN0251 there is no condition or task "nobody"
            0:0 KN0251 there is no flow from task "no" to task "flow"
            0:0 KN0251 there is no decomposition "nothing"
            36:33 KN0251 there is no condition or task "nowhere"
            63:37 KN0200 the expression is wrong at its byte 8: expected an operator or the end, found rating
            74:23 KN0251 there is no input parameter of the decomposition "nothing"
            80:23 KN0251 there is no variable of the net "nothing"
        "#]],
    );
}

#[test]
fn a_net_without_one_beginning_and_end_or_with_an_id_twice_is_refused() {
    wrong(
        |specification, _| {
            let net = &mut specification.nets[0];
            net.conditions.retain(|condition| condition.kind != ConditionKind::Output);
            let twin = net.tasks[0].clone();
            net.tasks.push(twin);
            false
        },
        &expect![[r#"
            33:19 KN0255 the id "enter" is given twice
            9:24 KN0256 net "Order" has 0 output conditions; exactly one is needed
        "#]],
    );
}

/// A change that makes a net as large as a limit and that many more.
type Grow = fn(&mut Specification, usize);

#[test]
fn limits_hold_and_one_more_is_refused() {
    let limits: [(&str, usize, Grow); 4] = [
        ("tasks", TASK_COUNT_MAX, |specification, count| {
            let net = &mut specification.nets[0];
            let mut task = net.tasks[0].clone();
            task.flows.clear();
            for at in net.tasks.len()..count {
                task.id.text = format!("more {at}");
                net.tasks.push(task.clone());
            }
        }),
        ("variables", VARIABLE_COUNT_MAX, |specification, count| {
            let net = &mut specification.nets[0];
            let mut variable =
                net.locals.iter().chain(&net.inputs).chain(&net.outputs).next().unwrap().clone();
            for at in net.inputs.len() + net.outputs.len() + net.locals.len()..count {
                variable.name.text = format!("more{at}");
                net.locals.push(variable.clone());
            }
        }),
        ("places", PLACE_COUNT_MAX, |specification, count| {
            let have = compile(specification, None).unwrap().workflow.nets[0].places.len();
            let net = &mut specification.nets[0];
            let plain = net.conditions.iter().find(|condition| condition.kind == ConditionKind::Input);
            let mut plain = plain.unwrap().clone();
            plain.kind = ConditionKind::Plain;
            plain.flows.clear();
            for at in have..count {
                plain.id.text = format!("more {at}");
                net.conditions.push(plain.clone());
            }
        }),
        ("flows", FLOW_COUNT_MAX, |specification, count| {
            let net = &mut specification.nets[0];
            let have: usize = net.conditions.iter().map(|condition| condition.flows.len()).sum::<usize>()
                + net.tasks.iter().map(|task| task.flows.len()).sum::<usize>();
            let input = net.conditions.iter_mut().find(|condition| condition.kind == ConditionKind::Input);
            let flows: &mut Vec<Flow> = &mut input.unwrap().flows;
            flows.extend(vec![flows[0].clone(); count - have]);
        }),
    ];
    for (what, limit, grow) in limits {
        let mut specification = read("choice.yawl");
        grow(&mut specification, limit);
        if let Err(mistakes) = compile(&specification, None) {
            panic!("{what}: {}", said(&mistakes));
        }
        let mut specification = read("choice.yawl");
        grow(&mut specification, limit + 1);
        let mistakes = compile(&specification, None).unwrap_err();
        let message = format!("{} {what} are more than the limit of {limit}", limit + 1);
        assert!(mistakes.iter().any(|mistake| mistake.message == message), "{}", said(&mistakes));
    }
}

fn drawn(net: &Net, marking: &[(u16, u16)]) -> String {
    let svg = render(net, Some(marking));
    let document = roxmltree::Document::parse(&svg).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let class = node.attribute("class").unwrap_or_default();
        *counts.entry(format!("{} {class}", node.tag_name().name())).or_insert(0) += 1;
    }
    counts.into_iter().fold(String::new(), |text, (name, count)| text + &format!("{count} {name}\n"))
}

#[test]
fn a_net_is_drawn_with_its_tokens_and_busy_tasks() {
    let compiled = compile(&read("parallel.yawl"), None).unwrap();
    let net = &compiled.workflow.nets[0];
    let between = net.tasks[0].flows[0].place;
    let marking = [(net.input, 7), (between, 2), (net.tasks[2].busy, 1)];
    expect![[r"
        1 circle inner
        2 circle place
        2 circle place marked
        2 circle token
        11 g 
        12 path flow
        4 path inner
        12 path tip
        1 rect 
        4 rect sign
        6 rect task
        1 rect task busy
        1 style 
        1 svg 
        7 text 
        1 text count
        1 text name
        3 text small
        12 title 
    "]]
    .assert_eq(&drawn(net, &marking));
}

#[test]
fn names_are_safe_in_a_drawing_and_large_nets_are_not_drawn() {
    let shape = |conditions: Vec<String>| knhk::net::Shape {
        tasks: vec![knhk::net::ShapeTask {
            id: "</title><script>\u{0}&'\"".to_owned(),
            join: knhk::net::Gate::Xor,
            split: knhk::net::Gate::And,
            preset: vec![0],
            flows: vec![0],
            removes: vec![0],
            stops: vec![0],
        }],
        conditions,
    };
    let svg = render(&shape(vec!["<b>".to_owned(), "]]>".to_owned()]).net("&lt;\u{fffe}"), None);
    let document = roxmltree::Document::parse(&svg).unwrap();
    assert!(document.descendants().all(|node| !node.has_tag_name("script") && !node.has_tag_name("b")));
    let titles: Vec<&str> = document
        .descendants()
        .filter(|node| node.tag_name().name() == "title")
        .filter_map(|node| node.text())
        .collect();
    expect![[r#"
        [
            "&lt;�",
            "<b>",
            "]]>",
            "</title><script>�&'\"; empties <b>, </title><script>�&'\"",
        ]
    "#]]
    .assert_debug_eq(&titles);
    for (count, is_drawn) in [(SVG_ELEMENTS_MAX - 1, true), (SVG_ELEMENTS_MAX, false)] {
        let net = shape((0..count).map(|at| format!("c{at}")).collect()).net("large");
        let svg = render(&net, None);
        assert_eq!(svg.contains("class=\"place"), is_drawn, "{count}");
        roxmltree::Document::parse(&svg).unwrap();
    }
}

proptest! {
    #[test]
    fn any_net_can_be_drawn(shape in nets::shape()) {
        let net = shape.net("any");
        let drawing = drawn(&net, &[(net.input, 1)]);
        let tasks = format!("{} rect task\n", net.tasks.len());
        proptest::prelude::prop_assert!(drawing.contains(&tasks), "{}", drawing);
    }
}

#[test]
fn or_joins_that_look_at_too_much_are_refused() {
    let mut specification = read("choice.yawl");
    let net = &mut specification.nets[0];
    let mut task = net.tasks.iter().find(|task| task.flows.len() == 1).unwrap().clone();
    let count = 3_000;
    let back = net.tasks[0].id.text.clone();
    for at in 0..count {
        task.id.text = format!("ring {at}");
        task.join = knhk::net::Gate::Or;
        task.flows[0].target.text = if at + 1 == count { back.clone() } else { format!("ring {}", at + 1) };
        net.tasks.push(task.clone());
    }
    let mut first = net.tasks[net.tasks.len() - 1].flows[0].clone();
    first.target.text = "ring 0".to_owned();
    first.is_default = false;
    net.tasks[0].flows.push(first);
    let mistakes = compile(&specification, None).unwrap_err();
    assert_eq!(mistakes.iter().map(|mistake| mistake.code.to_string()).collect::<Vec<_>>(), ["KN0253"]);
}

#[test]
fn a_net_with_too_many_markings_is_not_shown_safe() {
    // A task that forks, as many parallel ones, and one that joins: three states each and a few more.
    let fork = |width: u16| {
        let task = |id: String, preset: Vec<u16>, flows: Vec<u16>| knhk::net::ShapeTask {
            id,
            join: knhk::net::Gate::And,
            split: knhk::net::Gate::And,
            preset,
            flows,
            removes: vec![],
            stops: vec![],
        };
        let conditions = (0..2 * width + 2).map(|at| format!("c{at}")).collect();
        let mut tasks = vec![task("fork".into(), vec![0], (1..=width).collect())];
        tasks.extend((1..=width).map(|at| task(format!("t{at}"), vec![at], vec![at + width])));
        tasks.push(task("join".into(), (width + 1..=2 * width).collect(), vec![2 * width + 1]));
        knhk::net::Shape { conditions, tasks }.net("fork")
    };
    assert!(3_usize.pow(9) < SAFETY_STATES_MAX && SAFETY_STATES_MAX < 3_usize.pow(10));
    assert!(fork(9).is_safe);
    assert!(!fork(10).is_safe);
}
