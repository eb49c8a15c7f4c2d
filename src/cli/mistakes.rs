//! One mistake of a specification or configuration in one line. Pure.

use serde_json::Value;

/// Returns `file:line:column: message`, leaving out what is not known. `file` stands in when the mistake names
/// none itself.
pub(super) fn sentence(mistake: &Value, file: &str) -> String {
    let text = |name: &str| mistake.get(name).and_then(Value::as_str);
    let number = |name: &str| mistake.get(name).and_then(Value::as_u64).filter(|&number| number > 0);
    let mut place = text("file").unwrap_or(file).to_owned();
    for part in [number("line"), number("line").and_then(|_| number("column"))].into_iter().flatten() {
        if !place.is_empty() {
            place.push(':');
        }
        place.push_str(&part.to_string());
    }
    let message = text("message").unwrap_or_default();
    if place.is_empty() { message.to_owned() } else { format!("{place}: {message}") }
}
