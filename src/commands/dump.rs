//! Named arrays on their way to a safetensors file.

use std::collections::BTreeMap;
use std::path::Path;

use latent_model::kernels::Scalar;
use safetensors::tensor::{Dtype, TensorView};

use super::{CommandError, output};

/// Named arrays, in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct Dump(BTreeMap<String, Array>);

#[derive(Debug)]
struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Dump {
    /// Keeps `values` as `[rows, values.len() / rows]`.
    pub(crate) fn scalars<T: Scalar>(&mut self, name: &str, values: &[T], rows: usize) {
        self.array(name, values, &[rows, values.len() / rows.max(1)]);
    }

    /// Keeps `values` as an array of `shape`, which has as many.
    pub(crate) fn array<T: Scalar>(&mut self, name: &str, values: &[T], shape: &[usize]) {
        let (dtype, stored) = match T::BYTES {
            4 => (Dtype::F32, latent_model::kernels::Dtype::F32),
            _ => (Dtype::F64, latent_model::kernels::Dtype::F64),
        };
        self.0.insert(
            name.into(),
            Array { dtype, shape: shape.to_vec(), bytes: stored.encode(values) },
        );
    }

    /// Keeps `ids` as 64-bit integers.
    pub(crate) fn ids(&mut self, name: &str, ids: impl Iterator<Item = u64>, shape: &[usize]) {
        let bytes = ids.flat_map(u64::to_le_bytes).collect();
        self.0.insert(name.into(), Array { dtype: Dtype::I64, shape: shape.to_vec(), bytes });
    }

    /// Writes the file as a whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CommandError> {
        let views = self.0.iter().map(|(name, a)| {
            let view = TensorView::new(a.dtype, a.shape.clone(), &a.bytes);
            (name, view.expect("a dump's arrays are as long as their shapes say"))
        });
        let bytes = safetensors::serialize(views, None)
            .map_err(|error| CommandError::Failed(format!("{}: {error}", path.display())))?;
        output::write_file(path, &bytes)
    }
}
