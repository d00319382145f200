//! Dispatch: one row for each choice of the gate, sorted by expert, and their way back.
//!
//! Dropless: an expert gets every token that chose it, however many. Rows of one expert keep the
//! order of their tokens. Combining adds a token's weighted rows **in ascending expert id**, so
//! that its result has the same bits whatever else is in the batch.
//!
//! # Shapes
//! - dispatch: `x` `[token, dim]` gives rows `[token * num_experts_per_tok, dim]`
//! - combine: such rows give `[token, dim]`: `y_t = Σ_e w_te row_te`
//!
//! # Source
//! DeepSeek-V2 (arXiv 2405.04434), equation 20; dropless as in MegaBlocks (arXiv 2211.15841).

use std::ops::Range;

use crate::{MoeError, Routing};

pub(crate) mod backward;
pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod reference;

/// Where each choice of a [`Routing`] lies when rows are sorted by expert, stably.
///
/// ```
/// use latent_moe::{Dispatch, Routing};
/// // Token 0 goes to experts 0 and 2, token 1 to experts 1 and 2.
/// let routing = Routing::new(3, 2, vec![0, 2, 1, 2], vec![0.75, 0.25, 0.5, 0.5])?;
/// let dispatch = Dispatch::new(&routing);
/// assert_eq!(dispatch.tokens(), [0, 1, 0, 1]);
/// assert_eq!(dispatch.weights(), [0.75, 0.5, 0.25, 0.5]);
/// assert_eq!(dispatch.rows_of_expert(2), 2..4);
/// assert_eq!(dispatch.rows_of_token(1), [1, 3]);
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    num_experts_per_tok: usize,
    offsets: Vec<usize>, // [expert + 1]
    tokens: Vec<usize>,  // [row]
    weights: Vec<f64>,   // [row]
    rows: Vec<usize>,    // [token, num_experts_per_tok]
}

impl Dispatch {
    /// Sorts the choices of `routing` by expert, in time linear in choices and experts.
    #[must_use]
    pub fn new(routing: &Routing) -> Self {
        let k = routing.num_experts_per_tok();
        let mut offsets = vec![0; routing.n_routed_experts() + 1];
        for &expert in routing.experts() {
            offsets[expert + 1] += 1;
        }
        for expert in 0..routing.n_routed_experts() {
            offsets[expert + 1] += offsets[expert];
        }
        let mut next = offsets.clone();
        let mut tokens = vec![0; routing.experts().len()];
        let mut weights = vec![0.0; routing.experts().len()];
        let mut rows = Vec::with_capacity(routing.experts().len());
        for (choice, (&expert, &weight)) in
            routing.experts().iter().zip(routing.weights()).enumerate()
        {
            let row = next[expert];
            next[expert] += 1;
            tokens[row] = choice / k;
            weights[row] = weight;
            rows.push(row);
        }
        Self { num_experts_per_tok: k, offsets, tokens, weights, rows }
    }

    /// The first row of each expert, and the number of rows: `[expert + 1]`.
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The token of each row.
    #[must_use]
    pub fn tokens(&self) -> &[usize] {
        &self.tokens
    }

    /// The weight of each row.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The rows of one expert, empty where no token chose it.
    ///
    /// # Panics
    /// When there is no such expert.
    #[must_use]
    pub fn rows_of_expert(&self, expert: usize) -> Range<usize> {
        self.offsets[expert]..self.offsets[expert + 1]
    }

    /// The rows of one token, in ascending expert id.
    ///
    /// # Panics
    /// When there is no such token.
    #[must_use]
    pub fn rows_of_token(&self, token: usize) -> &[usize] {
        &self.rows[token * self.num_experts_per_tok..][..self.num_experts_per_tok]
    }
}

/// Proves that `x` has one row for each token of `routing`.
///
/// # Errors
/// [`MoeError::Kernel`] when it has not.
pub fn check_tokens(x: &[usize], routing: &Routing) -> Result<(), MoeError> {
    want_rows("dispatch: x", x, routing.tokens())
}

/// Proves that `rows` has one row for each choice of `routing`.
///
/// # Errors
/// [`MoeError::Kernel`] when it has not.
pub fn check_rows(rows: &[usize], routing: &Routing) -> Result<(), MoeError> {
    want_rows("combine: rows", rows, routing.experts().len())
}

pub(crate) fn want_rows(name: &str, found: &[usize], rows: usize) -> Result<(), MoeError> {
    if matches!(found, [n, _] if *n == rows) {
        return Ok(());
    }
    Err(MoeError::shape(name, found, format!("want [{rows}, dim] by the routing")))
}
