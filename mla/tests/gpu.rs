//! The suite, stamped for a GPU, and what holds for a device alone.

#![cfg(feature = "gpu")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::OnceLock;

use latent_mla::gpu::{AttendPlan, attend_expanded_within, attend_within};
use latent_mla::kernels::gpu::{DeviceChoice, Gpu, Limits};
use latent_mla::kernels::suite::{Values, assert_same_bits};
use latent_mla::kernels::{
    Backend, Dtype, KernelError, PairLayout, Reference, RopeTable, Scalar, Weight, max_difference,
};
use latent_mla::{Attend, LatentDims, Latents, PAGE_TOKENS, RowFormat, RowLayout, Slot, Span};

/// The device that all tests share, full of NaN where nothing was written.
fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::poisoned(DeviceChoice::First).expect("a device")).clone()
}

mod suite {
    use latent_mla::kernels::Tolerance;
    latent_mla::attention_suite!(super::super::gpu(), Tolerance::F32);
}

/// Sequences in pages that lie scattered, between others full of NaN.
struct Case {
    spans: Vec<Span>,
    width: usize,
    format: RowFormat,
    rows: Vec<f32>, // [key of the first span, of the second.., width]
}

impl Case {
    /// Sequences of which the last `(tokens, keys)` tokens attend.
    fn new(sequences: &[(usize, usize)], width: usize) -> Self {
        let total: usize = sequences.iter().map(|(_, keys)| keys.div_ceil(PAGE_TOKENS)).sum();
        let mut pages = (0..total).rev().map(|p| 2 * p + 1);
        let mut first = 0;
        let spans = sequences
            .iter()
            .map(|&(tokens, keys)| {
                let pages = pages.by_ref().take(keys.div_ceil(PAGE_TOKENS)).collect();
                first += tokens;
                Span { first: first - tokens, tokens, start: keys - tokens, pages }
            })
            .collect();
        let keys: usize = sequences.iter().map(|(_, keys)| keys).sum();
        Self { spans, width, format: RowFormat::Scalar, rows: Values::new(5).draw(keys * width) }
    }

    fn tokens(&self) -> usize {
        self.spans.iter().map(|s| s.tokens).sum()
    }

    fn pages<B: Attend>(&self, backend: &B) -> B::Pages {
        let mut pages = backend.pages(self.width, self.format).unwrap();
        let last = self.spans.iter().flat_map(|s| &s.pages).max().map_or(0, |&p| p);
        for page in 0..=last + 1 {
            backend.open_page(&mut pages, page).unwrap();
        }
        let slots: Vec<Slot> =
            self.spans.iter().flat_map(|s| (0..s.keys()).map(|p| s.slot(p))).collect();
        let rows = upload(backend, &self.rows, &[slots.len(), self.width]);
        backend.write_rows(&mut pages, &slots, &rows).unwrap();
        pages
    }
}

fn upload<B: Backend>(backend: &B, values: &[f32], shape: &[usize]) -> B::Tensor {
    let values: Vec<B::Scalar> = values.iter().map(|&v| Scalar::from_f32(v)).collect();
    backend.upload(&values, shape).unwrap()
}

fn random<B: Backend>(backend: &B, seed: u64, shape: &[usize]) -> B::Tensor {
    upload(backend, &Values::new(seed).draw(shape.iter().product()), shape)
}

/// `attend` of a case with random queries.
fn attend<B: Attend>(backend: &B, case: &Case, layout: RowLayout, heads: usize) -> Vec<B::Scalar> {
    let q = random(backend, 9, &[case.tokens(), heads, layout.key_dim]);
    let o = backend.attend(&q, &case.pages(backend), &case.spans, layout, 0.7);
    backend.download(&o.unwrap()).unwrap()
}

/// Holds a result to the reference in `f64`, relative to the largest element.
#[track_caller]
fn assert_follows(got: &[f32], want: &[f64]) {
    let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let difference = max_difference(got, want);
    assert!(difference <= 1e-5 * scale, "off by {difference:e} of {scale:e}");
}

#[track_caller]
fn assert_attend_follows(case: &Case, layout: RowLayout, heads: usize) {
    let want = attend(&Reference::<f64>::new(), case, layout, heads);
    assert_follows(&attend(&gpu(), case, layout, heads), &want);
}

fn latent(rank: usize, rope: usize) -> RowLayout {
    RowLayout { kv_heads: 1, key_dim: rank + rope, value_dim: rank, value_offset: 0 }
}

fn grouped(kv_heads: usize, key_dim: usize, value_dim: usize) -> RowLayout {
    RowLayout { kv_heads, key_dim, value_dim, value_offset: kv_heads * key_dim }
}

/// One token each over as many keys as lie around the edges of tiles, pages and splits.
const EDGES: [(usize, usize); 12] = [
    (1, 1),
    (1, 2),
    (1, 63),
    (1, 64),
    (1, 65),
    (1, 127),
    (1, 129),
    (1, 255),
    (1, 256),
    (1, 257),
    (1, 511),
    (1, 513),
];

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
fn rows_in_fewer_bits_follow_the_reference() {
    // Two whole blocks of a scale and a part of one; odd parts everywhere.
    for format in [RowFormat::Bf16, RowFormat::Fp8 { latent: 301 }] {
        let mut case = Case::new(&[(1, 65), (3, 3)], 307);
        case.format = format;
        case.rows.iter_mut().enumerate().for_each(|(i, v)| *v *= [1.0, 7.0, 1e-6][i / 128 % 3]);
        assert_attend_follows(&case, latent(301, 6), 3);
        let slots: Vec<Slot> =
            case.spans.iter().flat_map(|s| (0..s.keys()).map(|p| s.slot(p))).collect();
        let rows = gpu().read_rows(&case.pages(&gpu()), &slots).unwrap();
        let mut want = case.rows.clone();
        want.chunks_exact_mut(307).for_each(|row| format.round(row));
        assert_same_bits(&gpu().download(&rows).unwrap(), &want);
    }
    let mut case = Case::new(&[(1, 257)], 576);
    case.format = RowFormat::Fp8 { latent: 512 };
    assert_attend_follows(&case, latent(512, 64), 16);
    assert_eq!(gpu().pages_bytes(&case.pages(&gpu())), 656 * 64 * 11);
}

/// Values around every one that can be stored, its neighbours' middles, and each of these a bit up
/// and a bit down: under the scale 1.
#[test]
fn every_edge_of_e4m3_is_rounded_as_on_the_host() {
    let mut stored = vec![0.0_f32; 256];
    Dtype::F8E4m3.decode(&(0..=255).collect::<Vec<u8>>(), &mut stored);
    stored.retain(|v| !v.is_nan() && *v >= 0.0);
    let middles = stored.windows(2).map(|w| f32::midpoint(w[0], w[1]));
    let mut values: Vec<f32> = stored.iter().copied().chain(middles).collect();
    values.extend(values.clone().iter().flat_map(|v| [v.next_up(), v.next_down()]));
    values.extend(values.clone().iter().map(|v| -v));
    values.extend([f32::NAN, f32::MIN_POSITIVE, 1e-30, 2e-3]);
    // 448 and the scale 1 in each block.
    let width = 127;
    let mut rows = Vec::new();
    for part in values.chunks(width - 1) {
        rows.push(448.0);
        rows.extend(part.iter().map(|v| v.clamp(-448.0, 448.0)));
        rows.resize(rows.len().next_multiple_of(width), 0.0);
    }
    let count = rows.len() / width;
    let format = RowFormat::Fp8 { latent: width };
    let mut pages = gpu().pages(width, format).unwrap();
    gpu().open_page(&mut pages, 0).unwrap();
    let slots: Vec<Slot> = (0..count).map(|row| Slot { page: 0, row }).collect();
    gpu().write_rows(&mut pages, &slots, &upload(&gpu(), &rows, &[count, width])).unwrap();
    let got = gpu().download(&gpu().read_rows(&pages, &slots).unwrap()).unwrap();
    let mut want = rows;
    want.chunks_exact_mut(width).for_each(|row| format.round(row));
    assert_same_bits(&got, &want);
}

/// Blocks of largest magnitudes from 1e-5 to 1e38, full mantissas and powers of two, with elements
/// that lie half between two values that can be stored, or some bits from there: a scale or a
/// reciprocal that is off by one bit moves some of them.
#[test]
fn scales_of_any_magnitude_are_those_of_the_host() {
    let (count, width) = (64, 41);
    let format = RowFormat::Fp8 { latent: width };
    let spread: Vec<f32> = Values::new(8).draw(count);
    let mut rows = Vec::new();
    for (i, spread) in spread.iter().enumerate() {
        let power = 2.0_f32.powi(i32::try_from(i).unwrap() * 2 - 17);
        let exact = i.is_multiple_of(5);
        let largest = if exact { power * 448.0 } else { power * (1.5 + spread / 2.0) };
        let scale = largest.max(1e-4) / 448.0;
        rows.push(largest);
        for eighth in 0..8_u8 {
            let middle = scale * (17.0 + 2.0 * f32::from(eighth)) / 16.0;
            rows.extend((0..5).map(|bits| f32::from_bits(middle.to_bits() + bits - 2)));
        }
    }
    let mut pages = gpu().pages(width, format).unwrap();
    gpu().open_page(&mut pages, 0).unwrap();
    let slots: Vec<Slot> = (0..count).map(|row| Slot { page: 0, row }).collect();
    gpu().write_rows(&mut pages, &slots, &upload(&gpu(), &rows, &[count, width])).unwrap();
    let got = gpu().download(&gpu().read_rows(&pages, &slots).unwrap()).unwrap();
    let mut want = rows;
    want.chunks_exact_mut(width).for_each(|row| format.round(row));
    assert_same_bits(&got, &want);
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
        let of_token = heads * layout.value_dim;
        for token in 0..23 {
            let q = gpu().select_rows(&q, &[token]).unwrap();
            let span = Span { first: 0, tokens: 1, start: 277 + token, ..case.spans[0].clone() };
            let o = gpu().attend(&q, &pages, &[span], layout, 0.7).unwrap();
            let want = &want[token * of_token..][..of_token];
            assert_same_bits(&gpu().download(&o).unwrap(), want);
        }
    }
}

#[test]
fn rows_that_are_not_finite_reach_no_token_before_them() {
    let layout = grouped(1, 4, 5);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let mut case = Case::new(&[(30, 90)], 9);
        let want = attend(&gpu(), &case, layout, 2);
        case.rows[80 * 9..81 * 9].fill(bad);
        let got = attend(&gpu(), &case, layout, 2);
        assert_same_bits(&got[..20 * 10], &want[..20 * 10]);
        assert!(got[20 * 10..] != want[20 * 10..], "{bad} leaves no trace");
    }
}

#[test]
fn scores_that_are_not_finite_are_shared_out_as_in_the_reference() {
    let layout = grouped(1, 1, 1);
    fn run<B: Attend>(backend: &B, case: &Case, layout: RowLayout) -> Vec<f64> {
        let q = upload(backend, &vec![1.0; case.tokens()], &[case.tokens(), 1, 1]);
        let o = backend.attend(&q, &case.pages(backend), &case.spans, layout, 1.0);
        backend.download(&o.unwrap()).unwrap().iter().map(|v| v.as_f64()).collect()
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut case = Case::new(&[(3, 300)], 2);
        case.rows[2 * 298] = bad;
        let want = run(&Reference::<f64>::new(), &case, layout);
        for (got, want) in run(&gpu(), &case, layout).iter().zip(&want) {
            let close = (got - want).abs() < 1e-6;
            assert!(close || (got.is_nan() && want.is_nan()), "{bad}: got {got}, want {want}");
        }
    }
    let mut case = Case::new(&[(1, 2)], 2);
    case.rows = vec![f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY, 3.0];
    assert_eq!(run(&gpu(), &case, layout), [0.0], "the token sees no key");
}

#[test]
fn a_score_beyond_what_an_exponential_holds_takes_all_wherever_its_key_lies() {
    let q = upload(&gpu(), &[1.0], &[1, 1, 1]);
    for key in [0, 1, 31, 32, 63, 64, 127, 255, 256, 299] {
        let mut case = Case::new(&[(1, 300)], 2);
        case.rows[2 * key] = 300.0;
        let o = gpu().attend(&q, &case.pages(&gpu()), &case.spans, grouped(1, 1, 1), 1.0);
        let want = case.rows[2 * key + 1];
        assert_same_bits(&gpu().download(&o.unwrap()).unwrap(), &[want]);
    }
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

const DIMS: LatentDims = LatentDims {
    num_attention_heads: 3,
    kv_lora_rank: 21,
    qk_nope_head_dim: 10,
    qk_rope_head_dim: 6,
    v_head_dim: 7,
};

/// `kv_b` in every dtype, and in FP8 and whole numbers with blocks that no packet fits into.
fn kv_b(dims: LatentDims) -> Vec<Weight> {
    let shape = dims.kv_b_shape();
    let values: Vec<f64> = Values::new(3).draw(shape[0] * shape[1]);
    let plain = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::F8E4m3];
    let mut weights: Vec<Weight> =
        plain.iter().map(|&d| Weight::encode(d, shape, &values).unwrap()).collect();
    for block in [[16, 16], [128, 128], [5, 3]] {
        weights.push(Weight::quantize_e4m3(shape, &values, block).unwrap());
    }
    weights.push(Weight::quantize_i8(shape, &values, [1, 8]).unwrap());
    weights
}

/// What a backend makes of a weight, as one result.
type Run<'a, B> =
    dyn Fn(&B, &<B as Backend>::Matrix) -> Result<<B as Backend>::Tensor, KernelError> + 'a;

fn of_weight<B: Attend>(backend: &B, weight: &Weight, run: &Run<'_, B>) -> Vec<B::Scalar> {
    let matrix = backend.matrix(weight.clone()).unwrap();
    backend.download(&run(backend, &matrix).unwrap()).unwrap()
}

fn absorbed<B: Attend>(
    b: &B,
    w: &B::Matrix,
    d: LatentDims,
    n: usize,
) -> Result<B::Tensor, KernelError> {
    b.absorb_query(&random(b, 1, &[n, d.num_attention_heads, d.qk_nope_head_dim]), w, d)
}

fn expanded<B: Attend>(
    b: &B,
    w: &B::Matrix,
    d: LatentDims,
    n: usize,
) -> Result<B::Tensor, KernelError> {
    b.expand_values(&random(b, 2, &[n, d.num_attention_heads, d.kv_lora_rank]), w, d)
}

#[test]
fn absorption_and_expansion_follow_the_reference_in_every_dtype() {
    for weight in kv_b(DIMS) {
        for tokens in [0, 1, 2, 5] {
            let want =
                of_weight(&Reference::<f64>::new(), &weight, &|b, w| absorbed(b, w, DIMS, tokens));
            let got = of_weight(&gpu(), &weight, &|b, w| absorbed(b, w, DIMS, tokens));
            assert_follows(&got, &want);
            let want =
                of_weight(&Reference::<f64>::new(), &weight, &|b, w| expanded(b, w, DIMS, tokens));
            let got = of_weight(&gpu(), &weight, &|b, w| expanded(b, w, DIMS, tokens));
            assert_follows(&got, &want);
        }
    }
}

#[test]
fn absorption_and_expansion_follow_the_reference_at_published_sizes() {
    for (heads, rank) in [(16, 512), (128, 132), (1, 512)] {
        let d = LatentDims { num_attention_heads: heads, kv_lora_rank: rank, ..DIMS };
        let d = LatentDims { qk_nope_head_dim: 33, v_head_dim: 17, ..d };
        let values: Vec<f64> = Values::new(3).draw(d.kv_b_shape().iter().product());
        let weight = Weight::quantize_e4m3(d.kv_b_shape(), &values, [128, 128]).unwrap();
        let want = of_weight(&Reference::<f64>::new(), &weight, &|b, w| absorbed(b, w, d, 3));
        assert_follows(&of_weight(&gpu(), &weight, &|b, w| absorbed(b, w, d, 3)), &want);
        let want = of_weight(&Reference::<f64>::new(), &weight, &|b, w| expanded(b, w, d, 3));
        assert_follows(&of_weight(&gpu(), &weight, &|b, w| expanded(b, w, d, 3)), &want);
    }
}

#[test]
fn the_rotated_part_of_a_query_stays_behind_what_is_absorbed() {
    for tokens in [1, 6] {
        let q = random(&gpu(), 4, &[tokens, 3, 16]);
        let matrix = gpu().matrix(kv_b(DIMS)[5].clone()).unwrap();
        let got = gpu().absorbed_query(&q, &matrix, DIMS).unwrap();
        let (nope, rotated) = gpu().split_columns(&q, 10).unwrap();
        let absorbed = gpu().absorb_query(&nope, &matrix, DIMS).unwrap();
        let want = gpu().join_columns(&absorbed, &rotated).unwrap();
        assert_same_bits(&gpu().download(&got).unwrap(), &gpu().download(&want).unwrap());
    }
}

#[test]
fn latents_are_written_as_they_are_made_step_by_step() {
    for (layout, format) in [
        (PairLayout::Interleaved, RowFormat::Scalar),
        (PairLayout::HalfSplit, RowFormat::Bf16),
        (PairLayout::Interleaved, RowFormat::Fp8 { latent: 261 }),
    ] {
        // The last one is too wide for shared memory.
        for rank in [261, 9000] {
            let rope = RopeTable::new(6, 1e4, None, layout).unwrap();
            let (tokens, width) = (5, rank + 6);
            let slots: Vec<Slot> = (0..tokens).map(|i| Slot { page: i % 2, row: 3 * i }).collect();
            fn written<B: Attend>(
                b: &B,
                rope: &RopeTable,
                slots: &[Slot],
                rank: usize,
                format: RowFormat,
            ) -> (Vec<B::Scalar>, Vec<B::Scalar>) {
                let mut pages = b.pages(rank + 6, format).unwrap();
                b.open_page(&mut pages, 0).unwrap();
                b.open_page(&mut pages, 1).unwrap();
                let kv_a = random(b, 1, &[slots.len(), rank + 6]);
                let gain = random(b, 2, &[rank]);
                let positions = [0, 7, 100, 3, 8];
                let latents = Latents { kv_a: &kv_a, gain: &gain, rope, positions: &positions };
                b.write_latents(&mut pages, slots, &latents).unwrap();
                let rest: Vec<Slot> = (0..64)
                    .flat_map(|row| [0, 1].map(|page| Slot { page, row }))
                    .filter(|slot| !slots.contains(slot))
                    .collect();
                let read = |slots: &[_]| b.download(&b.read_rows(&pages, slots).unwrap()).unwrap();
                (read(slots), read(&rest))
            }
            let (got, rest) = written(&gpu(), &rope, &slots, rank, format);
            let (want, _) =
                written(&Reference::<f64>::new(), &rope, &slots, rank, RowFormat::Scalar);
            assert!(rest.iter().all(|v| v.is_nan()), "other rows were written");
            let unit = match format {
                RowFormat::Scalar => 1e-6,
                _ => 1.0 / 16.0,
            };
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let difference = (f64::from(*got) - want).abs();
                assert!(difference <= unit * (want.abs() + 0.01), "[{i}] of {width}: {got} {want}");
            }
        }
    }
}

#[test]
fn latents_that_do_not_fit_are_refused() {
    let rope = RopeTable::new(6, 1e4, None, PairLayout::Interleaved).unwrap();
    let mut pages = gpu().pages(11, RowFormat::Scalar).unwrap();
    gpu().open_page(&mut pages, 0).unwrap();
    let slots = [Slot { page: 0, row: 0 }];
    for (kv_a, gain, positions) in [
        (vec![1, 11], vec![6], vec![0]),
        (vec![2, 11], vec![5], vec![0]),
        (vec![1, 12], vec![6], vec![0]),
        (vec![1, 11], vec![5, 1], vec![0]),
        (vec![1, 11], vec![12], vec![0]),
        (vec![1, 11], vec![5], vec![0, 1]),
    ] {
        let (kv_a, gain) = (random(&gpu(), 1, &kv_a), random(&gpu(), 2, &gain));
        let latents = Latents { kv_a: &kv_a, gain: &gain, rope: &rope, positions: &positions };
        let error = gpu().write_latents(&mut pages, &slots, &latents).unwrap_err();
        assert!(matches!(error, KernelError::Shape { .. }), "{error}");
    }
}

#[test]
fn absorption_and_expansion_give_a_token_the_same_bits_in_any_batch() {
    let weight = &kv_b(DIMS)[5];
    let matrix = gpu().matrix(weight.clone()).unwrap();
    for (columns, out) in [(10, 21), (21, 7)] {
        let x = random(&gpu(), 4, &[6, 3, columns]);
        let run = |x: &_| {
            let y = if columns == 10 {
                gpu().absorb_query(x, &matrix, DIMS)
            } else {
                gpu().expand_values(x, &matrix, DIMS)
            };
            gpu().download(&y.unwrap()).unwrap()
        };
        let whole = run(&x);
        for token in 0..6 {
            let alone = run(&gpu().select_rows(&x, &[token]).unwrap());
            assert_same_bits(&alone, &whole[token * 3 * out..][..3 * out]);
        }
    }
}

/// `attend_expanded` of a case with random queries.
fn attend_expanded<B: Attend>(
    b: &B,
    case: &Case,
    weight: &Weight,
    dims: LatentDims,
) -> Vec<B::Scalar> {
    let q = random(
        b,
        9,
        &[case.tokens(), dims.num_attention_heads, dims.qk_nope_head_dim + dims.qk_rope_head_dim],
    );
    let pages = case.pages(b);
    of_weight(b, weight, &|b, w| b.attend_expanded(&q, &pages, &case.spans, w, dims, 0.3))
}

#[test]
fn the_expanded_form_follows_the_reference() {
    let case = Case::new(&[(20, 20), (1, 1), (0, 0), (2, 66), (3, 258)], 27);
    for weight in [&kv_b(DIMS)[3], &kv_b(DIMS)[7]] {
        let want = attend_expanded(&Reference::<f64>::new(), &case, weight, DIMS);
        assert_follows(&attend_expanded(&gpu(), &case, weight, DIMS), &want);
    }
    let dims = LatentDims {
        num_attention_heads: 2,
        kv_lora_rank: 512,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
    };
    let values: Vec<f64> = Values::new(3).draw(dims.kv_b_shape().iter().product());
    let values: Vec<f64> = values.iter().map(|v| v / 16.0).collect();
    let weight = Weight::encode(Dtype::Bf16, dims.kv_b_shape(), &values).unwrap();
    let case = Case::new(&[(4, 70)], 576);
    let want = attend_expanded(&Reference::<f64>::new(), &case, &weight, dims);
    assert_follows(&attend_expanded(&gpu(), &case, &weight, dims), &want);
}

#[test]
fn the_expanded_form_has_the_same_bits_in_any_memory() {
    let case = Case::new(&[(20, 300), (1, 600), (2, 2)], 27);
    let weight = &kv_b(DIMS)[5];
    let want = attend_expanded(&gpu(), &case, weight, DIMS);
    let q = random(&gpu(), 9, &[23, 3, 16]);
    let (pages, matrix) = (case.pages(&gpu()), gpu().matrix(weight.clone()).unwrap());
    // Of one split and one head, of two splits, of all splits of two heads.
    for bytes in [1, 100_000, 300_000] {
        let o = attend_expanded_within(&gpu(), &q, &pages, &case.spans, &matrix, DIMS, 0.3, bytes);
        assert_same_bits(&gpu().download(&o.unwrap()).unwrap(), &want);
    }
}

#[test]
fn a_page_that_is_not_open_is_never_read() {
    let mut pages = gpu().pages(2, RowFormat::Scalar).unwrap();
    gpu().open_page(&mut pages, 3).unwrap();
    let q = upload(&gpu(), &[1.0], &[1, 1, 1]);
    for page in [0, 4, 2_147_480_000, usize::MAX] {
        let is_index =
            |e: &KernelError| matches!(e, KernelError::Index { found, .. } if *found == page);
        let slots = [Slot { page, row: 0 }];
        assert!(is_index(&gpu().read_rows(&pages, &slots).unwrap_err()));
        let rows = upload(&gpu(), &[0.0, 0.0], &[1, 2]);
        assert!(is_index(&gpu().write_rows(&mut pages, &slots, &rows).unwrap_err()));
        assert!(is_index(&gpu().copy_page(&mut pages, page, 3).unwrap_err()));
        assert!(is_index(&gpu().copy_page(&mut pages, 3, page).unwrap_err()));
        let spans = [Span { first: 0, tokens: 1, start: 64, pages: vec![3, page] }];
        let o = gpu().attend(&q, &pages, &spans, grouped(1, 1, 1), 1.0);
        assert!(is_index(&o.unwrap_err()));
        // Behind the last key, a page is not looked at.
        let spans = [Span { first: 0, tokens: 1, start: 63, pages: vec![3, page] }];
        assert!(gpu().attend(&q, &pages, &spans, grouped(1, 1, 1), 1.0).is_ok());
    }
    assert!(gpu().read_rows(&pages, &[Slot { page: 3, row: 64 }]).is_err());
    gpu().close_page(&mut pages, 3);
    gpu().close_page(&mut pages, usize::MAX);
    assert_eq!(gpu().pages_bytes(&pages), 0);
    assert!(gpu().read_rows(&pages, &[Slot { page: 3, row: 0 }]).is_err());
    let error = gpu().open_page(&mut pages, usize::MAX).unwrap_err();
    assert!(matches!(error, KernelError::DeviceLimit { .. }), "{error}");
    assert!(matches!(
        gpu().pages(usize::MAX, RowFormat::Scalar).unwrap_err(),
        KernelError::Shape { .. }
    ));
}

#[test]
fn rows_stay_when_the_buffer_grows() {
    let mut pages = gpu().pages(3, RowFormat::Scalar).unwrap();
    let mut want = Vec::new();
    for page in 0..9 {
        gpu().open_page(&mut pages, page).unwrap();
        let rows: Vec<f32> = Values::new(page as u64).draw(64 * 3);
        let slots: Vec<Slot> = (0..64).map(|row| Slot { page, row }).collect();
        gpu().write_rows(&mut pages, &slots, &upload(&gpu(), &rows, &[64, 3])).unwrap();
        want.extend(rows);
    }
    let read = |pages: &_, page| {
        let slots: Vec<Slot> = (0..64).map(|row| Slot { page, row }).collect();
        gpu().download(&gpu().read_rows(pages, &slots).unwrap()).unwrap()
    };
    for page in 0..9 {
        assert_same_bits(&read(&pages, page), &want[page * 192..][..192]);
    }
    gpu().copy_page(&mut pages, 2, 7).unwrap();
    for (page, from) in [(6, 6), (7, 2), (8, 8), (2, 2)] {
        assert_same_bits(&read(&pages, page), &want[from * 192..][..192]);
    }
    assert_eq!(gpu().pages_bytes(&pages), 9 * 64 * 3 * 4);
    gpu().open_page(&mut pages, 4).unwrap();
    assert!(read(&pages, 4).iter().all(|v| v.is_nan()), "an opened page is full of NaN");
    assert_same_bits(&read(&pages, 5), &want[5 * 192..][..192]);
}

const LIMITS: Limits = Limits {
    units: 1024,
    cubes: [65535; 3],
    shared_bytes: 32768,
    buffer_bytes: 1 << 27,
    bindings: 8,
};

#[test]
fn plans_fit_every_layout_and_device() {
    let small = Limits { shared_bytes: 16384, units: 256, ..LIMITS };
    for limits in [LIMITS, small] {
        for heads in [1, 3, 16, 128] {
            for (key_dim, value_dim) in [(576, 512), (192, 128), (6, 7), (20_000, 5000), (1, 0)] {
                for kv_heads in [1, heads] {
                    let layout = grouped(kv_heads, key_dim, value_dim);
                    let one = AttendPlan::new(layout, heads, limits);
                    for tokens in [0, 1, 3, 16, 5000] {
                        let plan = one.with_tokens(tokens, limits);
                        assert!(plan.shared_bytes() <= limits.shared_bytes, "{plan:?}");
                        assert!(plan.units <= 128 && plan.queries() <= 16, "{plan:?}");
                        assert!(plan.columns * plan.units >= value_dim, "{plan:?}");
                        assert_eq!(plan.lanes() * plan.vectors(), plan.queries());
                        // What orders the sums is the same in every batch.
                        assert_eq!((plan.units, plan.heads), (one.units, one.heads));
                    }
                }
            }
        }
    }
}

#[test]
fn the_shared_memory_of_a_plan_is_what_its_kernel_declares() {
    let plan = AttendPlan::new(latent(512, 64), 128, LIMITS);
    // Keys with one more column, queries, weights, bases, and four bounds.
    let words = 128 * 17 + 16 * 16 + 128 * 16 + 128 + 4;
    assert_eq!(plan.shared_bytes(), 4 * words);
}

#[test]
fn heads_of_a_group_share_what_a_cube_reads() {
    let layout = latent(512, 64);
    let (heads, keys) = (128, 300);
    let gpu = Gpu::open(DeviceChoice::First).unwrap();
    let case = Case::new(&[(1, keys)], 576);
    attend(&gpu, &case, layout, heads);
    let cost = gpu.take_ledger().kernels["attend"];
    let block = AttendPlan::new(layout, heads, gpu.limits()).heads;
    assert_eq!(block, 16);
    let (q, partial) = (4 * heads * 576, 4 * heads * 2 * 514);
    assert_eq!(cost.floor_bytes, (q + 4 * keys * 576 + partial) as u64);
    let per_head = heads * 4 * keys * (576 + 512);
    // Three tiles of 128 keys, and the queries once for each.
    let moved = per_head / block + 3 * q + partial;
    assert_eq!(cost.moved_bytes, moved as u64);
    assert!(cost.moved_bytes * 4 < per_head as u64);
    assert_eq!(cost.multiply_adds, (heads * keys * (576 + 512)) as u64);
    // Of FP8 rows, 656 bytes are read as keys and 528 as values.
    let case = Case { format: RowFormat::Fp8 { latent: 512 }, ..case };
    attend(&gpu, &case, layout, heads);
    let cost = gpu.take_ledger().kernels["attend"];
    assert_eq!(cost.floor_bytes, (q + keys * 656 + partial) as u64);
    let per_head = heads * keys * (656 + 528);
    assert_eq!(cost.moved_bytes, (per_head / block + 3 * q + partial) as u64);
}
