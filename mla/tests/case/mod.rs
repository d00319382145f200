//! What tests of a backend's attention share: sequences, weights, and the comparison with the reference.

use latent_mla::kernels::suite::{Values, assert_same_bits};
use latent_mla::kernels::{Backend, Dtype, KernelError, Reference, Scalar, Weight, max_difference};
use latent_mla::{Attend, LatentDims, PAGE_TOKENS, RowFormat, RowLayout, Slot, Span};

/// Sequences in pages that lie scattered, between others full of NaN.
pub(crate) struct Case {
    pub(crate) spans: Vec<Span>,
    pub(crate) width: usize,
    pub(crate) format: RowFormat,
    pub(crate) rows: Vec<f32>, // [key of the first span, of the second.., width]
}

impl Case {
    /// Sequences of which the last `(tokens, keys)` tokens attend.
    pub(crate) fn new(sequences: &[(usize, usize)], width: usize) -> Self {
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

    pub(crate) fn tokens(&self) -> usize {
        self.spans.iter().map(|s| s.tokens).sum()
    }

    pub(crate) fn pages<B: Attend>(&self, backend: &B) -> B::Pages {
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

pub(crate) fn upload<B: Backend>(backend: &B, values: &[f32], shape: &[usize]) -> B::Tensor {
    let values: Vec<B::Scalar> = values.iter().map(|&v| Scalar::from_f32(v)).collect();
    backend.upload(&values, shape).unwrap()
}

pub(crate) fn random<B: Backend>(backend: &B, seed: u64, shape: &[usize]) -> B::Tensor {
    upload(backend, &Values::new(seed).draw(shape.iter().product()), shape)
}

/// `attend` of a case with random queries.
pub(crate) fn attend<B: Attend>(
    backend: &B,
    case: &Case,
    layout: RowLayout,
    heads: usize,
) -> Vec<B::Scalar> {
    let q = Values::new(9).draw(case.tokens() * heads * layout.key_dim);
    attend_queries(backend, case, layout, &q, 0.7)
}

/// `attend` of a case with queries `[token, head, key_dim]`.
pub(crate) fn attend_queries<B: Attend>(
    backend: &B,
    case: &Case,
    layout: RowLayout,
    q: &[f32],
    scale: f64,
) -> Vec<B::Scalar> {
    let heads = q.len() / (case.tokens() * layout.key_dim);
    let q = upload(backend, q, &[case.tokens(), heads, layout.key_dim]);
    let o = backend.attend(&q, &case.pages(backend), &case.spans, layout, scale);
    backend.download(&o.unwrap()).unwrap()
}

/// Holds a result to the reference in `f64`, relative to the largest element.
#[track_caller]
pub(crate) fn assert_follows(got: &[f32], want: &[f64]) {
    let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let difference = max_difference(got, want);
    assert!(difference <= 1e-5 * scale, "off by {difference:e} of {scale:e}");
}

pub(crate) fn latent(rank: usize, rope: usize) -> RowLayout {
    RowLayout { kv_heads: 1, key_dim: rank + rope, value_dim: rank, value_offset: 0 }
}

pub(crate) fn grouped(kv_heads: usize, key_dim: usize, value_dim: usize) -> RowLayout {
    RowLayout { kv_heads, key_dim, value_dim, value_offset: kv_heads * key_dim }
}

/// One token each over as many keys as lie around the edges of tiles, pages and splits.
pub(crate) const EDGES: [(usize, usize); 12] = [
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

pub(crate) const DIMS: LatentDims = LatentDims {
    num_attention_heads: 3,
    kv_lora_rank: 21,
    qk_nope_head_dim: 10,
    qk_rope_head_dim: 6,
    v_head_dim: 7,
};

/// `kv_b` in every dtype, and in FP8 and whole numbers with blocks that no packet fits into.
pub(crate) fn kv_b(dims: LatentDims) -> Vec<Weight> {
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
pub(crate) type Run<'a, B> =
    dyn Fn(&B, &<B as Attend>::KvB) -> Result<<B as Backend>::Tensor, KernelError> + 'a;

pub(crate) fn of_weight<B: Attend>(
    backend: &B,
    weight: &Weight,
    run: &Run<'_, B>,
) -> Vec<B::Scalar> {
    let matrix = backend.kv_b(weight.clone()).unwrap();
    backend.download(&run(backend, &matrix).unwrap()).unwrap()
}

pub(crate) fn absorbed<B: Attend>(
    b: &B,
    w: &B::KvB,
    d: LatentDims,
    n: usize,
) -> Result<B::Tensor, KernelError> {
    b.absorb_query(&random(b, 1, &[n, d.num_attention_heads, d.qk_nope_head_dim]), w, d)
}

pub(crate) fn expanded<B: Attend>(
    b: &B,
    w: &B::KvB,
    d: LatentDims,
    n: usize,
) -> Result<B::Tensor, KernelError> {
    b.expand_values(&random(b, 2, &[n, d.num_attention_heads, d.kv_lora_rank]), w, d)
}

/// `attend_expanded` of a case with random queries.
pub(crate) fn attend_expanded<B: Attend>(
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

/// Each token of the first sequence has the bits of `whole` when it attends alone: that of [`attend`].
#[track_caller]
pub(crate) fn assert_tokens_stand_alone<B: Attend<Scalar = f32>>(
    b: &B,
    case: &Case,
    layout: RowLayout,
    heads: usize,
    whole: &[f32],
) {
    let (pages, of_token) = (case.pages(b), heads * layout.value_dim);
    let q = random(b, 9, &[case.tokens(), heads, layout.key_dim]);
    let sequence = &case.spans[0];
    for token in 0..sequence.tokens {
        let q = b.select_rows(&q, &[token]).unwrap();
        let span = Span { first: 0, tokens: 1, start: sequence.start + token, ..sequence.clone() };
        let o = b.attend(&q, &pages, &[span], layout, 0.7).unwrap();
        let want = &whole[token * of_token..][..of_token];
        assert_same_bits(&b.download(&o).unwrap(), want);
    }
}

/// Rows that are not finite reach no token before them.
#[track_caller]
pub(crate) fn assert_bad_rows_reach_no_token_before_them<B: Attend<Scalar = f32>>(b: &B) {
    let layout = grouped(1, 4, 5);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let mut case = Case::new(&[(30, 90)], 9);
        let want = attend(b, &case, layout, 2);
        case.rows[80 * 9..81 * 9].fill(bad);
        let got = attend(b, &case, layout, 2);
        assert_same_bits(&got[..20 * 10], &want[..20 * 10]);
        assert!(got[20 * 10..] != want[20 * 10..], "{bad} leaves no trace");
    }
}

/// Scores that are not finite are shared out as in the reference, within a split and as a whole one.
pub(crate) fn assert_bad_scores_are_shared_out_as_in_the_reference<B: Attend>(
    b: &B,
    tolerance: f64,
) {
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
        for (got, want) in run(b, &case, layout).iter().zip(&want) {
            let close = (got - want).abs() < tolerance;
            assert!(close || (got.is_nan() && want.is_nan()), "{bad}: got {got}, want {want}");
        }
    }
    let mut case = Case::new(&[(1, 2)], 2);
    case.rows = vec![f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY, 3.0];
    assert_eq!(run(b, &case, layout), [0.0], "the token sees no key");
    for hidden in [0..256, 256..512] {
        let mut case = Case::new(&[(1, 600)], 2);
        for key in hidden {
            case.rows[2 * key] = f32::NEG_INFINITY;
        }
        let want = run(&Reference::<f64>::new(), &case, layout);
        assert!((run(b, &case, layout)[0] - want[0]).abs() < tolerance);
    }
}

/// A score beyond what an exponential holds takes all, wherever its key lies.
pub(crate) fn assert_a_huge_score_takes_all<B: Attend<Scalar = f32>>(b: &B) {
    let q = upload(b, &[1.0], &[1, 1, 1]);
    for key in [0, 1, 31, 32, 63, 64, 127, 255, 256, 299] {
        let mut case = Case::new(&[(1, 300)], 2);
        case.rows[2 * key] = 300.0;
        RowFormat::Bf16.round(&mut case.rows);
        let o = b.attend(&q, &case.pages(b), &case.spans, grouped(1, 1, 1), 1.0);
        let want = case.rows[2 * key + 1];
        assert_same_bits(&b.download(&o.unwrap()).unwrap(), &[want]);
    }
}

/// Two heads of a published size, their weights, and a sequence.
pub(crate) fn published() -> (LatentDims, Weight, Case) {
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
    (dims, weight, Case::new(&[(4, 70)], 576))
}
