//! Rotary position embedding, with YaRN.
//!
//! # Shapes
//! - `x`: `[token, head, dim]`; the **last** `2 * frequencies` elements of each head are rotated,
//!   those before them pass unchanged
//! - `positions`: `[token]`
//! - returns the shape of `x`
//!
//! Pair `i` of the rotated part turns by the angle `position * frequency[i]` and is stretched by
//! the table's `attention_factor`. Which two elements make a pair is the table's [`PairLayout`].
//! Angles, sines and cosines are computed in `f64` on every backend and rounded once.
//!
//! ```
//! use latent_kernels::{Backend, PairLayout, Reference, RopeTable};
//! let cpu = Reference::<f64>::new();
//! let table = RopeTable::new(2, 10_000.0, None, PairLayout::Interleaved)?; // one radian a position
//! let x = cpu.upload(&[7.0, 1.0, 0.0], &[1, 1, 3])?;
//! let y = cpu.rope(&x, &table, &[2])?;
//! assert_eq!(cpu.download(&y)?, [7.0, 2.0_f64.cos(), 2.0_f64.sin()]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```
//!
//! # Source
//! Su et al., *RoFormer* (arXiv 2104.09864), equation 34; Peng et al., *YaRN* (arXiv 2309.00071),
//! section 3.2 and 3.3, in the form that DeepSeek released.

use std::f64::consts::PI;

use crate::KernelError;

pub mod backward;
pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
pub(crate) mod reference;

/// Which two elements of the rotated part turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PairLayout {
    /// Neighbours `(2i, 2i + 1)`: the released DeepSeek weights.
    Interleaved,
    /// `(i, i + n/2)`: Llama.
    HalfSplit,
}

/// YaRN's stretch of a model's context, with the keys of `rope_scaling`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// How many times longer the context becomes.
    pub factor: f64,
    /// The context that the model was first trained for, in tokens.
    pub original_max_position_embeddings: usize,
    /// Pairs that turn more often than this over the original context keep their frequency.
    pub beta_fast: f64,
    /// Pairs that turn less often than this are slowed by the whole `factor`.
    pub beta_slow: f64,
    /// Numerator of the stretch of cosines and sines; `None` when not set.
    pub mscale: Option<f64>,
    /// Its denominator, and, squared, a factor of the softmax scale; `None` when not set.
    pub mscale_all_dim: Option<f64>,
}

impl Yarn {
    /// `0.1 m ln(factor) + 1`, and 1 where the context does not grow.
    ///
    /// ```
    /// use latent_kernels::Yarn;
    /// assert_eq!(Yarn::magnitude(1.0, 1.0), 1.0);
    /// assert!((Yarn::magnitude(40.0, 1.0) - 1.368_888).abs() < 1e-6);
    /// ```
    #[must_use]
    pub fn magnitude(factor: f64, m: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 }
    }

    /// What cosines and sines are multiplied by.
    #[must_use]
    pub fn attention_factor(&self) -> f64 {
        match (self.mscale, self.mscale_all_dim) {
            (Some(m), Some(all)) => {
                Self::magnitude(self.factor, m) / Self::magnitude(self.factor, all)
            }
            _ => Self::magnitude(self.factor, 1.0),
        }
    }

    /// What the softmax scale of latent attention is multiplied by.
    #[must_use]
    pub fn softmax_factor(&self) -> f64 {
        self.mscale_all_dim.map_or(1.0, |all| Self::magnitude(self.factor, all).powi(2))
    }
}

/// The frequencies of a rotation.
///
/// ```
/// use latent_kernels::{PairLayout, RopeTable};
/// let table = RopeTable::new(4, 10_000.0, None, PairLayout::Interleaved)?;
/// assert_eq!(table.frequencies(), [1.0, 0.01]);
/// # Ok::<(), latent_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RopeTable {
    frequencies: Vec<f64>,
    attention_factor: f64,
    layout: PairLayout,
}

impl RopeTable {
    /// The table for a rotated part of `dim` elements and the base `theta`.
    ///
    /// # Errors
    /// [`KernelError::Setting`] when `dim` is odd, `theta` is not above 1, or a setting of `yarn`
    /// is outside of its range.
    pub fn new(
        dim: usize,
        theta: f64,
        yarn: Option<&Yarn>,
        layout: PairLayout,
    ) -> Result<Self, KernelError> {
        if !dim.is_multiple_of(2) {
            return Err(setting("rope dim", dim, "an even number, to make pairs"));
        }
        if !(theta > 1.0 && theta.is_finite()) {
            return Err(setting("rope_theta", theta, "a finite number above 1"));
        }
        let plain: Vec<f64> =
            (0..dim / 2).map(|i| theta.powf(2.0 * i as f64 / dim as f64).recip()).collect();
        let Some(yarn) = yarn else {
            return Ok(Self { frequencies: plain, attention_factor: 1.0, layout });
        };
        if !(yarn.factor > 0.0 && yarn.factor.is_finite()) {
            return Err(setting("rope_scaling.factor", yarn.factor, "a finite number above 0"));
        }
        if yarn.original_max_position_embeddings == 0 {
            let name = "rope_scaling.original_max_position_embeddings";
            return Err(setting(name, 0, "at least 1"));
        }
        for (name, beta) in [("beta_fast", yarn.beta_fast), ("beta_slow", yarn.beta_slow)] {
            if !(beta > 0.0 && beta.is_finite()) {
                return Err(setting(&format!("rope_scaling.{name}"), beta, "a number above 0"));
            }
        }
        let attention_factor = yarn.attention_factor();
        if !(attention_factor > 0.0 && attention_factor.is_finite()) {
            let name = "rope_scaling.mscale over mscale_all_dim";
            return Err(setting(name, attention_factor, "a finite ratio above 0"));
        }
        let ramp = yarn_ramp(dim, theta, yarn);
        let frequencies = plain
            .iter()
            .zip(ramp)
            .map(|(f, slowed)| f / yarn.factor * slowed + f * (1.0 - slowed))
            .collect();
        Ok(Self { frequencies, attention_factor, layout })
    }

    /// The angle per position of each pair, in radians.
    #[must_use]
    pub fn frequencies(&self) -> &[f64] {
        &self.frequencies
    }

    /// The number of elements that are rotated.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.frequencies.len() * 2
    }

    /// What cosines and sines are multiplied by: 1 without YaRN.
    #[must_use]
    pub fn attention_factor(&self) -> f64 {
        self.attention_factor
    }

    /// Which elements make a pair.
    #[must_use]
    pub fn layout(&self) -> PairLayout {
        self.layout
    }

    /// The cosine and the sine of pair `i` at `position`, stretched.
    #[must_use]
    pub fn cos_sin(&self, position: usize, i: usize) -> (f64, f64) {
        let (sin, cos) = (position as f64 * self.frequencies[i]).sin_cos();
        (cos * self.attention_factor, sin * self.attention_factor)
    }
}

/// How far each pair is slowed: 0 keeps its frequency, 1 divides it by the whole factor.
fn yarn_ramp(dim: usize, theta: f64, yarn: &Yarn) -> impl Iterator<Item = f64> {
    let d = dim as f64;
    let context = yarn.original_max_position_embeddings as f64;
    let correction = |turns: f64| d * (context / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let low = correction(yarn.beta_fast).floor().max(0.0);
    let mut high = correction(yarn.beta_slow).ceil().min(d - 1.0);
    if (high - low).abs() < f64::EPSILON {
        high += 0.001;
    }
    (0..dim / 2).map(move |i| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0))
}

fn setting(name: &str, found: impl ToString, wanted: &str) -> KernelError {
    KernelError::Setting { name: name.into(), found: found.to_string(), wanted: wanted.into() }
}

/// Proves the arguments of a rotation.
///
/// ```
/// use latent_kernels::{PairLayout, RopeTable, rope::check};
/// let table = RopeTable::new(16, 10_000.0, None, PairLayout::Interleaved)?;
/// assert!(check(&[5, 4, 40], &table, 5).is_ok());
/// assert!(check(&[5, 4, 15], &table, 5).is_err());
/// # Ok::<(), latent_kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when `x` is not `[token, head, dim]` with one position per token and
/// room for the rotated part.
pub fn check(x: &[usize], table: &RopeTable, positions: usize) -> Result<(), KernelError> {
    match *x {
        [token, _, dim] if token == positions && dim >= table.dim() => Ok(()),
        _ => {
            let wanted = format!("want [{positions}, head, at least {}]", table.dim());
            Err(KernelError::shape("rope: x", x, wanted))
        }
    }
}
