//! From what a client asks to a request of a shard: names become numbers, text becomes keys, and a specification
//! is read, checked and compiled before it comes near a shard.

use std::sync::Arc;

use super::answers;
use super::fold::business_hash;
use super::record::{Maker, Registration, hash16};
use super::registry::Registry;
use super::request::{Asked, Key, NewSpecification};
use super::room::Room;
use super::service::{CaseAct, Fragment, ItemAct, Once, Operation, Refusal};
use super::tables;
use super::traced::Traced;
use crate::case::Command;
use crate::id::{CASE_PARTITION_COUNT, Partition, SpecNumber, Time};
use crate::net;
use crate::spec::{self, Severity};

/// A request that its shard can take.
#[derive(Debug)]
pub struct Prepared {
    /// What is asked.
    pub act: Asked,
    /// Its key.
    pub key: Key,
    /// The key as text: the client's, or the one that was made for it.
    pub text: String,
    /// What its spans will say, if it is traced.
    pub traced: Option<Box<Traced>>,
    /// Room for the answer.
    pub room: Room,
}

const HEX: &[u8; 16] = b"0123456789abcdef";
/// Longest key of the service's own.
const OWN_KEY_BYTES_MAX: usize = 4 + (1 + 16) + (1 + 8) + (1 + 16);

/// Returns a key for a client that gave none: different for every call of every process.
pub fn own_key(now: Time, process: u32, count: u64) -> String {
    let mut text = String::with_capacity(OWN_KEY_BYTES_MAX);
    text.push_str("knhk");
    for number in [now.0, u64::from(process), count] {
        text.push('-');
        let digits = (u64::BITS - (number | 1).leading_zeros()).div_ceil(4);
        text.extend((0..digits).rev().map(|place| char::from(HEX[(number >> (4 * place) & 15) as usize])));
    }
    text
}

/// Returns the key of a request within its scope: the same text names other requests in another scope.
fn key(once: &Once, scope: &[u8], own: impl FnOnce() -> String) -> (Key, String) {
    let (text, maker) = match &once.key {
        Some(text) => (text.clone(), Maker::Client),
        None => (own(), Maker::Service),
    };
    let mut request = [0; 16];
    request.copy_from_slice(&once.request[..16]);
    let hash = hash16(&[scope, text.as_bytes()]);
    (Key { hash, request, maker, caller: once.caller }, text)
}

/// Prepares an operation.
///
/// # Errors
/// It names a specification that is not registered.
pub fn operation(
    registry: &Registry,
    operation: Operation,
    once: &Once,
    own: impl FnOnce() -> String,
) -> Result<Prepared, Refusal> {
    let (act, (key, text)) = match operation {
        Operation::Create { workflow, data, business_key } => {
            let spec = registry.find(&workflow).ok_or_else(|| answers::no_specification(&workflow))?;
            let business_key = business_key.map(|key| {
                let hash = business_hash(&key);
                (key, hash)
            });
            let (mut key, text) = key(once, b"create", own);
            let decides = business_key.as_ref().map_or(key.hash, |entry| entry.1);
            let number = u16::from_le_bytes([decides[0], decides[1]]) % CASE_PARTITION_COUNT;
            // A key's scope is its partition, whichever partitions share a shard.
            key.hash = hash16(&[&number.to_le_bytes(), &key.hash]);
            let data = Fragment::from_children(&data);
            (Asked::Create { partition: Partition(number), spec, data, business_key }, (key, text))
        }
        Operation::Case(case, act) => {
            let command = match act {
                CaseAct::Cancel { reason } => Command::Cancel(reason),
                CaseAct::Suspend => Command::Suspend,
                CaseAct::Resume => Command::Resume,
                CaseAct::Retry => Command::Retry,
                CaseAct::Execute => Command::Execute,
            };
            (Asked::Case(case, command), key(once, &tables::case_key(case), own))
        }
        Operation::Item(item, act) => {
            let command = match act {
                ItemAct::Start => Command::Start(item.number),
                ItemAct::Complete(data) => Command::Complete(item.number, Fragment::from_children(&data)),
                ItemAct::Fail { reason } => Command::Fail(item.number, reason),
                ItemAct::Skip { reason } => Command::Skip(item.number, reason),
            };
            let scope = tables::part_key(item.case, item.number);
            (Asked::Item(item.case, item.number, command), key(once, &scope, own))
        }
    };
    Ok(Prepared { act, key, text, traced: None, room: once.room.clone() })
}

/// Prepares a registration. `bytes_max` bounds what its record takes in the journal.
///
/// # Errors
/// All that is wrong with the specification, or that it is too large.
pub fn registration(
    source: &[u8],
    bytes_max: usize,
    once: &Once,
    own: impl FnOnce() -> String,
) -> Result<Prepared, Refusal> {
    let new = specification(source)?;
    let bytes = tables::encode(&new.registration).len();
    if bytes > bytes_max {
        return Err(answers::too_large(bytes, bytes_max));
    }
    let (key, text) = key(once, b"register", own);
    Ok(Prepared { act: Asked::Register(Box::new(new)), key, text, traced: None, room: once.room.clone() })
}

/// Reads, checks and compiles a specification.
///
/// # Errors
/// All that is wrong with it.
pub fn specification(source: &[u8]) -> Result<NewSpecification, Refusal> {
    let reading = spec::read(source);
    let mut mistakes = reading.mistakes;
    let Some(tree) = reading.specification else { return Err(answers::wrong_specification(mistakes)) };
    let compiled = match net::compile(&tree, None) {
        Ok(compiled) => Some(compiled),
        Err(more) => {
            mistakes.extend(more);
            None
        }
    };
    mistakes.sort_by_key(|mistake| mistake.at);
    let is_wrong = mistakes.iter().any(|mistake| mistake.severity == Severity::Error);
    let Some(compiled) = compiled.filter(|_| !is_wrong) else {
        return Err(answers::wrong_specification(mistakes));
    };
    let mut warnings: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    warnings.push("soundness not checked".to_owned());
    let registration = Registration {
        number: SpecNumber(0),
        uri: compiled.workflow.uri.clone(),
        version: 0,
        hash: *blake3::hash(source).as_bytes(),
        warnings,
        numbering: compiled.numbering,
        tree: serde_json::to_string(&tree).expect("invariant: a tree has a JSON form"),
        source: source.to_vec(),
    };
    Ok(NewSpecification { registration, workflow: Arc::new(compiled.workflow) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_its_own_has_its_numbers_in_hexadecimal() {
        for (now, process, count) in
            [(0, 0, 0), (1, 16, 255), (u64::MAX, u32::MAX, u64::MAX), (1 << 60, 9, 10)]
        {
            let key = own_key(Time(now), process, count);
            assert_eq!(key, format!("knhk-{now:x}-{process:x}-{count:x}"));
            assert!(key.len() <= OWN_KEY_BYTES_MAX);
        }
    }
}
