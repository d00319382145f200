//! One decode step of one attention layer behind a long context, with the heads and the latent of
//! V2-Lite at half its width: latent attention in both forms, and the kinds that cache keys and
//! values per head.

use std::hint::black_box;

use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use latent_bench::{SUMS, verify};
use latent_kernels::cpu::Cpu;
use latent_kernels::suite::{Values, upload, wide};
use latent_kernels::{Backend, PairLayout, Reference};
use latent_mla::suite::Fixture;
use latent_mla::{
    Attend, AttentionConfig, Form, GqaConfig, MlaConfig, PagedCache, RopeConfig, SequenceId,
};

const HIDDEN: usize = 1024;
const HEADS: usize = 16;

fn kinds() -> [(&'static str, AttentionConfig); 3] {
    let rope = RopeConfig { theta: 10_000.0, yarn: None, layout: PairLayout::Interleaved };
    let latent = AttentionConfig::Latent(MlaConfig {
        hidden_size: HIDDEN,
        num_attention_heads: HEADS,
        q_lora_rank: None,
        kv_lora_rank: 512,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
        rope,
    });
    let grouped = |num_key_value_heads| {
        AttentionConfig::Grouped(GqaConfig {
            hidden_size: HIDDEN,
            num_attention_heads: HEADS,
            num_key_value_heads,
            head_dim: 128,
            rope,
        })
    };
    [("MLA", latent), ("GQA of 4", grouped(4)), ("MHA", grouped(HEADS))]
}

/// A context of random rows in a cache for one layer.
struct Context<B: Attend> {
    cache: PagedCache<B>,
    sequence: SequenceId,
}

impl<B: Attend> Context<B> {
    fn new(f: &Fixture<'_, B>, tokens: usize) -> Self {
        let mut cache = f.cache(tokens + 1);
        let sequence = cache.new_sequence();
        let step = cache.begin(&[(sequence, tokens)]).expect("room");
        let width = f.config.cached_elements();
        let rows: Vec<f32> = Values::new(1).draw(tokens * width);
        let rows = upload(f.backend, &wide(&rows), &[tokens, width]);
        cache.write(&step, 0, &rows).expect("rows that fit");
        cache.commit(step).expect("the open step");
        Self { cache, sequence }
    }

    /// The output of the next token; the cache stays as it was.
    fn decode(&mut self, f: &Fixture<'_, B>, x: &B::Tensor, form: Form) -> B::Tensor {
        let step = self.cache.begin(&[(self.sequence, 1)]).expect("room");
        let y = f.layer.forward(f.backend, x, &mut self.cache, &step, 0, form).expect("a result");
        self.cache.abort(step).expect("the open step");
        y
    }
}

fn decode(c: &mut Criterion) {
    decode_on(c, "reference", &Reference::<f32>::new());
    decode_on(c, "cpu", &Cpu::new());
}

fn decode_on<B: Attend>(c: &mut Criterion, backend: &str, single: &B) {
    let double = Reference::<f64>::new();
    let x = wide(&Values::new(2).draw::<f32>(HIDDEN));
    for (kind, config) in kinds() {
        let (layer, exact) = (Fixture::new(single, &config), Fixture::new(&double, &config));
        let (x, x_exact) = (upload(single, &x, &[1, HIDDEN]), upload(&double, &x, &[1, HIDDEN]));
        let mut group = c.benchmark_group(format!("decode {kind} on {backend}"));
        group.sample_size(10);
        for tokens in [1024, 4096] {
            // Both forms are held to the cheap one in f64.
            let want = Context::new(&exact, tokens).decode(&exact, &x_exact, Form::Absorbed);
            let want = double.download(&want).expect("elements");
            let mut context = Context::new(&layer, tokens);
            for &form in layer.forms() {
                let name = match config {
                    AttentionConfig::Latent(_) => format!("{tokens} tokens/{form:?}"),
                    AttentionConfig::Grouped(_) => format!("{tokens} tokens"),
                };
                let got = single.download(&context.decode(&layer, &x, form)).expect("elements");
                verify(&name, &got, &want, SUMS);
                group.throughput(Throughput::Bytes(context.cache.bytes() as u64));
                let bench = |b: &mut Bencher<'_>| {
                    b.iter(|| black_box(context.decode(&layer, &x, form)));
                };
                group.bench_function(name, bench);
            }
        }
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
