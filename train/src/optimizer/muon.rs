//! Muon: momentum, made orthogonal.

use latent_kernels::{Backend, Dtype, KernelError, Scalar, Weight};

use super::error::{OptimError, below_one, not_negative};

/// The quintic's coefficients: steep at 0, and near 1 for what is near 1.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];

/// How often the quintic is applied.
const ITERATIONS: usize = 5;

/// The smallest norm that a matrix is divided by.
const SMALLEST_NORM: f64 = 1e-7;

/// The root mean square of AdamW's updates, as measured by the paper.
const ADAMW_RMS: f64 = 0.2;

/// Muon's settings; the learning rate is given with each step.
///
/// With gradient `G`, a matrix `W` of `[rows, cols]` moves by
///
/// ```text
/// M <- momentum M + (1 - momentum) G
/// O  = orthogonalise(momentum M + (1 - momentum) G)                       Nesterov's look ahead
/// W <- W (1 - lr weight_decay) - lr 0.2 sqrt(max(rows, cols)) O
/// ```
///
/// The factor gives an update the root mean square of AdamW's, so one learning rate and one decay
/// do for both. The paper's `M` is a sum, `momentum M + G`: this mean is that sum times
/// `1 - momentum`, which [`orthogonalise`] takes out again, and it cannot overflow.
///
/// ```
/// let moonlight = latent_train::Muon::default();
/// assert_eq!((moonlight.momentum, moonlight.weight_decay), (0.95, 0.1));
/// ```
///
/// # Source
/// Liu et al., *Muon is Scalable for LLM Training* (arXiv 2502.16982), sections 2.1 and 2.2;
/// Jordan et al., *Muon: An optimizer for hidden layers in neural networks* (2024).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Muon {
    /// How much of the mean gradient is kept in a step, in `[0, 1)`.
    pub momentum: f64,
    /// The share of a weight that is taken off in a step, per unit of learning rate.
    pub weight_decay: f64,
}

impl Default for Muon {
    fn default() -> Self {
        Self { momentum: 0.95, weight_decay: 0.1 }
    }
}

impl Muon {
    /// Proves that the settings mean something.
    ///
    /// # Errors
    /// [`OptimError::Setting`] when the momentum is not in `[0, 1)`, or the decay is negative or
    /// not finite.
    pub fn validate(&self) -> Result<(), OptimError> {
        below_one("muon.momentum", self.momentum)?;
        not_negative("muon.weight_decay", self.weight_decay)
    }

    /// `momentum m + (1 - momentum) g`, element by element.
    fn mean<T: Scalar>(&self, m: T, g: T) -> T {
        T::from_f64(self.momentum) * m + T::from_f64(1.0 - self.momentum) * g
    }

    /// Where to go from a momentum that has not seen this gradient yet. Changes nothing.
    pub(super) fn direction<B: Backend>(
        &self,
        backend: &B,
        shape: [usize; 2],
        momentum: &[B::Scalar],
        gradient: &[B::Scalar],
    ) -> Result<Vec<B::Scalar>, KernelError> {
        let ahead = |(&m, &g)| self.mean(self.mean(m, g), g);
        let ahead: Vec<_> = momentum.iter().zip(gradient).map(ahead).collect();
        orthogonalise(backend, &ahead, shape)
    }

    /// Moves a matrix along a direction, and takes the gradient into its momentum.
    pub(super) fn apply<T: Scalar>(
        &self,
        [rows, cols]: [usize; 2],
        lr: f64,
        values: &mut [T],
        direction: &[T],
        momentum: &mut [T],
        gradient: &[T],
    ) {
        let kept = T::from_f64(1.0 - lr * self.weight_decay);
        let size = T::from_f64(lr * ADAMW_RMS * (rows.max(cols) as f64).sqrt());
        for (p, &o) in values.iter_mut().zip(direction) {
            *p = *p * kept - size * o;
        }
        for (m, &g) in momentum.iter_mut().zip(gradient) {
            *m = self.mean(*m, g);
        }
    }
}

/// Brings the singular values of a matrix near 1, and keeps its singular vectors.
///
/// The matrix is divided by its Frobenius norm, or by 1e-7 where that is larger. Then
/// `X <- 3.4445 X - 4.7750 (X Xᵀ) X + 2.0315 (X Xᵀ)² X` is applied five times, which moves each
/// singular value by the same polynomial: from 0.01 of the norm or more to between 0.68 and 1.14, and 0
/// stays 0. A factor changes nothing while the norm is above 1e-7.
///
/// Products run by [`Backend::linear`] on the smaller side, `min(rows, cols)`, in the backend's
/// scalar; each costs at most `min² max` multiplications, and there are three in each of the five.
///
/// # Shapes
/// - `matrix`: `[rows, cols]`, row by row, finite
/// - returns `[rows, cols]`
///
/// Zeros give zeros; no elements give none. One element that is not finite spoils all.
///
/// ```
/// use latent_kernels::Reference;
/// use latent_train::orthogonalise;
/// // Two singular values, 3 and 0.03, of very different size: both come near 1.
/// let y = orthogonalise(&Reference::<f64>::new(), &[3.0, 0.0, 0.0, 0.03], [2, 2])?;
/// assert!((0.68..1.14).contains(&y[0]) && (0.68..1.14).contains(&y[3]));
/// assert_eq!(y[1..3], [0.0, 0.0]);
/// # Ok::<(), latent_kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when `matrix` does not hold `[rows, cols]` elements; what the backend's
/// products return.
///
/// # Source
/// Jordan et al. (2024); Liu et al. (arXiv 2502.16982), equation 2.
pub fn orthogonalise<B: Backend>(
    backend: &B,
    matrix: &[B::Scalar],
    [rows, cols]: [usize; 2],
) -> Result<Vec<B::Scalar>, KernelError> {
    if rows.checked_mul(cols) != Some(matrix.len()) {
        let wanted = format!("want {rows} rows of {cols}");
        return Err(KernelError::shape("orthogonalise: matrix", &[matrix.len()], wanted));
    }
    let tall = rows > cols;
    let shape = if tall { [cols, rows] } else { [rows, cols] };
    let mut x = if tall { transposed(matrix, [rows, cols]) } else { matrix.to_vec() };
    let norm = frobenius(&x).max(SMALLEST_NORM);
    for v in &mut x {
        *v = B::Scalar::from_f64(v.as_f64() / norm);
    }
    for _ in 0..ITERATIONS {
        x = quintic(backend, &x, shape)?;
    }
    Ok(if tall { transposed(&x, shape) } else { x })
}

/// `a X + (b X Xᵀ + c (X Xᵀ)²) X` of a wide matrix.
fn quintic<B: Backend>(
    backend: &B,
    x: &[B::Scalar],
    [short, long]: [usize; 2],
) -> Result<Vec<B::Scalar>, KernelError> {
    let [a, b, c] = COEFFICIENTS.map(B::Scalar::from_f64);
    let gram = times_transposed(backend, x, x, [short, long, short])?;
    // It is symmetric: its transpose is itself.
    let square = times_transposed(backend, &gram, &gram, [short, short, short])?;
    let inner: Vec<_> = gram.iter().zip(&square).map(|(&g, &s)| b * g + c * s).collect();
    let x_t = transposed(x, [short, long]);
    let mut y = times_transposed(backend, &inner, &x_t, [short, short, long])?;
    for (y, &x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
    Ok(y)
}

/// `L Rᵀ` of `[rows, inner]` and `[cols, inner]`.
fn times_transposed<B: Backend>(
    backend: &B,
    left: &[B::Scalar],
    right: &[B::Scalar],
    [rows, inner, cols]: [usize; 3],
) -> Result<Vec<B::Scalar>, KernelError> {
    let dtype = if B::Scalar::BYTES == Dtype::F64.bytes() { Dtype::F64 } else { Dtype::F32 };
    let right = backend.exact(Weight::encode(dtype, [cols, inner], right)?)?;
    backend.download(&backend.linear(&backend.upload(left, &[rows, inner])?, &right)?)
}

/// The root of the sum of squares, whatever the size of the elements.
fn frobenius<T: Scalar>(x: &[T]) -> f64 {
    let largest = x.iter().fold(0.0_f64, |m, v| m.max(v.as_f64().abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let squares = x.iter().map(|v| (v.as_f64() / largest).powi(2));
    largest * squares.sum::<f64>().sqrt()
}

/// The transpose of `[rows, cols]`.
fn transposed<T: Scalar>(x: &[T], [rows, cols]: [usize; 2]) -> Vec<T> {
    (0..cols).flat_map(|c| (0..rows).map(move |r| x[r * cols + c])).collect()
}
