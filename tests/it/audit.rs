//! That nothing in the tree looks like a secret, and that scripts/audit would see one.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::service::root;

fn search(folder: Option<&Path>) -> Output {
    let mut command = Command::new(root().join("scripts/audit"));
    command.arg("--secrets").args(folder).output().unwrap()
}

#[test]
fn the_tree_holds_no_secret() {
    let output = search(None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn secrets_are_seen_and_words_about_them_are_not() {
    let folder = tempfile::tempdir().unwrap();
    // In pieces, so that this file is not found itself.
    let secrets = [
        ("key.pem", format!("x\n-----BEGIN {}PRIVATE KEY-----\n", "EC ")),
        ("token.txt", format!("knhk_{}", "0123456789abcdef".repeat(4))),
        ("set.toml", format!("{} = \"x7kQ29vbn4Lp\"", "db_password")),
        ("set.json", format!("{{\"{}\": 'S3cretS3cret42'}}", "api_key")),
    ];
    let words = [
        ("words.rs", "let key = \"the key of the case\"; // password, secret, token".to_owned()),
        ("words.toml", "remote_key = \"/etc/knhk/key.pem\"\nidempotency_key = \"order-17\"".to_owned()),
        ("words.md", "password: \"changeme\"".to_owned()),
    ];
    for (name, text) in secrets.iter().chain(&words) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let output = search(Some(folder.path()));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    for (name, text) in &secrets {
        assert!(said.contains(&format!("/{name}:")), "{name} is not found:\n{said}");
        assert!(!said.contains(text.as_str()), "the secret itself is shown:\n{said}");
    }
    assert_eq!(said.lines().count(), secrets.len(), "{said}");
}
