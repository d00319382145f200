//! From a checkpoint to parameters, and from parameters to a model.

use std::collections::BTreeMap;
use std::path::Path;

use latent_kernels::{Dtype, KernelError, Scalar, TensorSpec, Weight};
use latent_model::checkpoint::{Checkpoint, CheckpointError, OpenOptions};
use latent_model::config::ModelConfig;
use latent_model::mla::Attend;
use latent_model::moe::Experts;
use latent_model::{Model, ModelError};
use rayon::prelude::*;

use super::{Array, Parameters};

impl<T: Scalar> Parameters<T> {
    /// Every tensor that a model of `config` wants of the checkpoint in `dir`, widened.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`] when a file or a tensor is missing or malformed.
    pub fn from_dir(dir: &Path, config: &ModelConfig) -> Result<Self, ModelError> {
        let checkpoint = Checkpoint::open(dir, OpenOptions::default())?;
        Ok(Self::read(&checkpoint, &config.tensors())?)
    }

    /// Tensors of a checkpoint, widened.
    ///
    /// # Errors
    /// Those of [`Checkpoint::weight`].
    pub fn read(checkpoint: &Checkpoint, specs: &[TensorSpec]) -> Result<Self, CheckpointError> {
        let mut parameters = Self::default();
        for TensorSpec { name, shape } in specs {
            let values = checkpoint.weight(name, shape)?.decode();
            parameters.insert(name, Array { shape: shape.clone(), values });
        }
        Ok(parameters)
    }

    /// A model of these values, its matrices stored in `dtype`. Vectors, which are gains of norms and biases of
    /// routers, have 32 bits at least. Nothing of it is shared with the parameters.
    ///
    /// # Errors
    /// [`ModelError::Missing`] when the config wants a tensor that is not here, and those of
    /// [`Model::new`].
    pub fn model<B: Attend + Experts>(
        &self,
        backend: B,
        config: &ModelConfig,
        dtype: Dtype,
    ) -> Result<Model<B>, ModelError> {
        let encoded = self.0.par_iter().map(|(name, array)| {
            let of_vectors = if dtype.bytes() < 4 { Dtype::F32 } else { dtype };
            let (dtype, shape) = match array.shape[..] {
                [rows, cols] => (dtype, [rows, cols]),
                _ => (of_vectors, [1, array.values.len()]),
            };
            Ok((name.as_str(), Weight::encode(dtype, shape, &array.values)?))
        });
        let mut encoded = encoded.collect::<Result<BTreeMap<&str, Weight>, KernelError>>()?;
        Model::new(backend, config.clone(), &mut |name| {
            encoded.remove(name).ok_or_else(|| ModelError::Missing { name: name.into() })
        })
    }
}
