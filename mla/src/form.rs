//! The two forms of latent attention and what each costs.

use crate::LatentDims;

/// In which order latent attention multiplies. The function is the same.
///
/// `Expanded` computes every head's keys and values from the latents: dear per key, cheap per pair
/// of query and key, so it suits long prompts. `Absorbed` moves queries into the latent space:
/// nothing per key, dear per pair, so it suits decoding.
///
/// A token's bits are the same in any batch and any chunking as long as the form is fixed. `Auto`
/// takes the cheaper form for each sequence, by its own numbers of queries and keys alone: batch
/// mates never change its bits, but another chunking can.
///
/// # Source
/// DeepSeek-V2 (arXiv 2405.04434), section 2.1.2 and appendix C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// Keys and values of every head.
    Expanded,
    /// Queries and outputs in the latent space.
    Absorbed,
    /// The cheaper one of both for each sequence.
    #[default]
    Auto,
}

impl Form {
    /// The form that `Auto` stands for when the last `queries` of `keys` tokens attend; a fixed form
    /// stays as it is.
    ///
    /// ```
    /// use latent_mla::{Form, LatentDims};
    /// let v3 = LatentDims { num_attention_heads: 128, kv_lora_rank: 512,
    ///     qk_nope_head_dim: 128, qk_rope_head_dim: 64, v_head_dim: 128 };
    /// assert_eq!(Form::Auto.resolve(v3, 1, 4096), Form::Absorbed);
    /// assert_eq!(Form::Auto.resolve(v3, 4096, 4096), Form::Expanded);
    /// ```
    #[must_use]
    pub fn resolve(self, dims: LatentDims, queries: usize, keys: usize) -> Self {
        match self {
            Self::Auto => {
                let absorbed = absorbed_multiply_adds(dims, queries, keys);
                if expanded_multiply_adds(dims, queries, keys) < absorbed {
                    Self::Expanded
                } else {
                    Self::Absorbed
                }
            }
            fixed => fixed,
        }
    }
}

/// The multiply-adds of the expanded form when the last `queries` of `keys` tokens attend:
/// `nope + rope + v` per pair and head, `rank * (nope + v)` per key and head.
#[must_use]
pub fn expanded_multiply_adds(dims: LatentDims, queries: usize, keys: usize) -> u128 {
    let d = Sizes::new(dims);
    let per_pair = d.nope + d.rope + d.v;
    let per_key = d.rank * (d.nope + d.v);
    d.heads * (pairs(queries, keys) * per_pair + keys as u128 * per_key)
}

/// The multiply-adds of the absorbed form when the last `queries` of `keys` tokens attend:
/// `2 * rank + rope` per pair and head, `rank * (nope + v)` per query and head.
#[must_use]
pub fn absorbed_multiply_adds(dims: LatentDims, queries: usize, keys: usize) -> u128 {
    let d = Sizes::new(dims);
    let per_pair = 2 * d.rank + d.rope;
    let per_query = d.rank * (d.nope + d.v);
    d.heads * (pairs(queries, keys) * per_pair + queries as u128 * per_query)
}

/// The pairs of query and key when each query sees the keys up to its own: `n (s - n)` before the
/// first query and `n (n + 1) / 2` among them.
fn pairs(queries: usize, keys: usize) -> u128 {
    let (n, s) = (queries as u128, keys as u128);
    n * s.saturating_sub(n) + n * (n + 1) / 2
}

struct Sizes {
    heads: u128,
    rank: u128,
    nope: u128,
    rope: u128,
    v: u128,
}

impl Sizes {
    fn new(dims: LatentDims) -> Self {
        Self {
            heads: dims.num_attention_heads as u128,
            rank: dims.kv_lora_rank as u128,
            nope: dims.qk_nope_head_dim as u128,
            rope: dims.qk_rope_head_dim as u128,
            v: dims.v_head_dim as u128,
        }
    }
}
