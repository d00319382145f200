//! The cost of both forms, against numbers worked out by hand.

use latent_mla::form::{absorbed_multiply_adds, expanded_multiply_adds};
use latent_mla::{Form, LatentDims};

const V3: LatentDims = LatentDims {
    num_attention_heads: 128,
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
};

#[test]
fn costs_per_pair_and_per_key_at_v3_sizes() {
    assert_eq!(expanded_multiply_adds(V3, 1, 1), 128 * (320 + 131_072));
    assert_eq!(absorbed_multiply_adds(V3, 1, 1), 128 * (1_088 + 131_072));
    assert_eq!(expanded_multiply_adds(V3, 0, 10), 128 * 10 * 131_072);
    assert_eq!(absorbed_multiply_adds(V3, 0, 10), 0);
}

#[test]
fn pairs_are_counted_causally() {
    let one_head = LatentDims { num_attention_heads: 1, ..V3 };
    for (queries, keys) in [(1, 1), (1, 9), (3, 3), (3, 9), (9, 9)] {
        let pairs: u128 = (keys - queries..keys).map(|position| position as u128 + 1).sum();
        let cost = expanded_multiply_adds(one_head, queries, keys);
        assert_eq!(cost, pairs * 320 + keys as u128 * 131_072);
    }
}

/// `131072 / (1088 - 320) = 170.67`: what expanding costs per key, over what it saves per query.
#[test]
fn v3_breaks_even_at_171_queries_over_a_long_past() {
    assert_eq!(Form::Auto.resolve(V3, 170, 1_000_000), Form::Absorbed);
    assert_eq!(Form::Auto.resolve(V3, 171, 1_000_000), Form::Expanded);
}

#[test]
fn a_first_prompt_is_expanded_and_decoding_absorbed() {
    for tokens in [1, 2, 171, 4096] {
        assert_eq!(Form::Auto.resolve(V3, tokens, tokens), Form::Expanded);
    }
    for keys in [2, 64, 4096] {
        assert_eq!(Form::Auto.resolve(V3, 1, keys), Form::Absorbed);
    }
}

#[test]
fn a_fixed_form_stays() {
    assert_eq!(Form::Expanded.resolve(V3, 1, 4096), Form::Expanded);
    assert_eq!(Form::Absorbed.resolve(V3, 4096, 4096), Form::Absorbed);
}
