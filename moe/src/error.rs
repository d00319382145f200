//! What can go wrong in gating, dispatch and experts, by cause.

use latent_kernels::KernelError;

/// An error of the gate or of the experts.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MoeError {
    /// A size or setting of a layer is not usable.
    #[error("{field}: must be {wanted}, got {found}")]
    Config {
        /// The key of `config.json`.
        field: &'static str,
        /// Its value.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// A primitive refused its arguments.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl MoeError {
    pub(crate) fn config(
        field: &'static str,
        found: impl ToString,
        wanted: impl Into<String>,
    ) -> Self {
        Self::Config { field, found: found.to_string(), wanted: wanted.into() }
    }
}
