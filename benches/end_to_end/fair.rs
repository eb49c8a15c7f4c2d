//! P12: what one client's steps take beside work that runs to every limit, against what they take alone.

use knhk::expr::{Document, compile};
use serde_json::json;

use super::drive;
use super::figures::{Spread, percentile, short};
use super::goals::Row;
use super::http::{Client, write_post};
use super::work::Stepper;
use super::world::World;
use super::{Outcome, Setup};

/// Steps between two looks at the clock.
const TURN: u64 = 20;
/// Automated tasks of the create: `automated_steps_max` as it comes.
const TASKS: usize = 10_000;
/// Lines of the batch: `batch_lines_max` as it comes.
const LINES: usize = 10_000;
/// The batch is given up after so long, in milliseconds: what is not begun then never is.
const BATCH_MS: u64 = 3_000;

/// A net whose task `a` runs by itself until `n` reaches a number, and evaluates a long mapping each time.
const NET: &str = r#"<specificationSet xmlns="http://www.yawlfoundation.org/yawlschema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xs="http://www.w3.org/2001/XMLSchema" version="4.0">
<specification uri="URI"><metaData/>
<decomposition id="N" isRootNet="true" xsi:type="NetFactsType">
<localVariable><index>0</index><name>n</name><type>xs:integer</type><initialValue>0</initialValue></localVariable>
<processControlElements>
<inputCondition id="begin"><flowsInto><nextElementRef id="a"/></flowsInto></inputCondition>
<condition id="more"><flowsInto><nextElementRef id="a"/></flowsInto></condition>
<task id="a"><flowsInto><nextElementRef id="more"/><predicate ordering="0">/N/n &lt; TASKS</predicate></flowsInto>
<flowsInto><nextElementRef id="end"/><isDefaultFlow/></flowsInto>
<join code="xor"/><split code="xor"/>
<startingMappings><mapping><expression query="/N/n + 1"/><mapsTo>n</mapsTo></mapping>
<mapping><expression query="LONG"/><mapsTo>w</mapsTo></mapping></startingMappings>
<completedMappings><mapping><expression query="/a/n"/><mapsTo>n</mapsTo></mapping></completedMappings>
<decomposesTo id="a"/></task>
<outputCondition id="end"/></processControlElements></decomposition>
<decomposition id="a" xsi:type="WebServiceGatewayFactsType">
<inputParam><index>0</index><name>n</name><type>xs:integer</type></inputParam>
<inputParam><index>1</index><name>w</name><type>xs:integer</type></inputParam>
<outputParam><index>0</index><name>n</name><type>xs:integer</type></outputParam>
<externalInteraction>automated</externalInteraction></decomposition>
</specification></specificationSet>"#;

/// Returns a mapping that takes nearly as many evaluation steps as one may, and those steps.
fn long_mapping() -> Outcome<(String, u64)> {
    let mut last = Err("no mapping".into());
    for count in (100..).step_by(5) {
        let numbers: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
        let list = numbers.join(",");
        let text = format!("count(for $a in ({list}) for $b in ({list}) return 1)");
        let (value, cost) = compile(&text)?.evaluate_counted(&Document { root: "n", variables: &[] });
        if value.is_err() {
            break;
        }
        last = Ok((text, cost.steps));
    }
    last
}

/// Both kinds of work, each in its own rounds.
pub(crate) fn p12(setup: &Setup) -> Outcome<Vec<Row>> {
    let mut settings = setup.settings();
    settings.push(("bulk_timeout_ms", BATCH_MS.to_string()));
    // A step that waits for a slice is none that has failed.
    settings.push(("warm_path_timeout_ms", "60000".to_owned()));
    let mut world = World::new(&setup.folder, &setup.binary, &settings, setup.live)?;
    let (long, steps) = long_mapping()?;
    let mut client = world.client()?;
    for (uri, tasks) in [("chain", TASKS), ("line", 1)] {
        let text = NET.replace("URI", uri).replace("TASKS", &tasks.to_string()).replace("LONG", &long);
        let answer = client.post("/workflows", text.as_bytes())?;
        if answer.status >= 300 {
            return Err(format!("registering: {}", String::from_utf8_lossy(&answer.body)).into());
        }
    }
    let mut lines = Vec::new();
    for _ in 0..LINES {
        lines.extend_from_slice(b"{\"op\":\"create\",\"workflow\":\"line\"}\n");
    }
    let create = ("/cases", b"{\"workflow\":\"chain\"}".to_vec());
    let loads = [("P12 create", create), ("P12 batch", ("/batch", lines))];
    let rounds = if setup.is_quick() { 1 } else { setup.rounds };
    loads
        .into_iter()
        .map(|(name, (path, body))| beside(setup, &mut world, name, (path, &body), (rounds, steps)))
        .collect()
}

/// One client's p99 beside a load that is sent once a round, over its p99 alone.
fn beside(
    setup: &Setup,
    world: &mut World,
    name: &'static str,
    (path, body): (&str, &[u8]),
    (rounds, mapping_steps): (usize, u64),
) -> Outcome<Row> {
    let mut client = world.client()?;
    let mut steppers = Stepper::deal(&std::mem::take(&mut world.cases), 1, 0, 12);
    let (mut ratios, mut alone, mut beside, mut longest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut load = Client::new(world.service.address)?;
    let evaluated = world.service.metrics()?.of("knhk_evaluation_steps_total");
    for _ in 0..rounds {
        let by_itself = latencies(setup, &mut client, &mut steppers[0])?;
        let mut request = Vec::new();
        write_post(&mut request, path, body);
        load.send(&request)?;
        let with_load = latencies(setup, &mut client, &mut steppers[0])?;
        cancel(&mut client, &load.answer()?.body)?;
        alone.push(percentile(&by_itself, 99.0));
        beside.push(percentile(&with_load, 99.0));
        longest.push(percentile(&with_load, 100.0));
        ratios.push(percentile(&with_load, 99.0) / percentile(&by_itself, 99.0));
    }
    world.cases = Stepper::into_cases(steppers);
    let evaluated = world.service.metrics()?.of("knhk_evaluation_steps_total") - evaluated;
    let said = format!("{:.0} us of {:.0} us", Spread::of(&beside).median, Spread::of(&alone).median);
    let detail = json!({
        "live_cases": world.cases.len(),
        "steps_of_the_mapping": mapping_steps,
        "evaluation_steps": short(evaluated),
        "alone_p99_us": Spread::of(&alone).json(),
        "beside_p99_us": Spread::of(&beside).json(),
        "beside_max_us": Spread::of(&longest).json(),
    });
    Ok(Row::new(name, &ratios, said, detail))
}

/// Cancels the cases that a create, or the lines of a batch, began: what they have yet to do would go on.
fn cancel(client: &mut Client, answer: &[u8]) -> Outcome<()> {
    let mut lines = Vec::new();
    for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: serde_json::Value = serde_json::from_slice(line)?;
        let case = line.get("body").unwrap_or(&line);
        if let Some(id) = case.get("id").and_then(serde_json::Value::as_str) {
            let cancel = json!({ "op": "cancel", "case": id, "reason": "measured" });
            lines.extend_from_slice(format!("{cancel}\n").as_bytes());
        }
    }
    if lines.is_empty() {
        return Err("the load began no case".into());
    }
    let answer = client.post("/batch", &lines)?;
    if answer.status != 200 {
        return Err(format!("cancelling: {}", String::from_utf8_lossy(&answer.body)).into());
    }
    Ok(())
}

/// Latencies of one client's steps, one after the other.
fn latencies(setup: &Setup, client: &mut Client, stepper: &mut Stepper) -> Outcome<Vec<f64>> {
    let mut all = Vec::new();
    let began = std::time::Instant::now();
    while began.elapsed() < setup.slice {
        all.extend(drive::alone(client, stepper, TURN)?.latencies_us);
    }
    Ok(all)
}
