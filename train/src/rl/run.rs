//! A whole run: from settings to checkpoints, metrics and a model that thinks before it answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use latent_kernels::Backend;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;

use super::{RlConfig, RlEvaluation, RlPrepared, RlStepReport, RlTrainer, metrics};
use crate::TrainError;
use crate::checkpoint::Restored;
use crate::run::{Place, Records};

/// What a run tells while it goes on. `()` looks away.
pub trait RlWatch {
    /// All is read and the first step is about to be taken: `from` is the checkpoint that the run goes
    /// on from, and `step` the steps that were taken before.
    fn begins(&mut self, run: &RlPrepared, from: Option<&Path>, step: u64) {
        let _ = (run, from, step);
    }

    /// A step was taken.
    fn stepped(&mut self, report: &RlStepReport) {
        let _ = report;
    }

    /// The model answered the questions that are held out, after `step` steps.
    fn evaluated(&mut self, step: u64, evaluation: &RlEvaluation) {
        let _ = (step, evaluation);
    }

    /// A checkpoint was saved.
    fn saved(&mut self, folder: &Path) {
        let _ = folder;
    }

    /// Whether the run is to end here: it is asked after each step and what is due after it. A run that
    /// ends early saves a checkpoint, from which it goes on to the same bits.
    fn stop(&mut self) -> bool {
        false
    }
}

impl RlWatch for () {}

/// What a run ended with.
#[derive(Debug, Clone, PartialEq)]
pub struct RlOutcome {
    /// The steps taken, those before it was resumed included.
    pub step: u64,
    /// The newest checkpoint.
    pub checkpoint: PathBuf,
    /// The last step of this process; `None` where all steps had been taken before.
    pub last: Option<RlStepReport>,
    /// The first and the last evaluation of this process, with their steps.
    pub evaluations: Option<[(u64, RlEvaluation); 2]>,
    /// How long the steps of this process took.
    pub time: Duration,
    /// Whether it ended before its last step: see [`RlWatch::stop`].
    pub stopped: bool,
}

/// Trains as `config` says, on `backends` as of [`RlTrainer::new`], and leaves in the folder `config.run.out`:
///
/// | file | what |
/// | --- | --- |
/// | `step-XXXXXXXX/`, `latest` | checkpoints: see [`checkpoint`](crate::checkpoint) |
/// | `metrics.jsonl` | a JSON object for each step and each evaluation |
/// | `events.out.tfevents.*` | the same numbers for TensorBoard |
///
/// The model is evaluated before the first step. With `resume` the run goes on from the newest checkpoint, and
/// from the beginning where there is none; the result has the same bits as that of a run that was never
/// interrupted.
///
/// # Errors
/// [`TrainError::Occupied`] when a new run's folder holds another, [`TrainError::InUse`] when another
/// process writes to it, [`TrainError::Snapshot`] when the checkpoint is of other settings, or not
/// whole, or cannot be written, and the errors of [`RlPrepared::new`] and [`RlTrainer::step`]. The last
/// good checkpoint stays.
///
/// # Panics
/// When there is no backend.
pub fn rl<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    backends: Vec<B>,
    config: RlConfig,
    resume: bool,
    watch: &mut dyn RlWatch,
) -> Result<RlOutcome, TrainError> {
    config.validate()?;
    let place = Place::open(&config.run, resume)?;
    let newest = place.newest.clone();
    let run = Arc::new(RlPrepared::new(config)?);
    let mut trainer = match &newest {
        None => RlTrainer::new(backends, run.clone())?,
        Some(newest) => {
            let restored = Restored::read(newest, &run.settings(&backends[0]))?;
            RlTrainer::resume(backends, run.clone(), restored)?
        }
    };
    let mut records = place.records(&trainer.contents()?)?;
    let done = trainer.step_count();
    watch.begins(&run, newest.as_deref(), done);
    let mut outcome = RlOutcome {
        step: done,
        checkpoint: PathBuf::new(),
        last: None,
        evaluations: None,
        time: Duration::ZERO,
        stopped: false,
    };
    if done == 0 {
        evaluate(&trainer, &mut records, watch, &mut outcome)?;
    }
    while outcome.step < run.config.run.steps && !outcome.stopped {
        step(&mut trainer, &run, &mut records, watch, &mut outcome)?;
        outcome.stopped = outcome.step < run.config.run.steps && watch.stop();
    }
    if outcome.stopped {
        save(&trainer, &mut records, watch)?;
    }
    outcome.checkpoint = records.newest().into();
    Ok(outcome)
}

/// A step, and what is due after it.
fn step<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    trainer: &mut RlTrainer<B>,
    run: &RlPrepared,
    records: &mut Records,
    watch: &mut dyn RlWatch,
    outcome: &mut RlOutcome,
) -> Result<(), TrainError> {
    let report = trainer.step()?;
    let step = report.step;
    records.line(&metrics::step(&report))?;
    records.events.scalars(step, &metrics::step_scalars(&report))?;
    watch.stepped(&report);
    outcome.step = step;
    outcome.time += report.times.whole;
    let settings = &run.config.run;
    if settings.is_due(settings.eval_every, step) {
        records.events.loads(step, &report.loads)?;
        evaluate(trainer, records, watch, outcome)?;
    }
    outcome.last = Some(report);
    if settings.is_due(settings.checkpoint_every, step) {
        save(trainer, records, watch)?;
    }
    Ok(())
}

fn evaluate<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    trainer: &RlTrainer<B>,
    records: &mut Records,
    watch: &mut dyn RlWatch,
    outcome: &mut RlOutcome,
) -> Result<(), TrainError> {
    let (step, found) = (trainer.step_count(), trainer.evaluate()?);
    records.line(&metrics::evaluation(step, &found))?;
    records.events.scalars(step, &metrics::evaluation_scalars(&found))?;
    watch.evaluated(step, &found);
    match &mut outcome.evaluations {
        Some([_, last]) => *last = (step, found),
        none => *none = Some([(step, found.clone()), (step, found)]),
    }
    Ok(())
}

fn save<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    trainer: &RlTrainer<B>,
    records: &mut Records,
    watch: &mut dyn RlWatch,
) -> Result<(), TrainError> {
    if let Some(folder) = records.save(&trainer.contents()?)? {
        watch.saved(folder);
    }
    Ok(())
}
