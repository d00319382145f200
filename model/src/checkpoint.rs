//! Sharded safetensors files: strict reading by memory map or by copy, and saving.
//!
//! | you want | look at |
//! | --- | --- |
//! | weights out of a folder | [`Checkpoint::open`], [`Checkpoint::weight`] |
//! | proof that they are what the config wants | [`Checkpoint::verify`], [`Checkpoint::check_weights`] |
//! | a checkpoint written | [`save`], [`save_file`] |
//! | weights of a shape, without training | [`random::write`] |
//!
//! Reading trusts nothing: every header is proved (lengths, offsets, names), every path stays in
//! the model's folder, and what is wrong is named with its file and tensor. Only headers are read
//! at opening; weights are ranges of the mapped file, never copied.
//!
//! ```
//! use latent_model::checkpoint::{Checkpoint, FileDtype, OpenOptions, TensorMeta, save};
//!
//! let dir = tempfile::tempdir()?;
//! let tensors = [TensorMeta::new("norm.weight", FileDtype::F32, &[2])];
//! save(dir.path(), &tensors, u64::MAX, |_, out| {
//!     out.write_all(&1.0_f32.to_le_bytes())?;
//!     out.write_all(&2.0_f32.to_le_bytes())
//! })?;
//!
//! let checkpoint = Checkpoint::open(dir.path(), OpenOptions::default())?;
//! let norm = checkpoint.weight("norm.weight", &[2])?;
//! assert_eq!(norm.decode::<f32>(), [1.0, 2.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod finite;
mod header;
mod index;
mod paths;
mod save;
mod shard;
mod summary;
mod verify;

pub mod random;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use latent_kernels::{BlockScale, Bytes, Dtype, Weight};

pub use error::{CheckpointError, HeaderProblem, TensorProblem, Warning};
pub use safetensors::Dtype as FileDtype;
pub use save::{TensorMeta, save, save_file};
pub use summary::{DtypeTotal, Summary};
pub use verify::{Mismatch, VerifyOptions};

use header::Entry;
use shard::Shard;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SCALE_SUFFIX: &str = "_scale_inv";

/// How a checkpoint is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// Maps the files into memory instead of reading each once into a buffer.
    ///
    /// A mapped file must not be written to or truncated while the checkpoint or any of its
    /// weights lives: values would change, and reading past the new end ends the process
    /// (`SIGBUS`). Its length is checked at opening only. Where that cannot be promised, on a
    /// network drive for one, turn it off.
    pub mmap: bool,
    /// The rows and columns of a block of FP8 weights, `weight_block_size` in `config.json`.
    pub block: [usize; 2],
}

impl Default for OpenOptions {
    /// Memory maps, blocks of 128 by 128.
    fn default() -> Self {
        Self { mmap: true, block: [128, 128] }
    }
}

/// The weights of a model as they lie on disk.
pub struct Checkpoint {
    shards: Vec<Shard>,
    /// The shard that holds each tensor.
    tensors: BTreeMap<String, usize>,
    warnings: Vec<Warning>,
    block: [usize; 2],
}

/// One tensor of a checkpoint, as its file describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// The element type.
    pub dtype: FileDtype,
    /// The shape.
    pub shape: &'a [usize],
    /// The file that holds it.
    pub file: &'a Path,
    /// The bytes of its data.
    pub bytes: usize,
}

impl Checkpoint {
    /// Opens `model.safetensors` in `dir`, or else the shards that
    /// `model.safetensors.index.json` lists.
    ///
    /// Only headers are read; with [`OpenOptions::mmap`] off, each file is read once.
    ///
    /// # Errors
    /// [`CheckpointError`] that names the file, and the tensor where there is one: when a file is
    /// missing, not a regular file, outside of `dir`, or not valid, and when index and shards
    /// disagree.
    pub fn open(dir: &Path, options: OpenOptions) -> Result<Self, CheckpointError> {
        let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
        let (has_single, has_index) = (exists(&single)?, exists(&index)?);
        if has_single {
            paths::confine(dir, &single)?;
            let warnings = if has_index { vec![Warning::TwoLayouts] } else { Vec::new() };
            return Ok(Self::new(vec![Shard::open(&single, options.mmap)?], warnings, options));
        }
        if !has_index {
            return Err(CheckpointError::NoWeights { dir: dir.to_path_buf() });
        }
        paths::confine(dir, &index)?;
        let (shards, warnings) = index::open(dir, &index, options)?;
        Ok(Self::new(shards, warnings, options))
    }

    /// Opens one safetensors file, whatever its name and wherever links lead.
    ///
    /// # Errors
    /// [`CheckpointError`] when it is not a regular file or not valid.
    pub fn open_file(path: &Path, options: OpenOptions) -> Result<Self, CheckpointError> {
        Ok(Self::new(vec![Shard::open(path, options.mmap)?], Vec::new(), options))
    }

    /// The checkpoint in `bytes`, one whole file; errors call it `name`.
    ///
    /// # Errors
    /// [`CheckpointError`] when the file is not valid.
    pub fn from_bytes(
        name: &Path,
        bytes: Vec<u8>,
        options: OpenOptions,
    ) -> Result<Self, CheckpointError> {
        Ok(Self::new(vec![Shard::parse(name, Arc::new(bytes))?], Vec::new(), options))
    }

    fn new(shards: Vec<Shard>, warnings: Vec<Warning>, options: OpenOptions) -> Self {
        let names = |(i, shard): (usize, &Shard)| {
            shard.tensors.keys().map(|name| (name.clone(), i)).collect::<Vec<_>>()
        };
        let tensors = shards.iter().enumerate().flat_map(names).collect();
        Self { shards, tensors, warnings, block: options.block }
    }

    /// What is odd about the checkpoint but does not keep it from being used.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What the file says about a tensor.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] when there is no such tensor.
    pub fn info(&self, name: &str) -> Result<TensorInfo<'_>, CheckpointError> {
        let (shard, Entry { dtype, shape, range }) = self.find(name)?;
        Ok(TensorInfo { dtype: *dtype, shape, file: &shard.path, bytes: range.len() })
    }

    /// The bytes of a tensor of any type, shared with the file.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] when there is no such tensor.
    pub fn bytes(&self, name: &str) -> Result<Bytes, CheckpointError> {
        let (shard, entry) = self.find(name)?;
        Ok(shard.bytes(entry))
    }

    /// The weight called `name`, of shape `[rows, cols]`, or `[n]` for a vector (one row).
    ///
    /// Its bytes are shared with the file. An FP8 weight carries its block scales, which are the
    /// tensor `{name}_scale_inv`.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`] when there is no such tensor, [`CheckpointError::Shape`] when
    /// it has another shape, [`CheckpointError::Dtype`] when its type cannot be a weight,
    /// [`CheckpointError::NoScale`] and [`CheckpointError::Scale`] when the scales of an FP8
    /// weight are missing or do not fit.
    pub fn weight(&self, name: &str, shape: &[usize]) -> Result<Weight, CheckpointError> {
        let Proved { shard, entry, dtype, sides, scale } = self.prove(name, shape)?;
        let scale = scale.map(|(shard, entry)| {
            let mut values = vec![0.0; entry.shape.iter().product()];
            Dtype::F32.decode(shard.bytes(entry).as_slice(), &mut values);
            BlockScale { block: self.block(), values }
        });
        Ok(shard.weight(entry, dtype, sides, scale))
    }

    /// All that [`weight`](Self::weight) proves, by the headers alone.
    fn prove(&self, name: &str, shape: &[usize]) -> Result<Proved<'_>, CheckpointError> {
        let (shard, entry) = self.find(name)?;
        let (rows, cols) = match *shape {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => {
                return Err(CheckpointError::Rank { tensor: name.into(), wanted: shape.to_vec() });
            }
        };
        if entry.shape != shape {
            let (found, wanted) = (entry.shape.clone(), shape.to_vec());
            return Err(CheckpointError::Shape { tensor: name.into(), found, wanted });
        }
        let Some(dtype) = weight_dtype(entry.dtype) else {
            let (file, tensor) = (shard.path.clone(), name.into());
            return Err(CheckpointError::Dtype { file, tensor, found: entry.dtype });
        };
        let sides = [rows, cols];
        let scale = match dtype {
            Dtype::F8E4m3 => Some(self.scale(shard, name, sides)?),
            _ => None,
        };
        Ok(Proved { shard, entry, dtype, sides, scale })
    }

    /// The block scales of the FP8 weight called `name`, which lies in `shard`.
    fn scale(
        &self,
        shard: &Shard,
        name: &str,
        [rows, cols]: [usize; 2],
    ) -> Result<(&Shard, &Entry), CheckpointError> {
        let tensor = format!("{name}{SCALE_SUFFIX}");
        let Ok((scale_shard, entry)) = self.find(&tensor) else {
            let (file, tensor) = (shard.path.clone(), name.into());
            return Err(CheckpointError::NoScale { file, tensor });
        };
        let block = self.block();
        let wanted = vec![rows.div_ceil(block[0]), cols.div_ceil(block[1])];
        if entry.dtype != FileDtype::F32 || entry.shape != wanted {
            let (file, shape) = (scale_shard.path.clone(), entry.shape.clone());
            let found = entry.dtype;
            return Err(CheckpointError::Scale { file, tensor, found, shape, wanted, block });
        }
        Ok((scale_shard, entry))
    }

    fn block(&self) -> [usize; 2] {
        self.block.map(|size| size.max(1))
    }

    fn find(&self, name: &str) -> Result<(&Shard, &Entry), CheckpointError> {
        let shard = self.tensors.get(name).map(|&i| &self.shards[i]);
        shard
            .and_then(|shard| Some((shard, shard.tensors.get(name)?)))
            .ok_or_else(|| CheckpointError::Missing { tensor: name.into() })
    }
}

/// A tensor that is there, in the shape asked for and in a type that can be a weight.
struct Proved<'a> {
    shard: &'a Shard,
    entry: &'a Entry,
    dtype: Dtype,
    /// Rows and columns.
    sides: [usize; 2],
    /// The block scales of FP8.
    scale: Option<(&'a Shard, &'a Entry)>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<&PathBuf> = self.shards.iter().map(|s| &s.path).collect();
        f.debug_struct("Checkpoint")
            .field("files", &files)
            .field("tensors", &self.tensors.len())
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// How a stored type is decoded, `None` where it cannot be a weight.
fn weight_dtype(dtype: FileDtype) -> Option<Dtype> {
    match dtype {
        FileDtype::F64 => Some(Dtype::F64),
        FileDtype::F32 => Some(Dtype::F32),
        FileDtype::F16 => Some(Dtype::F16),
        FileDtype::BF16 => Some(Dtype::Bf16),
        FileDtype::F8_E4M3 => Some(Dtype::F8E4m3),
        _ => None,
    }
}

/// Whether anything lies at `path`, a broken link included.
fn exists(path: &Path) -> Result<bool, CheckpointError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(CheckpointError::io(path, e)),
    }
}
