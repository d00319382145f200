//! The seam between a model and the machine it runs on.

use std::fmt::Debug;

use crate::{KernelError, Ledger, Peaks, RopeTable, Scalar, Weight};

/// An array of activations on a backend: dense, row by row, last axis fastest.
pub trait Tensor: Clone + Debug + Send + Sync {
    /// The length of each axis.
    fn shape(&self) -> &[usize];

    /// The number of elements.
    fn elements(&self) -> usize {
        self.shape().iter().product()
    }
}

/// A weight on a backend, `[rows, cols]`, in its stored dtype.
pub trait Matrix: Debug + Send + Sync {
    /// The number of rows: output features.
    fn rows(&self) -> usize;
    /// The number of columns: input features.
    fn cols(&self) -> usize;
    /// The bytes that the backend holds for it.
    fn bytes(&self) -> usize;
}

/// A machine that runs the primitives that every block of a model shares.
///
/// A model is written once against this trait. [`Reference`](crate::Reference) is its definition;
/// other backends are held to it by [the suite](crate::backend_suite!). A crate adds its own
/// operations with a trait of its own that has `Backend` above it.
///
/// Axes are `token, head, dim` in this order and tokens are flat: sequences of a batch follow one
/// another, without padding. An operation on rows takes any number of leading axes; zero rows give
/// zero rows. **Each row's result depends on that row alone, bit for bit**: never on its neighbours
/// or on the number of rows or threads.
///
/// Every operation returns [`KernelError::Shape`] when its arguments do not fit together.
///
/// ```
/// use latent_kernels::{Backend, Dtype, Reference, Weight};
/// let cpu = Reference::<f32>::new();
/// let w = cpu.matrix(Weight::encode(Dtype::F32, [1, 2], &[10.0_f32, 1.0])?)?;
/// let x = cpu.upload(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
/// assert_eq!(cpu.download(&cpu.linear(&x, &w)?)?, [12.0, 34.0]);
/// # Ok::<(), latent_kernels::KernelError>(())
/// ```
#[expect(clippy::missing_errors_doc, reason = "all share the errors named in the trait's text")]
pub trait Backend: Clone + Debug + Send + Sync + 'static {
    /// What activations are computed in, and the type they are exchanged in.
    type Scalar: Scalar;
    /// An array of activations.
    type Tensor: Tensor;
    /// A weight in its stored dtype.
    type Matrix: Matrix;

    /// What to call this backend in reports, as in `reference f64`.
    fn name(&self) -> String;

    /// What was launched since this was asked last, and how often the host waited; empty where a
    /// backend keeps no count.
    fn take_ledger(&self) -> Ledger {
        Ledger::default()
    }

    /// Measures what this machine can do at best, which takes a second or two; `None` where a
    /// backend has no means to.
    fn measure_peaks(&self) -> Option<Peaks> {
        None
    }

    /// Copies `values` to the backend.
    fn upload(&self, values: &[Self::Scalar], shape: &[usize])
    -> Result<Self::Tensor, KernelError>;

    /// Copies `x` back.
    fn download(&self, x: &Self::Tensor) -> Result<Vec<Self::Scalar>, KernelError>;

    /// Takes a stored weight over, without widening it. A backend that was asked to rounds it.
    fn matrix(&self, weight: Weight) -> Result<Self::Matrix, KernelError>;

    /// Takes a weight over whose values must not be rounded, whatever [`matrix`](Self::matrix) does to
    /// others: a router's, whose scores decide between experts, or an embedding, whose rows are read.
    fn exact(&self, weight: Weight) -> Result<Self::Matrix, KernelError> {
        self.matrix(weight)
    }

    /// Copies a small weight (a norm's gain, a bias) to the backend as activations, `[cols]`.
    fn vector(&self, weight: &Weight) -> Result<Self::Tensor, KernelError> {
        if weight.rows() != 1 {
            let found = [weight.rows(), weight.cols()];
            return Err(KernelError::shape("vector", &found, "want one row"));
        }
        self.upload(&weight.decode(), &[weight.cols()])
    }

    /// The same elements under another shape of equal size.
    fn reshape(&self, x: Self::Tensor, shape: &[usize]) -> Result<Self::Tensor, KernelError>;

    /// `x wᵀ`: see [`crate::linear`].
    fn linear(&self, x: &Self::Tensor, w: &Self::Matrix) -> Result<Self::Tensor, KernelError>;

    /// [`linear`](Self::linear) with each of some weights. A backend that gains from doing them together
    /// replaces this; the results are the same.
    ///
    /// ```
    /// use latent_kernels::{Backend, Dtype, Reference, Weight};
    /// let cpu = Reference::<f32>::new();
    /// let weight = |v: f32| cpu.matrix(Weight::encode(Dtype::F32, [1, 1], &[v])?);
    /// let (a, b) = (weight(2.0)?, weight(3.0)?);
    /// let [y, z] = cpu.linears(&cpu.upload(&[10.0], &[1, 1])?, [&a, &b])?;
    /// assert_eq!((cpu.download(&y)?, cpu.download(&z)?), (vec![20.0], vec![30.0]));
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    fn linears<const N: usize>(
        &self,
        x: &Self::Tensor,
        weights: [&Self::Matrix; N],
    ) -> Result<[Self::Tensor; N], KernelError> {
        let each = weights.iter().map(|w| self.linear(x, w)).collect::<Result<Vec<_>, _>>()?;
        Ok(each.try_into().expect("one for each weight"))
    }

    /// Root-mean-square normalisation of each row: see [`crate::rms_norm`].
    fn rms_norm(
        &self,
        x: &Self::Tensor,
        gain: &Self::Tensor,
        eps: f64,
    ) -> Result<Self::Tensor, KernelError>;

    /// Rotation of the last elements of each head by its token's position: see [`crate::rope`].
    fn rope(
        &self,
        x: &Self::Tensor,
        table: &RopeTable,
        positions: &[usize],
    ) -> Result<Self::Tensor, KernelError>;

    /// Softmax of each row: see [`crate::softmax`].
    fn softmax(&self, x: &Self::Tensor) -> Result<Self::Tensor, KernelError>;

    /// `silu(gate) * up`, element by element: see [`crate::swiglu`].
    fn swiglu(&self, gate: &Self::Tensor, up: &Self::Tensor) -> Result<Self::Tensor, KernelError>;

    /// The rows of a weight named by `ids`: see [`crate::gather`].
    fn gather(&self, w: &Self::Matrix, ids: &[u32]) -> Result<Self::Tensor, KernelError>;

    /// `a + b`, element by element: see [`crate::add`].
    fn add(&self, a: &Self::Tensor, b: &Self::Tensor) -> Result<Self::Tensor, KernelError>;

    /// Columns `[0, at)` and `[at, ..)` of the last axis: see [`crate::columns`].
    fn split_columns(
        &self,
        x: &Self::Tensor,
        at: usize,
    ) -> Result<(Self::Tensor, Self::Tensor), KernelError>;

    /// `a`'s columns followed by `b`'s: see [`crate::columns`].
    fn join_columns(&self, a: &Self::Tensor, b: &Self::Tensor)
    -> Result<Self::Tensor, KernelError>;

    /// The entries of the first axis named by `rows`, in that order: see [`crate::columns`].
    fn select_rows(&self, x: &Self::Tensor, rows: &[usize]) -> Result<Self::Tensor, KernelError>;

    /// The index of the largest element of each row, `None` where there is none: see
    /// [`crate::argmax`].
    fn argmax(&self, x: &Self::Tensor) -> Result<Vec<Option<u32>>, KernelError>;

    /// An index drawn from each row by the softmax at a temperature, `None` where there is none: see
    /// [`crate::draw`].
    fn draw(
        &self,
        x: &Self::Tensor,
        temperature: f64,
        draws: &[f64],
    ) -> Result<Vec<Option<u32>>, KernelError>;
}
