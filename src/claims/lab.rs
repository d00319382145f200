//! What experiments share: a processor, and models that are trained when they are first asked for.

use std::cell::{OnceCell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};

use latent_model::kernels::cpu::{Cpu, Isa};
use latent_train::ablation::{Ablation, AblationConfig, AblationWatch, Jobs, RunResult, ablate};
use latent_train::config::{Override, TrainConfig};
use latent_train::rl::RlHistory;
use latent_train::{CLAIMS_TOML, PUBLIC_DOMAIN_TEXT};

use super::thinkers;
use crate::commands::{CommandError, units};
use crate::report::Sample;

/// How long experiments may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preset {
    /// Minutes.
    Quick,
    /// Hours.
    Full,
}

impl Preset {
    /// What a quick run has less of than [`CLAIMS_TOML`].
    const QUICK: [&str; 5] = [
        "run.steps=200",
        "run.eval_every=50",
        "run.checkpoint_every=200",
        "schedule.warmup=20",
        "ablation.seeds=[0, 1]",
    ];

    fn overrides(self) -> Result<Vec<Override>, CommandError> {
        let texts: &[&str] = match self {
            Self::Quick => &Self::QUICK,
            Self::Full => &[],
        };
        texts.iter().map(|text| Ok(text.parse()?)).collect()
    }
}

/// What experiments share.
pub(crate) struct Lab<'a> {
    /// How long experiments may take.
    pub(crate) preset: Preset,
    config: AblationConfig,
    watch: &'a dyn AblationWatch,
    /// The runs that were asked for.
    known: RefCell<Vec<RunResult>>,
    /// What is replaced in the settings of reinforcement learning.
    of_rl: Vec<Override>,
    thinkers: OnceCell<Vec<RlHistory>>,
    stop: &'a dyn Fn() -> bool,
}

impl<'a> Lab<'a> {
    /// With runs in the folder `runs`; what is there stays, and goes on. `stop` tells whether they are to end early.
    pub(crate) fn new(
        preset: Preset,
        runs: &Path,
        set: &[Override],
        watch: &'a dyn AblationWatch,
        stop: &'a dyn Fn() -> bool,
    ) -> Result<Self, CommandError> {
        let text = Self::text(runs)?;
        let (of_rl, of_ablation): (Vec<_>, Vec<_>) =
            set.iter().cloned().partition(|set| set.within("rl").is_some());
        let mut overrides = preset.overrides()?;
        overrides.extend(of_ablation);
        let mut config = AblationConfig::from_toml(CLAIMS_TOML, &overrides)?;
        for settings in config.settings_mut() {
            settings.data.files = vec![text.clone()];
            settings.run.out = runs.into();
        }
        Ok(Self {
            preset,
            config,
            watch,
            known: RefCell::default(),
            of_rl: of_rl.iter().filter_map(|set| set.within("rl")).collect(),
            thinkers: OnceCell::new(),
            stop,
        })
    }

    /// The default text, in a file.
    fn text(runs: &Path) -> Result<PathBuf, CommandError> {
        let path = runs.join("public-domain.jsonl");
        fs::create_dir_all(runs)
            .and_then(|()| fs::write(&path, PUBLIC_DOMAIN_TEXT))
            .map_err(|error| CommandError::io(&path, error))?;
        Ok(path)
    }

    /// The settings of all runs.
    pub(crate) fn config(&self) -> &AblationConfig {
        &self.config
    }

    /// The processor, with all of its cores.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu::new()
    }

    /// What became of the models that learn to think: they are trained when they are first asked for.
    pub(crate) fn thinkers(&self) -> Result<Vec<RlHistory>, CommandError> {
        if let Some(known) = self.thinkers.get() {
            return Ok(known.clone());
        }
        let found =
            thinkers::train(self.preset, &self.config.base.run.out, &self.of_rl, self.stop)?;
        Ok(self.thinkers.get_or_init(|| found).clone())
    }

    /// The runs of some variants: for each of them those of all seeds, in their order. Those that were not
    /// asked for before are trained.
    pub(crate) fn runs<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Vec<RunResult>; N], CommandError> {
        let mut known = self.known.borrow_mut();
        let mut config = self.config.clone();
        let is_new = |name: &str| known.iter().all(|run| run.variant != name);
        config.variants.retain(|v| names.contains(&v.name.as_str()) && is_new(&v.name));
        if !config.variants.is_empty() {
            known.extend(self.train(&config)?);
        }
        Ok(names.map(|name| known.iter().filter(|run| run.variant == name).cloned().collect()))
    }

    /// All runs of an ablation.
    fn train(&self, config: &AblationConfig) -> Result<Vec<RunResult>, CommandError> {
        let jobs = Jobs::of(Cpu::cores(), config.runs().count());
        let cpu = |run: &TrainConfig, threads| Ok(run.run.on(Cpu::with(Isa::best(), threads)?));
        let Ablation { results, failures, stopped } = ablate(cpu, config, jobs, true, self.watch)?;
        if let Some(failure) = failures.into_iter().next() {
            let detail = format!("{} (seed {})", failure.variant, failure.seed);
            return Err(CommandError::Failed(format!("{detail}: {}", failure.error)));
        }
        if stopped {
            return Err(CommandError::Stopped { runs: config.base.run.out.clone() });
        }
        Ok(results)
    }
}

/// The validation losses of a variant's runs.
pub(super) fn losses(runs: &[RunResult]) -> Sample {
    runs.iter().map(|run| run.loss).collect()
}

/// How far the loss of a variant is above that of another, as a share of the other's: for each seed.
pub(super) fn above(runs: &[RunResult], others: &[RunResult]) -> Sample {
    let other = |seed: u64| others.iter().find(|other| other.seed == seed);
    let share = |run: &RunResult| Some(run.loss / other(run.seed)?.loss - 1.0);
    runs.iter().filter_map(share).collect()
}

/// How many seeds of how many tokens a variant has.
pub(super) fn said(runs: &[RunResult]) -> String {
    let tokens = runs.first().map_or(0, |run| run.tokens);
    format!("{} of {} tokens", units::of(runs.len() as u64, "seed"), units::count(tokens))
}
