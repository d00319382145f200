//! Elements of a cached row, as kernels read them.

use cubecl::prelude::*;

/// Element `i` of the row that begins at word `base`.
#[cube]
pub(super) fn element(words: &[u32], base: usize, i: usize) -> f32 {
    f32::reinterpret(words[base + i])
}
