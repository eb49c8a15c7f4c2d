//! Many operations in one request: a line each, in and out, in order; all go to the engine in one call.

use super::answer::{Answered, OFFER_LINES, choose};
use super::body::{self, Members};
use super::header::{self, Media};
use super::problem::Problem;
use super::query::{Query, shorten};
use super::{Error, Limits, Request, cases, fingerprint, items, nearest, show, traced};
use crate::engine::room::{NOT_BEGUN_BYTES, Room};
use crate::engine::service::{Answer, Caller, CaseAct, ItemAct, Once, Operation, Refusal, Service};
use crate::telemetry::metrics::labels::Queue;
use crate::telemetry::traces::Context;

/// Every operation of a batch line.
const OPERATIONS: [&str; 10] =
    ["create", "start", "complete", "fail", "skip", "cancel", "suspend", "resume", "retry", "execute"];
/// Every member of a batch line; which of them an operation takes is in `operation`.
const MEMBERS: [&str; 8] = ["op", "key", "workflow", "data", "business_key", "case", "item", "reason"];

/// Carries out the lines of the body.
pub(super) fn run(
    service: &dyn Service,
    request: &Request,
    limits: &Limits,
    (trace, room): (Option<Context>, &Room),
) -> Result<Answered, Problem> {
    choose(request, &[OFFER_LINES])?;
    Query::read(&request.query, &[])?;
    header::media(request, &[Media::Lines, Media::Json], "application/x-ndjson")?;
    if header::find(request, "idempotency-key").is_some() {
        return Err(Error::BatchKey.into());
    }
    let lines = request.body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).take(limits.batch_lines_max + 1).collect();
    if lines.len() > limits.batch_lines_max {
        return Err(Error::BatchTooLong { limit: limits.batch_lines_max }.into());
    }

    // A line for whose answer there is no room is not begun.
    let begun = room.take_lines(lines.len()).map_err(|full| full.refusal(room))?;
    let mut operations = Vec::with_capacity(begun);
    let mut add = |(operation, once): (Operation, Once)| {
        let trace = traced::of_many(service, trace);
        operations.push((operation, Once { trace, room: room.clone(), ..once }));
    };
    let read: Vec<Line> =
        lines.iter().take(begun).map(|line| operation(line, request.caller).map(&mut add)).collect();
    if begun < lines.len() {
        service.metrics().queue_refused.of(Queue::Answers).increment();
    }
    let answers = if operations.is_empty() { Vec::new() } else { service.operate(operations) };
    let not_begun = lines.len() - begun;
    Ok(Answered::new(200, OFFER_LINES.media_type, written(read, answers, (not_begun, room))))
}

/// What came of reading a line.
type Line = Result<(), Error>;

/// Writes one line an operation, in the order of the request, and one for each that was not begun.
fn written(
    read: Vec<Line>,
    answers: Vec<Result<Answer, Refusal>>,
    (not_begun, room): (usize, &Room),
) -> Vec<u8> {
    let mut answers = answers.into_iter();
    let mut out = Vec::with_capacity(read.len() * show::DOCUMENT_BYTES + not_begun * NOT_BEGUN_BYTES);
    for line in read {
        let answer = line.map_err(Problem::from).and_then(|()| match answers.next() {
            None => Err(Error::NoAnswer.into()),
            Some(answer) => answer.map_err(Problem::from),
        });
        let status = answer.as_ref().map_or_else(Problem::status, cases::status);
        begin_line(&mut out, status);
        match answer {
            Ok(answer) => show::answer(&mut out, &answer, room),
            Err(problem) => problem.write(&mut out, room),
        }
        out.extend_from_slice(b"}\n");
    }
    let mut last = Vec::new();
    if not_begun > 0 {
        let problem = Problem::from(Refusal::not_begun());
        begin_line(&mut last, problem.status());
        problem.write_brief(&mut last);
        last.extend_from_slice(b"}\n");
    }
    for _ in 0..not_begun {
        out.extend_from_slice(&last);
    }
    out
}

fn begin_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"{\"status\":");
    show::write(out, &status);
    out.extend_from_slice(b",\"body\":");
}

/// Reads one line.
fn operation(line: &[u8], caller: Caller) -> Result<(Operation, Once), Error> {
    let mut members = body::object(line, &MEMBERS)?;
    let op = members.need("op")?;
    let once = Once {
        key: members.key("key")?,
        request: fingerprint("POST", "/batch", "", line),
        trace: None,
        caller,
        room: Room::default(),
    };
    let operation = match op.as_str() {
        "create" => Operation::Create {
            workflow: members.need("workflow")?,
            data: members.data()?,
            business_key: members.business_key("business_key")?,
        },
        "start" => item(&mut members, |_| Ok(ItemAct::Start))?,
        "complete" => item(&mut members, |members| members.data().map(ItemAct::Complete))?,
        "fail" => item(&mut members, |members| members.reason().map(|reason| ItemAct::Fail { reason }))?,
        "skip" => item(&mut members, |members| members.reason().map(|reason| ItemAct::Skip { reason }))?,
        "cancel" => case(&mut members, |members| members.reason().map(|reason| CaseAct::Cancel { reason }))?,
        "suspend" => case(&mut members, |_| Ok(CaseAct::Suspend))?,
        "resume" => case(&mut members, |_| Ok(CaseAct::Resume))?,
        "retry" => case(&mut members, |_| Ok(CaseAct::Retry))?,
        "execute" => case(&mut members, |_| Ok(CaseAct::Execute))?,
        other => {
            return Err(Error::Operation { op: shorten(other), hint: nearest::hint(other, &OPERATIONS) });
        }
    };
    members.finish()?;
    Ok((operation, once))
}

fn item(
    members: &mut Members,
    act: impl FnOnce(&mut Members) -> Result<ItemAct, Error>,
) -> Result<Operation, Error> {
    let id = items::id(&members.need("item")?)?;
    Ok(Operation::Item(id, act(members)?))
}

fn case(
    members: &mut Members,
    act: impl FnOnce(&mut Members) -> Result<CaseAct, Error>,
) -> Result<Operation, Error> {
    let id = cases::id(&members.need("case")?)?;
    Ok(Operation::Case(id, act(members)?))
}
