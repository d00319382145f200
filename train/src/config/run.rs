//! `[run]`: how long, and where things go.

use std::path::PathBuf;

use latent_kernels::Dtype;
use latent_kernels::cpu::Cpu;
use latent_model::{Form, Keep};
use serde::{Deserialize, Serialize};

use super::TrainConfigError;
use super::error::{at_least_one, want};

/// How long a run is, what it leaves and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSection {
    /// The steps of the whole run.
    pub steps: u64,
    /// Where all chance comes from: first weights, order of documents, those that validate.
    pub seed: u64,
    /// The folder that takes checkpoints and metrics.
    pub out: PathBuf,
    /// The steps between two evaluations; 0 for none but the last.
    pub eval_every: u64,
    /// The most batches of an evaluation; absent, all of the validation documents.
    pub eval_batches: Option<usize>,
    /// The steps between two checkpoints: at most so many are lost.
    pub checkpoint_every: u64,
    /// How many checkpoints are kept.
    pub keep: usize,
    /// Keep what goes into layers alone, and compute the rest again: less memory, more time, the same
    /// bits.
    pub recompute: bool,
    /// How latent attention is computed.
    pub form: FormKind,
    /// What products are computed in.
    pub dtype: DtypeKind,
}

/// How latent attention is computed: see [`Form`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FormKind {
    /// [`Form::Expanded`].
    Expanded,
    /// [`Form::Absorbed`].
    Absorbed,
}

/// What the products of a step are computed in; the weights that an optimiser moves are `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtypeKind {
    /// All numbers are `f32`.
    F32,
    /// Matrices are rounded to bf16 before each step. So are activations and gradients where they meet them on a
    /// processor, see [`RunSection::on`]; the reference leaves those in `f32`.
    Bf16,
}

impl Default for RunSection {
    fn default() -> Self {
        Self {
            steps: 1000,
            seed: 0,
            out: "runs/latent".into(),
            eval_every: 100,
            eval_batches: None,
            checkpoint_every: 100,
            keep: 2,
            recompute: false,
            form: FormKind::Expanded,
            dtype: DtypeKind::F32,
        }
    }
}

impl RunSection {
    /// The form of latent attention.
    #[must_use]
    pub fn form(&self) -> Form {
        match self.form {
            FormKind::Expanded => Form::Expanded,
            FormKind::Absorbed => Form::Absorbed,
        }
    }

    /// A processor with products as the run wants them.
    #[must_use]
    pub fn on(&self, cpu: Cpu) -> Cpu {
        match self.dtype {
            DtypeKind::F32 => cpu,
            DtypeKind::Bf16 => cpu.bf16(),
        }
    }

    /// What matrices are rounded to before each step.
    #[must_use]
    pub fn stored(&self) -> Dtype {
        match self.dtype {
            DtypeKind::F32 => Dtype::F32,
            DtypeKind::Bf16 => Dtype::Bf16,
        }
    }

    /// Whether what is done once in `every` steps is due after `step` of them: after the last it always is.
    pub(crate) fn is_due(&self, every: u64, step: u64) -> bool {
        step == self.steps || every > 0 && step.is_multiple_of(every)
    }

    /// What is kept of layers.
    #[must_use]
    pub fn keep_of_layers(&self) -> Keep {
        if self.recompute { Keep::Inputs } else { Keep::Products }
    }

    pub(crate) fn validate(&self) -> Result<(), TrainConfigError> {
        at_least_one("run.steps", self.steps)?;
        want(self.steps < 1 << 53, "run.steps", self.steps, "below 2^53")?;
        at_least_one("run.checkpoint_every", self.checkpoint_every)?;
        at_least_one("run.keep", self.keep as u64)?;
        if let Some(batches) = self.eval_batches {
            at_least_one("run.eval_batches", batches as u64)?;
        }
        want(!self.out.as_os_str().is_empty(), "run.out", "nothing", "a folder")
    }
}
