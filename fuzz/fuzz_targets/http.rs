//! Any bytes as what a client sends, in any pieces: requests or a refusal, the same whatever the pieces, nothing kept beyond
//! the limit of a head, and what is accepted is read by httparse alike.
#![no_main]

use tiny_http::Refusal;
use tiny_http::head::{Head, Length, Version};
use tiny_http::reading::{Read, Reading};

const HEAD_BYTES_MAX: usize = 1_000;
const BODY_BYTES_MAX: usize = 1_000;
/// Longest line that is kept of a body in chunks.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// The heads of bytes, the data of all bodies, and why no more was read.
type Outcome = (Vec<Head>, Vec<u8>, Option<Refusal>);

/// Reads bytes in pieces of these lengths, over and over; without lengths in one piece.
fn read(bytes: &[u8], lengths: &[u16]) -> Outcome {
    let mut reading = Reading::new(HEAD_BYTES_MAX, BODY_BYTES_MAX);
    let (mut heads, mut data) = (Vec::new(), Vec::new());
    let mut lengths = lengths.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = lengths.next().map_or(rest.len(), |&length| usize::from(length).clamp(1, rest.len()));
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
    assert_eq!(request.version, Some(u8::from(head.version == Version::Http11)));
    let told = |name: &str| {
        let values = request.headers.iter().filter(|header| header.name == name).map(|header| header.value.to_vec());
        values.collect::<Vec<_>>()
    };
    let length = match head.length {
        Length::Bytes(0) | Length::Chunks => None,
        Length::Bytes(bytes) => Some(bytes.min(isize::MAX as usize).to_string().into_bytes()),
    };
    assert_eq!(told("content-length"), Vec::from_iter(length));
    assert_eq!(told("connection"), Vec::from_iter(head.is_last.then(|| b"close".to_vec())));
    let own = |name: &str| !matches!(name, "connection" | "content-length");
    let theirs = request.headers.iter().filter(|header| own(header.name)).map(|header| (header.name, header.value));
    let ours = head.headers.iter().filter(|(name, _)| own(name)).map(|(name, value)| (name.as_str(), value.as_bytes()));
    assert!(theirs.eq(ours));
}

libfuzzer_sys::fuzz_target!(|input: (&[u8], Vec<u16>)| {
    let (bytes, lengths) = input;
    let whole = read(bytes, &[]);
    assert_eq!(read(bytes, &[1]), whole);
    assert_eq!(read(bytes, &lengths), whole);
    whole.0.iter().for_each(check);
});
