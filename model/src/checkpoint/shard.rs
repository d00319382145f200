//! One file of weights: opened safely, mapped or read once, its header proved.

use std::collections::BTreeMap;
use std::fs::{self, File, FileType};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use latent_kernels::{BlockScale, ByteOwner, Bytes, Dtype, Weight};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use super::error::CheckpointError;
use super::header::{self, Entry};

/// A file of weights.
pub(super) struct Shard {
    pub(super) path: PathBuf,
    pub(super) tensors: BTreeMap<String, Entry>,
    bytes: Arc<dyn ByteOwner>,
}

impl Shard {
    /// Opens the file at `path`, by memory map or by reading it once.
    pub(super) fn open(path: &Path, mmap: bool) -> Result<Self, CheckpointError> {
        let file = open_regular(path)?;
        if mmap {
            Self::parse(
                path,
                Arc::new(Mapped(map(&file).map_err(|e| CheckpointError::io(path, e))?)),
            )
        } else {
            Self::parse(path, Arc::new(read(path, file)?))
        }
    }

    /// Proves the header of `bytes`, a whole file; `path` is its name in errors.
    pub(super) fn parse(path: &Path, bytes: Arc<dyn ByteOwner>) -> Result<Self, CheckpointError> {
        let tensors = header::parse(path, (*bytes).as_ref())?;
        Ok(Self { path: path.to_path_buf(), tensors, bytes })
    }

    /// The bytes of one of this shard's tensors, shared.
    pub(super) fn bytes(&self, entry: &Entry) -> Bytes {
        Bytes::new(Arc::clone(&self.bytes), entry.range.clone())
            .expect("the header's ranges were proved to lie inside of the file")
    }

    /// One of this shard's tensors as a weight; `shape` has its elements, `scale` covers it.
    pub(super) fn weight(
        &self,
        entry: &Entry,
        dtype: Dtype,
        shape: [usize; 2],
        scale: Option<BlockScale>,
    ) -> Weight {
        Weight::new(dtype, shape, self.bytes(entry), scale)
            .expect("the header's lengths were proved, and the scales with them")
    }

    /// The length of the file.
    pub(super) fn file_bytes(&self) -> usize {
        (*self.bytes).as_ref().len()
    }
}

/// Reads a text file of at most `limit` bytes.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, CheckpointError> {
    let file = open_regular(path)?;
    let index = |detail| CheckpointError::Index { file: path.to_path_buf(), detail };
    let mut text = Vec::new();
    file.take(limit + 1).read_to_end(&mut text).map_err(|e| CheckpointError::io(path, e))?;
    if text.len() as u64 > limit {
        return Err(index(format!("more than {limit} bytes")));
    }
    String::from_utf8(text)
        .map_err(|e| index(format!("not UTF-8 at byte {}", e.utf8_error().valid_up_to())))
}

/// Opens a regular file. The type is looked at first: opening a pipe would wait for a writer.
fn open_regular(path: &Path) -> Result<File, CheckpointError> {
    let io = |e| CheckpointError::io(path, e);
    let kind = fs::metadata(path).map_err(io)?.file_type();
    if !kind.is_file() {
        return Err(CheckpointError::NotAFile { path: path.to_path_buf(), found: describe(kind) });
    }
    File::open(path).map_err(io)
}

fn describe(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
    }
    if kind.is_dir() { "a directory" } else { "a device" }
}

/// A mapped file.
struct Mapped(Mmap);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl ByteOwner for Mapped {
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "bytes may change under an advice, but not under this one")]
    fn release(&self, range: Range<usize>) {
        // SAFETY: pages of a file that is mapped to be read are read again where they are touched again.
        // A system that refuses the advice keeps them, which does no harm.
        let _ = unsafe {
            self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
    }
}

#[expect(unsafe_code, reason = "a memory map is how weights are read without a second copy")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is only read. Its bytes may change, or reading them may end the process,
    // when someone else writes to or truncates the file meanwhile: `OpenOptions::mmap` says so,
    // and offers reading the file once instead. Any bytes are valid where these are used: numbers
    // are decoded from them one by one, and text is proved to be UTF-8 and copied at opening.
    unsafe { Mmap::map(file) }
}

/// Reads a whole file into one buffer of its size.
fn read(path: &Path, mut file: File) -> Result<Vec<u8>, CheckpointError> {
    let mut read = || {
        let length = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length)?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|e| CheckpointError::io(path, e))
}
