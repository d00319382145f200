//! Bytes that are shared, never copied.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// What holds bytes, always the same ones: a buffer, a mapped file.
pub trait ByteOwner: AsRef<[u8]> + Send + Sync {
    /// The bytes of `range` were copied elsewhere. An owner that can fetch them again may give their memory
    /// back; they stay readable.
    fn release(&self, range: Range<usize>) {
        let _ = range;
    }
}

impl ByteOwner for Vec<u8> {}

/// A shared, immutable range of bytes: of a memory-mapped file, or of a buffer.
///
/// Cloning shares; nothing is copied.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn ByteOwner>,
    range: Range<usize>,
}

impl Bytes {
    /// The bytes of `owner` in `range`, or `None` when the range does not lie inside of it.
    ///
    /// ```
    /// use latent_kernels::Bytes;
    /// let owner = std::sync::Arc::new(vec![1_u8, 2, 3]);
    /// assert_eq!(Bytes::new(owner.clone(), 1..3).map(|b| b.as_slice().to_vec()), Some(vec![2, 3]));
    /// assert!(Bytes::new(owner, 2..4).is_none());
    /// ```
    #[must_use]
    pub fn new(owner: Arc<dyn ByteOwner>, range: Range<usize>) -> Option<Self> {
        (*owner).as_ref().get(range.clone())?;
        Some(Self { owner, range })
    }

    /// The bytes themselves.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }

    /// Tells the owner that a part of these bytes was copied elsewhere: see [`ByteOwner::release`].
    ///
    /// ```
    /// use latent_kernels::Bytes;
    /// let bytes = Bytes::from(vec![1, 2, 3]);
    /// bytes.release(0..2);
    /// assert_eq!(bytes.as_slice(), [1, 2, 3]);
    /// ```
    ///
    /// # Panics
    /// When there is no such part.
    pub fn release(&self, part: Range<usize>) {
        assert!(part.start <= part.end && part.end <= self.range.len(), "a part of the bytes");
        self.owner.release(self.range.start + part.start..self.range.start + part.end);
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { owner: Arc::new(bytes), range }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.range.len())
    }
}
