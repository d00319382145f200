//! The reference backend: plain, slow, complete. It is the definition.

use std::marker::PhantomData;

use ndarray::{ArrayD, IxDyn};

use crate::{Backend, Backward, KernelError, Matrix, RopeTable, Scalar, Tensor, Weight};
use crate::{
    add, argmax, columns, cross_entropy, draw, gather, linear, rms_norm, rope, softmax, swiglu,
};

/// Every operation by its formula, on [`ndarray`] arrays of `f32` or `f64`.
///
/// Work is shared by the threads of the current `rayon` pool; their number changes no bit.
///
/// ```
/// use latent_kernels::{Backend, Reference};
/// assert_eq!(Reference::<f64>::new().name(), "reference f64");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference<T> {
    scalar: PhantomData<T>,
}

impl<T: Scalar> Reference<T> {
    /// The reference in `f32` or `f64`.
    #[must_use]
    pub const fn new() -> Self {
        Self { scalar: PhantomData }
    }
}

impl<T: Scalar> Tensor for ArrayD<T> {
    fn shape(&self) -> &[usize] {
        self.shape()
    }
}

impl Matrix for Weight {
    fn rows(&self) -> usize {
        self.rows()
    }
    fn cols(&self) -> usize {
        self.cols()
    }
    fn bytes(&self) -> usize {
        self.stored_bytes()
    }
}

impl<T: Scalar> Backend for Reference<T> {
    type Scalar = T;
    type Tensor = ArrayD<T>;
    type Matrix = Weight;

    fn name(&self) -> String {
        format!("reference {}", T::NAME)
    }

    fn upload(&self, values: &[T], shape: &[usize]) -> Result<ArrayD<T>, KernelError> {
        from_vec(values.to_vec(), shape)
    }

    fn download(&self, x: &ArrayD<T>) -> Result<Vec<T>, KernelError> {
        Ok(rows(x).to_vec())
    }

    fn matrix(&self, weight: Weight) -> Result<Weight, KernelError> {
        Ok(weight)
    }

    fn reshape(&self, x: ArrayD<T>, shape: &[usize]) -> Result<ArrayD<T>, KernelError> {
        let found = x.shape().to_vec();
        x.into_shape_with_order(IxDyn(shape))
            .map_err(|_| KernelError::shape("reshape: x", &found, format!("want {shape:?}")))
    }

    fn linear(&self, x: &ArrayD<T>, w: &Weight) -> Result<ArrayD<T>, KernelError> {
        linear::reference::linear(x, w)
    }

    fn rms_norm(
        &self,
        x: &ArrayD<T>,
        gain: &ArrayD<T>,
        eps: f64,
    ) -> Result<ArrayD<T>, KernelError> {
        rms_norm::reference::rms_norm(x, gain, eps)
    }

    fn rope(
        &self,
        x: &ArrayD<T>,
        table: &RopeTable,
        positions: &[usize],
    ) -> Result<ArrayD<T>, KernelError> {
        rope::reference::rope(x, table, positions)
    }

    fn softmax(&self, x: &ArrayD<T>) -> Result<ArrayD<T>, KernelError> {
        softmax::reference::softmax(x)
    }

    fn swiglu(&self, gate: &ArrayD<T>, up: &ArrayD<T>) -> Result<ArrayD<T>, KernelError> {
        swiglu::reference::swiglu(gate, up)
    }

    fn gather(&self, w: &Weight, ids: &[u32]) -> Result<ArrayD<T>, KernelError> {
        gather::reference::gather(w, ids)
    }

    fn add(&self, a: &ArrayD<T>, b: &ArrayD<T>) -> Result<ArrayD<T>, KernelError> {
        add::reference::add(a, b)
    }

    fn split_columns(
        &self,
        x: &ArrayD<T>,
        at: usize,
    ) -> Result<(ArrayD<T>, ArrayD<T>), KernelError> {
        columns::reference::split(x, at)
    }

    fn join_columns(&self, a: &ArrayD<T>, b: &ArrayD<T>) -> Result<ArrayD<T>, KernelError> {
        columns::reference::join(a, b)
    }

    fn select_rows(&self, x: &ArrayD<T>, rows: &[usize]) -> Result<ArrayD<T>, KernelError> {
        columns::reference::select(x, rows)
    }

    fn argmax(&self, x: &ArrayD<T>) -> Result<Vec<Option<u32>>, KernelError> {
        argmax::reference::argmax(x)
    }

    fn draw(
        &self,
        x: &ArrayD<T>,
        temperature: f64,
        draws: &[f64],
    ) -> Result<Vec<Option<u32>>, KernelError> {
        draw::reference::draw(x, temperature, draws)
    }
}

impl<T: Scalar> Backward for Reference<T> {
    fn linear_grad_input(&self, dy: &ArrayD<T>, w: &Weight) -> Result<ArrayD<T>, KernelError> {
        linear::backward::grad_input(dy, w)
    }

    fn linear_grad_weight(
        &self,
        x: &ArrayD<T>,
        dy: &ArrayD<T>,
        w: &Weight,
    ) -> Result<ArrayD<T>, KernelError> {
        linear::backward::grad_weight(x, dy, w)
    }

    fn rms_norm_backward(
        &self,
        x: &ArrayD<T>,
        gain: &ArrayD<T>,
        eps: f64,
        dy: &ArrayD<T>,
    ) -> Result<(ArrayD<T>, ArrayD<T>), KernelError> {
        rms_norm::backward::rms_norm_backward(x, gain, eps, dy)
    }

    fn rope_backward(
        &self,
        dy: &ArrayD<T>,
        table: &RopeTable,
        positions: &[usize],
    ) -> Result<ArrayD<T>, KernelError> {
        rope::backward::rope_backward(dy, table, positions)
    }

    fn swiglu_backward(
        &self,
        gate: &ArrayD<T>,
        up: &ArrayD<T>,
        dy: &ArrayD<T>,
    ) -> Result<(ArrayD<T>, ArrayD<T>), KernelError> {
        swiglu::backward::swiglu_backward(gate, up, dy)
    }

    fn gather_backward(
        &self,
        vocab: usize,
        ids: &[u32],
        dy: &ArrayD<T>,
    ) -> Result<ArrayD<T>, KernelError> {
        gather::backward::gather_backward(vocab, ids, dy)
    }

    fn cross_entropy(
        &self,
        logits: &ArrayD<T>,
        targets: &[u32],
        scales: &[f64],
    ) -> Result<(Vec<f64>, ArrayD<T>), KernelError> {
        cross_entropy::reference::cross_entropy(logits, targets, scales)
    }
}

/// An array of `shape` from its elements, last axis fastest.
pub(crate) fn from_vec<T: Scalar>(
    values: Vec<T>,
    shape: &[usize],
) -> Result<ArrayD<T>, KernelError> {
    let found = values.len();
    ArrayD::from_shape_vec(IxDyn(shape), values)
        .map_err(|_| KernelError::shape("upload: values", &[found], format!("want {shape:?}")))
}

/// The elements of an array, last axis fastest.
///
/// Every array of this backend is dense and in standard layout: `from_vec`, `reshape` and the
/// operations make no other.
pub(crate) fn rows<T>(x: &ArrayD<T>) -> &[T] {
    x.as_slice().expect("arrays of the reference are in standard layout")
}

/// Applies `f(row, result)` to each row of the last axis.
pub(crate) fn map_rows<T: Scalar>(
    x: &ArrayD<T>,
    f: impl Fn(&[T], &mut [T]),
) -> Result<ArrayD<T>, KernelError> {
    let width = x.shape().last().copied().unwrap_or(0).max(1);
    let mut y = vec![T::nan(); x.len()];
    for (row, y) in rows(x).chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        f(row, y);
    }
    from_vec(y, x.shape())
}
