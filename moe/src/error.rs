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
    /// A weight does not have the shape that the settings ask for.
    #[error("{name}: shape {found:?}, the config wants {wanted:?}")]
    Weight {
        /// The published name, relative to the layer, as in `experts.3.up_proj.weight`.
        name: String,
        /// `[rows, cols]` as given.
        found: [usize; 2],
        /// `[rows, cols]` as wanted; a vector has one row.
        wanted: [usize; 2],
    },
    /// A router logit is NaN or `+∞`.
    #[error(
        "router logits: {found} at token {token}, expert {expert}, want a finite number or -inf"
    )]
    Logit {
        /// The token's row.
        token: usize,
        /// The expert's column.
        expert: usize,
        /// The logit.
        found: f64,
    },
    /// A softmax over experts has nothing to choose from.
    #[error("router logits: every expert of token {token} has -inf, want one finite logit")]
    NoScore {
        /// The token's row.
        token: usize,
    },
    /// A bias is NaN or infinite.
    #[error("e_score_correction_bias: {found} at expert {expert}, want a finite number")]
    Bias {
        /// The expert.
        expert: usize,
        /// Its bias.
        found: f64,
    },
    /// A routing was made from choices that are none.
    #[error("routing: {name} {found}, want {wanted}")]
    Routing {
        /// Which part of the routing.
        name: &'static str,
        /// What was found.
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

    pub(crate) fn routing(
        name: &'static str,
        found: impl ToString,
        wanted: impl Into<String>,
    ) -> Self {
        Self::Routing { name, found: found.to_string(), wanted: wanted.into() }
    }

    pub(crate) fn shape(name: &str, found: &[usize], wanted: impl Into<String>) -> Self {
        KernelError::shape(name, found, wanted).into()
    }
}
