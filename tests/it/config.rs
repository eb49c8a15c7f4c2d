//! Configuration: layers, origins, and every kind of mistake.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use expect_test::{Expect, expect, expect_file};
use knhk::config::{
    self, Environment, FILE_BYTES_MAX, FOLDER_FILE_COUNT_MAX, KEYS, Layers, Loaded, Origin, Value,
};
use proptest::prelude::{Strategy, any, prop_assert, prop_oneof};
use proptest::{collection, proptest};

fn layers(root: &Path) -> Layers {
    Layers {
        vendor: root.join("vendor.toml"),
        site: root.join("site.toml"),
        folder: root.join("site.toml.d"),
    }
}

fn load_with(
    files: &[(&str, &[u8])],
    environment: impl FnOnce(&Path) -> Environment,
) -> (String, Result<Loaded, config::Error>) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("site.toml.d")).unwrap();
    for (name, text) in files {
        fs::write(root.path().join(name), text).unwrap();
    }
    let loaded = config::load(&environment(root.path()), &layers(root.path()));
    (root.path().display().to_string(), loaded)
}

/// Returns what differs from the defaults, or every mistake, without the folder's name.
fn told(root: &str, loaded: &Result<Loaded, config::Error>) -> String {
    let mut text = String::new();
    match loaded {
        Ok(loaded) => {
            for (key, (value, origin)) in KEYS.iter().zip(&loaded.values) {
                // On a machine with little memory some defaults are lower.
                if !matches!(origin, Origin::BuiltIn | Origin::Machine) {
                    writeln!(text, "{} = {value} ({origin})", key.name).unwrap();
                }
            }
        }
        Err(error) => {
            writeln!(text, "{} {error}", error.code()).unwrap();
            let config::Error::Invalid { mistakes, .. } = error else { unreachable!() };
            for mistake in mistakes {
                writeln!(text, "{} {mistake} [{}]", mistake.code, mistake.hint).unwrap();
            }
        }
    }
    text.replace(&format!("{root}/"), "")
}

fn check(files: &[(&str, &[u8])], expected: &Expect) {
    let (root, loaded) = load_with(files, |_| Environment::default());
    expected.assert_eq(&told(&root, &loaded));
}

#[test]
fn built_in_values_keep_their_own_rules() {
    let (_, loaded) = load_with(&[], |_| Environment::default());
    let config = loaded.unwrap().config;
    assert_eq!(config.hot_path_max_ticks, 8);
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    for key in KEYS {
        assert_eq!(key.rule.check(&key.default), Ok(()), "{}", key.name);
    }
}

#[test]
fn exempt_networks_are_read_and_a_wrong_one_is_named() {
    check(
        &[("site.toml", b"remote_listen = \"0.0.0.0:8443\"\nremote_proxies = \"192.0.2.7, 2001:db8::/32\"")],
        &expect![[r#"
            remote_listen = 0.0.0.0:8443 (site.toml:1)
            remote_proxies = 192.0.2.7, 2001:db8::/32 (site.toml:2)
        "#]],
    );
    let file = b"remote_listen = \"0.0.0.0:8443\"\nremote_proxies = \"192.0.2.7,2001:db8::/32\"";
    let (_, loaded) = load_with(&[("site.toml", file)], |_| Environment::default());
    let proxies = loaded.unwrap().config.remote().unwrap().proxies;
    assert_eq!(proxies, ["192.0.2.7", "2001:db8::/32"].map(|one| one.parse().unwrap()));
    for (wrong, why) in
        [("10.0.0.1/8", "write 10.0.0.0/8"), ("192.0.2.7,", "is no address"), ("lb", "is no address")]
    {
        let file = format!("remote_proxies = \"{wrong}\"");
        let (root, loaded) = load_with(&[("site.toml", file.as_bytes())], |_| Environment::default());
        let said = told(&root, &loaded);
        assert!(said.contains("site.toml:1") && said.contains(why), "{said}");
    }
}

#[test]
fn as_many_keys_as_are_remembered_by_default_fit_a_tenth_of_four_gigabytes() {
    const TENTH_BYTES: usize = 4 * 1024 * 1024 * 1024 / 10;
    let key = KEYS.iter().find(|key| key.name == "idempotency_keys_max").unwrap();
    let Value::Integer(keys_max) = key.default else { panic!("{:?}", key.default) };
    let keys_max = usize::try_from(keys_max).unwrap();
    let bytes = |keys_max| knhk::engine::shard::keys_bytes_max(keys_max, 2);
    assert!(bytes(keys_max) <= TENTH_BYTES, "{} bytes", bytes(keys_max));
    assert!(bytes(3 * keys_max) > TENTH_BYTES, "the default could be three times as high");
    // What people read says the same.
    let said = format!(" {} bytes", knhk::engine::shard::KEY_BYTES_MAX);
    assert!(key.doc.contains(&said), "{}", key.doc);
    for page in ["docs/errors/KN0308.md", "docs/errors/KN0314.md", "docs/reference/engine.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        assert!(text.contains(&said), "{page}");
    }
}

#[test]
fn later_layers_override_key_by_key_and_origins_are_kept() {
    check(
        &[
            ("vendor.toml", b"http_workers = 7\ncache_size_mb = 64\nlog_level = \"debug\""),
            ("site.toml", b"# ours\nhttp_workers = 0x10\nhot_path_cores = \"2-3,5\""),
            ("site.toml.d/20.toml", b"cache_size_mb = 1_024"),
            ("site.toml.d/10.toml", b"cache_size_mb = 32\nlisten = \"[::1]:9\"\n"),
            ("site.toml.d/30.conf", b"this is not read"),
        ],
        &expect![[r#"
            hot_path_cores = 2-3,5 (site.toml:3)
            cache_size_mb = 1024 (site.toml.d/20.toml:1)
            listen = [::1]:9 (site.toml.d/10.toml:2)
            http_workers = 16 (site.toml:2)
            log_level = debug (vendor.toml:3)
        "#]],
    );
}

#[test]
fn the_environment_names_one_file_and_the_level() {
    let files: &[(&str, &[u8])] = &[
        ("vendor.toml", b"http_workers = 7"),
        ("site.toml", b"http_workers = 8\nlog_level = \"error\""),
        ("own.toml", b"cache_size_mb = 99"),
    ];
    let (root, loaded) = load_with(files, |root| Environment {
        config: Some(root.join("own.toml")),
        log: Some("trace".to_owned()),
        ..Environment::default()
    });
    expect![[r#"
        cache_size_mb = 99 (own.toml:1)
        http_workers = 7 (vendor.toml:1)
        log_level = trace ($KNHK_LOG)
    "#]]
    .assert_eq(&told(&root, &loaded));

    let (root, loaded) = load_with(&[], |root| Environment {
        config: Some(root.join("absent.toml")),
        log: Some("loud".to_owned()),
        ..Environment::default()
    });
    expect![[r#"
        KN0620 configuration is invalid: 2 mistakes
        KN0600 absent.toml: could not be read: No such file or directory (os error 2) []
        KN0606 $KNHK_LOG: log_level = "loud" is not one of error, warning, info, debug, trace []
    "#]]
    .assert_eq(&told(&root, &loaded));
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    check(
        &[
            (
                "site.toml",
                b"cache_size = 512\nhttp_workers = \"many\"\nhot_path_max_ticks = 0\nlisten = \"0.0.0.0:8080\"\n\
                  log_level = 7\nsocket = \"run/knhk.sock\"\nhot_path_cores = \"3-1\"\nhttp_workers = -1\nx y\n\
                  segment_bytes = 99999999999999999999999\notel_enabled = \"yes\"\n\
                  warm_path_timeout_ms = 1.5\notel_endpoint = \"localhost:4317\"\nfrobnicate = 1\n[store]\na = 1\n",
            ),
            ("site.toml.d/10.toml", b"listen = \"10.1.2.3:80\"\nlisten = \"somewhere\""),
            ("site.toml.d/20.toml", b"ok = \xff\n"),
        ],
        &expect![[r#"
            KN0620 configuration is invalid: 18 mistakes
            KN0602 site.toml:1: unknown key cache_size [nearest name is cache_size_mb]
            KN0603 site.toml:2: http_workers must be a whole number []
            KN0604 site.toml:3: hot_path_max_ticks = 0 is not a number from 1 to 4096 []
            KN0605 site.toml:4: listen = "0.0.0.0:8080" can be reached from other machines, which is refused for now []
            KN0603 site.toml:5: log_level must be text in quotes []
            KN0606 site.toml:6: socket = "run/knhk.sock" is not an absolute path []
            KN0606 site.toml:7: hot_path_cores = "3-1" is not auto, none, or core numbers such as 2,3 or 2-5 []
            KN0601 site.toml:8: duplicate key [write one `key = value` a line]
            KN0601 site.toml:9: key with no value, expected `=` [write one `key = value` a line]
            KN0604 site.toml:10: segment_bytes = 99999999999999999999999 is not a number from 65536 to 1073741824 []
            KN0603 site.toml:11: otel_enabled must be true or false []
            KN0603 site.toml:12: warm_path_timeout_ms must be a number from 1 to 60000, not float []
            KN0606 site.toml:13: otel_endpoint = "localhost:4317" is not an address such as http://127.0.0.1:4317 []
            KN0602 site.toml:14: unknown key frobnicate [knhk config show lists all keys]
            KN0602 site.toml:15: unknown section [store] [keys stand at the top, there are no sections]
            KN0605 site.toml.d/10.toml:1: listen = "10.1.2.3:80" can be reached from other machines, which is refused for now []
            KN0601 site.toml.d/10.toml:2: duplicate key [write one `key = value` a line]
            KN0601 site.toml.d/20.toml:1: is not UTF-8 [save the file as UTF-8]
        "#]],
    );
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    check(
        &[("site.toml", b"\nsegment_bytes = 65536\nframe_bytes_max = 65536\nbody_bytes_max = 65537")],
        &expect![[r#"
            KN0620 configuration is invalid: 2 mistakes
            KN0608 site.toml:4: body_bytes_max = 65537 is larger than frame_bytes_max = 65536 []
            KN0608 site.toml:3: frame_bytes_max = 65536 is larger than half of segment_bytes = 65536 []
        "#]],
    );
    // Fits either way: only the whole counts.
    check(
        &[("vendor.toml", b"segment_bytes = 65536"), ("site.toml", b"segment_bytes = 67108864")],
        &expect![[r#"
            segment_bytes = 67108864 (site.toml:1)
        "#]],
    );
}

#[test]
fn files_and_folders_have_limits() {
    let fits = vec![b'#'; usize::try_from(FILE_BYTES_MAX).unwrap()];
    check(&[("site.toml", &fits)], &expect![[""]]);
    let mut too_large = fits;
    too_large.push(b'#');
    check(
        &[("site.toml", &too_large)],
        &expect![[r#"
            KN0620 configuration is invalid: 1 mistake
            KN0607 site.toml: is larger than 1048576 bytes [a configuration has a few lines]
        "#]],
    );
    let names: Vec<_> = (0..=FOLDER_FILE_COUNT_MAX).map(|n| format!("site.toml.d/{n}.toml")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    check(&files[1..], &expect![[""]]);
    check(
        &files,
        &expect![[r#"
            KN0620 configuration is invalid: 1 mistake
            KN0607 site.toml.d: holds more than 256 files []
        "#]],
    );
    let deep = format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let (root, loaded) = load_with(&[("site.toml", deep.as_bytes())], |_| Environment::default());
    assert!(told(&root, &loaded).starts_with("KN0620 configuration is invalid"), "{}", told(&root, &loaded));
    let many = "x=1\n".repeat(5_000);
    let (_, loaded) = load_with(&[("site.toml", many.as_bytes())], |_| Environment::default());
    let Err(config::Error::Invalid { mistakes, .. }) = loaded else { panic!("five thousand unknown keys") };
    assert_eq!(mistakes.len(), 100);
}

#[test]
fn the_reference_is_what_the_table_says() {
    expect_file!["../../docs/reference/config.md"].assert_eq(&config::reference());
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i128>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<String>().prop_map(|text| format!("{text:?}")),
        "[0-9,-]{0,12}|auto|none|127\\.0\\.0\\.[0-9]:[0-9]{1,6}|/[a-z/]{0,9}"
            .prop_map(|t| format!("\"{t}\"")),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        "[\\[\\]{}\"'=.#a-z0-9]{0,20}",
    ]
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_a_list_of_mistakes(
        lines in collection::vec((0..KEYS.len(), value()), 0..8),
        noise in collection::vec(any::<u8>(), 0..64),
    ) {
        let mut text: Vec<u8> = Vec::new();
        for (key, value) in lines {
            text.extend(format!("{} = {value}\n", KEYS[key].name).bytes());
        }
        for bytes in [text.clone(), [text, noise].concat()] {
            let (_, loaded) = load_with(&[("site.toml", &bytes)], |_| Environment::default());
            match loaded {
                Ok(loaded) => {
                    for (key, (value, _)) in KEYS.iter().zip(&loaded.values) {
                        prop_assert!(key.rule.check(value).is_ok());
                    }
                }
                Err(config::Error::Invalid { mistakes, .. }) => {
                    prop_assert!(!mistakes.is_empty());
                    for mistake in mistakes {
                        prop_assert!(!mistake.message.contains('\n'), "{}", mistake.message);
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}
