//! A whole layer equals the formulas of DeepSeek-V2, section 2.1, and of grouped attention, computed
//! here in `f64` over plain vectors: no cache, no backend, no code of this crate but the configs.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use latent_mla::kernels::{Backend, PairLayout, Reference, Tolerance, Yarn, compare};
use latent_mla::suite::{Fixture, kinds};
use latent_mla::{AttentionConfig, Form, GqaConfig, MlaConfig, RopeConfig};

type Rows = Vec<Vec<f64>>;

/// The same weights as the fixture holds, as plain rows, by asking the loader for them.
struct Plain(Vec<(String, Rows)>);

impl Plain {
    fn of(f: &Fixture<'_, Reference<f64>>) -> Self {
        Self(
            f.weights()
                .into_iter()
                .map(|(name, w)| {
                    let rows = w.decode::<f64>().chunks(w.cols()).map(<[f64]>::to_vec).collect();
                    (name, rows)
                })
                .collect(),
        )
    }

    fn get(&self, name: &str) -> &Rows {
        &self.0.iter().find(|(n, _)| *n == format!("{name}.weight")).unwrap().1
    }
}

fn times(w: &Rows, x: &[f64]) -> Vec<f64> {
    w.iter().map(|row| product(row, x)).collect()
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(x: &[f64], gain: &[f64]) -> Vec<f64> {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    x.iter().zip(gain).map(|(v, g)| g * v / (mean + 1e-6).sqrt()).collect()
}

fn yarn_frequency(i: usize, d: usize, theta: f64, yarn: &Yarn) -> f64 {
    let corr = |n: f64| {
        let l0 = yarn.original_max_position_embeddings as f64;
        d as f64 * (l0 / (2.0 * std::f64::consts::PI * n)).ln() / (2.0 * theta.ln())
    };
    let low = corr(yarn.beta_fast).floor().max(0.0);
    let mut high = corr(yarn.beta_slow).ceil().min(d as f64 - 1.0);
    if high - low == 0.0 {
        high += 0.001;
    }
    let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
    let f = theta.powf(-2.0 * i as f64 / d as f64);
    f / yarn.factor * ramp + f * (1.0 - ramp)
}

fn mscale(factor: f64, m: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 }
}

fn rotated(x: &[f64], position: usize, rope: &RopeConfig) -> Vec<f64> {
    let d = x.len();
    let mut y = vec![f64::NAN; d];
    for i in 0..d / 2 {
        let (f, stretch) = match &rope.yarn {
            None => (rope.theta.powf(-2.0 * i as f64 / d as f64), 1.0),
            Some(yarn) => {
                let stretch = match (yarn.mscale, yarn.mscale_all_dim) {
                    (Some(m), Some(all)) => mscale(yarn.factor, m) / mscale(yarn.factor, all),
                    _ => mscale(yarn.factor, 1.0),
                };
                (yarn_frequency(i, d, rope.theta, yarn), stretch)
            }
        };
        let (a, b) = match rope.layout {
            PairLayout::Interleaved => (2 * i, 2 * i + 1),
            PairLayout::HalfSplit => (i, i + d / 2),
        };
        let angle = position as f64 * f;
        y[a] = stretch * (x[a] * angle.cos() - x[b] * angle.sin());
        y[b] = stretch * (x[a] * angle.sin() + x[b] * angle.cos());
    }
    y
}

/// Softmax attention of one query over the keys and values before it and its own.
fn attention(q: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>], scale: f64) -> Vec<f64> {
    let e: Vec<f64> = keys.iter().map(|k| (product(q, k) * scale).exp()).collect();
    let sum: f64 = e.iter().sum();
    (0..values[0].len()).map(|j| e.iter().zip(values).map(|(e, v)| e / sum * v[j]).sum()).collect()
}

fn latent(c: &MlaConfig, w: &Plain, x: &Rows) -> Rows {
    let (nope, rope, v, rank) =
        (c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim, c.kv_lora_rank);
    let mut scale = 1.0 / ((nope + rope) as f64).sqrt();
    if let Some(Yarn { factor, mscale_all_dim: Some(all), .. }) = c.rope.yarn {
        scale *= mscale(factor, all) * mscale(factor, all);
    }
    let latents: Rows = x
        .iter()
        .map(|h| {
            let kv_a = times(w.get("kv_a_proj_with_mqa"), h);
            norm(&kv_a[..rank], &w.get("kv_a_layernorm")[0])
        })
        .collect();
    let k_rope: Rows = x
        .iter()
        .enumerate()
        .map(|(t, h)| rotated(&times(w.get("kv_a_proj_with_mqa"), h)[rank..], t, &c.rope))
        .collect();
    let up: Rows = latents.iter().map(|l| times(w.get("kv_b_proj"), l)).collect();
    (0..x.len())
        .map(|t| {
            let q = match c.q_lora_rank {
                None => times(w.get("q_proj"), &x[t]),
                Some(_) => {
                    let c_q = norm(&times(w.get("q_a_proj"), &x[t]), &w.get("q_a_layernorm")[0]);
                    times(w.get("q_b_proj"), &c_q)
                }
            };
            let mut o = Vec::new();
            for h in 0..c.num_attention_heads {
                let q = &q[h * (nope + rope)..(h + 1) * (nope + rope)];
                let q = [q[..nope].to_vec(), rotated(&q[nope..], t, &c.rope)].concat();
                let of_head = |s: usize| &up[s][h * (nope + v)..(h + 1) * (nope + v)];
                let keys: Rows =
                    (0..=t).map(|s| [&of_head(s)[..nope], &k_rope[s]].concat()).collect();
                let values: Rows = (0..=t).map(|s| of_head(s)[nope..].to_vec()).collect();
                o.extend(attention(&q, &keys, &values, scale));
            }
            times(w.get("o_proj"), &o)
        })
        .collect()
}

fn grouped(c: &GqaConfig, w: &Plain, x: &Rows) -> Rows {
    let d = c.head_dim;
    let per_group = c.num_attention_heads / c.num_key_value_heads;
    (0..x.len())
        .map(|t| {
            let q = times(w.get("q_proj"), &x[t]);
            let mut o = Vec::new();
            for h in 0..c.num_attention_heads {
                let g = h / per_group;
                let part = |x: &[f64], i: usize| x[i * d..(i + 1) * d].to_vec();
                let q = rotated(&part(&q, h), t, &c.rope);
                let key = |s: usize| rotated(&part(&times(w.get("k_proj"), &x[s]), g), s, &c.rope);
                let keys: Rows = (0..=t).map(key).collect();
                let values: Rows =
                    (0..=t).map(|s| part(&times(w.get("v_proj"), &x[s]), g)).collect();
                o.extend(attention(&q, &keys, &values, (d as f64).powf(-0.5)));
            }
            times(w.get("o_proj"), &o)
        })
        .collect()
}

#[test]
fn a_layer_equals_its_formulas() {
    let cpu = Reference::<f64>::new();
    for (name, config) in kinds() {
        let f = Fixture::new(&cpu, &config);
        let x = f.tokens(1, 9);
        let rows: Rows = x.chunks(config.hidden_size()).map(<[f64]>::to_vec).collect();
        let want = match &config {
            AttentionConfig::Latent(c) => latent(c, &Plain::of(&f), &rows),
            AttentionConfig::Grouped(c) => grouped(c, &Plain::of(&f), &rows),
        };
        for form in [Form::Expanded, Form::Absorbed, Form::Auto] {
            compare(&f.alone(&x, form), &want.concat(), Tolerance::F64)
                .unwrap_or_else(|error| panic!("{name}, {form:?}: {error}"));
        }
    }
}

/// What is cached is the latent after its norm, with eps 1e-6, and the rotated key behind it.
#[test]
fn a_cached_row_is_the_normed_latent_and_the_rotated_key() {
    let cpu = Reference::<f64>::new();
    for (name, config) in kinds() {
        let AttentionConfig::Latent(c) = &config else { continue };
        let f = Fixture::new(&cpu, &config);
        // Inputs so small that eps decides about the norm.
        let x: Vec<f64> = f.tokens(1, 3).iter().map(|v| v * 1e-3).collect();
        let mut cache = f.cache(64);
        let id = cache.new_sequence();
        f.step(&mut cache, &[(id, &x)], Form::Expanded);
        let w = Plain::of(&f);
        let mut want = Vec::new();
        for (t, h) in x.chunks(c.hidden_size).enumerate() {
            let kv_a = times(w.get("kv_a_proj_with_mqa"), h);
            want.extend(norm(&kv_a[..c.kv_lora_rank], &w.get("kv_a_layernorm")[0]));
            want.extend(rotated(&kv_a[c.kv_lora_rank..], t, &c.rope));
        }
        let rows = cpu.download(&cache.read(0, id).unwrap()).unwrap();
        compare(&rows, &want, Tolerance::F64).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
