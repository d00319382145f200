//! The runs of an ablation, some at a time.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use latent_kernels::Backend;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;

use super::history::History;
use super::results::{RESULTS_FILE, Results};
use super::{AblationConfig, RoutingByKind, RoutingResult, RunResult, Variant};
use crate::checkpoint::{Checkpoints, Restored};
use crate::config::{TrainConfig, TrainConfigError};
use crate::data::Corpus;
use crate::run::RunFolder;
use crate::team::held;
use crate::{Prepared, TrainError, TrainStepError, Trainer, Watch, train};

/// What an ablation tells while it goes on. `()` looks away.
pub trait AblationWatch: Sync {
    /// A run begins or goes on, on a thread of its own: what it tells goes to what is returned.
    fn begins(&self, variant: &Variant, config: &TrainConfig) -> Box<dyn Watch + '_> {
        let _ = (variant, config);
        Box::new(())
    }

    /// A run is at its end; `before` says that it was when the ablation began.
    fn finished(&self, result: &RunResult, before: bool) {
        let _ = (result, before);
    }

    /// A run failed.
    fn failed(&self, failure: &Failure) {
        let _ = failure;
    }
}

impl AblationWatch for () {}

/// A run that failed.
#[derive(Debug)]
pub struct Failure {
    /// The variant.
    pub variant: String,
    /// The seed.
    pub seed: u64,
    /// Why.
    pub error: TrainError,
}

/// What an ablation came to.
#[derive(Debug, Default)]
pub struct Ablation {
    /// The runs that are at their end, in the order of [`AblationConfig::runs`].
    pub results: Vec<RunResult>,
    /// Those that failed: the others are not held up by them.
    pub failures: Vec<Failure>,
    /// Whether it was stopped before all runs were at their end.
    pub stopped: bool,
}

/// A run's place among all, and what it came to; `None` where it was stopped.
type Ended = (usize, Result<Option<RunResult>, Failure>);

/// How the runs of an ablation share the machine. No result depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jobs {
    /// How many runs go on at once.
    pub at_once: usize,
    /// The threads of each.
    pub threads: usize,
}

impl Jobs {
    /// A run on each of so many cores, where there are as many runs: small models leave the second thread of
    /// a run waiting.
    #[must_use]
    pub fn of(cores: usize, runs: usize) -> Self {
        let at_once = cores.min(runs).max(1);
        Self { at_once, threads: (cores / at_once).max(1) }
    }
}

/// Trains every variant with every seed. The folder `config.base.run.out` takes a folder for each run, as
/// [`train`] leaves it, and `results.jsonl`: see [`RunResult`].
///
/// With `resume`, runs that are at their end are taken from that file, those that are not go on, and the
/// rest begin. `backend` makes one for each run, by its settings, of so many threads.
///
/// # Errors
/// Before anything is computed: [`TrainError::Occupied`] when there are runs and `resume` is not given,
/// [`TrainError::InUse`] when another process writes there, [`TrainError::Io`] when the file of results is not
/// one or cannot be written, [`TrainError::Data`] for texts that cannot be read. What goes wrong with a run
/// alone is in [`Ablation::failures`].
pub fn ablate<B, F>(
    backend: F,
    config: &AblationConfig,
    jobs: Jobs,
    resume: bool,
    watch: &dyn AblationWatch,
) -> Result<Ablation, TrainError>
where
    B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>,
    F: Fn(&TrainConfig, usize) -> Result<B, TrainError> + Sync,
{
    let out = &config.base.run.out;
    let _folder = RunFolder::open(out)?;
    let results = Results::open(out)?;
    let runs: Vec<_> = config.runs().collect();
    if !resume {
        let begun = |(_, run): &(_, TrainConfig)| Checkpoints::new(&run.run.out, 1)?.latest();
        let begun = runs.iter().find_map(|run| begun(run).transpose()).transpose()?;
        let found = if results.is_empty() { begun } else { Some(out.join(RESULTS_FILE)) };
        if let Some(found) = found {
            let newest = found.strip_prefix(out).unwrap_or(&found).display().to_string();
            return Err(TrainError::Occupied { path: out.clone(), newest });
        }
    }
    Corpus::read(&config.base.data.files, &config.base.data.read_options())?;
    let results = Mutex::new(results);
    let next = AtomicUsize::new(0);
    let ended: Mutex<Vec<Ended>> = Mutex::default();
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(run) = runs.get(place) else { return };
            let found = one(&backend, jobs.threads, run, resume, &results, watch);
            if let Ok(None) = found {
                next.store(runs.len(), Ordering::Relaxed);
            }
            let (variant, seed) = (&run.0.name, run.1.run.seed);
            let failure = |error| Failure { variant: variant.clone(), seed, error };
            let found = found.map_err(failure).inspect_err(|failure| watch.failed(failure));
            held(&ended).push((place, found));
        }
    };
    thread::scope(|scope| {
        for _ in 1..jobs.at_once {
            scope.spawn(work);
        }
        work();
    });
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.sort_by_key(|(place, _)| *place);
    let mut ablation = Ablation { stopped: ended.len() < runs.len(), ..Ablation::default() };
    for (_, found) in ended {
        match found {
            Ok(Some(result)) => ablation.results.push(result),
            Ok(None) => ablation.stopped = true,
            Err(failure) => ablation.failures.push(failure),
        }
    }
    Ok(ablation)
}

/// A run from where it is to its end; `None` where it was stopped.
fn one<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    backend: &(impl Fn(&TrainConfig, usize) -> Result<B, TrainError> + Sync),
    threads: usize,
    (variant, config): &(&Variant, TrainConfig),
    resume: bool,
    results: &Mutex<Results>,
    watch: &dyn AblationWatch,
) -> Result<Option<RunResult>, TrainError> {
    let out = &config.run.out;
    let newest = Checkpoints::new(out, config.run.keep)?.latest()?;
    let tokenizer = newest.clone().unwrap_or_else(|| out.join("tokenizer"));
    let run = Arc::new(Prepared::new(config.clone(), &tokenizer, newest.is_some())?);
    let backend = || backend(config, threads);
    let settings = run.settings(&backend()?);
    let known = held(results).get(&variant.name, config.run.seed, &settings)?;
    if let Some(result) = known {
        watch.finished(&result, true);
        return Ok(Some(result));
    }
    let outcome = {
        let mut watch = watch.begins(variant, config);
        train(backend()?, config.clone(), resume, watch.as_mut())?
    };
    if outcome.stopped {
        return Ok(None);
    }
    let result = measure(backend()?, threads, variant, run, &outcome.checkpoint)?;
    held(results).append(&result)?;
    watch.finished(&result, false);
    Ok(Some(result))
}

/// Looks at a model whose run is at its end.
fn measure<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    backend: B,
    threads: usize,
    variant: &Variant,
    run: Arc<Prepared>,
    checkpoint: &Path,
) -> Result<RunResult, TrainError> {
    let config = &run.config;
    let first = Trainer::new(backend.clone(), run.clone())?;
    let settings = run.settings(&backend);
    let restored = Restored::read(checkpoint, &settings)?;
    let trainer = Trainer::resume(backend, run.clone(), restored)?;
    let evaluation = trainer.evaluate()?.ok_or_else(|| {
        let (field, found) = ("data.validation_fraction", config.data.validation_fraction);
        TrainConfigError::setting(field, found, "a share that leaves documents to validate with")
    })?;
    if !evaluation.loss.is_finite() {
        let (what, found) = ("validation loss", evaluation.loss);
        return Err(trainer.in_step(trainer.step_count(), TrainStepError::Loss { what, found }));
    }
    let by_kind = |trainer: &Trainer<B>| {
        let found = RoutingByKind::of(&trainer.model()?, &run);
        found.map_err(|source| trainer.in_step(trainer.step_count(), source.into()))
    };
    let routing = match run.model.moe {
        None => None,
        Some(_) => {
            let trained = by_kind(&trainer)?;
            Some(RoutingResult {
                mutual_information: trained.mutual_information(),
                untrained: by_kind(&first)?.mutual_information(),
                shuffled: trained.shuffled(config.run.seed).mutual_information(),
                trained,
            })
        }
    };
    let history = History::read(&config.run.out)?;
    let kinds = evaluation.kinds.iter().map(|(kind, found)| (kind.to_string(), *found));
    Ok(RunResult {
        variant: variant.name.clone(),
        seed: config.run.seed,
        point: variant.point.clone(),
        total_parameters: run.model.total_parameters(),
        active_parameters: run.model.active_parameters(),
        cache_bytes_per_token: run.model.cached_bytes_per_token(2),
        steps: trainer.step_count(),
        tokens: history.tokens(),
        loss: evaluation.loss,
        bits_per_byte: evaluation.bits_per_byte(),
        kinds: kinds.collect(),
        training: history.training(),
        validation: history.validation(),
        balance: history.balance(),
        routing,
        tokens_per_second: history.tokens_per_second(),
        threads,
        settings,
    })
}
