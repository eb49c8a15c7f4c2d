//! What root starts by hand makes no file that the service's user cannot use afterwards.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::expect;

use crate::cli::configure::on_a_system;
use crate::support::service::{Place, Service, files};
use crate::support::wait;

/// A user who is not root and whom no file of the machine belongs to.
pub(crate) const OWNER: u32 = 65_533;
/// By which a command runs as that user.
const AS_OWNER: [&str; 4] = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"];

pub(crate) fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        wait::absent("another user, because only root can become one");
    }
    is_root
}

/// Returns every file and folder of some folders, and these, that does not belong to a user.
pub(crate) fn not_of(owner: u32, folders: &[PathBuf]) -> Vec<String> {
    let all = folders.iter().flat_map(|folder| {
        files(folder).into_keys().map(PathBuf::from).chain([folder.clone()]).collect::<Vec<_>>()
    });
    let strange = all.filter(|path| fs::symlink_metadata(path).is_ok_and(|found| found.uid() != owner));
    strange.map(|path| path.display().to_string()).collect()
}

pub(crate) fn give(path: &Path) {
    lchown(path, Some(OWNER), Some(OWNER)).unwrap();
}

/// Makes a place of that user's, with a copy of the binary that every user may run.
pub(crate) fn owned_place() -> (Place, PathBuf) {
    let place = Place::new();
    fs::set_permissions(place.path(""), Permissions::from_mode(0o755)).unwrap();
    give(&place.path(""));
    let binary = place.path("knhk");
    // By another process: a child that another test forks just then would keep the file open for writing.
    assert!(Command::new("cp").arg(Place::binary()).arg(&binary).status().unwrap().success());
    (place, binary)
}

/// Registers a specification with a service, and ends it.
pub(crate) fn work(place: &Place, service: &mut Service) {
    service.wait_until_live().unwrap_or_else(|status| panic!("{status}:\n{}", place.log()));
    let output = place.knhk(&["workflow", "register", "examples/order/order.yawl"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(service.stop().success(), "{}", place.log());
}

pub(crate) fn serve_as_owner(place: &Place, binary: &Path) -> Service {
    let mut command = Command::new(AS_OWNER[0]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("KNHK_CONFIG", place.path("knhk.toml"));
    command.args(&AS_OWNER[1..]).arg(binary).arg("serve");
    place.spawn_command(command)
}

#[test]
fn a_service_that_root_starts_leaves_nothing_that_the_owner_of_the_state_cannot_use() {
    if !is_root() {
        return;
    }
    for has_state in [true, false] {
        let (place, binary) = owned_place();
        let folders = ["state", "cache"].map(|name| place.path(name));
        if has_state {
            fs::create_dir(&folders[0]).unwrap();
            give(&folders[0]);
        }
        let mut service = place.spawn(&[]);
        service.wait_until_live().unwrap_or_else(|status| panic!("{status}:\n{}", place.log()));
        let status = fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
        let line =
            |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().trim_end();
        let numbers = format!("\t{OWNER}").repeat(4);
        let expected = [format!("Uid:{numbers}"), format!("Gid:{numbers}"), "Groups:".to_owned()];
        assert_eq!(["Uid:", "Gid:", "Groups:"].map(line), expected);
        work(&place, &mut service);
        assert!(folders.iter().all(|folder| folder.is_dir()));
        assert_eq!(not_of(OWNER, &folders), Vec::<String>::new());
        assert!(place.log().contains("root became the owner of the state"), "{}", place.log());
        work(&place, &mut serve_as_owner(&place, &binary));
        assert_eq!(not_of(OWNER, &folders), Vec::<String>::new());
    }
}

#[test]
fn root_serves_a_state_of_its_own_and_says_so() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    work(&place, &mut place.spawn(&[]));
    assert!(place.log().contains("all that is made is root's own"), "{}", place.log());
    assert_eq!(not_of(0, &[place.path("state"), place.path("cache")]), Vec::<String>::new());
}

/// Shell words that start the service, ask it whether it is well, and end it.
const SERVE: &str = r#"serve() {
            /opt/knhk serve >/run/log 2>&1 & pid=$!
            looks=0
            until /opt/knhk health >/dev/null 2>&1 || [ $looks -ge 300 ]; do looks=$((looks + 1)); sleep 0.1; done
            /opt/knhk health | head -1
            kill $pid; wait $pid; echo "served: $?"
        }"#;

/// On an installed system, where only root can make the folders that a unit has while it runs.
#[test]
fn on_an_installed_system_root_serves_as_the_user_of_the_service_or_not_at_all() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let script = format!(
        "printf 'listen = \"{address}\"\ndisk_reserve_mb = 1\notel_enabled = false\n' > /etc/knhk/knhk.toml
        {SERVE}
        serve_owned() {{
            serve
            find /var/lib/knhk /var/cache/knhk /run/knhk '(' ! -user knhk -o ! -group knhk ')' -printf 'strange: %p %u\\n'
        }}
        serve_owned
        rm -r /run/knhk
        serve_owned
        stat -c '%U:%G %a %n' /var/lib/knhk /var/cache/knhk /run/knhk
        # Copied there by root.
        chown -R root:root /var/lib/knhk
        knhk serve
        touch /run/backup.tar.gz
        knhk backup restore /run/backup.tar.gz --yes
        knhk config fix
        serve_owned
        "
    );
    let Some(output) = on_a_system(&script) else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    expect![[r"
        degraded
        served: 0
        degraded
        served: 0
        knhk:knhk 750 /var/lib/knhk
        knhk:knhk 750 /var/cache/knhk
        knhk:knhk 750 /run/knhk
        error[KN0534]: /var/lib/knhk does not belong to knhk:knhk, whom the service runs as: root makes no files in it
        hint: sudo knhk config fix, then sudo systemctl start knhk
        = 78
        error[KN0534]: /var/lib/knhk does not belong to knhk:knhk, whom the service runs as: root makes no files in it
        hint: sudo knhk config fix, then the same restore again
        = 78
        chown -R knhk:knhk /var/lib/knhk
        install -d -m 0750 -o knhk -g knhk /var/backups/knhk
        = 0
        degraded
        served: 0
    "]].assert_eq(&text);
}

/// With folders above those of the service that are not there either, and a umask by which only their owner enters them.
#[test]
fn on_an_installed_system_root_makes_all_folders_that_are_missing_so_that_the_service_can_enter_them() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let script = format!(
        "printf 'listen = \"{address}\"\ndisk_reserve_mb = 1\notel_enabled = false\nstate_dir = \"/var/lib/one/two/state\"\ncache_dir = \"/var/cache/three/four/cache\"\n' > /etc/knhk/knhk.toml
        umask 077
        {SERVE}
        serve
        serve
        stat -c '%U:%G %a %n' /var/lib/one /var/lib/one/two /var/lib/one/two/state /var/cache/three /var/cache/three/four /var/cache/three/four/cache
        "
    );
    let Some(output) = on_a_system(&script) else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    expect![[r"
        degraded
        served: 0
        degraded
        served: 0
        root:root 755 /var/lib/one
        root:root 755 /var/lib/one/two
        knhk:knhk 750 /var/lib/one/two/state
        root:root 755 /var/cache/three
        root:root 755 /var/cache/three/four
        knhk:knhk 750 /var/cache/three/four/cache
    "]]
    .assert_eq(&text);
}
