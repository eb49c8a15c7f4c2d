//! Generated input: nothing panics, and every position lies in the file.

use knhk::spec;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;

/// Pieces that are likely to mean something to the reader.
const PIECES: [&str; 24] = [
    "<",
    ">",
    "/>",
    "</",
    "&",
    "&lt;",
    "'",
    "\"",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?xml",
    "?>",
    "<!DOCTYPE",
    "é",
    "<task id='x'>",
    "</task>",
    "<flowsInto>",
    " xmlns=''",
    "<join code='and'/>",
    "\u{feff}",
    "\r",
    "<isDefaultFlow/>",
];

fn base() -> impl Strategy<Value = Vec<u8>> {
    let read = |name: &str| {
        std::fs::read(format!("{}/tests/data/spec/{name}.yawl", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    prop_oneof![Just(read("sequence")), Just(read("choice")), Just(read("parallel")), Just(read("subnet"))]
}

/// A place (as a share of the text), how much goes, and what comes.
fn edit() -> impl Strategy<Value = (u16, u8, Vec<u8>)> {
    let piece = prop_oneof![
        (0..PIECES.len()).prop_map(|index| PIECES[index].as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
        Just(Vec::new()),
    ];
    (any::<u16>(), any::<u8>(), piece)
}

fn edited(mut text: Vec<u8>, edits: &[(u16, u8, Vec<u8>)]) -> Vec<u8> {
    for (place, gone, come) in edits {
        let start = usize::from(*place) * text.len() / (usize::from(u16::MAX) + 1);
        // Mostly small cuts, sometimes whole elements.
        let gone = if *gone < 200 { usize::from(*gone % 4) } else { usize::from(*gone) };
        let end = (start + gone).min(text.len());
        text.splice(start..end, come.iter().copied());
    }
    text
}

fn read(source: &[u8]) {
    let reading = spec::read(source);
    assert_eq!(
        reading.is_accepted(),
        reading.specification.is_some()
            && !reading.mistakes.iter().any(|mistake| mistake.severity == spec::Severity::Error)
    );
    assert!(reading.specification.is_some() || !reading.mistakes.is_empty());
    let lines = source.split(|&byte| byte == b'\n').count();
    for mistake in &reading.mistakes {
        assert!(mistake.at.offset as usize <= source.len(), "{mistake}");
        assert!(mistake.at.line as usize <= lines, "{mistake}");
        assert!(mistake.at.line > 0 || mistake.at == spec::Position::default(), "{mistake}");
        assert!(!mistake.message.contains('\n') && !mistake.hint.is_empty(), "{mistake}");
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(400) })]

    #[test]
    fn an_edited_specification_is_read_or_refused(text in base(), edits in prop::collection::vec(edit(), 1..6)) {
        read(&edited(text, &edits));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }

    #[test]
    fn any_tags_are_read_or_refused(pieces in prop::collection::vec(0..PIECES.len(), 0..40)) {
        let text: String = pieces.into_iter().map(|index| PIECES[index]).collect();
        read(text.as_bytes());
    }
}
