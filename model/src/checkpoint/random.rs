//! Checkpoints of random weights in the published layout, to try shapes without any training.
//!
//! Values are spread so that a model's activations stay of order 1 through all layers: matrices
//! `normal(0, 1/sqrt(cols))`, gains of norms `1 + 0.2 n`, embeddings `0.5 n`, the router's
//! correction bias `0.15 n`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use latent_kernels::{Dtype, Scalar, TensorSpec};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::error::CheckpointError;
use super::save::{TensorMeta, save};
use super::{FileDtype, SCALE_SUFFIX};

/// The element type that random weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RandomDtype {
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats, as V2 is released.
    Bf16,
    /// Projections in FP8 e4m3 with block scales, the rest in [`Bf16`](Self::Bf16), as V3 is
    /// released.
    Fp8 {
        /// Rows and columns of a block, `[128, 128]` in released files.
        block: [usize; 2],
    },
}

/// Writes a checkpoint that holds every tensor of `tensors` into the folder `dir`.
///
/// It is made and written row by row. The same `seed` gives the same values, whatever
/// `max_shard_bytes` is. As in released files the router's correction bias is always `F32`.
///
/// ```
/// use latent_kernels::TensorSpec;
/// use latent_model::checkpoint::random::{RandomDtype, write};
/// use latent_model::checkpoint::{Checkpoint, OpenOptions};
///
/// let dir = tempfile::tempdir()?;
/// let tensors = [TensorSpec::new("model.layers.0.mlp.up_proj.weight", &[200, 300])];
/// let dtype = RandomDtype::Fp8 { block: [128, 128] };
/// write(dir.path(), &tensors, 7, dtype, u64::MAX)?;
/// let checkpoint = Checkpoint::open(dir.path(), OpenOptions::default())?;
/// let weight = checkpoint.weight("model.layers.0.mlp.up_proj.weight", &[200, 300])?;
/// assert_eq!(weight.scale().map(|s| s.values.len()), Some(6));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`save`]; [`CheckpointError::Rank`] when a tensor has not one or two axes.
pub fn write(
    dir: &Path,
    tensors: &[TensorSpec],
    seed: u64,
    dtype: RandomDtype,
    max_shard_bytes: u64,
) -> Result<(), CheckpointError> {
    let (mut metas, mut parts) = (Vec::new(), HashMap::new());
    for (spec, stream) in tensors.iter().zip(0..) {
        for (meta, part) in plan(spec, stream, dtype)? {
            parts.insert(meta.name.clone(), part);
            metas.push(meta);
        }
    }
    save(dir, &metas, max_shard_bytes, |meta, out| parts[&meta.name].write(seed, out))
}

/// How the values of one tensor are made.
struct Part {
    /// The number of its tensor, which picks the stream of random numbers.
    stream: u64,
    rows: usize,
    cols: usize,
    kind: Kind,
}

enum Kind {
    /// `mean + spread * n`.
    Plain { dtype: Dtype, mean: f64, spread: f64 },
    /// `spread * n`, divided by the scale of its block.
    Quantized { spread: f64, block: [usize; 2] },
    /// The scales of a quantised tensor.
    Scales { spread: f64 },
}

/// What is saved for one tensor: itself, and its scales where it has them.
fn plan(
    spec: &TensorSpec,
    stream: u64,
    dtype: RandomDtype,
) -> Result<Vec<(TensorMeta, Part)>, CheckpointError> {
    let TensorSpec { name, shape } = spec;
    let (rows, cols) = match **shape {
        [cols] => (1, cols),
        [rows, cols] => (rows, cols),
        _ => return Err(CheckpointError::Rank { tensor: name.clone(), wanted: shape.clone() }),
    };
    let spread = (cols.max(1) as f64).powf(-0.5);
    if let RandomDtype::Fp8 { block } = dtype
        && is_projection(name)
    {
        let block = block.map(|size| size.max(1));
        let grid = [rows.div_ceil(block[0]), cols.div_ceil(block[1])];
        let scales = TensorMeta::new(format!("{name}{SCALE_SUFFIX}"), FileDtype::F32, &grid);
        let kind = Kind::Quantized { spread, block };
        let weight = Part { stream, rows, cols, kind };
        let kind = Kind::Scales { spread };
        return Ok(vec![
            (TensorMeta::new(name, FileDtype::F8_E4M3, shape), weight),
            (scales, Part { stream, rows: grid[0], cols: grid[1], kind }),
        ]);
    }
    let is_bias = name.ends_with("e_score_correction_bias");
    let (mean, spread) = if is_bias {
        (0.0, 0.15)
    } else if shape.len() == 1 && name.ends_with("norm.weight") {
        (1.0, 0.2)
    } else if name.ends_with("embed_tokens.weight") {
        (0.0, 0.5)
    } else {
        (0.0, spread)
    };
    let (dtype, stored) = match dtype {
        RandomDtype::F32 => (Dtype::F32, FileDtype::F32),
        _ if is_bias => (Dtype::F32, FileDtype::F32),
        RandomDtype::Bf16 | RandomDtype::Fp8 { .. } => (Dtype::Bf16, FileDtype::BF16),
    };
    let kind = Kind::Plain { dtype, mean, spread };
    Ok(vec![(TensorMeta::new(name, stored, shape), Part { stream, rows, cols, kind })])
}

/// Whether released FP8 files quantise the tensor: all projections but the one that joins the
/// inputs of a multi-token layer.
fn is_projection(name: &str) -> bool {
    (name.ends_with("_proj.weight") && !name.ends_with("eh_proj.weight"))
        || name.ends_with("_proj_with_mqa.weight")
}

impl Part {
    fn write(&self, seed: u64, out: &mut dyn Write) -> io::Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(2 * self.stream);
        let mut normals = Normals { rng, spare: None };
        let mut row = vec![0.0_f64; self.cols];
        for i in 0..self.rows {
            let dtype = match self.kind {
                Kind::Plain { dtype, mean, spread } => {
                    row.fill_with(|| mean + spread * normals.next());
                    dtype
                }
                Kind::Quantized { spread, block } => {
                    let across = self.cols.div_ceil(block[1]);
                    for (j, values) in row.chunks_mut(block[1]).enumerate() {
                        let scale = self.scale(seed, spread, i / block[0] * across + j);
                        values.fill_with(|| spread * normals.next() / scale);
                    }
                    Dtype::F8E4m3
                }
                Kind::Scales { spread } => {
                    for (j, value) in row.iter_mut().enumerate() {
                        *value = self.scale(seed, spread, i * self.cols + j);
                    }
                    Dtype::F32
                }
            };
            out.write_all(&dtype.encode(&row))?;
        }
        Ok(())
    }

    /// The scale of one block, rounded as it is stored: 4 to 6 spreads become 448. No two blocks
    /// have the same, so that none is taken for another unnoticed.
    fn scale(&self, seed: u64, spread: f64, block: usize) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(2 * self.stream + 1);
        rng.set_word_pos(2 * block as u128);
        let scale = (4.0 + 2.0 * uniform(&mut rng)) * spread / 448.0;
        f64::from(<f32 as Scalar>::from_f64(scale))
    }
}

/// Standard normal numbers, by Box and Muller's transform.
struct Normals {
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Normals {
    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * uniform(&mut self.rng).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * uniform(&mut self.rng)).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}

/// A number in `(0, 1]`, of 53 random bits.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}
