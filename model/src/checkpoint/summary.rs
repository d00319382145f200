//! What a checkpoint holds, in numbers.

use std::collections::BTreeMap;

use super::Checkpoint;

/// The size of a checkpoint, and of what types it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The number of files of weights.
    pub files: usize,
    /// The length of all files, headers included.
    pub disk_bytes: usize,
    /// What there is of each element type, by its name in the file (`BF16`, `F8_E4M3`).
    pub dtypes: BTreeMap<String, DtypeTotal>,
}

/// All tensors of one element type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DtypeTotal {
    /// The number of tensors.
    pub tensors: usize,
    /// The number of elements.
    pub elements: usize,
    /// The bytes of data.
    pub bytes: usize,
}

impl Checkpoint {
    /// Counts files, bytes and element types.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut dtypes = BTreeMap::<String, DtypeTotal>::new();
        for entry in self.shards.iter().flat_map(|s| s.tensors.values()) {
            let total = dtypes.entry(entry.dtype.to_string()).or_default();
            total.tensors += 1;
            total.elements += entry.shape.iter().product::<usize>();
            total.bytes += entry.range.len();
        }
        let disk_bytes = self.shards.iter().map(super::shard::Shard::file_bytes).sum();
        Summary { files: self.shards.len(), disk_bytes, dtypes }
    }
}
