//! A whole run: from settings to checkpoints, metrics and a model that generates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use latent_kernels::Backend;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;

use crate::checkpoint::Restored;
use crate::config::TrainConfig;
use crate::{Evaluation, Prepared, StepReport, TrainError, Trainer};

mod folder;
mod json_lines;
mod metrics;
mod records;
mod tensorboard;

pub use self::folder::METRICS_FILE;
pub(crate) use self::folder::RunFolder;
use self::json_lines::JsonLines;
pub(crate) use self::json_lines::of_loads;
pub(crate) use self::records::{Place, Records};
use self::tensorboard::EventFile;

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
    let place = Place::open(&config.run, resume)?;
    let newest = place.newest.clone();
    let tokenizer = newest.clone().unwrap_or_else(|| place.folder.tokenizer());
    let run = Arc::new(Prepared::new(config, &tokenizer, newest.is_some())?);
    let mut trainer = match &newest {
        None => Trainer::new(backend, run.clone())?,
        Some(newest) => {
            let restored = Restored::read(newest, &run.settings(&backend))?;
            Trainer::resume(backend, run.clone(), restored)?
        }
    };
    let mut records = place.records(&trainer.contents()?)?;
    let done = trainer.step_count();
    watch.begins(&run, trainer.weights().elements(), newest.as_deref(), done);
    let mut outcome = Outcome {
        step: done,
        checkpoint: PathBuf::new(),
        last: None,
        evaluation: None,
        time: Duration::ZERO,
        stopped: false,
    };
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
    trainer: &mut Trainer<B>,
    run: &Prepared,
    records: &mut Records,
    watch: &mut dyn Watch,
    outcome: &mut Outcome,
) -> Result<(), TrainError> {
    let report = trainer.step()?;
    let step = report.step;
    records.line(&metrics::step(&report))?;
    records.events.step(&report)?;
    watch.stepped(&report);
    outcome.step = step;
    outcome.time += report.time;
    let settings = &run.config.run;
    if settings.is_due(settings.eval_every, step) {
        records.events.loads(step, &report.loads)?;
        if let Some(evaluation) = trainer.evaluate()? {
            records.line(&metrics::evaluation(step, &evaluation))?;
            records.events.evaluation(step, &evaluation)?;
            watch.evaluated(step, &evaluation);
            outcome.evaluation = Some(evaluation);
        }
    }
    outcome.last = Some(report);
    if settings.is_due(settings.checkpoint_every, step) {
        save(trainer, records, watch)?;
    }
    Ok(())
}

fn save<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    trainer: &Trainer<B>,
    records: &mut Records,
    watch: &mut dyn Watch,
) -> Result<(), TrainError> {
    if let Some(folder) = records.save(&trainer.contents()?)? {
        watch.saved(folder);
    }
    Ok(())
}
