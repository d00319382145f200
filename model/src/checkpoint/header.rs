//! The header of one safetensors file: 8 bytes of length, JSON, then data without gaps.
//!
//! Stricter than the format's own crate: the first byte is a brace, no name comes twice, and
//! errors name the file and the tensor.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype as FileDtype;
use safetensors::tensor::TensorInfo as Stored;
use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, Visitor};

use super::error::{CheckpointError, HeaderProblem, TensorProblem};

/// The format's own limit on a header, in bytes.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// One tensor of a file: its type, its shape and where its bytes lie in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) dtype: FileDtype,
    pub(super) shape: Vec<usize>,
    pub(super) range: Range<usize>,
}

/// Reads and proves the header of `bytes`, a whole file called `file`.
pub(super) fn parse(file: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Entry>, CheckpointError> {
    let (tensors, data) = read(bytes).map_err(|problem| match foreign(bytes) {
        Some(found) => CheckpointError::Foreign { file: file.to_path_buf(), found },
        None => CheckpointError::header(file, problem),
    })?;
    layout(&tensors, bytes.len() - data).map_err(|flaw| match flaw {
        Flaw::Header(problem) => CheckpointError::header(file, problem),
        Flaw::Tensor(tensor, problem) => {
            CheckpointError::Tensor { file: file.to_path_buf(), tensor, problem }
        }
    })?;
    let entry = |s: Stored| {
        let range = data + s.data_offsets.0..data + s.data_offsets.1;
        Entry { dtype: s.dtype, shape: s.shape, range }
    };
    Ok(tensors.into_iter().map(|(name, stored)| (name, entry(stored))).collect())
}

/// The number of bytes of a tensor, `None` where it overflows or is not whole.
pub(super) fn byte_length(dtype: FileDtype, shape: &[usize]) -> Option<usize> {
    let elements = shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis))?;
    let bits = elements.checked_mul(dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// The entries as written, and where the data begins.
fn read(bytes: &[u8]) -> Result<(BTreeMap<String, Stored>, usize), HeaderProblem> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(HeaderProblem::TooShort { found: bytes.len() });
    };
    let found = u64::from_le_bytes(*length);
    if found > MAX_HEADER_BYTES {
        return Err(HeaderProblem::TooLarge { found, limit: MAX_HEADER_BYTES });
    }
    let header = usize::try_from(found).ok().and_then(|n| rest.get(..n));
    let header = header.ok_or(HeaderProblem::BeyondFile { found, left: rest.len() })?;
    if header.first() != Some(&b'{') {
        return Err(HeaderProblem::NoBrace { found: header.first().copied() });
    }
    let text =
        std::str::from_utf8(header).map_err(|e| HeaderProblem::NotUtf8 { at: e.valid_up_to() })?;
    let mut json = serde_json::Deserializer::from_str(text);
    let tensors = json
        .deserialize_map(Tensors)
        .and_then(|tensors| json.end().map(|()| tensors))
        .map_err(|e| HeaderProblem::Json { detail: e.to_string() })?;
    Ok((tensors, 8 + header.len()))
}

enum Flaw {
    Header(HeaderProblem),
    Tensor(String, TensorProblem),
}

/// Proves that the tensors fill `data_bytes` in some order, each as long as its shape wants.
fn layout(tensors: &BTreeMap<String, Stored>, data_bytes: usize) -> Result<(), Flaw> {
    let mut by_offset: Vec<(&String, &Stored)> = tensors.iter().collect();
    by_offset.sort_by_key(|(_, stored)| stored.data_offsets);
    let (mut next, mut before) = (0, "");
    for (name, Stored { dtype, shape, data_offsets: (begin, end) }) in by_offset {
        let (begin, end) = (*begin, *end);
        let flaw = |problem| Err(Flaw::Tensor(name.clone(), problem));
        if begin > end {
            return flaw(TensorProblem::Reversed { begin, end });
        }
        if begin < next {
            return flaw(TensorProblem::Overlap { begin, other: before.into(), wanted: next });
        }
        if begin > next {
            return flaw(TensorProblem::Hole { begin, wanted: next });
        }
        let (found, wanted) = (end - begin, byte_length(*dtype, shape));
        if wanted != Some(found) {
            let shape = shape.clone();
            return flaw(TensorProblem::Length { dtype: *dtype, shape, found, wanted });
        }
        if end > data_bytes {
            return flaw(TensorProblem::Truncated { end, found: data_bytes });
        }
        (next, before) = (end, name);
    }
    if next == data_bytes {
        Ok(())
    } else {
        Err(Flaw::Header(HeaderProblem::Trailing { found: data_bytes, wanted: next }))
    }
}

/// Files that are often found under the wrong name, told by their first bytes.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => Some("a zip archive (a PyTorch checkpoint?)"),
        [0x80, 2..=5, ..] => Some("a Python pickle (a PyTorch checkpoint?)"),
        [b'G', b'G', b'U', b'F', ..] => Some("a GGUF file"),
        _ if bytes.starts_with(b"version https://git-lfs") => {
            Some("a Git LFS pointer; run git lfs pull")
        }
        _ if bytes.trim_ascii_start().starts_with(b"<") => Some("a web page (a failed download?)"),
        _ => None,
    }
}

/// Collects the header's entries; a name that comes twice is an error.
struct Tensors;

impl<'de> Visitor<'de> for Tensors {
    type Value = BTreeMap<String, Stored>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from tensor names to dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut tensors, mut metadata) = (BTreeMap::new(), None);
        while let Some(name) = map.next_key::<String>()? {
            let named = |e: A::Error| A::Error::custom(format_args!("tensor {name}: {e}"));
            let twice = if name == "__metadata__" {
                metadata
                    .replace(map.next_value::<BTreeMap<String, String>>().map_err(named)?)
                    .is_some()
            } else {
                let stored = map.next_value::<Stored>().map_err(named)?;
                tensors.insert(name.clone(), stored).is_some()
            };
            if twice {
                return Err(A::Error::custom(format_args!("{name} comes twice, want it once")));
            }
        }
        Ok(tensors)
    }
}
