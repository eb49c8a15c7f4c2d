//! What is in a state folder or an archive and none of the store's files: left out of backups and restored states, and told.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;
use tar::{Archive, Builder, EntryType, Header};

use super::{HEALTH_MAX, backup, busy, degraded, json_of, refused, shown, told};
use crate::ownership::{OWNER, give, is_root, not_of, owned_place, serve_as_owner, work};
use crate::support::service::{Place, files};
use crate::support::wait;

/// Strangers that are planted besides those that are looked for by name.
const MORE_COUNT: usize = 30;
/// Most sentences about what was left out: so many names, and how many more there are.
const TOLD_MAX: usize = 21;

fn header(kind: EntryType, bytes: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(bytes);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root").unwrap();
    header.set_groupname("root").unwrap();
    header
}

fn zipped(path: &Path) -> Builder<GzEncoder<File>> {
    Builder::new(GzEncoder::new(File::create(path).unwrap(), flate2::Compression::fast()))
}

/// Writes a backup again with members that a stranger planted, and every mode and owner changed.
fn planted(place: &Place, good: &Path) -> PathBuf {
    let path = place.path("planted.tar.gz");
    let root = place.path("state").strip_prefix("/").unwrap().to_owned();
    let mut out = zipped(&path);
    let mut put = |name: &Path, mode: u32| {
        out.append_data(&mut header(EntryType::Regular, 6, mode), name, &b"pwned\n"[..]).unwrap();
    };
    put(&root.join("rootshell"), 0o4755);
    put(&root.join("journal/rootshell"), 0o6755);
    put(&root.join("aside-5/journal/00000000000000000001-0000000001.jnl"), 0o644);
    put(&root.join("aside-5/letter"), 0o644);
    // A state within the state.
    put(&root.join("history/store"), 0o644);
    (0..MORE_COUNT).for_each(|number| put(&root.join(format!("z{number}")), 0o777));
    let mut link = header(EntryType::Symlink, 0, 0o777);
    out.append_link(&mut link, root.join("link"), "/etc/passwd").unwrap();
    let mut from = Archive::new(GzDecoder::new(File::open(good).unwrap()));
    for member in from.entries().unwrap() {
        let mut member = member.unwrap();
        let name = member.path().unwrap().into_owned();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).unwrap();
        let mut changed = header(member.header().entry_type(), bytes.len() as u64, 0o7777);
        out.append_data(&mut changed, name, &bytes[..]).unwrap();
    }
    out.into_inner().unwrap().finish().unwrap();
    path
}

fn told_of(document: &Value, name: &str) -> bool {
    document["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains(name))
}

#[test]
fn of_an_archive_only_the_files_of_the_store_are_restored_with_its_owner_and_safe_modes() {
    let (from, mut service, _) = busy();
    let good = backup(&from);
    let expected = shown(&from);
    assert!(service.stop().success());
    let planted = planted(&from, &good);
    // Two files of strange names, a state in the state, the folder aside, the link, and the others.
    let count = 2 + 1 + 1 + 1 + MORE_COUNT;
    let check = |said: &Value| {
        assert_eq!(said["left_out"], count, "{said}");
        assert!(said["notes"].as_array().unwrap().len() <= TOLD_MAX, "{said}");
        for name in ["state/rootshell is", "journal/rootshell is", "aside-5 is"] {
            assert!(told_of(said, name) || name.starts_with("aside"), "{name}: {said}");
        }
    };
    check(&json_of(&from, &["backup", "verify", planted.to_str().unwrap()]));
    if !is_root() {
        return;
    }
    for has_state in [true, false] {
        let (place, binary) = owned_place();
        if has_state {
            fs::create_dir(place.path("state")).unwrap();
            fs::set_permissions(place.path("state"), fs::Permissions::from_mode(0o750)).unwrap();
            give(&place.path("state"));
        }
        check(&json_of(&place, &["backup", "restore", planted.to_str().unwrap(), "--yes"]));
        let state = place.path("state");
        assert_eq!(not_of(OWNER, std::slice::from_ref(&state)), Vec::<String>::new());
        for path in files(&state).into_keys().map(PathBuf::from).chain([state.clone()]) {
            let about = fs::symlink_metadata(&path).unwrap();
            let most = if about.is_dir() { 0o750 } else { 0o640 };
            assert_eq!(about.permissions().mode() & 0o7777 & !most, 0, "{}", path.display());
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(!["rootshell", "link", "letter"].contains(&name) && !name.starts_with('z'), "{name}");
        }
        assert!(!state.join("history/store").exists() && !state.join("aside-5").exists());
        assert_eq!(shown(&place), expected);
        work(&place, &mut serve_as_owner(&place, &binary));
        assert_eq!(not_of(OWNER, &[state]), Vec::<String>::new());
    }
}

#[test]
fn a_backup_has_nothing_of_what_is_aside_or_strange_and_says_so() {
    let (place, mut service, _) = busy();
    assert!(service.stop().success());
    let state = place.path("state");
    fs::create_dir_all(state.join("aside-9/journal")).unwrap();
    fs::create_dir(state.join("folder")).unwrap();
    for name in ["letter", "journal/letter", "aside-9/journal/x", "folder/x", "journal/7.tmp"] {
        fs::write(state.join(name), "a letter").unwrap();
    }
    let made = json_of(&place, &["backup", "create"]);
    assert_eq!(made["left_out"], 4, "{made}");
    for name in
        ["letter is left out", "journal/letter is left out", "aside-9 is left out", "folder is left out"]
    {
        assert!(told_of(&made, name), "{name}: {made}");
    }
    let mut archive = Archive::new(GzDecoder::new(File::open(made["file"].as_str().unwrap()).unwrap()));
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    let strange =
        |name: &&String| ["letter", "aside", "folder", ".tmp"].iter().any(|part| name.contains(part));
    assert!(names.len() > 3 && !names.iter().any(|name| strange(&name)), "{names:?}");
    let said = told(&place.knhk(&["backup", "create", "--to", place.path("again.tar.gz").to_str().unwrap()]));
    assert!(said.contains("note: aside-9 is left out: it was moved aside"), "{said}");
}

#[test]
fn what_lies_aside_is_shown_told_of_when_it_is_old_and_deleted_when_somebody_agrees() {
    let (place, mut service, _) = busy();
    let state = place.path("state");
    fs::create_dir_all(state.join("aside-9/journal")).unwrap();
    fs::write(state.join("aside-9/journal/x"), [7; 1_000]).unwrap();
    // Not one of the folders that are made: it stays.
    fs::create_dir(state.join("aside-x")).unwrap();
    let why = "files moved aside take 1000 bytes, since 1970-01-01";
    let is_told = || degraded(&service).iter().any(|reason| reason.starts_with(why));
    assert!(wait::until(HEALTH_MAX, || is_told().then_some(())).is_some(), "{:?}", degraded(&service));
    let info = json_of(&place, &["state", "info"]);
    let asides = info["asides"].as_array().unwrap();
    assert_eq!(
        (asides.len(), &asides[0]["name"], &asides[0]["bytes"]),
        (1, &"aside-9".into(), &1_000.into())
    );
    assert!(told(&place.knhk(&["state", "info"])).contains("knhk state trim --aside"));
    let (code, said) = refused(&place, &["state", "trim", "--aside"], 2);
    assert!(code == "KN0659" && said.contains("the only copy"), "{said}");
    assert!(state.join("aside-9/journal/x").exists());
    let gone = json_of(&place, &["state", "trim", "--aside", "--yes"]);
    assert_eq!((&gone["bytes"], gone["asides"].as_array().unwrap().len()), (&1_000.into(), 1), "{gone}");
    assert!(!state.join("aside-9").exists() && state.join("aside-x").exists());
    let (code, said) = refused(&place, &["state", "trim", "--aside", "--now", "--yes"], 2);
    assert!(code == "KN0650" && said.contains("--now and --aside do not go together"), "{code} {said}");
    let again = json_of(&place, &["state", "trim", "--aside", "--yes"]);
    assert_eq!(again["bytes"], 0, "{again}");
    assert!(wait::until(HEALTH_MAX, || (!is_told()).then_some(())).is_some(), "{:?}", degraded(&service));
    assert!(service.stop().success());
}

#[test]
fn who_may_not_look_at_the_state_or_delete_in_it_is_not_told_that_nothing_is_aside() {
    if !is_root() {
        return;
    }
    let (place, binary) = owned_place();
    let state = place.path("state");
    fs::create_dir_all(state.join("aside-9/journal")).unwrap();
    give(&state);
    let trim = |user: u32, mode: u32| {
        fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = std::process::Command::new("setpriv");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("KNHK_CONFIG", place.path("knhk.toml"));
        command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
        let output = command.arg(&binary).args(["state", "trim", "--aside", "--yes"]).output().unwrap();
        (output.status.code(), told(&output))
    };
    let (status, said) = trim(OWNER - 1, 0o700);
    assert!(status == Some(74) && said.contains("cannot list"), "{status:?} {said}");
    // What root made, another user cannot delete.
    let (status, said) = trim(OWNER, 0o700);
    assert!(status == Some(74) && said.contains("cannot delete"), "{status:?} {said}");
    give(&state.join("aside-9"));
    give(&state.join("aside-9/journal"));
    let (status, said) = trim(OWNER, 0o700);
    assert!(status == Some(0) && said.contains("1 folder with 0 bytes is gone"), "{status:?} {said}");
}

#[test]
fn what_an_archive_says_about_its_members_is_bounded() {
    let (place, mut service, _) = busy();
    assert!(service.stop().success());
    let refused = |file: &Path| {
        let (code, said) = refused(&place, &["backup", "verify", file.to_str().unwrap()], 1);
        assert_eq!(code, "KN0454", "{said}");
        said
    };
    // A name of 64 MiB, which takes 64 KB.
    let long = place.path("long.tar.gz");
    let mut out = zipped(&long);
    let mut name = header(EntryType::GNULongName, 64 << 20, 0o644);
    name.set_cksum();
    out.append(&name, std::io::repeat(b'a').take(64 << 20)).unwrap();
    out.append_data(&mut header(EntryType::Regular, 1, 0o644), "state/store", &b"x"[..]).unwrap();
    out.into_inner().unwrap().finish().unwrap();
    assert!(fs::metadata(&long).unwrap().len() < 512 * 1024);
    let said = refused(&long);
    assert!(said.contains("say what a member is"), "{said}");
    // A file that says that it is larger than any.
    let large = place.path("large.tar");
    let mut name = header(EntryType::Regular, 1 << 41, 0o644);
    name.set_path("state/journal/00000000000000000001-0000000001.jnl").unwrap();
    name.set_cksum();
    let mut out = File::create(&large).unwrap();
    out.write_all(name.as_bytes()).unwrap();
    out.write_all(&[0; 4096]).unwrap();
    let said = refused(&large);
    assert!(said.contains("says that it has"), "{said}");
    // One whose holes alone are larger than any, of a name that the store has not: its zeros are not read.
    let holes = place.path("holes.tar");
    fs::write(&holes, sparse("letter", 1 << 62)).unwrap();
    let said = refused(&holes);
    assert!(said.contains("a file in it says that it has"), "{said}");
    // Each no larger than one may be, and together more than all may be.
    let together = place.path("together.tar");
    let members: Vec<u8> = (0..5).flat_map(|number| sparse(&format!("letter{number}"), 1 << 40)).collect();
    fs::write(&together, members).unwrap();
    let said = refused(&together);
    assert!(said.contains("all that is in it says that it has"), "{said}");
    // What is left out is passed over by the bytes that it has in the archive.
    let one = place.path("one.tar");
    let mut members: Vec<u8> = sparse("letter", 1 << 40);
    members.extend([0; 1024]);
    fs::write(&one, members).unwrap();
    let (code, said) = self::refused(&place, &["backup", "verify", one.to_str().unwrap()], 1);
    assert_eq!(code, "KN0455", "{said}");
}

/// Returns a member of a tar file that is one hole of so many bytes, and nothing behind it.
fn sparse(name: &str, bytes: u64) -> Vec<u8> {
    let mut head = header(EntryType::GNUSparse, 0, 0o644);
    head.set_path(name).unwrap();
    let gnu = head.as_gnu_mut().unwrap();
    gnu.set_real_size(bytes);
    // As tar writes numbers that have no room as digits.
    gnu.sparse[0].offset = [0; 12];
    gnu.sparse[0].offset[0] = 0x80;
    gnu.sparse[0].offset[4..].copy_from_slice(&bytes.to_be_bytes());
    gnu.sparse[0].numbytes = *b"00000000000\0";
    head.set_cksum();
    head.as_bytes().to_vec()
}
