//! The work that the service is given: nets, live cases, and a next request for each connection.

use knhk::perf::load::Dice;

use super::Outcome;
use super::http::{Client, write_post};

/// One task that leads back to itself, with a little data: a case gives a step as often as one likes.
const LOOP: &str = r#"<specificationSet xmlns="http://www.yawlfoundation.org/yawlschema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="4.0">
<specification uri="loop"><metaData/>
<decomposition id="Loop" isRootNet="true" xsi:type="NetFactsType">
<inputParam><index>0</index><name>note</name><type>string</type><namespace>http://www.w3.org/2001/XMLSchema</namespace></inputParam>
<processControlElements>
<inputCondition id="begin"><flowsInto><nextElementRef id="turn"/></flowsInto></inputCondition>
<task id="turn"><flowsInto><nextElementRef id="turn"/><predicate ordering="0">true()</predicate></flowsInto>
<flowsInto><nextElementRef id="end"/><isDefaultFlow/></flowsInto>
<join code="xor"/><split code="xor"/><decomposesTo id="Turn"/></task>
<outputCondition id="end"/></processControlElements></decomposition>
<decomposition id="Turn" xsi:type="WebServiceGatewayFactsType"><externalInteraction>manual</externalInteraction></decomposition>
</specification></specificationSet>"#;

/// Three tasks that nobody has to do: a case that is created is closed at once, with a history of its own.
const SHORT: &str = r#"<specificationSet xmlns="http://www.yawlfoundation.org/yawlschema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="4.0">
<specification uri="short"><metaData/>
<decomposition id="Short" isRootNet="true" xsi:type="NetFactsType">
<inputParam><index>0</index><name>note</name><type>string</type><namespace>http://www.w3.org/2001/XMLSchema</namespace></inputParam>
<processControlElements>
<inputCondition id="begin"><flowsInto><nextElementRef id="a"/></flowsInto></inputCondition>
<task id="a"><flowsInto><nextElementRef id="b"/></flowsInto><join code="xor"/><split code="and"/></task>
<task id="b"><flowsInto><nextElementRef id="c"/></flowsInto><join code="xor"/><split code="and"/></task>
<task id="c"><flowsInto><nextElementRef id="end"/></flowsInto><join code="xor"/><split code="and"/></task>
<outputCondition id="end"/></processControlElements></decomposition>
</specification></specificationSet>"#;

/// Lines of the batches that fill a store.
const FILL_LINES: usize = 4096;
/// Letters of a case's id.
const ID_LEN: usize = 12;

/// Registers both nets.
pub(crate) fn register(client: &mut Client) -> Outcome<()> {
    for text in [LOOP, SHORT] {
        let answer = client.post("/workflows", text.as_bytes())?;
        if answer.status >= 300 {
            return Err(format!("registering: {}", String::from_utf8_lossy(&answer.body)).into());
        }
    }
    Ok(())
}

/// A live case: its id, and its one work item's number.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    id: [u8; ID_LEN],
    item: u32,
}

/// Creates `count` cases of a net in batches; returns those that are live.
pub(crate) fn create(client: &mut Client, net: &str, count: usize) -> Outcome<Vec<Case>> {
    let mut cases = Vec::with_capacity(if net == "loop" { count } else { 0 });
    let (mut made, mut body) = (0, Vec::new());
    while made < count {
        let lines = FILL_LINES.min(count - made);
        body.clear();
        for line in 0..lines {
            let note = made + line;
            let text = format!(
                "{{\"op\":\"create\",\"workflow\":\"{net}\",\"data\":{{\"note\":\"n{note:08}\"}}}}\n"
            );
            body.extend_from_slice(text.as_bytes());
        }
        let answer = client.post("/batch", &body)?;
        let text = String::from_utf8_lossy(&answer.body);
        let created = text.lines().filter(|line| line.starts_with("{\"status\":201"));
        let mut count = 0;
        for line in created {
            count += 1;
            if net == "loop" {
                let at = line.find("\"id\":\"").ok_or("no id in an answer")? + 6;
                let id = line.as_bytes().get(at..at + ID_LEN).ok_or("no id in an answer")?;
                cases.push(Case { id: id.try_into()?, item: 1 });
            }
        }
        if count == 0 {
            return Err(format!("creating: {}", text.lines().next().unwrap_or_default()).into());
        }
        // Lines that were refused because something was busy are asked for again.
        made += count;
    }
    Ok(cases)
}

/// What one connection does: steps of its own cases, in an order without pattern.
pub(crate) struct Stepper {
    cases: Vec<Case>,
    next: usize,
    dice: Dice,
    lines: usize,
    body: Vec<u8>,
}

impl Stepper {
    /// Deals cases out to so many steppers, each of which makes requests of `lines` steps; 0 stands for single ones.
    pub(crate) fn deal(cases: &[Case], steppers: usize, lines: usize, seed: u64) -> Vec<Self> {
        let mut out: Vec<Self> = (0..steppers)
            .map(|at| Self {
                cases: Vec::with_capacity(cases.len() / steppers + 1),
                next: usize::MAX,
                dice: Dice::new(seed + at as u64),
                lines,
                body: Vec::new(),
            })
            .collect();
        for (at, case) in cases.iter().enumerate() {
            out[at % steppers].cases.push(*case);
        }
        out
    }

    /// Returns the cases as they are now.
    pub(crate) fn into_cases(steppers: Vec<Self>) -> Vec<Case> {
        steppers.into_iter().flat_map(|stepper| stepper.cases).collect()
    }

    /// Returns how many steps a request has.
    pub(crate) fn steps_each(&self) -> u64 {
        self.lines.max(1) as u64
    }

    /// Returns the next case; each comes once before any comes again.
    fn case(&mut self) -> &mut Case {
        if self.next >= self.cases.len() {
            for at in (1..self.cases.len()).rev() {
                let other = self.dice.below(at + 1);
                self.cases.swap(at, other);
            }
            self.next = 0;
        }
        self.next += 1;
        &mut self.cases[self.next - 1]
    }

    /// Writes the next request.
    pub(crate) fn request(&mut self, out: &mut Vec<u8>) {
        if self.lines == 0 {
            let case = self.case();
            out.clear();
            out.extend_from_slice(b"POST /workitems/");
            write_item(out, case);
            out.extend_from_slice(b"/complete HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            case.item += 1;
            return;
        }
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        for _ in 0..self.lines {
            let case = self.case();
            body.extend_from_slice(b"{\"op\":\"complete\",\"item\":\"");
            write_item(&mut body, case);
            body.extend_from_slice(b"\"}\n");
            case.item += 1;
        }
        write_post(out, "/batch", &body);
        self.body = body;
    }
}

fn write_item(out: &mut Vec<u8>, case: &Case) {
    out.extend_from_slice(&case.id);
    out.push(b'-');
    let mut digits = [0; 10];
    let (mut at, mut number) = (digits.len(), case.item);
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}
