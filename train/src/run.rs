//! A whole run: from settings to checkpoints, metrics and a model that generates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use latent_kernels::Backend;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;

use crate::checkpoint::{Checkpoints, Restored};
use crate::config::TrainConfig;
use crate::{Evaluation, Prepared, StepReport, TrainError, Trainer};

mod folder;
mod json_lines;
mod metrics;
mod tensorboard;

pub(crate) use self::folder::RunFolder;
pub(crate) use self::json_lines::{JsonLines, of_loads};
pub(crate) use self::tensorboard::EventFile;

/// What a run tells while it goes on. `()` looks away.
pub trait Watch {
    /// All is read and the first step is about to be taken: `from` is the checkpoint that the run goes
    /// on from, and `step` the steps that were taken before.
    fn begins(&mut self, run: &Prepared, parameters: usize, from: Option<&Path>, step: u64) {
        let _ = (run, parameters, from, step);
    }

    /// A step was taken.
    fn stepped(&mut self, report: &StepReport) {
        let _ = report;
    }

    /// The model was evaluated after `step` steps.
    fn evaluated(&mut self, step: u64, evaluation: &Evaluation) {
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

impl Watch for () {}

/// What a run ended with.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The steps taken, those before it was resumed included.
    pub step: u64,
    /// The newest checkpoint.
    pub checkpoint: PathBuf,
    /// The last step of this process; `None` where all steps had been taken before.
    pub last: Option<StepReport>,
    /// The last evaluation of this process.
    pub evaluation: Option<Evaluation>,
    /// How long the steps of this process took.
    pub time: Duration,
    /// Whether it ended before its last step: see [`Watch::stop`].
    pub stopped: bool,
}

/// Trains as `config` says, and leaves in the folder `config.run.out`:
///
/// | file | what |
/// | --- | --- |
/// | `step-XXXXXXXX/`, `latest` | checkpoints: see [`checkpoint`](crate::checkpoint) |
/// | `metrics.jsonl` | a JSON object for each step and each evaluation |
/// | `events.out.tfevents.*` | the same numbers for TensorBoard |
/// | `tokenizer/` | the tokenizer, where one is trained |
///
/// There is a checkpoint before the first step: what cannot be saved is known before anything is
/// computed. With `resume` the run goes on from the newest checkpoint, and from the beginning where
/// there is none; the result has the same bits as that of a run that was never interrupted.
///
/// # Errors
/// [`TrainError::Occupied`] when a new run's folder holds another, [`TrainError::InUse`] when another
/// process writes to it, [`TrainError::Snapshot`] when the checkpoint is of other settings, or not
/// whole, or cannot be written, and the errors of [`Prepared::new`] and [`Trainer::step`]. The last
/// good checkpoint stays.
pub fn train<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    backend: B,
    config: TrainConfig,
    resume: bool,
    watch: &mut dyn Watch,
) -> Result<Outcome, TrainError> {
    config.validate()?;
    let checkpoints = Checkpoints::new(&config.run.out, config.run.keep)?;
    let folder = RunFolder::open(&config.run.out)?;
    let newest = checkpoints.latest()?;
    if let (Some(newest), false) = (&newest, resume) {
        return Err(folder.occupied(newest));
    }
    checkpoints.tidy()?;
    let tokenizer = newest.clone().unwrap_or_else(|| folder.tokenizer());
    let run = Arc::new(Prepared::new(config, &tokenizer, newest.is_some())?);
    let mut trainer = match &newest {
        None => Trainer::new(backend, run.clone())?,
        Some(newest) => {
            let restored = Restored::read(newest, &run.settings(&backend))?;
            Trainer::resume(backend, run.clone(), restored)?
        }
    };
    let checkpoint = match &newest {
        Some(newest) => newest.clone(),
        None => checkpoints.save(&trainer.contents()?)?,
    };
    let done = trainer.step_count();
    let metrics = JsonLines::open(&folder.metrics(), done)?;
    let events = EventFile::create(&folder, done)?;
    watch.begins(&run, trainer.weights().elements(), newest.as_deref(), done);
    let mut outcome = Outcome {
        step: done,
        checkpoint,
        last: None,
        evaluation: None,
        time: Duration::ZERO,
        stopped: false,
    };
    let mut outputs = Outputs { checkpoints, metrics, events, watch };
    while outcome.step < run.config.run.steps && !outcome.stopped {
        step(&mut trainer, &run, &mut outputs, &mut outcome)?;
        outcome.stopped = outcome.step < run.config.run.steps && outputs.watch.stop();
    }
    if outcome.stopped && outcome.checkpoint != outputs.checkpoints.folder(outcome.step) {
        outcome.checkpoint = outputs.save(&trainer)?;
    }
    Ok(outcome)
}

/// Where a run's results go.
struct Outputs<'a> {
    checkpoints: Checkpoints,
    metrics: JsonLines,
    events: EventFile,
    watch: &'a mut dyn Watch,
}

impl Outputs<'_> {
    /// Saves a checkpoint, which is never ahead of the metrics.
    fn save<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
        &mut self,
        trainer: &Trainer<B>,
    ) -> Result<PathBuf, TrainError> {
        self.metrics.sync()?;
        let folder = self.checkpoints.save(&trainer.contents()?)?;
        self.watch.saved(&folder);
        Ok(folder)
    }
}

/// A step, and what is due after it.
fn step<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    trainer: &mut Trainer<B>,
    run: &Prepared,
    outputs: &mut Outputs<'_>,
    outcome: &mut Outcome,
) -> Result<(), TrainError> {
    let report = trainer.step()?;
    let step = report.step;
    outputs.metrics.line(&metrics::step(&report))?;
    outputs.events.step(&report)?;
    outputs.watch.stepped(&report);
    outcome.step = step;
    outcome.time += report.time;
    let settings = &run.config.run;
    let due = |every: u64| step == settings.steps || every > 0 && step.is_multiple_of(every);
    if due(settings.eval_every) {
        outputs.events.loads(step, &report.loads)?;
    }
    outcome.last = Some(report);
    if due(settings.eval_every)
        && let Some(evaluation) = trainer.evaluate()?
    {
        outputs.metrics.line(&metrics::evaluation(step, &evaluation))?;
        outputs.events.evaluation(step, &evaluation)?;
        outputs.watch.evaluated(step, &evaluation);
        outcome.evaluation = Some(evaluation);
    }
    if due(settings.checkpoint_every) {
        outcome.checkpoint = outputs.save(trainer)?;
    }
    Ok(())
}
