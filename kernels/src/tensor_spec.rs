//! What a layer asks of a checkpoint.

/// The name and the shape of one tensor that a layer wants.
///
/// Each crate lists what its layers want, relative to the layer; the assembler adds the prefix.
/// Loading, counting parameters and making random weights all go by these lists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorSpec {
    /// The published name, as in `kv_b_proj.weight`.
    pub name: String,
    /// `[rows, cols]` of a matrix (output features first), `[n]` of a vector.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A tensor called `name` of `shape`.
    pub fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec() }
    }

    /// The same tensor with `prefix` before its name.
    ///
    /// ```
    /// use latent_kernels::TensorSpec;
    /// let spec = TensorSpec::new("o_proj.weight", &[80, 64]).under("model.layers.0.self_attn.");
    /// assert_eq!(spec.name, "model.layers.0.self_attn.o_proj.weight");
    /// assert_eq!(spec.elements(), Some(5120));
    /// ```
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.name.insert_str(0, prefix);
        self
    }

    /// The number of elements, `None` where it overflows.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis))
    }
}
