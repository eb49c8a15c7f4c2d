//! P10: backup and archive against `tar` of the same bytes through the same compressor, turn by turn.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use knhk::backup::EFFORT;
use knhk::store::SEALED_COMPRESSION_LEVEL;
use serde_json::{Value, json};

use super::figures::{Spread, percentile};
use super::goals::Row;
use super::growth::{SLOW_ROUNDS, bytes_of, forget, timed};
use super::world::World;
use super::{Outcome, Setup};

/// P10: `backup create`, which verifies what it wrote, against `tar` of the state alone. Both find the files out of the
/// cache, as a backup at night does, and both end on stable storage.
pub(crate) fn backed_up(setup: &Setup, world: &World) -> Outcome<Row> {
    let target = world.place.path().join("backup.tar.gz");
    let (mut ratios, mut took, mut packed, mut verified) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=SLOW_ROUNDS.min(setup.rounds) {
        forget(world)?;
        let tar = tar(world.place.path(), "state", &target, |out, packing| {
            let mut out = GzEncoder::new(out, Compression::new(EFFORT));
            io::copy(packing, &mut out)?;
            out.finish()
        })?;
        std::fs::remove_file(&target)?;
        forget(world)?;
        let create = timed(command(world, &["create", "--quiet", "--to"]).arg(&target))?;
        let verify = timed(command(world, &["verify", "--quiet"]).arg(&target))?;
        std::fs::remove_file(&target)?;
        if round > 0 {
            ratios.push(create / tar);
            took.push(create);
            packed.push(tar);
            verified.push(verify);
        }
    }
    let state = world.place.folders()[0].clone();
    let files: Vec<_> = world.place.files().into_iter().filter(|file| file.starts_with(&state)).collect();
    let bytes = bytes_of(&files)?;
    let said = format!(
        "{:.0} MB: {:.2} s of {:.2} s; `backup verify` alone takes {:.2} s",
        bytes as f64 / 1e6,
        percentile(&took, 50.0),
        percentile(&packed, 50.0),
        percentile(&verified, 50.0)
    );
    let detail = json!({
        "bytes": bytes,
        "create_s": Spread::of(&took).json(),
        "tar_s": Spread::of(&packed).json(),
        "verify_s": Spread::of(&verified).json(),
    });
    Ok(Row::new("P10 backup", &ratios, said, detail))
}

/// Returns a command on backups that shows nothing.
fn command(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.place.command();
    command.arg("backup").args(arguments).stdout(Stdio::null());
    command
}

/// P10: `workflow archive` of all closed cases of a store against `tar` of its journal, in which their entries lie as they
/// were written. The archive reads each case's entries along its chain, checks them, writes a file for each thousand
/// cases, and has each case's shard let it go durably.
pub(crate) fn archived(setup: &Setup) -> Outcome<Row> {
    let cases = setup.archived_cases();
    let (mut ratios, mut took, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SLOW_ROUNDS.min(setup.rounds) {
        let mut world = World::new(&setup.folder, &setup.binary, &setup.settings(), 0)?;
        world.add_closed(cases)?;
        world.settle(setup)?;
        let target = world.place.path().join("journal.tar.zst");
        let tar = tar(world.place.path(), "state/journal", &target, |out, packing| {
            let mut out = zstd::Encoder::new(out, SEALED_COMPRESSION_LEVEL)?;
            io::copy(packing, &mut out)?;
            out.finish()
        })?;
        let out = world.place.path().join("archive.json");
        let mut command = world.place.command();
        command.args(["workflow", "archive", "--older-than", "0s", "--json"]).stdout(File::create(&out)?);
        let archive = timed(&mut command)?;
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&out)?)?;
        if report["archived"] != cases {
            return Err(format!("{cases} cases were to be archived: {report}").into());
        }
        ratios.push(archive / tar);
        took.push(archive);
        packed.push(tar);
    }
    let (archive, tar) = (percentile(&took, 50.0), percentile(&packed, 50.0));
    let said = format!("{cases} cases: {archive:.2} s of {tar:.2} s, {:.0} cases/s", cases as f64 / archive);
    let detail =
        json!({ "cases": cases, "archive_s": Spread::of(&took).json(), "tar_s": Spread::of(&packed).json() });
    Ok(Row::new("P10 archive", &ratios, said, detail))
}

/// Packs a folder with `tar` through a compressor into a file, and returns how long it took until all was on stable
/// storage.
fn tar(
    base: &Path,
    folder: &str,
    target: &Path,
    compress: impl FnOnce(File, &mut dyn io::Read) -> io::Result<File>,
) -> Outcome<f64> {
    let began = Instant::now();
    let mut packing =
        Command::new("tar").arg("-C").arg(base).args(["-cf", "-", folder]).stdout(Stdio::piped()).spawn()?;
    let mut read = packing.stdout.take().ok_or("tar has no output")?;
    let mut out = compress(File::create(target)?, &mut read)?;
    out.flush()?;
    out.sync_all()?;
    let status = packing.wait()?;
    // 1: a file changed while it was read.
    if status.code().is_none_or(|code| code > 1) {
        return Err(format!("tar ended with {status}").into());
    }
    Ok(began.elapsed().as_secs_f64())
}
