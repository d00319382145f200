//! How often each expert was chosen in a step, and the rule on biases that makes them even.

use std::collections::BTreeMap;

use latent_kernels::Scalar;
use latent_model::moe::MoeError;
use latent_model::moe::balance::{max_vio, update_bias};

use crate::Parameters;

/// The tokens sent to each expert, for each layer with experts.
///
/// A layer for multi-token prediction counts as one after the others, as its tensors do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loads(BTreeMap<usize, Vec<usize>>);

impl Loads {
    /// Adds the load of a layer to what it was so far.
    pub fn add(&mut self, layer: usize, load: &[usize]) {
        let sum = self.0.entry(layer).or_insert_with(|| vec![0; load.len()]);
        for (sum, more) in sum.iter_mut().zip(load) {
            *sum += more;
        }
    }

    /// Layers and their loads.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[usize])> {
        self.0.iter().map(|(&layer, load)| (layer, load.as_slice()))
    }

    /// Layers and how far they are from even: see [`max_vio`].
    pub fn max_vio(&self) -> impl Iterator<Item = (usize, f64)> {
        self.iter().map(|(layer, load)| (layer, max_vio(load)))
    }

    /// Adds those of another part of a batch.
    pub(crate) fn merge(&mut self, more: &Self) {
        more.iter().for_each(|(layer, load)| self.add(layer, load));
    }
}

/// Moves the biases of routers by the loads of a step: [`update_bias`] once for each layer that has
/// them, and, with `center`, their mean taken off after it.
///
/// A common shift of all biases of a layer changes no choice; taken off, it cannot grow.
///
/// ```
/// use latent_train::{Array, Loads, Parameters, update_biases};
/// let name = "model.layers.1.mlp.gate.e_score_correction_bias";
/// let mut weights = Parameters::default();
/// weights.insert(name, Array::new(&[3], vec![0.0_f32; 3]).unwrap());
/// let mut loads = Loads::default();
/// loads.add(1, &[0, 0, 6]);
/// update_biases(&mut weights, &loads, 0.75, true)?;
/// assert_eq!(weights.get(name).unwrap().values(), [0.5, 0.5, -1.0]);
/// # Ok::<(), latent_model::moe::MoeError>(())
/// ```
///
/// # Errors
/// Those of [`update_bias`].
pub fn update_biases(
    weights: &mut Parameters<f32>,
    loads: &Loads,
    gamma: f64,
    center: bool,
) -> Result<(), MoeError> {
    if gamma == 0.0 {
        return Ok(());
    }
    for (layer, load) in loads.iter() {
        let name = format!("model.layers.{layer}.mlp.gate.e_score_correction_bias");
        let Some(array) = weights.get_mut(&name) else { continue };
        let mut bias: Vec<f64> = array.values().iter().map(|b| b.as_f64()).collect();
        update_bias(&mut bias, load, gamma)?;
        if center {
            let mean = bias.iter().sum::<f64>() / bias.len().max(1) as f64;
            bias.iter_mut().for_each(|b| *b -= mean);
        }
        for (stored, b) in array.values_mut().iter_mut().zip(bias) {
            *stored = <f32 as Scalar>::from_f64(b);
        }
    }
    Ok(())
}
