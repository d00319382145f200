//! What can go wrong with a checkpoint, by cause.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::Dtype as FileDtype;

use super::verify::Mismatch;

/// An error of reading, checking or writing a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A path of the checkpoint is a folder, a pipe or a device.
    #[error("{}: {found}, want a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What lies there.
        found: &'static str,
    },
    /// The folder holds no weights.
    #[error("no weights in {} (looked for model.safetensors and model.safetensors.index.json)", dir.display())]
    NoWeights {
        /// The folder.
        dir: PathBuf,
    },
    /// The file is of another format.
    #[error("{}: looks like {found}, want a safetensors file", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// The format that its first bytes belong to, and what to do about it.
        found: &'static str,
    },
    /// The header of a shard is not valid.
    #[error("{}: {problem}", file.display())]
    Header {
        /// The shard.
        file: PathBuf,
        /// What is wrong.
        problem: HeaderProblem,
    },
    /// The header of a shard describes a tensor that cannot be.
    #[error("{}: tensor {tensor}: {problem}", file.display())]
    Tensor {
        /// The shard.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong.
        problem: TensorProblem,
    },
    /// The index is not valid JSON of the published form.
    #[error("{}: {detail}", file.display())]
    Index {
        /// The index.
        file: PathBuf,
        /// What is wrong, with line and column.
        detail: String,
    },
    /// A shard lies, or would lie, outside of the model's folder.
    #[error("{}: shard path escapes model directory: {shard:?}, want {wanted}", file.display())]
    ShardPath {
        /// The index, or the folder.
        file: PathBuf,
        /// The path as given, or where its link leads.
        shard: String,
        /// What is allowed.
        wanted: &'static str,
    },
    /// The index lists a shard that does not exist.
    #[error("{}: shard {shard} missing", file.display())]
    MissingShard {
        /// The index.
        file: PathBuf,
        /// The shard as listed.
        shard: String,
    },
    /// Two shards hold a tensor of one name.
    #[error("{tensor}: is in {first} and in {second}, want it once")]
    TwoShards {
        /// The tensor.
        tensor: String,
        /// One shard.
        first: String,
        /// The other.
        second: String,
    },
    /// A tensor is not in the shard that the index lists for it.
    #[error("{tensor}: not in {listed}, where the index lists it; {}", match found {
        Some(shard) => format!("it is in {shard}"),
        None => "it is in no shard".into(),
    })]
    WrongShard {
        /// The tensor.
        tensor: String,
        /// The shard that the index lists.
        listed: String,
        /// The shard that holds it.
        found: Option<String>,
    },
    /// A tensor that was asked for is not there.
    #[error("{tensor}: missing from the checkpoint")]
    Missing {
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than the config asks for.
    #[error("{tensor}: shape {found:?}, the config wants {wanted:?}{}", transposed(found, wanted))]
    Shape {
        /// The tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape wanted.
        wanted: Vec<usize>,
    },
    /// A weight was asked for with no axis, or with more than two.
    #[error("{tensor}: asked for with shape {wanted:?}, a weight has one or two axes")]
    Rank {
        /// The tensor.
        tensor: String,
        /// The shape asked for.
        wanted: Vec<usize>,
    },
    /// A tensor's element type cannot be used as a weight.
    #[error("{}: tensor {tensor}: dtype {found}, want F64, F32, F16, BF16 or F8_E4M3", file.display())]
    Dtype {
        /// The shard.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: FileDtype,
    },
    /// An FP8 weight has no block scales.
    #[error("{}: tensor {tensor}: F8_E4M3 without its scales, want {tensor}_scale_inv", file.display())]
    NoScale {
        /// The shard.
        file: PathBuf,
        /// The weight.
        tensor: String,
    },
    /// The block scales of an FP8 weight do not fit it.
    #[error("{}: tensor {tensor}: {found} {shape:?}, want F32 {wanted:?} for blocks of {block:?}", file.display())]
    Scale {
        /// The shard.
        file: PathBuf,
        /// The tensor of scales.
        tensor: String,
        /// Its element type.
        found: FileDtype,
        /// Its shape.
        shape: Vec<usize>,
        /// The shape wanted.
        wanted: Vec<usize>,
        /// The size of a block.
        block: [usize; 2],
    },
    /// A weight holds a NaN or an infinity.
    #[error("{}: tensor {tensor}: {count} values are NaN or infinite, the first at index {first}, want finite weights", file.display())]
    NotFinite {
        /// The shard.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The flat index of the first such element.
        first: usize,
        /// How many there are.
        count: usize,
    },
    /// The checkpoint does not hold what the model wants.
    #[error("{0}")]
    Mismatch(Box<Mismatch>),
    /// A checkpoint is already where one is to be saved.
    #[error("{}: exists, want a folder without weights", path.display())]
    Exists {
        /// The file in the way.
        path: PathBuf,
    },
    /// A tensor to be saved is given twice, or under a name that the format keeps for itself.
    #[error("{tensor}: cannot be saved under this name: {problem}")]
    Name {
        /// The tensor.
        tensor: String,
        /// Why not.
        problem: &'static str,
    },
    /// A tensor to be saved was not written with the number of bytes that it has.
    #[error("{tensor}: {found} bytes written, {dtype} {shape:?} wants {wanted}")]
    Written {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: FileDtype,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of bytes written.
        found: u64,
        /// The number of bytes wanted.
        wanted: u64,
    },
    /// A tensor to be saved is too large to count.
    #[error(
        "{tensor}: shape {shape:?} in {dtype} is not a whole number of bytes that can be counted"
    )]
    Uncountable {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: FileDtype,
        /// Its shape.
        shape: Vec<usize>,
    },
}

impl CheckpointError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    pub(super) fn header(file: &Path, problem: HeaderProblem) -> Self {
        Self::Header { file: file.to_path_buf(), problem }
    }
}

/// What is wrong with a header as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderProblem {
    /// The file has no room for the header's length.
    #[error("file too short for header: {found} bytes, want 8 or more")]
    TooShort {
        /// The file's length.
        found: usize,
    },
    /// The stated length is above the limit of the format.
    #[error("header of {found} bytes, want at most {limit}")]
    TooLarge {
        /// The length stated.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The stated length is above the file's.
    #[error("header of {found} bytes, the file has {left} after its first 8")]
    BeyondFile {
        /// The length stated.
        found: u64,
        /// The bytes there are.
        left: usize,
    },
    /// The header does not begin with a brace.
    #[error("header begins with {}, want '{{'", match found {
        Some(byte) => format!("byte 0x{byte:02x}"),
        None => "nothing".into(),
    })]
    NoBrace {
        /// The byte found, if there is one.
        found: Option<u8>,
    },
    /// The header is not UTF-8.
    #[error("header is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The offset in the header of the first bad byte.
        at: usize,
    },
    /// The header is not JSON of the form that the format defines.
    #[error("header: {detail}")]
    Json {
        /// What is wrong, with the tensor's name, line and column.
        detail: String,
    },
    /// The file goes on after its last tensor.
    #[error("{found} bytes of data, the tensors end at {wanted}")]
    Trailing {
        /// The bytes of data there are.
        found: usize,
        /// The end of the last tensor.
        wanted: usize,
    },
}

/// What is wrong with one tensor's entry in a header. Offsets count from the end of the header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The tensor ends before it begins.
    #[error("begins at {begin}, ends at {end}")]
    Reversed {
        /// Its first byte.
        begin: usize,
        /// One past its last.
        end: usize,
    },
    /// The tensor ends after the file.
    #[error("ends at byte {end} of the data, the file has {found}: truncated")]
    Truncated {
        /// One past its last byte.
        end: usize,
        /// The bytes of data there are.
        found: usize,
    },
    /// The tensor shares bytes with another.
    #[error("begins at {begin}, inside of {other}, which ends at {wanted}")]
    Overlap {
        /// Its first byte.
        begin: usize,
        /// The tensor before it.
        other: String,
        /// Where it has to begin.
        wanted: usize,
    },
    /// Bytes that belong to no tensor lie before this one.
    #[error("begins at {begin}, the tensor before it ends at {wanted}: a hole")]
    Hole {
        /// Its first byte.
        begin: usize,
        /// Where it has to begin.
        wanted: usize,
    },
    /// Shape and element type want another number of bytes than the offsets hold.
    #[error("{found} bytes, {dtype} {shape:?} wants {}", match wanted {
        Some(bytes) => bytes.to_string(),
        None => "a number of bytes that is not whole or overflows".into(),
    })]
    Length {
        /// Its element type.
        dtype: FileDtype,
        /// Its shape.
        shape: Vec<usize>,
        /// The bytes between its offsets.
        found: usize,
        /// The bytes wanted, if they can be counted.
        wanted: Option<usize>,
    },
}

/// Something odd about a checkpoint that does not keep it from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The index states another size than the tensors have.
    TotalSize {
        /// The size stated, as written.
        stated: String,
        /// The bytes of all tensors.
        found: usize,
    },
    /// The shards hold tensors that the index does not list.
    Unlisted {
        /// The first of them.
        first: String,
        /// How many there are.
        count: usize,
    },
    /// The folder holds one whole file and an index; the file was read.
    TwoLayouts,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TotalSize { stated, found } => write!(
                f,
                "model.safetensors.index.json: total_size {stated}, the tensors have {found} bytes"
            ),
            Self::Unlisted { first, count } => write!(
                f,
                "model.safetensors.index.json: {count} tensors of the shards are not listed, the first is {first}"
            ),
            Self::TwoLayouts => f.write_str(
                "model.safetensors and model.safetensors.index.json are both there: the index was not read",
            ),
        }
    }
}

fn transposed(found: &[usize], wanted: &[usize]) -> &'static str {
    let reversed = found.len() == 2 && found.iter().eq(wanted.iter().rev());
    if reversed { " (it is the transpose)" } else { "" }
}
