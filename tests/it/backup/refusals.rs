//! Backups that cannot be made: each is refused with what to do, and leaves nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::{busy, ok, refused, told};
use crate::support::service::{Place, files};
use crate::support::wait;

#[test]
fn a_backup_that_cannot_be_made_is_refused_with_what_to_do() {
    let (mut place, _service, _) = busy();
    let create = ["backup", "create"];
    fs::remove_dir(place.path("backup")).unwrap();
    let (code, said) = refused(&place, &create, 74);
    assert!(code == "KN0460" && said.contains("install -d"), "{said}");
    assert_eq!(refused(&place, &["backup", "list"], 74).0, "KN0460");
    fs::create_dir(place.path("backup")).unwrap();

    let taken = place.path("taken.tar.gz");
    fs::write(&taken, "mine").unwrap();
    assert_eq!(refused(&place, &["backup", "create", "--to", taken.to_str().unwrap()], 1).0, "KN0459");
    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");

    // More must stay free than any disk has.
    place.set(&[("disk_reserve_mb", "1048576")]);
    let (code, said) = refused(&place, &create, 74);
    assert!(code == "KN0451" && said.contains("--to") && said.contains("bytes free"), "{said}");
    assert_eq!(
        files(&place.path("backup")).len(),
        1,
        "nothing but the lock: {:?}",
        files(&place.path("backup"))
    );
    place.set(&[("disk_reserve_mb", "1")]);

    // Somebody else makes one.
    let lock = fs::File::open(place.path("backup/.knhk-backup.lock")).unwrap();
    let lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    assert_eq!(refused(&place, &create, 75).0, "KN0453");
    drop(lock);
    ok(&place, &create);

    let nothing = Place::new();
    fs::create_dir(nothing.path("backup")).unwrap();
    assert_eq!(refused(&nothing, &create, 1).0, "KN0452");
    assert_eq!(refused(&nothing, &["backup", "verify", "no-such-file"], 74).0, "KN0450");
    assert_eq!(refused(&nothing, &["backup", "restore", "no-such-file", "--yes"], 74).0, "KN0652");
}

#[test]
fn after_root_the_owner_of_the_state_makes_backups_too() {
    if !nix::unistd::geteuid().is_root() {
        wait::absent("another user, because only root can become one");
        return;
    }
    let (place, mut service, _) = busy();
    assert!(service.stop().success());
    let given = std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(place.path("")).status();
    assert!(given.unwrap().success());
    ok(&place, &["backup", "create"]);
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let elsewhere = place.path("backup/another.tar.gz");
    let output = place.command(&nobody).args(["backup", "create", "--to"]).arg(elsewhere).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn whoever_may_not_write_there_is_told_so() {
    if !nix::unistd::geteuid().is_root() {
        wait::absent("another user, because only root can become one");
        return;
    }
    let (place, mut service, _) = busy();
    assert!(service.stop().success());
    // Everybody may read, and nobody else may write.
    let opened = std::process::Command::new("chmod").args(["-R", "a+rX"]).arg(place.path("")).status();
    assert!(opened.unwrap().success());
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let output = place.command(&nobody).args(["backup", "create"]).output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", told(&output));
    assert!(told(&output).contains("KN0450") && told(&output).contains("sudo"), "{}", told(&output));
    // Elsewhere that user may make one.
    let open = place.path("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let mut command = place.command(&nobody);
    let output = command.args(["backup", "create", "--to"]).arg(&open).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}
