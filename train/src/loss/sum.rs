//! Gradients of several parts of a model, added by name.

use std::collections::BTreeMap;

use latent_kernels::Backend;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use latent_model::{Model, ModelError};

use crate::optimizer::has_gradient;
use crate::{Array, Parameters};

/// Gradients on a backend, those of one name added.
pub(crate) struct Sum<'a, B: Backend> {
    backend: &'a B,
    of: BTreeMap<String, B::Tensor>,
}

impl<'a, B: AttendBackward + ExpertsBackward> Sum<'a, B> {
    pub(crate) fn new(backend: &'a B) -> Self {
        Self { backend, of: BTreeMap::new() }
    }

    /// Adds the gradients of one part.
    pub(crate) fn add(
        &mut self,
        gradients: impl IntoIterator<Item = (String, B::Tensor)>,
    ) -> Result<(), ModelError> {
        for (name, mut gradient) in gradients {
            if let Some(before) = self.of.remove(&name) {
                gradient = self.backend.add(&before, &gradient)?;
            }
            self.of.insert(name, gradient);
        }
        Ok(())
    }

    /// The gradients of some weights.
    pub(crate) fn only(mut self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, B::Tensor> {
        self.of.retain(|name, _| wanted(name));
        self.of
    }

    /// On the host, with zeros for each weight that took no part.
    pub(crate) fn download(
        mut self,
        model: &Model<B>,
    ) -> Result<Parameters<B::Scalar>, ModelError> {
        let mut all = Parameters::default();
        for spec in model.config().tensors().into_iter().filter(|s| has_gradient(&s.name)) {
            let values = match self.of.remove(&spec.name) {
                Some(gradient) => self.backend.download(&gradient)?,
                None => vec![B::Scalar::default(); spec.shape.iter().product()],
            };
            let array = Array::new(&spec.shape, values);
            all.insert(spec.name, array.expect("a gradient has the shape of its weight"));
        }
        assert!(self.of.is_empty(), "gradients of unknown weights: {:?}", self.of.keys());
        Ok(all)
    }
}
