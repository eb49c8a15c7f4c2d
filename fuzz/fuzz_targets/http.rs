//! Any bytes as what a client sends, in any pieces: requests or a refusal, the same whatever the pieces, nothing kept beyond
//! the limit of a head, and what is accepted is read by httparse alike.
#![no_main]

use tiny_http::Refusal;
use tiny_http::head::Head;
use tiny_http::reading::{Read, Reading};

const HEAD_BYTES_MAX: usize = 1_000;
const BODY_BYTES_MAX: usize = 1_000;
/// Longest line that is kept of a body in chunks.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// The heads of bytes, the data of all bodies, and why no more was read.
type Outcome = (Vec<Head>, Vec<u8>, Option<Refusal>);

/// Reads bytes in pieces of these lengths, over and over.
fn read(bytes: &[u8], lengths: &[u8]) -> Outcome {
    let mut reading = Reading::new(HEAD_BYTES_MAX, BODY_BYTES_MAX);
    let (mut heads, mut data) = (Vec::new(), Vec::new());
    let mut lengths = lengths.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = usize::from(*lengths.next().unwrap_or(&u8::MAX)).clamp(1, rest.len());
        let (mut piece, after) = rest.split_at(length);
        rest = after;
        while !piece.is_empty() {
            let taken = match reading.take(piece) {
                Err(refusal) => return (heads, data, Some(refusal)),
                Ok(Read::More(taken)) => taken,
                Ok(Read::Head(taken, head)) => {
                    heads.push(*head);
                    taken
                }
                Ok(Read::Body(body)) => {
                    data.extend_from_slice(&piece[body.taken - body.data..body.taken]);
                    body.taken
                }
            };
            assert!(reading.kept() <= HEAD_BYTES_MAX.max(LINE_BYTES_MAX));
            piece = &piece[taken..];
        }
    }
    (heads, data, None)
}

/// Checks that httparse reads a head alike, as it is printed for the reader that comes after.
fn check(head: &Head) {
    let mut printed = Vec::new();
    head.print(&mut printed);
    let mut headers = [httparse::EMPTY_HEADER; 110];
    let mut request = httparse::Request::new(&mut headers);
    let length = request.parse(&printed).expect("what is printed is a head").unwrap();
    assert_eq!(length, printed.len());
    assert_eq!(request.method, Some(head.method.as_str()));
    let target = if head.query.is_empty() { head.path.clone() } else { format!("{}?{}", head.path, head.query) };
    assert_eq!(request.path, Some(target.as_str()));
    let own = |name: &str| !matches!(name, "connection" | "content-length");
    let theirs = request.headers.iter().filter(|header| own(header.name)).map(|header| (header.name, header.value));
    let ours = head.headers.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name.as_str(), value.as_bytes()));
    assert!(theirs.eq(ours));
}

libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8])| {
    let (bytes, lengths) = input;
    let whole = read(bytes, &[]);
    assert_eq!(read(bytes, &[1]), whole);
    assert_eq!(read(bytes, lengths), whole);
    whole.0.iter().for_each(check);
});
