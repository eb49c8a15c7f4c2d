//! A file system filled to the last byte under load, and freed again.

use std::collections::BTreeSet;
use std::fs;

use super::image::Image;
use super::{Fault, check_read_only, rounds, wait_for_health, wait_for_refusal, workers};
use crate::support::load;
use crate::support::service::Place;

const FAULT: &str = "disk full";
const AT_START: &str = "disk full at the start";
const BYTES: u64 = 48 << 20;
/// What such a disk says.
const FULL: &[&str] = &["no space left on device"];
/// Acknowledged requests before the disk is filled: at least, and at most so many more.
const BEFORE: (u64, u64) = (40, 120);
/// Acknowledged requests after it was freed.
const AFTER: u64 = 40;

/// Makes a place of which everything lies in the image.
fn place(image: &Image) -> Place {
    Place::with(&[
        ("state_dir", &image.setting("state")),
        ("cache_dir", &image.setting("cache")),
        // Small ones, so that new segments and checkpoints are wanted all the time.
        ("segment_bytes", "131072"),
        ("frame_bytes_max", "65536"),
        ("body_bytes_max", "65536"),
        ("checkpoint_seconds", "1"),
    ])
}

#[test]
fn a_full_disk_stops_changes_until_there_is_room_again() {
    let fault = Fault::begin(FAULT);
    let image = match Image::new(BYTES) {
        Ok(image) => image,
        Err(why) => return fault.skip(&why),
    };
    let mut random = fault.random();
    let mut place = place(&image);
    let mut service = place.start();
    load::register(&service);
    let mut workers = workers(&mut random);
    let mut said = BTreeSet::new();
    let mut acknowledged = 0;
    for _ in 0..rounds() {
        acknowledged += load::while_working(service.address, &mut workers, |progress| {
            progress.wait_for(BEFORE.0 + random.below(BEFORE.1));
            let filler = image.fill();
            said.insert(wait_for_refusal(&service, FULL));
            said.insert(check_read_only(&service, FULL));
            fs::remove_file(filler).unwrap();
            wait_for_health(&service, 200);
            progress.wait_for(AFTER);
            progress.answered()
        });
        load::compare(&service, &mut workers, usize::MAX, &mut random);
        place.verify();
    }
    assert!(service.stop().success(), "{}", place.log());
    place.verify();
    let done = format!("filled and freed {} times, {acknowledged} acknowledged around it", rounds());
    fault.report(&done, &said.into_iter().collect::<Vec<_>>().join(" / "));
}

#[test]
fn a_service_that_starts_on_a_full_disk_says_so_and_starts_when_there_is_room() {
    let fault = Fault::begin(AT_START);
    let image = match Image::new(BYTES) {
        Ok(image) => image,
        Err(why) => return fault.skip(&why),
    };
    let mut random = fault.random();
    let mut place = place(&image);
    let mut service = place.start();
    load::register(&service);
    let mut workers = workers(&mut random);
    let mut said = BTreeSet::new();
    for _ in 0..rounds() {
        let filler = load::while_working(service.address, &mut workers, |progress| {
            progress.wait_for(BEFORE.0 + random.below(BEFORE.1));
            let filler = image.fill();
            service.kill();
            filler
        });
        let before = place.log().len();
        let mut refused = place.spawn(&[]);
        if let Err(status) = refused.wait_until_answering() {
            assert!(status.code().is_some(), "a signal ended it: {status}\n{}", place.log());
            let log = place.log();
            let error = log[before..].lines().find(|line| line.contains("error")).unwrap_or_default();
            assert!(error.contains("KN"), "{}", &log[before..]);
            said.insert(format!("refused to start: {}", without_paths(error)));
        } else {
            said.insert(format!("starts: {}", wait_for_refusal(&refused, FULL)));
            check_read_only(&refused, FULL);
            refused.kill();
        }
        fs::remove_file(filler).unwrap();
        service = place.start();
        load::compare(&service, &mut workers, usize::MAX, &mut random);
        place.verify();
    }
    assert!(service.stop().success(), "{}", place.log());
    fault.report(
        &format!("filled, killed, started, freed, started: {} times", rounds()),
        &said.into_iter().collect::<Vec<_>>().join(" / "),
    );
}

/// Leaves folders out, which differ from run to run.
fn without_paths(line: &str) -> String {
    line.split(' ')
        .map(|word| word.rsplit_once('/').map_or(word, |(_, name)| name))
        .collect::<Vec<_>>()
        .join(" ")
}
