//! What the program writes to safetensors files, and what the conformance pack expects.

use std::collections::BTreeMap;
use std::fs;

use safetensors::{Dtype, SafeTensors};

use crate::folder::case;

/// One array of a file, its numbers as `f64`.
#[derive(Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

/// The arrays of a file by their names.
pub(crate) fn arrays(bytes: &[u8]) -> BTreeMap<String, Array> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let array = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let words = |n| view.data().chunks_exact(n);
        let values = match view.dtype() {
            Dtype::F64 => words(8).map(|w| f64::from_le_bytes(w.try_into().unwrap())).collect(),
            Dtype::F32 => {
                words(4).map(|w| f64::from(f32::from_le_bytes(w.try_into().unwrap()))).collect()
            }
            Dtype::I64 => {
                words(8).map(|w| i64::from_le_bytes(w.try_into().unwrap()) as f64).collect()
            }
            other => panic!("{name}: {other}"),
        };
        (name, Array { dtype: view.dtype(), shape: view.shape().to_vec(), values })
    };
    file.tensors().into_iter().map(array).collect()
}

/// What a conformance case expects.
pub(crate) fn goldens(name: &str) -> BTreeMap<String, Array> {
    arrays(&fs::read(format!("{}/goldens.safetensors", case(name))).unwrap())
}
