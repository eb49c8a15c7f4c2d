//! A running service with live cases, and what is measured on it while it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use super::drive::{Driver, Pace, Run};
use super::http::Client;
use super::place::{Place, Service};
use super::work::{self, Case, Stepper};
use super::{Outcome, Setup};

/// Longest wait for the last checkpoint.
const CHECKPOINT_MAX: Duration = Duration::from_secs(300);
/// A checkpoint that is due begins and ends within this.
const CHECKPOINT_SPARE: Duration = Duration::from_millis(1_500);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A service with live cases.
pub(crate) struct World {
    /// Where it runs.
    pub(crate) place: Place,
    /// Its process.
    pub(crate) service: Service,
    /// Its live cases.
    pub(crate) cases: Vec<Case>,
}

impl World {
    /// Starts a service in a new folder under `base` and creates so many live cases.
    pub(crate) fn new(
        base: &Path,
        binary: &Path,
        settings: &[(&'static str, String)],
        live: usize,
    ) -> Outcome<Self> {
        let place = Place::new(base, binary, settings)?;
        let (service, _) = place.start()?;
        work::register(&mut Client::new(service.address)?)?;
        let mut world = Self { place, service, cases: Vec::new() };
        world.add_live(live)?;
        Ok(world)
    }

    /// Creates more live cases.
    pub(crate) fn add_live(&mut self, count: usize) -> Outcome<()> {
        self.cases.extend(work::create(&mut self.client()?, "loop", count)?);
        Ok(())
    }

    /// Creates cases that are closed at once.
    pub(crate) fn add_closed(&mut self, count: usize) -> Outcome<()> {
        work::create(&mut self.client()?, "short", count)?;
        Ok(())
    }

    /// Returns a new connection.
    pub(crate) fn client(&self) -> Outcome<Client> {
        Client::new(self.service.address)
    }

    /// Runs `connections` connections over all live cases, each request with `lines` steps, 0 for single operations.
    pub(crate) fn drive(
        &mut self,
        connections: usize,
        lines: usize,
        time: Duration,
        pace: Pace,
        seed: u64,
    ) -> Outcome<Run> {
        let mut steppers = Stepper::deal(&std::mem::take(&mut self.cases), connections, lines, seed);
        let before = self.completed()?;
        let mut driver = Driver::new(self.service.address, connections)?;
        let run = driver.run(&mut steppers, time, pace)?;
        self.cases = Stepper::into_cases(steppers);
        let done = self.completed()? - before;
        // Lines of a batch are not read one by one; the service's own count tells whether all were done.
        if (done - run.steps as f64).abs() > 0.5 {
            return Err(format!("{} steps were answered and {done} done", run.steps).into());
        }
        Ok(run)
    }

    fn completed(&self) -> Outcome<f64> {
        Ok(self.service.metrics()?.of("knhk_workflow_tasks_completed_total"))
    }

    /// Returns how many checkpoints there were.
    pub(crate) fn checkpoints(&self) -> Outcome<f64> {
        Ok(self.service.metrics()?.of("knhk_checkpoint_seconds_count"))
    }

    /// Waits until checkpoints have come to an end: the service has then nothing left to do for what was asked.
    pub(crate) fn settle(&self, setup: &Setup) -> Outcome<()> {
        self.settle_every(setup.checkpoint_seconds())
    }

    /// Waits the same where a checkpoint follows a change within so many seconds.
    pub(crate) fn settle_every(&self, checkpoint_seconds: u64) -> Outcome<()> {
        let quiet = Duration::from_secs(checkpoint_seconds) + CHECKPOINT_SPARE;
        let began = Instant::now();
        let (mut count, mut since) = (self.checkpoints()?, Instant::now());
        while since.elapsed() < quiet {
            if began.elapsed() > CHECKPOINT_MAX {
                return Err(format!("checkpoints go on for {CHECKPOINT_MAX:?} after the last change").into());
            }
            std::thread::sleep(LOOK);
            let now = self.checkpoints()?;
            if now > count {
                (count, since) = (now, Instant::now());
            }
        }
        Ok(())
    }
}
