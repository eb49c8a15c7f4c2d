//! Any text as a configuration file: a configuration, or mistakes whose lines lie in the file.
#![no_main]

use knhk::config::{Environment, Error, Layers, load};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder for this run");
    let path = folder.path().join("knhk.toml");
    std::fs::write(&path, text).expect("the folder is ours");
    let environment = Environment { config: Some(path), ..Environment::default() };
    if let Err(Error::Invalid { mistakes, .. }) = load(&environment, &Layers::system()) {
        let lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
        assert!(!mistakes.is_empty());
        assert!(mistakes.iter().all(|mistake| mistake.line <= lines));
    }
});
