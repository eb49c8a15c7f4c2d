//! What commands read: files, standard input, data given as an argument.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use super::error::Error;

/// What `-` on the command line stands for. Not opened by this name, which fails where it is a socket.
pub(super) const STANDARD_INPUT: &str = "/dev/stdin";

/// Reads a file, or standard input, of at most `limit_bytes`.
pub(super) fn file(path: &str, limit_bytes: u64) -> Result<Vec<u8>, Error> {
    let failed = |source: io::Error| Error::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    let read = if path == STANDARD_INPUT {
        io::stdin().lock().take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes)
    } else {
        File::open(Path::new(path))
            .and_then(|file| file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes))
    };
    read.map_err(failed)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(Error::FileTooLarge { path: path.into(), limit_bytes });
    }
    Ok(bytes)
}

/// Reads a JSON object: given itself, or as a file, `FILE` or `@FILE`. `None` stands for an empty object.
pub(super) fn data(argument: Option<&str>, limit_bytes: u64) -> Result<Value, Error> {
    let Some(argument) = argument else { return Ok(Value::Object(serde_json::Map::new())) };
    let bytes = if argument.trim_start().starts_with('{') {
        argument.as_bytes().to_vec()
    } else {
        file(argument.strip_prefix('@').unwrap_or(argument), limit_bytes)?
    };
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(members)) => Ok(Value::Object(members)),
        Ok(_) => Err(Error::Data { what: "it does not begin with {".to_owned() }),
        Err(fault) => Err(Error::Data { what: fault.to_string() }),
    }
}
