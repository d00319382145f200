//! The SwiGLU feed-forward block: dense layers, shared experts and routed experts alike.
//!
//! `y = down_proj(silu(gate_proj x) * up_proj x)`
//!
//! # Source
//! Shazeer, *GLU Variants Improve Transformer* (arXiv 2002.05202), equation 6.

use latent_kernels::{Backend, TensorSpec, Weight};

use crate::MoeError;

mod backward;

pub use backward::SavedMlp;

/// The three matrices of one block as they are stored, proved to fit together.
#[derive(Debug, Clone)]
pub struct MlpWeights {
    /// `[inner, hidden]`.
    pub gate_proj: Weight,
    /// `[inner, hidden]`.
    pub up_proj: Weight,
    /// `[hidden, inner]`.
    pub down_proj: Weight,
}

impl MlpWeights {
    /// Asks `get` for the three weights, whose names begin with `prefix`.
    ///
    /// # Errors
    /// What `get` returns, and [`MoeError::Weight`] when a shape is another one.
    pub fn read<E: From<MoeError>>(
        prefix: &str,
        hidden: usize,
        inner: usize,
        get: &mut impl FnMut(&str) -> Result<Weight, E>,
    ) -> Result<Self, E> {
        Ok(Self {
            gate_proj: proved(format!("{prefix}gate_proj.weight"), [inner, hidden], get)?,
            up_proj: proved(format!("{prefix}up_proj.weight"), [inner, hidden], get)?,
            down_proj: proved(format!("{prefix}down_proj.weight"), [hidden, inner], get)?,
        })
    }
}

/// Asks `get` for one weight and proves its shape; a vector has one row.
pub(crate) fn proved<E: From<MoeError>>(
    name: String,
    wanted: [usize; 2],
    get: &mut impl FnMut(&str) -> Result<Weight, E>,
) -> Result<Weight, E> {
    let weight = get(&name)?;
    let found = [weight.rows(), weight.cols()];
    if found == wanted { Ok(weight) } else { Err(MoeError::Weight { name, found, wanted }.into()) }
}

/// A SwiGLU block on a backend.
///
/// ```
/// use latent_moe::Mlp;
/// use latent_moe::kernels::{Backend, Dtype, Reference, Weight};
/// let cpu = Reference::<f64>::new();
/// // One input, one inner feature: y = 2 * silu(x) * x.
/// let mlp = Mlp::new(&cpu, 1, 1, &mut |name| {
///     let value = if name == "down_proj.weight" { 2.0 } else { 1.0 };
///     Ok::<_, latent_moe::MoeError>(Weight::encode(Dtype::F32, [1, 1], &[value])?)
/// })?;
/// let y = mlp.forward(&cpu, &cpu.upload(&[0.0], &[1, 1])?)?;
/// assert_eq!(cpu.download(&y)?, [0.0]);
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
#[derive(Debug)]
pub struct Mlp<B: Backend> {
    pub(crate) gate_proj: B::Matrix, // [inner, hidden]
    pub(crate) up_proj: B::Matrix,   // [inner, hidden]
    pub(crate) down_proj: B::Matrix, // [hidden, inner]
}

impl<B: Backend> Mlp<B> {
    /// What a block asks of a checkpoint, relative to the block.
    #[must_use]
    pub fn tensors(hidden: usize, inner: usize) -> Vec<TensorSpec> {
        tensors("", hidden, inner)
    }

    /// A block whose weights come from `get`, by the names of [`tensors`](Self::tensors).
    ///
    /// # Errors
    /// What `get` returns, and [`MoeError`] when a shape is another one or the backend refuses a
    /// weight.
    pub fn new<E: From<MoeError>>(
        backend: &B,
        hidden: usize,
        inner: usize,
        get: &mut impl FnMut(&str) -> Result<Weight, E>,
    ) -> Result<Self, E> {
        Ok(Self::upload(backend, MlpWeights::read("", hidden, inner, get)?)?)
    }

    /// A block of weights already read.
    ///
    /// # Errors
    /// [`MoeError::Kernel`] when the backend refuses a weight.
    pub fn upload(backend: &B, weights: MlpWeights) -> Result<Self, MoeError> {
        Ok(Self {
            gate_proj: backend.matrix(weights.gate_proj)?,
            up_proj: backend.matrix(weights.up_proj)?,
            down_proj: backend.matrix(weights.down_proj)?,
        })
    }

    /// The block's output, `[.., hidden]` for `x` of that shape.
    ///
    /// # Errors
    /// [`MoeError::Kernel`] when the last axis of `x` is not `hidden` long.
    pub fn forward(&self, backend: &B, x: &B::Tensor) -> Result<B::Tensor, MoeError> {
        Ok(self.forward_saving(backend, x)?.0)
    }

    /// [`forward`](Self::forward), with what `backward` needs.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn forward_saving(
        &self,
        backend: &B,
        x: &B::Tensor,
    ) -> Result<(B::Tensor, SavedMlp<B>), MoeError> {
        let [gate, up] = backend.linears(x, [&self.gate_proj, &self.up_proj])?; // [.., inner]
        let y = backend.linear(&backend.swiglu(&gate, &up)?, &self.down_proj)?;
        Ok((y, SavedMlp { gate, up }))
    }
}

/// The tensors of a block whose names begin with `prefix`.
pub(crate) fn tensors(prefix: &str, hidden: usize, inner: usize) -> Vec<TensorSpec> {
    vec![
        TensorSpec::new(format!("{prefix}gate_proj.weight"), &[inner, hidden]),
        TensorSpec::new(format!("{prefix}up_proj.weight"), &[inner, hidden]),
        TensorSpec::new(format!("{prefix}down_proj.weight"), &[hidden, inner]),
    ]
}
