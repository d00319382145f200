//! A whole run: from settings to checkpoints, metrics and a model that thinks before it answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use latent_kernels::Backend;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;

use super::{RlConfig, RlEvaluation, RlPrepared, RlStepReport, RlTrainer, metrics};
use crate::TrainError;
use crate::checkpoint::{Checkpoints, Restored};
use crate::run::{EventFile, JsonLines, RunFolder};

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
    let checkpoints = Checkpoints::new(&config.run.out, config.run.keep)?;
    let folder = RunFolder::open(&config.run.out)?;
    let newest = checkpoints.latest()?;
    if let (Some(newest), false) = (&newest, resume) {
        return Err(folder.occupied(newest));
    }
    checkpoints.tidy()?;
    let run = Arc::new(RlPrepared::new(config)?);
    let mut trainer = match &newest {
        None => RlTrainer::new(backends, run.clone())?,
        Some(newest) => {
            let restored = Restored::read(newest, &run.settings(&backends[0]))?;
            RlTrainer::resume(backends, run.clone(), restored)?
        }
    };
    let checkpoint = match &newest {
        Some(newest) => newest.clone(),
        None => checkpoints.save(&trainer.contents()?)?,
    };
    let done = trainer.step_count();
    let metrics = JsonLines::open(&folder.metrics(), done)?;
    let events = EventFile::create(&folder, done)?;
    watch.begins(&run, newest.as_deref(), done);
    let mut outcome = RlOutcome {
        step: done,
        checkpoint,
        last: None,
        evaluations: None,
        time: Duration::ZERO,
        stopped: false,
    };
    let mut outputs = Outputs { checkpoints, metrics, events, watch };
    if done == 0 {
        outputs.evaluate(&trainer, &mut outcome)?;
    }
    while outcome.step < run.config.run.steps && !outcome.stopped {
        outputs.step(&mut trainer, &run, &mut outcome)?;
        outcome.stopped = outcome.step < run.config.run.steps && outputs.watch.stop();
    }
    if outcome.stopped && outcome.checkpoint != outputs.checkpoints.folder(outcome.step) {
        outputs.save(&trainer, &mut outcome)?;
    }
    Ok(outcome)
}

/// Where a run's results go.
struct Outputs<'a> {
    checkpoints: Checkpoints,
    metrics: JsonLines,
    events: EventFile,
    watch: &'a mut dyn RlWatch,
}

impl Outputs<'_> {
    /// A step, and what is due after it.
    fn step<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
        &mut self,
        trainer: &mut RlTrainer<B>,
        run: &RlPrepared,
        outcome: &mut RlOutcome,
    ) -> Result<(), TrainError> {
        let report = trainer.step()?;
        let step = report.step;
        self.metrics.line(&metrics::step(&report))?;
        self.events.scalars(step, &metrics::step_scalars(&report))?;
        self.watch.stepped(&report);
        outcome.step = step;
        outcome.time += report.times.whole;
        let settings = &run.config.run;
        let due = |every: u64| step == settings.steps || every > 0 && step.is_multiple_of(every);
        if due(settings.eval_every) {
            self.events.loads(step, &report.loads)?;
            self.evaluate(trainer, outcome)?;
        }
        outcome.last = Some(report);
        if due(settings.checkpoint_every) {
            self.save(trainer, outcome)?;
        }
        Ok(())
    }

    fn evaluate<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
        &mut self,
        trainer: &RlTrainer<B>,
        outcome: &mut RlOutcome,
    ) -> Result<(), TrainError> {
        let (step, found) = (trainer.step_count(), trainer.evaluate()?);
        self.metrics.line(&metrics::evaluation(step, &found))?;
        self.events.scalars(step, &metrics::evaluation_scalars(&found))?;
        self.watch.evaluated(step, &found);
        match &mut outcome.evaluations {
            Some([_, last]) => *last = (step, found),
            none => *none = Some([(step, found.clone()), (step, found)]),
        }
        Ok(())
    }

    /// Saves a checkpoint, which is never ahead of the metrics.
    fn save<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
        &mut self,
        trainer: &RlTrainer<B>,
        outcome: &mut RlOutcome,
    ) -> Result<(), TrainError> {
        self.metrics.sync()?;
        outcome.checkpoint = self.checkpoints.save(&trainer.contents()?)?;
        self.watch.saved(&outcome.checkpoint);
        Ok(())
    }
}
