//! What can go wrong between logits and a token, by cause.

/// An error of sampling or of stop strings.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// A setting is outside of its range.
    #[error("{name}: must be {wanted}, got {found}")]
    Setting {
        /// The setting, as in `temperature` or `stop[2]`.
        name: String,
        /// Its value.
        found: String,
        /// The range.
        wanted: String,
    },
    /// A logit is NaN or positive infinity.
    #[error("logits: token id {id} has {found}, want a number or -inf")]
    Logit {
        /// The token id.
        id: usize,
        /// Its logit.
        found: f64,
    },
    /// There is no token to choose from.
    #[error("logits: {found} tokens and none above -inf, want at least one")]
    NoCandidate {
        /// The number of logits.
        found: usize,
    },
    /// A token of the sequence has no logit.
    #[error("previous: token id {found}, want one below the vocabulary's {limit}")]
    Previous {
        /// The id.
        found: u32,
        /// The number of logits.
        limit: usize,
    },
}

impl SamplingError {
    pub(crate) fn setting(
        name: impl Into<String>,
        found: impl ToString,
        wanted: impl Into<String>,
    ) -> Self {
        Self::Setting { name: name.into(), found: found.to_string(), wanted: wanted.into() }
    }
}
