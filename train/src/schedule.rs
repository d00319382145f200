//! The learning rate as a function of the step.

use std::f64::consts::PI;

use serde::Serialize;

use crate::OptimError;
use crate::optimizer::wanted;

/// How the learning rate goes, as a factor of its peak.
///
/// A step is counted from 0: the factor of step `s` belongs to the step that is taken after `s`
/// others, so a run can go on anywhere. Where there is a warm-up, the factor in it is
/// `(s + 1) / warmup`: the first step is not lost, and the last one of the warm-up is at the peak.
///
/// ```
/// use latent_train::Schedule;
/// let schedule = Schedule::Cosine { warmup: 2, total: 6, floor: 0.1 };
/// schedule.validate()?;
/// let factors: Vec<f64> = [0, 1, 2, 4, 6, 1000].map(|step| schedule.factor(step)).into();
/// assert_eq!(factors, [0.5, 1.0, 1.0, 0.55, 0.1, 0.1]);
/// # Ok::<(), latent_train::OptimError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    /// The peak in every step.
    ///
    /// ```
    /// assert_eq!(latent_train::Schedule::Constant.factor(7), 1.0);
    /// ```
    Constant,
    /// Warm-up, then half a cosine down to a floor, and the floor from step `total` on.
    ///
    /// With `x = (s - warmup) / (total - warmup)` the factor is
    /// `floor + (1 - floor) (1 + cos(pi x)) / 2`.
    ///
    /// ```
    /// use latent_train::Schedule;
    /// let schedule = Schedule::Cosine { warmup: 0, total: 2, floor: 0.0 };
    /// assert_eq!([0, 1, 2].map(|step| schedule.factor(step)), [1.0, 0.5, 0.0]);
    /// ```
    ///
    /// # Source
    /// Loshchilov and Hutter, *SGDR* (arXiv 1608.03983), equation 5, without restarts.
    Cosine {
        /// The steps of the warm-up; 0 for none.
        warmup: u64,
        /// The step from which on the factor is the floor.
        total: u64,
        /// The last factor, in `[0, 1]`.
        floor: f64,
    },
    /// Warm-up, stable, decay: the peak is kept for most of the run, and any step of it can be
    /// branched off into a decay.
    ///
    /// With `x = (s - warmup - stable) / decay` the factor is `floor + (1 - floor) f(x)`, and the
    /// floor once `x` is 1; `f` is the [`Cooldown`].
    ///
    /// ```
    /// use latent_train::{Cooldown, Schedule};
    /// let cooldown = Cooldown::Linear;
    /// let schedule = Schedule::Wsd { warmup: 1, stable: 2, decay: 2, cooldown, floor: 0.0 };
    /// let factors = [0, 1, 2, 3, 4, 5].map(|step| schedule.factor(step));
    /// assert_eq!(factors, [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]);
    /// ```
    ///
    /// # Source
    /// Hu et al., *MiniCPM* (arXiv 2404.06395), section 4.2; the two shapes of the decay: Hägele et
    /// al. (arXiv 2405.18392), section 3.
    Wsd {
        /// The steps of the warm-up; 0 for none.
        warmup: u64,
        /// The steps at the peak after it.
        stable: u64,
        /// The steps from the peak to the floor.
        decay: u64,
        /// The shape of the decay.
        cooldown: Cooldown,
        /// The last factor, in `[0, 1]`.
        floor: f64,
    },
}

/// The shape of a decay from 1 to 0, as a function of `x` from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cooldown {
    /// `1 - x`.
    Linear,
    /// `1 - sqrt(x)`: steep at first, which ended at a lower loss in Hägele et al.
    OneMinusSqrt,
}

impl Schedule {
    /// Proves that the schedule means something.
    ///
    /// # Errors
    /// [`OptimError::Setting`] when a floor is not in `[0, 1]`, a cosine ends with its warm-up or
    /// before it, a decay has no steps, or the steps together are more than a `u64` counts.
    pub fn validate(&self) -> Result<(), OptimError> {
        match *self {
            Self::Constant => Ok(()),
            Self::Cosine { warmup, total, floor } => {
                let range = format!("more than warmup, {warmup} steps");
                wanted(total > warmup, "cosine.total", total, range)?;
                check_floor("cosine.floor", floor)
            }
            Self::Wsd { warmup, stable, decay, floor, .. } => {
                wanted(decay > 0, "wsd.decay", decay, "at least one step")?;
                let end = warmup.checked_add(stable).and_then(|n| n.checked_add(decay));
                let found = format!("{warmup}, {stable} and {decay}");
                let range = "warmup, stable and decay that sum to less than 2^64 steps";
                wanted(end.is_some(), "wsd", found, range)?;
                check_floor("wsd.floor", floor)
            }
        }
    }

    /// The factor of step `step`, counted from 0: between 0 and 1.
    ///
    /// A schedule that does not [`validate`](Self::validate) has a factor too, of no meaning.
    #[must_use]
    pub fn factor(&self, step: u64) -> f64 {
        match *self {
            Self::Constant => 1.0,
            Self::Cosine { warmup, .. } | Self::Wsd { warmup, .. } if step < warmup => {
                (step as f64 + 1.0) / warmup as f64
            }
            Self::Cosine { warmup, total, floor } => {
                let x = share(step - warmup, total.saturating_sub(warmup));
                above(floor, (1.0 + (PI * x).cos()) / 2.0)
            }
            Self::Wsd { warmup, stable, decay, cooldown, floor } => {
                let x = share((step - warmup).saturating_sub(stable), decay);
                above(floor, cooldown.factor(x))
            }
        }
    }

    /// The learning rate of step `step`, counted from 0: the peak times the factor.
    ///
    /// ```
    /// use latent_train::Schedule;
    /// let schedule = Schedule::Cosine { warmup: 4, total: 8, floor: 0.0 };
    /// assert_eq!(schedule.lr(1e-3, 1), 5e-4);
    /// ```
    #[must_use]
    pub fn lr(&self, peak: f64, step: u64) -> f64 {
        peak * self.factor(step)
    }
}

impl Cooldown {
    fn factor(self, x: f64) -> f64 {
        match self {
            Self::Linear => 1.0 - x,
            Self::OneMinusSqrt => 1.0 - x.sqrt(),
        }
    }
}

/// `steps / all`, 1 at most.
fn share(steps: u64, all: u64) -> f64 {
    if steps >= all { 1.0 } else { steps as f64 / all as f64 }
}

fn above(floor: f64, factor: f64) -> f64 {
    floor + (1.0 - floor) * factor
}

fn check_floor(name: &'static str, floor: f64) -> Result<(), OptimError> {
    wanted((0.0..=1.0).contains(&floor), name, floor, "a number from 0 to 1")
}
