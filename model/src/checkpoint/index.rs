//! `model.safetensors.index.json`: which shard holds which tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::error::{CheckpointError, Warning};
use super::header::MAX_HEADER_BYTES;
use super::shard::{Shard, read_text};
use super::{OpenOptions, paths};

#[derive(Deserialize)]
struct Index {
    metadata: Option<Metadata>,
    weight_map: WeightMap,
}

#[derive(Deserialize)]
struct Metadata {
    total_size: Option<serde_json::Value>,
}

/// From the tensor's name to the shard's path; a name that comes twice is an error.
struct WeightMap(BTreeMap<String, String>);

/// Opens all shards that the index at `file` lists, and proves that it is right about them.
pub(super) fn open(
    dir: &Path,
    file: &Path,
    options: OpenOptions,
) -> Result<(Vec<Shard>, Vec<Warning>), CheckpointError> {
    let index: Index = serde_json::from_str(&read_text(file, MAX_HEADER_BYTES)?).map_err(|e| {
        CheckpointError::Index { file: file.to_path_buf(), detail: format!("invalid index: {e}") }
    })?;
    let WeightMap(listed) = index.weight_map;
    let names: BTreeSet<&String> = listed.values().collect();
    let paths = names
        .iter()
        .map(|shard| paths::join(dir, file, shard))
        .collect::<Result<Vec<_>, CheckpointError>>()?;
    let mut shards = Vec::new();
    for (path, shard) in paths.iter().zip(&names) {
        if path.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            let (file, shard) = (file.to_path_buf(), (*shard).clone());
            return Err(CheckpointError::MissingShard { file, shard });
        }
        paths::confine(dir, path)?;
        shards.push(Shard::open(path, options.mmap)?);
    }
    let held = once(&shards, &names)?;
    for (tensor, shard) in &listed {
        let found = held.get(tensor).copied();
        if found != Some(shard) {
            let (tensor, listed) = (tensor.clone(), shard.clone());
            return Err(CheckpointError::WrongShard { tensor, listed, found: found.cloned() });
        }
    }
    let mut warnings = Vec::new();
    let mut unlisted = held.keys().filter(|name| !listed.contains_key(**name));
    if let Some(first) = unlisted.next() {
        let (first, count) = ((*first).clone(), 1 + unlisted.count());
        warnings.push(Warning::Unlisted { first, count });
    }
    if let Some(stated) = index.metadata.and_then(|m| m.total_size) {
        let found = shards.iter().flat_map(|s| s.tensors.values()).map(|e| e.range.len()).sum();
        if stated.as_u64() != Some(found as u64) {
            warnings.push(Warning::TotalSize { stated: stated.to_string(), found });
        }
    }
    Ok((shards, warnings))
}

/// Which shard holds each tensor, proved to be one only.
fn once<'a>(
    shards: &'a [Shard],
    names: &BTreeSet<&'a String>,
) -> Result<BTreeMap<&'a String, &'a String>, CheckpointError> {
    let mut held = BTreeMap::new();
    for (shard, &name) in shards.iter().zip(names) {
        for tensor in shard.tensors.keys() {
            if let Some(first) = held.insert(tensor, name) {
                let (first, second) = (first.clone(), name.clone());
                return Err(CheckpointError::TwoShards { tensor: tensor.clone(), first, second });
            }
        }
    }
    Ok(held)
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries).map(Self)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from tensor names to shards")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
            if entries.contains_key(&tensor) {
                return Err(A::Error::custom(format_args!("{tensor} comes twice, want it once")));
            }
            entries.insert(tensor, shard);
        }
        Ok(entries)
    }
}
