//! Named arrays on the host: the weights of a model, their gradients, an optimiser's moments.

use std::collections::BTreeMap;
use std::mem;

use latent_kernels::{Scalar, TensorSpec};

mod model;

/// One array: its shape, and its elements row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    shape: Vec<usize>,
    values: Vec<T>,
}

impl<T: Scalar> Array<T> {
    /// An array of `shape` from its elements; `None` where there are not as many as `shape` says.
    #[must_use]
    pub fn new(shape: &[usize], values: Vec<T>) -> Option<Self> {
        let wanted = shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
        (wanted == Some(values.len())).then(|| Self { shape: shape.to_vec(), values })
    }

    /// Zeros in the shape of another array.
    #[must_use]
    pub fn zeros_like(other: &Self) -> Self {
        Self { shape: other.shape.clone(), values: vec![T::zero(); other.values.len()] }
    }

    /// The length of each axis: one for a vector, two for a matrix.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row by row.
    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The elements, to be changed.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}

/// Named arrays, in the order of their names.
///
/// ```
/// use latent_train::{Array, Parameters};
/// let mut weights = Parameters::default();
/// weights.insert("model.norm.weight", Array::new(&[2], vec![1.0_f32, 2.0]).unwrap());
/// assert_eq!(weights.elements(), 2);
/// assert_eq!(weights.get("model.norm.weight").unwrap().values(), [1.0, 2.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters<T>(BTreeMap<String, Array<T>>);

impl<T> Default for Parameters<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Scalar> Parameters<T> {
    /// Keeps `array` under `name`, in place of what was there.
    pub fn insert(&mut self, name: impl Into<String>, array: Array<T>) {
        self.0.insert(name.into(), array);
    }

    /// The array called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Array<T>> {
        self.0.get(name)
    }

    /// The array called `name`, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Array<T>> {
        self.0.get_mut(name)
    }

    /// Names and arrays, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array<T>)> {
        self.0.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// Names and arrays, by name, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Array<T>)> {
        self.0.iter_mut().map(|(name, array)| (name.as_str(), array))
    }

    /// The elements of all arrays together.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.0.values().map(|array| array.values.len()).sum()
    }

    /// Adds arrays of the same names and shapes.
    ///
    /// # Panics
    /// When a name is not here.
    pub(crate) fn add(&mut self, others: &Self) {
        for (name, array) in others.iter() {
            let sum = self.get_mut(name).expect("both are of one model");
            for (sum, &value) in sum.values.iter_mut().zip(&array.values) {
                *sum += value;
            }
        }
    }

    /// Takes out the arrays whose names are `wanted`.
    pub(crate) fn take(&mut self, wanted: impl Fn(&str) -> bool) -> Self {
        let all = mem::take(&mut self.0).into_iter();
        let (taken, kept) = all.partition(|(name, _)| wanted(name));
        self.0 = kept;
        Self(taken)
    }

    /// Puts in arrays, in place of those of their names.
    pub(crate) fn put(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The first element that is not finite: its array's name, its place row by row, its value.
    pub(crate) fn not_finite(&self) -> Option<(&str, usize, f64)> {
        self.iter().find_map(|(name, array)| {
            let index = array.values.iter().position(|v| !v.is_finite())?;
            Some((name, index, array.values[index].as_f64()))
        })
    }

    /// What a checkpoint of these arrays lists.
    #[must_use]
    pub fn specs(&self) -> Vec<TensorSpec> {
        self.iter().map(|(name, array)| TensorSpec::new(name, array.shape())).collect()
    }
}
