//! Tensors, backends and the primitives that every block of a DeepSeek-style model shares.
//!
//! | you want | look at |
//! | --- | --- |
//! | the seam that a model is written against | [`Backend`] |
//! | the definition of every operation | [`Reference`] |
//! | what one operation computes, its shapes and edge cases | [`linear`], [`rms_norm`], [`rope`], [`softmax`], [`swiglu`], [`gather`], [`add`], [`columns`], [`argmax`], [`draw`] |
//! | gradients of these, and of a loss | [`Backward`], [`cross_entropy`] |
//! | whether two results agree | [`compare()`], [`Tolerance`] |
//! | to hold a backend of your own to the definition | [`backend_suite!`], `suite` (feature `suite`) |
//! | to run fast on a processor | [`cpu`] |
//! | to run on a GPU | `gpu` (feature `gpu`) |
//! | what a backend's kernels cost | [`Ledger`], [`Cost`] |
//! | weights as they lie in a file: bf16, f16, f32, FP8 blocks | [`Weight`], [`Dtype`] |
//!
//! ```
//! use latent_kernels::{Backend, Dtype, Reference, Weight};
//!
//! let cpu = Reference::<f64>::new();
//! let w = cpu.matrix(Weight::encode(Dtype::Bf16, [2, 3], &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0])?)?;
//! let x = cpu.upload(&[1.0, 0.0, -1.0], &[1, 3])?;
//! assert_eq!(cpu.download(&cpu.linear(&x, &w)?)?, [-2.0, -2.0]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

mod backend;
mod backward;
mod bytes;
mod compare;
mod cost;
mod dtype;
mod error;
mod reference;
mod scalar;
mod tensor_spec;
mod weight;

pub mod add;
pub mod argmax;
pub mod columns;
pub mod cpu;
pub mod cross_entropy;
pub mod draw;
pub mod gather;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod linear;
pub mod rms_norm;
pub mod rope;
pub mod softmax;
pub mod swiglu;

mod stamp;
#[cfg(feature = "suite")]
pub mod suite;

pub use backend::{Backend, Matrix, Tensor};
pub use backward::{Backward, Gradients};
pub use bytes::{ByteOwner, Bytes};
pub use compare::{Mismatch, Tolerance, assert_close, compare, max_difference};
pub use cost::{Cost, Ledger, Peaks};
pub use dtype::Dtype;
pub use error::KernelError;
pub use reference::Reference;
pub use rope::{PairLayout, RopeTable, Yarn};
pub use scalar::Scalar;
pub use tensor_spec::TensorSpec;
pub use weight::{BlockScale, Weight};
