//! One decode step of one attention layer behind a long context, at the widths of V2-Lite: latent
//! attention in both forms, and the kinds that cache keys and values per head.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use latent_bench::{SUMS, verify};
use latent_kernels::suite::Values;
use latent_kernels::{Backend, PairLayout, Reference, Scalar};
use latent_mla::suite::Fixture;
use latent_mla::{AttentionConfig, Form, GqaConfig, MlaConfig, PagedCache, RopeConfig, SequenceId};

const HIDDEN: usize = 2048;
const HEADS: usize = 16;

fn kinds() -> [(&'static str, AttentionConfig, Form); 4] {
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
    [
        ("MLA absorbed", latent.clone(), Form::Absorbed),
        ("MLA expanded", latent, Form::Expanded),
        ("GQA of 4", grouped(4), Form::Auto),
        ("MHA", grouped(HEADS), Form::Auto),
    ]
}

/// A layer behind a context of random rows.
struct Decode<'a, T: Scalar> {
    layer: Fixture<'a, Reference<T>>,
    cache: PagedCache<Reference<T>>,
    sequence: SequenceId,
}

impl<'a, T: Scalar> Decode<'a, T> {
    fn new(cpu: &'a Reference<T>, config: &AttentionConfig, context: usize) -> Self {
        let layer = Fixture::new(cpu, config);
        let mut cache = layer.cache(context + 1);
        let sequence = cache.new_sequence();
        let step = cache.begin(&[(sequence, context)]).expect("room");
        let width = config.cached_elements();
        let rows: Vec<f32> = Values::new(1).draw(context * width);
        let rows: Vec<T> = rows.iter().map(|v| T::from_f64(v.as_f64())).collect();
        let rows = cpu.upload(&rows, &[context, width]).expect("rows");
        cache.write(&step, 0, &rows).expect("rows that fit");
        cache.commit(step).expect("the open step");
        Self { layer, cache, sequence }
    }

    /// The output of the next token; the cache stays as it was.
    fn run(&mut self, x: &[T], form: Form) -> Vec<T> {
        let Fixture { backend, layer, .. } = &self.layer;
        let step = self.cache.begin(&[(self.sequence, 1)]).expect("room");
        let x = backend.upload(x, &[1, HIDDEN]).expect("one token");
        let y = layer.forward(backend, &x, &mut self.cache, &step, 0, form).expect("a result");
        self.cache.abort(step).expect("the open step");
        backend.download(&y).expect("elements")
    }
}

fn decode(c: &mut Criterion) {
    let (single, double) = (Reference::<f32>::new(), Reference::<f64>::new());
    let x: Vec<f32> = Values::new(2).draw(HIDDEN);
    let x_wide: Vec<f64> = x.iter().map(|&v| v.into()).collect();
    for context in [1024, 4096] {
        let mut group = c.benchmark_group(format!("decode behind {context} tokens"));
        group.sample_size(10);
        for (name, config, form) in kinds() {
            // In f64, where the cheap form of latent attention is held to its definition.
            let want = Decode::new(&double, &config, context).run(&x_wide, Form::Absorbed);
            let mut decode = Decode::new(&single, &config, context);
            verify(name, &decode.run(&x, form), &want, SUMS);
            group.throughput(Throughput::Bytes(decode.cache.bytes() as u64));
            group.bench_function(name, |b| b.iter(|| black_box(decode.run(&x, form))));
        }
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
