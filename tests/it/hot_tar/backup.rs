//! `knhk backup create` beside a service that works as hard as it can, and both ways back.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::clients::Clients;
use super::restored;
use crate::support::load;
use crate::support::random::Random;
use crate::support::service::Place;

/// Connections that send batches.
const CLIENTS: u64 = 3;
/// Acknowledged operations before the backup begins, and after.
const WARM_UP: u64 = 1_000;

#[test]
fn a_backup_made_under_load_holds_everything_acknowledged_before_it_began() {
    let mut random = Random(super::number("KNHK_HOT_TAR_SEED", 1));
    let mut place = Place::with(&[("frame_bytes_max", "65536"), ("body_bytes_max", "65536")]);
    fs::create_dir(place.path("backup")).unwrap();
    let mut service = place.start();
    load::register(&service);
    let mut clients = Clients::new(CLIENTS, &mut random);
    let (known, file) = clients.while_working(service.address, |clients| {
        clients.wait_for(WARM_UP);
        clients.hurry();
        let known = clients.known();
        let output = place.knhk(&["backup", "create", "--json"]);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complained}\n{}", place.log());
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        (known, made["file"].as_str().unwrap().to_owned())
    });
    let other = |name: &str| {
        let other = Place::with(&[("checkpoint_seconds", "1"), ("idempotency_keys_max", "100000000")]);
        fs::create_dir(other.path(name)).unwrap();
        other
    };
    let by_tar = other("root");
    let root = by_tar.path("root");
    assert!(Command::new("tar").args(["-xzf", &file, "-C"]).arg(&root).status().unwrap().success());
    fs::rename(root.join(place.path("state").strip_prefix("/").unwrap()), by_tar.path("state")).unwrap();
    let by_command = other("backup");
    let output = by_command.knhk(&["backup", "restore", &file, "--yes"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for restored in [by_tar, by_command] {
        restored::check(restored, &known, &clients.known(), &mut random);
    }
    assert!(service.stop().success(), "{}", place.log());
    place.verify();
}
