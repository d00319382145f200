//! Steps of an optimiser: [`AdamW`], [`Muon`], or each for its own parameters.

use std::collections::BTreeMap;

use latent_kernels::{Backend, Scalar};
use rayon::prelude::*;

use crate::{Array, Parameters};

mod adamw;
mod assignment;
mod clip;
mod error;
mod muon;

pub use adamw::AdamW;
pub(crate) use assignment::has_gradient;
pub use assignment::{Assignment, Decay, HiddenMatrices, Update};
pub use clip::clip_global_norm;
pub use error::OptimError;
pub(crate) use error::wanted;
pub use muon::{Muon, orthogonalise};

/// The elements that a thread takes at a time. Smaller tensors stay on the caller's thread.
const CHUNK: usize = 1 << 14;

/// All settings of an [`Optimizer`]. The default is DeepSeek-V3's: [`AdamW`] for everything.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OptimizerConfig {
    /// Which parameter is moved by what.
    pub assignment: Assignment,
    /// The settings where it is [`AdamW`].
    pub adamw: AdamW,
    /// The settings where it is [`Muon`].
    pub muon: Muon,
}

/// What an [`Optimizer`] remembers between steps, for a checkpoint: the next steps depend on this,
/// the settings and the parameters alone.
///
/// Each array has the name and the shape of its parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerState<T> {
    /// The steps taken.
    pub step: u64,
    /// AdamW's means of gradients.
    pub exp_avg: Parameters<T>,
    /// AdamW's means of squares, none negative.
    pub exp_avg_sq: Parameters<T>,
    /// Muon's means of gradients.
    pub momentum_buffer: Parameters<T>,
}

impl<T> Default for OptimizerState<T> {
    fn default() -> Self {
        let (exp_avg, exp_avg_sq) = (Parameters::default(), Parameters::default());
        Self { step: 0, exp_avg, exp_avg_sq, momentum_buffer: Parameters::default() }
    }
}

/// Moves parameters by their gradients, each by the optimiser that an [`Assignment`] gives it.
///
/// The state takes two arrays for each that AdamW moves, and one for each that Muon moves; a step
/// takes one more for the latter. The number of threads changes no bit.
///
/// ```
/// use latent_kernels::Reference;
/// use latent_train::{Array, Optimizer, OptimizerConfig, Parameters};
/// let one = |x| {
///     let mut arrays = Parameters::default();
///     arrays.insert("model.norm.weight", Array::new(&[1], vec![x]).unwrap());
///     arrays
/// };
/// let mut weights = one(1.0_f64);
/// let mut optimizer = Optimizer::new(OptimizerConfig::default(), &weights)?;
/// // The first step of Adam is the learning rate, whatever the gradient's size.
/// optimizer.step(&Reference::<f64>::new(), &mut weights, &one(3.0), 0.25)?;
/// assert!((weights.get("model.norm.weight").unwrap().values()[0] - 0.75).abs() < 1e-8);
/// # Ok::<(), latent_train::OptimError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer<T> {
    config: OptimizerConfig,
    state: OptimizerState<T>,
}

impl<T: Scalar> Optimizer<T> {
    /// An optimiser of these parameters that has taken no step.
    ///
    /// # Errors
    /// [`OptimError::Setting`] when a setting is out of its range.
    pub fn new(config: OptimizerConfig, parameters: &Parameters<T>) -> Result<Self, OptimError> {
        let mut state = OptimizerState::default();
        for (name, parameter) in parameters.iter() {
            let zeros = || Array::zeros_like(parameter);
            match config.assignment.of(name, parameter.shape()) {
                Update::AdamW { .. } => {
                    state.exp_avg.insert(name, zeros());
                    state.exp_avg_sq.insert(name, zeros());
                }
                Update::Muon => state.momentum_buffer.insert(name, zeros()),
                Update::BiasRule => {}
            }
        }
        Self::with_state(config, parameters, state)
    }

    /// An optimiser of these parameters that goes on from a state, bit for bit.
    ///
    /// # Errors
    /// [`OptimError::Setting`] when a setting is out of its range. [`OptimError::Missing`],
    /// [`OptimError::Unwanted`] or [`OptimError::Shape`] when the state is not that of these
    /// parameters under this assignment, [`OptimError::Value`] when it holds a NaN, an infinity or a
    /// negative square.
    pub fn with_state(
        config: OptimizerConfig,
        parameters: &Parameters<T>,
        state: OptimizerState<T>,
    ) -> Result<Self, OptimError> {
        config.adamw.validate::<T>()?;
        config.muon.validate()?;
        let this = Self { config, state };
        this.check_state(parameters)?;
        let OptimizerState { exp_avg, exp_avg_sq, momentum_buffer, .. } = &this.state;
        let finite = |v: T| v.is_finite();
        for (name, array) in exp_avg.iter() {
            check_each("exp_avg", name, array.values(), "a finite number", finite)?;
        }
        for (name, array) in momentum_buffer.iter() {
            check_each("momentum_buffer", name, array.values(), "a finite number", finite)?;
        }
        for (name, array) in exp_avg_sq.iter() {
            let square = |v: T| v.is_finite() & (v >= T::zero());
            check_each("exp_avg_sq", name, array.values(), "a finite number, 0 or above", square)?;
        }
        Ok(this)
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// What is remembered between steps, to be written to a checkpoint.
    #[must_use]
    pub fn state(&self) -> &OptimizerState<T> {
        &self.state
    }

    /// Takes one step: every trained parameter moves, and so does the state.
    ///
    /// There is a gradient for each trained parameter and for nothing else. What no token reached, an
    /// expert that was never chosen for one, has a gradient of zeros; an absent one is an error, since
    /// it may as well be a forgotten one. Parameters under the bias rule have none.
    ///
    /// Products of Muon run on `backend`; AdamW runs on the host.
    ///
    /// # Errors
    /// [`OptimError::Setting`] when `lr` is negative or not finite. [`OptimError::Missing`],
    /// [`OptimError::Unwanted`] or [`OptimError::Shape`] when gradients, parameters and state do not
    /// fit together. [`OptimError::Value`] at an element of a gradient that is NaN, infinite, or too
    /// large for its type to hold its square. [`OptimError::Kernel`] when a product fails. Nothing is
    /// changed then.
    pub fn step<B: Backend<Scalar = T>>(
        &mut self,
        backend: &B,
        parameters: &mut Parameters<T>,
        gradients: &Parameters<T>,
        lr: f64,
    ) -> Result<(), OptimError> {
        error::not_negative("lr", lr)?;
        self.check_state(parameters)?;
        let trained = shapes(parameters, |name, shape| {
            self.config.assignment.of(name, shape) != Update::BiasRule
        });
        check_fit("gradient", gradients, &trained)?;
        for (name, gradient) in gradients.iter() {
            check_values("gradient", name, gradient.values())?;
        }
        // A device may fail: its products are done before anything is changed.
        let directions = self.directions(backend, gradients)?;
        self.apply(parameters, gradients, &directions, lr);
        Ok(())
    }

    /// The direction of each matrix that Muon moves.
    fn directions<B: Backend<Scalar = T>>(
        &self,
        backend: &B,
        gradients: &Parameters<T>,
    ) -> Result<BTreeMap<String, Vec<T>>, OptimError> {
        let mut directions = BTreeMap::new();
        for (name, momentum) in self.state.momentum_buffer.iter() {
            let gradient = gradients.get(name).expect("a gradient was found for each").values();
            let shape = matrix(momentum.shape());
            let direction =
                self.config.muon.direction(backend, shape, momentum.values(), gradient)?;
            directions.insert(name.to_owned(), direction);
        }
        Ok(directions)
    }

    /// Moves parameters and state, which were found to fit together.
    fn apply(
        &mut self,
        parameters: &mut Parameters<T>,
        gradients: &Parameters<T>,
        directions: &BTreeMap<String, Vec<T>>,
        lr: f64,
    ) {
        let OptimizerConfig { assignment, adamw, muon } = self.config;
        let OptimizerState { step, exp_avg, exp_avg_sq, momentum_buffer } = &mut self.state;
        *step += 1;
        for (name, parameter) in parameters.iter_mut() {
            let update = assignment.of(name, parameter.shape());
            if update == Update::BiasRule {
                continue;
            }
            let gradient = gradients.get(name).expect("a gradient was found for each").values();
            if let Update::AdamW { decayed } = update {
                let m = exp_avg.get_mut(name).expect("a moment was found for each").values_mut();
                let v = exp_avg_sq.get_mut(name).expect("a moment was found for each").values_mut();
                adamw.at(*step, lr, decayed).apply(parameter.values_mut(), gradient, m, v);
            } else {
                let m = momentum_buffer.get_mut(name).expect("a momentum was found for each");
                let shape = matrix(m.shape());
                let (values, momentum) = (parameter.values_mut(), m.values_mut());
                muon.apply(shape, lr, values, &directions[name], momentum, gradient);
            }
        }
    }

    /// Proves that the state is that of these parameters.
    fn check_state(&self, parameters: &Parameters<T>) -> Result<(), OptimError> {
        let assignment = self.config.assignment;
        let by_adamw = shapes(parameters, |name, shape| {
            matches!(assignment.of(name, shape), Update::AdamW { .. })
        });
        let by_muon = shapes(parameters, |name, shape| assignment.of(name, shape) == Update::Muon);
        check_fit("exp_avg", &self.state.exp_avg, &by_adamw)?;
        check_fit("exp_avg_sq", &self.state.exp_avg_sq, &by_adamw)?;
        check_fit("momentum_buffer", &self.state.momentum_buffer, &by_muon)
    }
}

/// Rows and columns of what Muon moves.
fn matrix(shape: &[usize]) -> [usize; 2] {
    shape.try_into().expect("Muon is assigned to two axes only")
}

/// The shapes of some parameters, by name.
fn shapes<T: Scalar>(
    parameters: &Parameters<T>,
    wanted: impl Fn(&str, &[usize]) -> bool,
) -> BTreeMap<&str, &[usize]> {
    let all = parameters.iter().map(|(name, array)| (name, array.shape()));
    all.filter(|(name, shape)| wanted(name, shape)).collect()
}

/// Proves that there is one array of the right shape for each name, and no other.
fn check_fit<T: Scalar>(
    what: &'static str,
    found: &Parameters<T>,
    wanted: &BTreeMap<&str, &[usize]>,
) -> Result<(), OptimError> {
    for (&name, &shape) in wanted {
        let Some(array) = found.get(name) else {
            return Err(OptimError::Missing { what, name: name.into() });
        };
        if array.shape() != shape {
            let (found, wanted) = (array.shape().to_vec(), shape.to_vec());
            return Err(OptimError::Shape { what, name: name.into(), found, wanted });
        }
    }
    match found.iter().find(|(name, _)| !wanted.contains_key(name)) {
        Some((name, _)) => Err(OptimError::Unwanted { what, name: name.into() }),
        None => Ok(()),
    }
}

/// Proves that every element is finite, and so is its square.
fn check_values<T: Scalar>(what: &'static str, name: &str, values: &[T]) -> Result<(), OptimError> {
    let wanted = "a finite number with a finite square";
    check_each(what, name, values, wanted, |v| (v * v).is_finite())
}

/// Proves that every element `is_good`, or names the first that is not.
fn check_each<T: Scalar>(
    what: &'static str,
    name: &str,
    values: &[T],
    wanted: &'static str,
    is_good: impl Fn(T) -> bool + Sync,
) -> Result<(), OptimError> {
    // No way out in between: so it runs on vectors.
    let is_bad_chunk = |chunk: &[T]| chunk.iter().fold(false, |bad, &v| bad | !is_good(v));
    let bad_chunk = if values.len() <= CHUNK {
        is_bad_chunk(values).then_some(0)
    } else {
        values.par_chunks(CHUNK).position_first(is_bad_chunk)
    };
    let first = bad_chunk.and_then(|chunk| {
        let start = chunk * CHUNK;
        values[start..].iter().position(|&v| !is_good(v)).map(|i| start + i)
    });
    match first {
        Some(index) => {
            let found = values[index].as_f64();
            Err(OptimError::Value { what, name: name.into(), index, found, wanted })
        }
        None => Ok(()),
    }
}
