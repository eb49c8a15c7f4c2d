//! The file of tokens: what is in it, who may read it, and how soon the service knows of a change.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use knhk::api::Error;
use knhk::api::remote::{Day, Folder, NAME_LEN_MAX, SECRETS, Scope, TOKEN_COUNT_MAX};

use super::client::PATIENCE;
use super::{Running, now};
use crate::api::fake::Fake;
use crate::support::wait;

#[test]
fn a_token_is_random_shown_once_and_kept_as_a_hash() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("deep/remote");
    let tokens = Folder::at(&inside);
    assert_eq!(tokens.list().unwrap(), []);
    let one = tokens.create("one", Scope::Work, now(), None).unwrap();
    let two = tokens.create("two", Scope::Read, now(), Some(now().plus_us(1_000_000))).unwrap();
    assert!(one.starts_with("knhk_") && one.len() == 69 && one != two, "{one}");
    let text = fs::read_to_string(inside.join("tokens")).unwrap();
    assert!(!text.contains(&one[5..]) && !text.contains(&two[5..]), "{text}");
    assert!(text.contains(blake3::hash(one.as_bytes()).to_hex().as_str()), "{text}");
    let mode = |name: &str| fs::metadata(inside.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("tokens"), mode("tokens.lock"), mode(".")), (0o600, 0o600, 0o700));
    // Also where somebody had opened it to others.
    fs::set_permissions(inside.join("tokens"), fs::Permissions::from_mode(0o644)).unwrap();
    tokens.revoke("two").unwrap();
    assert_eq!(mode("tokens"), 0o600);
    let listed = tokens.list().unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].scope), (1, "one", Scope::Work));
    assert!(!inside.join("tokens.new").exists());
}

#[test]
fn names_are_checked_and_each_is_had_once() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = Folder::at(folder.path());
    let long = "x".repeat(NAME_LEN_MAX + 1);
    for wrong in ["", "a b", "ä", "a/b", "a\n", "secret:read", &long] {
        let error = tokens.create(wrong, Scope::Read, now(), None).unwrap_err();
        assert!(matches!(error, Error::TokenName { .. }), "{wrong:?}: {error}");
    }
    assert!(!folder.path().join("tokens").exists());
    tokens.create(&long[1..], Scope::Read, now(), None).unwrap();
    let error = tokens.create(&long[1..], Scope::Admin, now(), None).unwrap_err();
    assert!(matches!(error, Error::TokenExists { .. }), "{error}");
    assert!(matches!(tokens.revoke("other").unwrap_err(), Error::NoToken { .. }));
    assert_eq!(tokens.list().unwrap().len(), 1);
}

#[test]
fn tokens_made_at_the_same_time_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = folder.path();
            std::thread::Builder::new()
                .spawn_scoped(scope, move || {
                    let name = format!("t{number}");
                    Folder::at(path).create(&name, Scope::Read, now(), None).unwrap();
                })
                .unwrap();
        }
    });
    let names: Vec<String> =
        Folder::at(folder.path()).list().unwrap().into_iter().map(|token| token.name).collect();
    assert_eq!(names, ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"]);
}

#[test]
fn there_are_only_so_many() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = Folder::at(folder.path());
    tokens.create("one", Scope::Read, now(), None).unwrap();
    let text = fs::read_to_string(folder.path().join("tokens")).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let one = document["tokens"][0].clone();
    let many = |count: usize| {
        let named = (0..count).map(|number| {
            let mut token = one.clone();
            token["name"] = format!("t{number}").into();
            token
        });
        named.collect::<Vec<_>>()
    };
    document["tokens"] = many(TOKEN_COUNT_MAX).into();
    fs::write(folder.path().join("tokens"), document.to_string()).unwrap();
    let error = tokens.create("more", Scope::Read, now(), None).unwrap_err();
    assert!(matches!(error, Error::TokensFull { limit: TOKEN_COUNT_MAX }), "{error}");
    document["tokens"] = many(TOKEN_COUNT_MAX + 1).into();
    fs::write(folder.path().join("tokens"), document.to_string()).unwrap();
    assert!(matches!(tokens.list().unwrap_err(), Error::RemoteContent { .. }));
}

#[test]
fn a_change_is_seen_at_the_next_request() {
    let running = Running::start(Fake::new(), |_| {});
    let tokens = Folder::at(running.folder.path());
    let mut client = running.connect();
    for round in 0..5 {
        let token = running.token("one", Scope::Read);
        assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 200, "round {round}");
        tokens.revoke("one").unwrap();
        assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 401, "round {round}");
    }
    running.stop();
}

#[test]
fn nobody_is_let_in_while_the_file_makes_no_sense() {
    let running = Running::start(Fake::new(), |_| {});
    let token = running.token("one", Scope::Read);
    let mut client = running.connect();
    assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 200);
    let good = fs::read_to_string(running.path("tokens")).unwrap();
    for wrong in ["", "{}", &good[..good.len() / 2], &good.replace("\"format\": 1", "\"format\": 2")] {
        fs::write(running.path("tokens"), wrong).unwrap();
        assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 401, "{wrong}");
        assert_eq!(client.ask("GET", "/health/live", None, b"").status, 200);
    }
    fs::write(running.path("tokens"), &good).unwrap();
    assert_eq!(client.ask("GET", "/health", Some(&token), b"").status, 200);
    running.stop();
}

#[test]
fn secrets_from_outside_have_the_scope_of_their_name() {
    let secrets = tempfile::tempdir().unwrap();
    let secret = |scope: Scope| format!("{}{:->32}", scope.word(), "");
    for (name, scope) in SECRETS {
        fs::write(secrets.path().join(name), secret(scope) + "\n").unwrap();
    }
    let running = Running::start(Fake::new(), |options| {
        options.secrets_dir = Some(secrets.path().to_owned());
    });
    for (scope, work, admin) in [(Scope::Read, 403, 403), (Scope::Work, 200, 403), (Scope::Admin, 200, 201)] {
        let secret = secret(scope);
        // A body that is refused unread ends its connection.
        let [mut client, mut other] = [running.connect(), running.connect()];
        assert_eq!(client.ask("GET", "/health", Some(&secret), b"").status, 200);
        assert_eq!(client.ask("POST", "/batch", Some(&secret), b"").status, work, "{scope:?}");
        assert_eq!(other.ask("POST", "/workflows", Some(&secret), b"new").status, admin, "{scope:?}");
    }
    let mut client = running.connect();
    // A weak one lets nobody in, not even those with good ones, until it is mended.
    fs::write(secrets.path().join("knhk-read"), "letmein").unwrap();
    assert_eq!(client.ask("GET", "/health", Some("letmein"), b"").status, 401);
    fs::remove_file(secrets.path().join("knhk-read")).unwrap();
    assert_eq!(client.ask("GET", "/health", Some(&secret(Scope::Read)), b"").status, 401);
    assert_eq!(client.ask("GET", "/health", Some(&secret(Scope::Work)), b"").status, 200);
    running.stop();
}

/// Waits until a token has a day, and returns it.
fn day_of(folder: &Folder, name: &str) -> String {
    let found = || {
        let tokens = folder.list().unwrap();
        let token = tokens.iter().find(|token| token.name == name).unwrap();
        token.last_used(&folder.days()).map(Day::date)
    };
    wait::until(PATIENCE, found).unwrap_or_else(|| panic!("{name} has no day"))
}

#[test]
fn the_day_of_the_last_use_is_written_once_a_day_and_not_with_every_request() {
    let running = Running::start(Fake::new(), |_| {});
    let folder = Folder::at(running.folder.path());
    let (one, unused) = (running.token("one", Scope::Read), running.token("unused", Scope::Read));
    let days = [now().rfc3339(), now().plus_us(1_000_000).rfc3339()].map(|time| time[..10].to_owned());
    let mut client = running.connect();
    assert_eq!(client.ask("GET", "/health", Some(&one), b"").status, 200);
    assert!(days.contains(&day_of(&folder, "one")), "{days:?}");
    let inode = || fs::metadata(running.path("uses")).unwrap().ino();
    let before = inode();
    for _ in 0..100 {
        assert_eq!(client.ask("GET", "/health", Some(&one), b"").status, 200);
    }
    // Written in turn: when another token's day is there, all before it is done.
    let two = running.token("two", Scope::Work);
    assert_eq!(inode(), before, "a request of a known day was written");
    assert_eq!(client.ask("POST", "/workflows", Some(&two), b"").status, 403, "which is a use too");
    day_of(&folder, "two");
    assert_ne!(inode(), before);
    let mode = |name: &str| fs::metadata(running.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("uses"), mode("uses.lock")), (0o600, 0o600));
    let text = fs::read_to_string(running.path("uses")).unwrap();
    assert!(
        !text.contains(&one[5..]) && text.contains(&blake3::hash(one.as_bytes()).to_hex()[..16]),
        "{text}"
    );
    // Another one under the same name has not been used.
    folder.revoke("unused").unwrap();
    folder.revoke("two").unwrap();
    running.token("two", Scope::Read);
    let tokens = folder.list().unwrap();
    assert_eq!(tokens.iter().find(|token| token.name == "two").unwrap().last_used(&folder.days()), None);
    assert_eq!(client.ask("GET", "/health", Some(&unused), b"").status, 401);
    running.stop();
}

#[test]
fn services_that_share_the_folder_keep_each_others_days_and_a_lost_file_is_begun_anew() {
    let running = Running::start(Fake::new(), |_| {});
    let folder = Folder::at(running.folder.path());
    let other = Running::start(Fake::new(), |options| options.folder = running.folder.path().to_owned());
    let tokens: Vec<_> = (0..10).map(|number| running.token(&format!("t{number}"), Scope::Read)).collect();
    for (number, token) in tokens.iter().enumerate() {
        let side = if number % 2 == 0 { &running } else { &other };
        assert_eq!(side.connect().ask("GET", "/health", Some(token), b"").status, 200);
    }
    for number in 0..10 {
        day_of(&folder, &format!("t{number}"));
    }
    for wrong in ["", "{}", "nonsense", "{\"format\": 2, \"days\": {}}"] {
        fs::write(running.path("uses"), wrong).unwrap();
        assert_eq!(running.connect().ask("GET", "/health", Some(&tokens[0]), b"").status, 200, "{wrong}");
        let listed = folder.list().unwrap();
        assert!(listed.iter().all(|token| token.last_used(&folder.days()).is_none()), "{wrong}");
        // One that this service has not seen yet.
        let name = format!("after-{}", wrong.len());
        let token = running.token(&name, Scope::Read);
        assert_eq!(running.connect().ask("GET", "/health", Some(&token), b"").status, 200);
        day_of(&folder, &name);
    }
    other.stop();
    running.stop();
}
