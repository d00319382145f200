//! A checkpoint against what a model wants.

use std::collections::HashSet;
use std::fmt;

use latent_kernels::TensorSpec;

use super::error::CheckpointError;
use super::{Checkpoint, SCALE_SUFFIX};

/// Names that published files contain and that are no weights: tables that follow from the config.
const DERIVED_SUFFIXES: [&str; 1] = ["rotary_emb.inv_freq"];

/// How many tensors of one kind a message lists.
const LISTED: usize = 10;

/// What [`Checkpoint::verify`] lets pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Whether tensors that nobody wants are let pass.
    pub allow_extra: bool,
    /// Tensors whose name begins with one of these are let pass where nobody wants them: parts of
    /// the model that are left out on purpose.
    pub ignore_prefixes: Vec<String>,
}

/// How a checkpoint differs from what the model wants.
#[derive(Debug, Default)]
pub struct Mismatch {
    /// Wanted names that the checkpoint does not hold, in the order of the wish.
    pub missing: Vec<String>,
    /// Names of the checkpoint that nobody wants, sorted.
    pub unexpected: Vec<String>,
    /// What is wrong with each wanted tensor that is there: shape, element type, scales.
    pub unusable: Vec<CheckpointError>,
}

impl Checkpoint {
    /// Proves that the checkpoint holds every tensor of `wanted`, in its shape and in a type that
    /// can be a weight, and nothing else.
    ///
    /// The scales of wanted FP8 weights, and tables that follow from the config
    /// (`rotary_emb.inv_freq`), are never unexpected. Headers tell; no weight is read.
    ///
    /// # Errors
    /// [`CheckpointError::Mismatch`] with everything that is missing, unexpected or unusable.
    pub fn verify(
        &self,
        wanted: &[TensorSpec],
        options: &VerifyOptions,
    ) -> Result<(), CheckpointError> {
        let mut mismatch = Mismatch::default();
        let mut known = HashSet::new();
        for TensorSpec { name, shape } in wanted {
            known.insert(name.clone());
            match self.prove(name, shape) {
                Ok(proved) if proved.scale.is_some() => {
                    known.insert(format!("{name}{SCALE_SUFFIX}"));
                }
                Ok(_) => {}
                Err(CheckpointError::Missing { tensor }) => mismatch.missing.push(tensor),
                Err(error) => {
                    known.insert(format!("{name}{SCALE_SUFFIX}"));
                    mismatch.unusable.push(error);
                }
            }
        }
        let expected = |name: &str| {
            options.allow_extra
                || known.contains(name)
                || DERIVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
                || options.ignore_prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        mismatch.unexpected = self.names().filter(|n| !expected(n)).map(Into::into).collect();
        if mismatch.missing.is_empty()
            && mismatch.unexpected.is_empty()
            && mismatch.unusable.is_empty()
        {
            return Ok(());
        }
        Err(CheckpointError::Mismatch(Box::new(mismatch)))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the checkpoint is not what the config wants")?;
        let unusable: Vec<String> = self.unusable.iter().map(ToString::to_string).collect();
        for (what, all, before, between) in [
            ("missing", &self.missing, " ", ", "),
            ("unexpected", &self.unexpected, " ", ", "),
            ("unusable", &unusable, "\n  ", "\n  "),
        ] {
            if all.is_empty() {
                continue;
            }
            let shown = &all[..all.len().min(LISTED)];
            write!(f, "\n{what} tensors ({}):{before}{}", all.len(), shown.join(between))?;
            if shown.len() < all.len() {
                write!(f, "{between}...")?;
            }
        }
        Ok(())
    }
}
