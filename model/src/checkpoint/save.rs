//! Writing a checkpoint in the published layout, one tensor at a time, whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype as FileDtype;
use serde_json::json;

use super::error::CheckpointError;
use super::header::byte_length;
use super::{INDEX, SINGLE, exists};

/// One tensor to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMeta {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: FileDtype,
    /// Its shape, of any number of axes.
    pub shape: Vec<usize>,
}

impl TensorMeta {
    /// A tensor called `name` of `dtype` and `shape`.
    pub fn new(name: impl Into<String>, dtype: FileDtype, shape: &[usize]) -> Self {
        Self { name: name.into(), dtype, shape: shape.to_vec() }
    }

    /// The bytes of its data.
    ///
    /// # Errors
    /// [`CheckpointError::Uncountable`] when they overflow, or are not whole.
    pub fn bytes(&self) -> Result<u64, CheckpointError> {
        byte_length(self.dtype, &self.shape).map(|n| n as u64).ok_or_else(|| self.uncountable())
    }

    fn uncountable(&self) -> CheckpointError {
        let Self { name, dtype, shape } = self.clone();
        CheckpointError::Uncountable { tensor: name, dtype, shape }
    }
}

/// Saves `tensors` into the folder `dir` as `model.safetensors`, or, where they do not fit into
/// `max_shard_bytes`, as `model-00001-of-0000N.safetensors` and so on with an index.
///
/// `write` is called once per tensor and writes its bytes, little-endian, row by row; only what
/// it holds is in memory. Within a file, wider types come first, so that data is aligned. A
/// tensor larger than `max_shard_bytes` has a file for itself.
///
/// Files are written under other names, synced, and renamed only once all are complete, the index
/// last: a folder never holds part of a checkpoint under a name that is read.
///
/// # Errors
/// [`CheckpointError::Exists`] when `dir` already holds a checkpoint, [`CheckpointError::Name`]
/// when two tensors have one name, [`CheckpointError::Written`] when `write` gives another number
/// of bytes than the tensor has, [`CheckpointError::Io`]. Nothing is left behind.
pub fn save(
    dir: &Path,
    tensors: &[TensorMeta],
    max_shard_bytes: u64,
    mut write: impl FnMut(&TensorMeta, &mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    check_names(tensors)?;
    for name in [SINGLE, INDEX] {
        let path = dir.join(name);
        if exists(&path)? {
            return Err(CheckpointError::Exists { path });
        }
    }
    let shards = split(tensors, max_shard_bytes)?;
    if let [only] = &shards[..] {
        return publish(vec![write_file(&dir.join(SINGLE), only, &mut write)?]);
    }
    let (mut partials, mut weight_map, mut total_size) = (Vec::new(), BTreeMap::new(), 0);
    for (i, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        let path = dir.join(&name);
        if exists(&path)? {
            return Err(CheckpointError::Exists { path });
        }
        partials.push(write_file(&path, shard, &mut write)?);
        for tensor in shard {
            total_size += tensor.bytes()?;
            weight_map.insert(&tensor.name, name.clone());
        }
    }
    let index = json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map });
    let index = format!("{index:#}\n");
    partials.push(Partial::create(&dir.join(INDEX), |out| out.write_all(index.as_bytes()))?);
    publish(partials)
}

/// Saves `tensors` as the one file `path`, in place of what may be there, whole or not at all.
///
/// # Errors
/// As [`save`], without [`CheckpointError::Exists`].
pub fn save_file(
    path: &Path,
    tensors: &[TensorMeta],
    mut write: impl FnMut(&TensorMeta, &mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    check_names(tensors)?;
    publish(vec![write_file(path, &tensors.iter().collect::<Vec<_>>(), &mut write)?])
}

fn check_names(tensors: &[TensorMeta]) -> Result<(), CheckpointError> {
    let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    let error = |name: &str, problem| Err(CheckpointError::Name { tensor: name.into(), problem });
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return error(twice[0], "it is given twice");
    }
    if names.binary_search(&"__metadata__").is_ok() {
        return error("__metadata__", "the format keeps it for itself");
    }
    Ok(())
}

/// The tensors of each file, at least one file, in the order given.
fn split(tensors: &[TensorMeta], max_bytes: u64) -> Result<Vec<Vec<&TensorMeta>>, CheckpointError> {
    let (mut shards, mut used) = (vec![Vec::new()], 0_u64);
    for tensor in tensors {
        let bytes = tensor.bytes()?;
        let last = shards.len() - 1;
        if used.checked_add(bytes).is_none_or(|n| n > max_bytes) && !shards[last].is_empty() {
            shards.push(vec![tensor]);
            used = bytes;
        } else {
            shards[last].push(tensor);
            used = used.saturating_add(bytes);
        }
    }
    Ok(shards)
}

fn write_file(
    path: &Path,
    tensors: &[&TensorMeta],
    write: &mut impl FnMut(&TensorMeta, &mut dyn Write) -> io::Result<()>,
) -> Result<Partial, CheckpointError> {
    let mut sorted = tensors.to_vec();
    sorted.sort_by(|a, b| (b.dtype, &a.name).cmp(&(a.dtype, &b.name)));
    let (mut header, mut end) = (serde_json::Map::new(), 0_u64);
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    for tensor in &sorted {
        let TensorMeta { name, dtype, shape } = tensor;
        let begin = end;
        end = end.checked_add(tensor.bytes()?).ok_or_else(|| tensor.uncountable())?;
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut miscounted = None;
    let partial = Partial::create(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for tensor in &sorted {
            let wanted = tensor.bytes().map_err(io::Error::other)?;
            let mut counted = Counted { out, written: 0 };
            write(tensor, &mut counted)?;
            if counted.written != wanted {
                miscounted = Some((*tensor, counted.written));
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    });
    match miscounted {
        None => partial,
        Some((tensor, found)) => {
            let wanted = tensor.bytes()?;
            let TensorMeta { name, dtype, shape } = tensor.clone();
            Err(CheckpointError::Written { tensor: name, dtype, shape, found, wanted })
        }
    }
}

/// Counts what is written for one tensor.
struct Counted<'a, W> {
    out: &'a mut W,
    written: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A complete file under a name that nobody reads; removed when dropped.
struct Partial {
    hidden: PathBuf,
    target: PathBuf,
}

impl Partial {
    /// Writes and syncs a file that is to be called `target`.
    fn create(
        target: &Path,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<Self, CheckpointError> {
        let error = |e| CheckpointError::io(target, e);
        let name =
            target.file_name().ok_or_else(|| error(io::ErrorKind::InvalidFilename.into()))?;
        let name = format!(".{}.{}.partial", name.to_string_lossy(), std::process::id());
        let hidden = target.with_file_name(name);
        let file = File::create_new(&hidden).map_err(error)?;
        let partial = Self { hidden, target: target.to_path_buf() };
        let mut out = BufWriter::with_capacity(1 << 20, file);
        fill(&mut out).map_err(error)?;
        let file = out.into_inner().map_err(|e| error(e.into_error()))?;
        file.sync_all().map_err(error)?;
        Ok(partial)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Fails where the file was renamed, which is the aim, or where nothing can be done.
        let _ = fs::remove_file(&self.hidden);
    }
}

/// Gives each file its name, in order; where one fails, those before it are removed.
fn publish(partials: Vec<Partial>) -> Result<(), CheckpointError> {
    for (i, Partial { hidden, target }) in partials.iter().enumerate() {
        if let Err(e) = fs::rename(hidden, target) {
            for done in &partials[..i] {
                let _ = fs::remove_file(&done.target);
            }
            return Err(CheckpointError::io(target, e));
        }
    }
    match partials.last() {
        Some(last) => sync_folder_of(&last.target),
        None => Ok(()),
    }
}

/// Makes the renames last through a loss of power, where the system can.
fn sync_folder_of(path: &Path) -> Result<(), CheckpointError> {
    let dir = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    if cfg!(unix) {
        File::open(dir).and_then(|d| d.sync_all()).map_err(|e| CheckpointError::io(dir, e))?;
    }
    Ok(())
}
