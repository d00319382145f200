//! Attention over pages: edges, published sizes, hostile scores, and bits that do not change.

use latent_mla::gpu::attend_within;
use latent_mla::kernels::Backend;
use latent_mla::kernels::suite::assert_same_bits;
use latent_mla::{Attend, Span};

use super::case::{self, Case, EDGES, attend, grouped, latent, random, upload};
use super::{assert_attend_follows, gpu};

#[test]
fn decoding_follows_the_reference_around_every_edge() {
    for (heads, rank) in [(1, 36), (3, 36), (16, 128), (7, 5)] {
        assert_attend_follows(&Case::new(&EDGES, rank + 6), latent(rank, 6), heads);
    }
}

#[test]
fn the_sizes_of_published_models_follow_the_reference() {
    let few = Case::new(&[(1, 257), (3, 66)], 576);
    assert_attend_follows(&few, latent(512, 64), 128);
    assert_attend_follows(&Case::new(&[(1, 300)], 576), latent(512, 64), 16);
    assert_attend_follows(&Case::new(&[(2, 70), (1, 1)], 134), latent(128, 6), 128);
}

#[test]
fn prefill_follows_the_reference_for_heads_of_their_own_groups_and_one() {
    let spans = [(70, 70), (0, 0), (1, 255), (20, 270), (3, 3), (5, 69)];
    for (layout, heads) in [
        (grouped(3, 5, 7), 3),
        (grouped(2, 18, 66), 10),
        (grouped(1, 33, 2), 40),
        (latent(36, 6), 3),
    ] {
        let width = layout.value_offset.max(layout.key_dim) + layout.kv_heads * layout.value_dim;
        assert_attend_follows(&Case::new(&spans, width), layout, heads);
    }
}

#[test]
fn values_wider_than_a_cube_follow_the_reference() {
    assert_attend_follows(&Case::new(&[(1, 66), (2, 9)], 1500), grouped(1, 3, 1400), 5);
}

#[test]
fn a_token_has_the_same_bits_in_any_block_of_tokens_and_any_memory() {
    for (layout, heads) in [(grouped(2, 6, 9), 6), (latent(36, 6), 3)] {
        let width = layout.value_offset.max(layout.key_dim) + layout.kv_heads * layout.value_dim;
        let case = Case::new(&[(23, 300), (1, 600)], width);
        let want = attend(&gpu(), &case, layout, heads);
        let pages = case.pages(&gpu());
        let q = random(&gpu(), 9, &[24, heads, layout.key_dim]);
        for bytes in [1, 4000, 10_000] {
            let o = attend_within(&gpu(), &q, &pages, &case.spans, layout, 0.7, bytes);
            assert_same_bits(&gpu().download(&o.unwrap()).unwrap(), &want);
        }
        case::assert_tokens_stand_alone(&gpu(), &case, layout, heads, &want);
    }
}

#[test]
fn rows_that_are_not_finite_reach_no_token_before_them() {
    case::assert_bad_rows_reach_no_token_before_them(&gpu());
}

#[test]
fn scores_that_are_not_finite_are_shared_out_as_in_the_reference() {
    case::assert_bad_scores_are_shared_out_as_in_the_reference(&gpu(), 1e-6);
}

#[test]
fn a_score_beyond_what_an_exponential_holds_takes_all_wherever_its_key_lies() {
    case::assert_a_huge_score_takes_all(&gpu());
}

#[test]
fn more_cubes_than_an_axis_of_a_grid_has() {
    const MANY: usize = 70_000;
    let mut case = Case::new(&[(1, 1)], 2);
    let pages = case.pages(&gpu());
    let span = case.spans.remove(0);
    let spans: Vec<Span> = (0..MANY).map(|first| Span { first, ..span.clone() }).collect();
    let q = upload(&gpu(), &[1.0; MANY], &[MANY, 1, 1]);
    let o = gpu().attend(&q, &pages, &spans, grouped(1, 1, 1), 1.0).unwrap();
    assert_same_bits(&gpu().download(&o).unwrap(), &[case.rows[1]; MANY]);
}
