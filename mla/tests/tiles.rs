//! Attention in bf16 on tiles, emulated ones where the processor has none: the same kernels run on both.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "shared with tests of other backends")]
mod case;

use latent_mla::kernels::cpu::{Cpu, Isa};
use latent_mla::kernels::suite::{Values, assert_same_bits};
use latent_mla::kernels::{Backend, Dtype, Reference, Tolerance, Weight, max_difference};
use latent_mla::{Attend, LatentDims, RowFormat, RowLayout, Span};

use case::{Case, DIMS, EDGES, attend, attend_queries, grouped, kv_b, latent, of_weight, upload};

/// How far the two forms of a layer may be apart, which round at other places: scores up to 25 are off by up to
/// 2^-8 of themselves, and so are weights.
const FORMS: Tolerance = Tolerance { atol: 0.1, rtol: 0.1 };

mod emulated {
    use super::FORMS;
    use latent_mla::kernels::cpu::Cpu;
    latent_mla::attention_suite!(Cpu::new().on_emulated_tiles().bf16(), FORMS);
}

mod fastest {
    use super::FORMS;
    use latent_mla::kernels::cpu::Cpu;
    latent_mla::attention_suite!(Cpu::new().bf16(), FORMS);
}

/// Emulated tiles beside some sets of vectors, and the processor's where it has any.
fn backends() -> Vec<Cpu> {
    let on_emulated = |threads| Cpu::with(Isa::best(), threads).unwrap().on_emulated_tiles().bf16();
    let mut all = vec![on_emulated(3), on_emulated(1)];
    if Isa::Amx.is_here() {
        all.extend([1, 3].map(|threads| Cpu::with(Isa::Amx, threads).unwrap().bf16()));
    }
    all
}

/// `attend` of every backend, which are the same bits.
#[track_caller]
fn attended(case: &Case, layout: RowLayout, q: &[f32], scale: f64) -> Vec<f32> {
    let all = backends().into_iter().map(|cpu| attend_queries(&cpu, case, layout, q, scale));
    all.reduce(|first, other| {
        assert_same_bits(&other, &first);
        first
    })
    .unwrap()
}

/// The result that exact arithmetic gives.
fn exact(case: &Case, layout: RowLayout, q: &[f32], scale: f64) -> Vec<f64> {
    attend_queries(&Reference::<f64>::new(), case, layout, q, scale)
}

fn width(layout: RowLayout) -> usize {
    let RowLayout { kv_heads, key_dim, value_dim, value_offset } = layout;
    (value_offset + kv_heads * value_dim).max(kv_heads * key_dim)
}

fn rounded(mut values: Vec<f32>) -> Vec<f32> {
    RowFormat::Bf16.round(&mut values);
    values
}

/// So many of -1, 0 and 1, about `ones` of each `width` not 0.
fn signs(values: &mut Values, count: usize, width: usize, ones: usize) -> Vec<f32> {
    let draws = values.indices(count, 2 * width.max(ones));
    draws
        .into_iter()
        .map(|i| {
            if i < ones {
                1.0
            } else if i < 2 * ones {
                -1.0
            } else {
                0.0
            }
        })
        .collect()
}

/// Scores that are whole numbers, times ln 2: weights are powers of 2, and nothing is rounded but sums.
#[track_caller]
fn assert_exact_weights_follow(case: &mut Case, layout: RowLayout, heads: usize) {
    let mut values = Values::new(11);
    let (keys, width) = (case.rows.len() / case.width, case.width);
    case.rows = rounded(values.draw(keys * width));
    for row in case.rows.chunks_exact_mut(width) {
        let of_keys = signs(&mut values, layout.kv_heads * layout.key_dim, 3, 2);
        row[..of_keys.len()].copy_from_slice(&of_keys);
    }
    let q = signs(&mut values, case.tokens() * heads * layout.key_dim, layout.key_dim, 8);
    let scale = std::f64::consts::LN_2;
    let want = exact(case, layout, &q, scale);
    let difference = max_difference(&attended(case, layout, &q, scale), &want);
    assert!(difference <= 1e-5, "{layout:?}, {heads} heads: off by {difference:e}");
}

#[test]
fn weights_that_are_exact_give_exact_sums_around_every_edge() {
    for (heads, rank) in [(1, 36), (3, 36), (16, 128), (7, 5), (40, 16)] {
        let layout = latent(rank, 6);
        assert_exact_weights_follow(&mut Case::new(&EDGES, rank + 6), layout, heads);
    }
}

#[test]
fn weights_that_are_exact_give_exact_sums_in_prompts() {
    let spans = [(70, 70), (0, 0), (1, 255), (20, 270), (40, 257), (3, 3), (5, 69)];
    for (layout, heads) in [
        (grouped(3, 5, 7), 3),
        (grouped(2, 18, 66), 10),
        (grouped(2, 64, 64), 4),
        (grouped(1, 33, 2), 40),
        (latent(36, 6), 3),
        // Values that begin inside of the keys.
        (RowLayout { kv_heads: 1, key_dim: 40, value_dim: 20, value_offset: 7 }, 2),
    ] {
        let mut case = Case::new(&spans, width(layout));
        assert_exact_weights_follow(&mut case, layout, heads);
        case.format = RowFormat::Bf16;
        assert_exact_weights_follow(&mut case, layout, heads);
    }
}

#[test]
fn weights_that_are_exact_give_exact_sums_at_published_sizes() {
    for format in [RowFormat::Bf16, RowFormat::Scalar] {
        let mut few = Case::new(&[(1, 257), (3, 66)], 576);
        let mut long = Case::new(&[(1, 800)], 576);
        (few.format, long.format) = (format, format);
        assert_exact_weights_follow(&mut few, latent(512, 64), 128);
        assert_exact_weights_follow(&mut long, latent(512, 64), 16);
    }
}

/// A weight is rounded by up to 2^-9 of itself, and so is the sum of all: what they are weights of changes by
/// up to 2^-8 of the largest value.
#[track_caller]
fn assert_rounding_explains(got: &[f32], want: &[f64], values: &[f32]) {
    let largest = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let difference = max_difference(got, want);
    assert!(
        difference <= f64::from(largest) / 256.0 + 1e-5,
        "off by {difference:e} of {largest:e}"
    );
}

#[test]
fn queries_keys_and_values_are_rounded_to_nearest_before_all_else() {
    let formats = [RowFormat::Scalar, RowFormat::Bf16, RowFormat::Fp8 { latent: 301 }];
    for format in formats {
        for (layout, heads) in [
            (latent(301, 6), 3),
            (RowLayout { kv_heads: 1, key_dim: 33, value_dim: 130, value_offset: 40 }, 2),
        ] {
            let mut case = Case::new(&[(1, 65), (3, 3), (9, 300)], 307);
            case.format = format;
            let q: Vec<f32> = Values::new(12).draw(13 * heads * layout.key_dim);
            let got = attended(&case, layout, &q, 0.7);
            case.rows.chunks_exact_mut(307).for_each(|row| format.round(row));
            case.rows = rounded(case.rows);
            case.format = RowFormat::Scalar;
            let want = exact(&case, layout, &rounded(q), 0.7);
            assert_rounding_explains(&got, &want, &case.rows);
        }
    }
}

/// Numerator and denominator have the same weights.
#[test]
fn a_value_that_all_keys_share_comes_out_as_it_is() {
    let layout = grouped(1, 40, 20);
    let mut case = Case::new(&[(1, 1), (1, 300), (30, 90), (1, 1000)], 60);
    case.rows.chunks_exact_mut(60).for_each(|row| row[40..].fill(1.25));
    let q: Vec<f32> = Values::new(13).draw(33 * 5 * 40);
    let got = attended(&case, layout, &q, 0.9);
    let difference = max_difference(&got, &vec![1.25; got.len()]);
    assert!(difference <= 1e-6, "off by {difference:e}");
}

#[test]
fn a_token_has_the_same_bits_alone_and_in_a_prompt() {
    for cpu in backends() {
        for (layout, heads) in [(grouped(2, 6, 9), 6), (latent(36, 6), 3), (latent(20, 4), 40)] {
            let case = Case::new(&[(23, 600), (1, 600)], width(layout));
            let whole = attend(&cpu, &case, layout, heads);
            case::assert_tokens_stand_alone(&cpu, &case, layout, heads, &whole);
        }
    }
}

/// Threads share the keys of a token alone, some at a time or many; in a batch each thread has tokens of its own.
#[test]
fn a_long_cache_has_the_same_bits_alone_and_in_a_batch() {
    let layout = grouped(1, 8, 4);
    let mut case = Case::new(&[(1, 8300)], 12);
    let q: Vec<f32> = Values::new(16).draw(20 * 8);
    let alone = attended(&case, layout, &q[..8], 2.0);
    let page = case.spans[0].pages.len() * 2;
    let of_first = |first| Span { first, tokens: 1, start: 0, pages: vec![page + 2 * first] };
    case.spans.extend((1..20).map(of_first));
    case.rows.extend(vec![0.5; 19 * 12]);
    assert_same_bits(&attended(&case, layout, &q, 2.0)[..4], &alone);
    let want = exact(&case, layout, &q, 2.0);
    assert_rounding_explains(&alone, &want[..4], &case.rows);
}

#[test]
fn what_lies_between_keys_and_values_is_never_read() {
    let layout = RowLayout { kv_heads: 1, key_dim: 33, value_dim: 130, value_offset: 40 };
    let q: Vec<f32> = Values::new(14).draw(4 * 2 * 33);
    for format in [RowFormat::Scalar, RowFormat::Bf16, RowFormat::Fp8 { latent: 301 }] {
        let mut case = Case::new(&[(1, 65), (3, 70)], 307);
        case.format = format;
        let want = attended(&case, layout, &q, 0.7);
        case.rows.chunks_exact_mut(307).for_each(|row| row[35] = f32::NAN);
        // In FP8 elements share a scale.
        let got = attended(&case, layout, &q, 0.7);
        if matches!(format, RowFormat::Fp8 { .. }) {
            assert!(got.iter().all(|v| v.is_finite()));
        } else {
            assert_same_bits(&got, &want);
        }
    }
}

#[test]
fn rows_that_are_not_finite_reach_no_token_before_them() {
    for cpu in backends() {
        case::assert_bad_rows_reach_no_token_before_them(&cpu);
    }
}

#[test]
fn scores_that_are_not_finite_are_shared_out_as_in_the_reference() {
    for cpu in backends() {
        // A key, a weight and a value are rounded by up to 2^-9 each, and the sum of weights.
        case::assert_bad_scores_are_shared_out_as_in_the_reference(&cpu, 4.0 / 512.0);
    }
}

#[test]
fn a_score_beyond_what_an_exponential_holds_takes_all_wherever_its_key_lies() {
    for cpu in backends() {
        case::assert_a_huge_score_takes_all(&cpu);
    }
}

/// The expanded form, in which latents, `kv_b`, keys and values are numbers that bf16 has.
#[track_caller]
fn assert_expanded_follows(case: &mut Case, dtype: Dtype, dims: LatentDims) {
    let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, .. } = dims;
    let (mut values, width) = (Values::new(15), rank + dims.qk_rope_head_dim);
    case.rows = signs(&mut values, case.rows.len(), 3, 1);
    let w = signs(&mut values, heads * dims.rows_per_head() * rank, rank, 6);
    let w = Weight::encode(dtype, dims.kv_b_shape(), &w).unwrap();
    let key_dim = dims.qk_nope_head_dim + dims.qk_rope_head_dim;
    let q = signs(&mut values, case.tokens() * heads * key_dim, key_dim, 3);
    assert_eq!(case.width, width);
    fn run<B: Attend>(b: &B, case: &Case, w: &Weight, q: &[f32], d: LatentDims) -> Vec<B::Scalar> {
        let shape = [case.tokens(), d.num_attention_heads, d.qk_nope_head_dim + d.qk_rope_head_dim];
        let (q, pages) = (upload(b, q, &shape), case.pages(b));
        let scale = std::f64::consts::LN_2;
        of_weight(b, w, &|b, w| b.attend_expanded(&q, &pages, &case.spans, w, d, scale))
    }
    let want = run(&Reference::<f64>::new(), case, &w, &q, dims);
    let largest = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    for cpu in backends() {
        let difference = max_difference(&run(&cpu, case, &w, &q, dims), &want);
        assert!(difference <= 1e-5 * largest, "{dtype:?}: off by {difference:e} of {largest:e}");
    }
}

#[test]
fn the_expanded_form_follows_the_reference() {
    for format in [RowFormat::Scalar, RowFormat::Bf16, RowFormat::Fp8 { latent: 21 }] {
        let mut case = Case::new(&[(20, 20), (1, 1), (0, 0), (2, 66), (3, 258), (40, 600)], 27);
        case.format = format;
        for dtype in [Dtype::Bf16, Dtype::F32, Dtype::F8E4m3] {
            assert_expanded_follows(&mut case, dtype, DIMS);
        }
    }
    let (dims, _, mut case) = case::published();
    assert_expanded_follows(&mut case, Dtype::Bf16, dims);
}

#[test]
fn the_expanded_form_has_the_same_bits_whole_and_in_chunks() {
    for cpu in backends() {
        let case = Case::new(&[(140, 300)], 27);
        let weight = &kv_b(DIMS)[3];
        let whole = case::attend_expanded(&cpu, &case, weight, DIMS);
        let q = case::random(&cpu, 9, &[140, 3, 16]);
        let pages = case.pages(&cpu);
        for (from, to) in [(0, 1), (1, 65), (65, 96), (96, 140)] {
            let q = cpu.select_rows(&q, &(from..to).collect::<Vec<_>>()).unwrap();
            let span = Span {
                first: 0,
                tokens: to - from,
                start: 160 + from,
                pages: case.spans[0].pages.clone(),
            };
            let got = of_weight(&cpu, weight, &|b, w| {
                b.attend_expanded(&q, &pages, std::slice::from_ref(&span), w, DIMS, 0.3)
            });
            assert_same_bits(&got, &whole[from * 21..to * 21]);
        }
    }
}
