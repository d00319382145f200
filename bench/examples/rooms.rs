//! Two rooms alone on the processor: latent attention of one new token, and routed experts.
//!
//! ```text
//! python scripts/bench_rooms.py    # makes FILE, and runs this and torch in turn
//! cargo run --release -p latent-bench --example rooms -- attention|experts FILE THREADS
//! ```
//!
//! FILE holds inputs and, in `f64`, what they give; nothing is timed that has not been held to it. Prints
//! one JSON object a line: what the machine can do at best, then each case.
//!
//! No case finds its operands in a cache. Attention takes one layer after the other, more than [`ROTATED`]
//! bytes of them, each with rows and `kv_b` of its own. Experts take one batch of tokens after the other: a
//! token alone reads 104 MB of bf16, and ten of them share no expert; 16 and 512 together read nearly 1.1 GB.

#![expect(clippy::print_stdout, reason = "an example that shows its result")]

use std::error::Error;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use latent_bench::verify;
use latent_kernels::cpu::{Cpu, Isa};
use latent_kernels::{Backend, Bytes, Dtype, Scalar, Tolerance, Weight, max_difference};
use latent_mla::{Attend, LatentDims, PAGE_TOKENS, RowFormat, Slot, Span};
use latent_moe::{Experts, MlpWeights, Routing};
use safetensors::{SafeTensors, tensor::Metadata};
use serde_json::json;

/// Four times a last cache of 32 MiB.
const ROTATED: usize = 128 << 20;
/// How often each layer or batch is timed.
const REPETITIONS: usize = 7;
const HEADS: [usize; 2] = [16, 128];
const CONTEXTS: [usize; 3] = [1024, 8192, 32768];
const DIMS: LatentDims = LatentDims {
    num_attention_heads: HEADS[0],
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
};
/// The width of a cached row.
const ROW: usize = DIMS.kv_lora_rank + DIMS.qk_rope_head_dim;
/// Tokens, and the number of their batches.
const TOKENS: [(usize, usize); 3] = [(1, 10), (16, 4), (512, 2)];
const EXPERTS: usize = 64;
const TOP_K: usize = 6;
const HIDDEN: usize = 2048;
const INNER: usize = 1408;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Tensor = <Cpu as Backend>::Tensor;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [room, file, threads] = &args[..] else {
        return Err(format!("{args:?}, want attention|experts FILE THREADS").into());
    };
    let threads = threads.parse().map_err(|_| format!("THREADS: {threads:?}, want a number"))?;
    let cpu = Cpu::with(Isa::best(), threads)?;
    let inputs = Inputs::read(file)?;
    if let Some(peaks) = cpu.measure_peaks() {
        let (read_bytes, adds) = (peaks.read_bytes, peaks.multiply_adds);
        println!("{}", json!({"read_bytes": read_bytes, "multiply_adds": adds}));
    }
    match room.as_str() {
        "attention" => attention(&cpu, &inputs),
        "experts" => experts(&cpu, &inputs),
        _ => Err(format!("room: {room:?}, want attention or experts").into()),
    }
}

struct Case<'a> {
    cpu: &'a Cpu,
    room: &'a str,
    case: String,
    /// What products are computed in.
    dtype: &'a str,
}

impl Case<'_> {
    /// The error, of the largest magnitude, that rounding explains.
    fn allowed(&self) -> f64 {
        match self.dtype {
            "int8" => 4e-2,
            "bf16" => 5e-3,
            _ => 1e-5,
        }
    }

    /// Holds `run(i)` to `want[i]` for each `i`, then times them in turn.
    fn report(&self, want: &[&[f64]], run: impl Fn(usize) -> Outcome<Tensor>) -> Outcome<()> {
        let Self { cpu, room, case, dtype } = self;
        cpu.take_ledger();
        let mut error = 0.0_f64;
        for (i, want) in want.iter().enumerate() {
            let got = cpu.download(&run(i)?)?;
            let largest = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            let tolerance = Tolerance { atol: self.allowed() * largest, rtol: 0.0 };
            verify(&format!("{room}, {case}, {dtype}, {i}"), &got, want, tolerance);
            error = error.max(max_difference(&got, want) / largest);
        }
        let (cost, calls) = (cpu.take_ledger().total(), want.len() as u64);
        let (bytes, multiply_adds) = (cost.floor_bytes / calls, cost.multiply_adds / calls);
        let mut milliseconds = Vec::new();
        for i in (0..REPETITIONS).flat_map(|_| 0..want.len()) {
            let start = Instant::now();
            black_box(run(i)?);
            milliseconds.push(1e3 * start.elapsed().as_secs_f64());
        }
        milliseconds.sort_by(f64::total_cmp);
        let [median, min] = [milliseconds[milliseconds.len() / 2], milliseconds[0]];
        let line = json!({
            "room": room, "case": case, "dtype": dtype, "median_ms": median, "min_ms": min,
            "bytes": bytes, "gb_per_s": bytes as f64 / median / 1e6,
            "multiply_adds": multiply_adds, "max_error": error,
        });
        println!("{line}");
        Ok(())
    }
}

/// The absorbed form, from the query of all heads to their values, in `f32` and in bf16.
fn attention(cpu: &Cpu, inputs: &Inputs) -> Outcome<()> {
    let (dtype, _) = inputs.find("rows", &[CONTEXTS[2], ROW])?;
    let format = if dtype == Dtype::Bf16 { RowFormat::Bf16 } else { RowFormat::Scalar };
    let rows: Vec<f32> = inputs.values("rows", &[CONTEXTS[2], ROW])?;
    for (heads, context) in HEADS.iter().flat_map(|&heads| CONTEXTS.map(|c| (heads, c))) {
        let dims = LatentDims { num_attention_heads: heads, ..DIMS };
        let q_shape = [1, heads, dims.qk_nope_head_dim + dims.qk_rope_head_dim];
        let q = cpu.upload(&inputs.values(&format!("q.{heads}"), &q_shape)?, &q_shape)?;
        let scale = (q_shape[2] as f64).powf(-0.5);
        let want = format!("want.{heads}.{context}");
        let want: Vec<f64> = inputs.values(&want, &[1, heads, dims.v_head_dim])?;
        let rows = cpu.upload(&rows[..context * ROW], &[context, ROW])?;
        let (dtype, kv_b) = inputs.find(&format!("kv_b.{heads}"), &dims.kv_b_shape())?;
        let layer_bytes = context * format.row_bytes(ROW, 4) + kv_b.len();
        let mut pages = cpu.pages(ROW, format)?;
        let mut layers = Vec::new();
        for layer in 0..=ROTATED.div_ceil(layer_bytes) {
            let kv_b = inputs.bytes[kv_b.clone()].to_vec();
            let kv_b = cpu.kv_b(Weight::new(dtype, dims.kv_b_shape(), kv_b.into(), None)?)?;
            let count = context.div_ceil(PAGE_TOKENS);
            let pages_of_layer = (layer * count..(layer + 1) * count).collect();
            let span = Span { first: 0, tokens: 1, start: context - 1, pages: pages_of_layer };
            span.pages.iter().try_for_each(|&page| cpu.open_page(&mut pages, page))?;
            let slots: Vec<Slot> = (0..context).map(|position| span.slot(position)).collect();
            cpu.write_rows(&mut pages, &slots, &rows)?;
            layers.push((kv_b, [span]));
        }
        let case = format!("{heads} heads, {context} keys, {dtype}");
        let want = vec![&want[..]; layers.len()];
        for (dtype, cpu) in [("f32", cpu.clone()), ("bf16", cpu.clone().bf16())] {
            let case = case.clone();
            Case { cpu: &cpu, room: "attention", case, dtype }.report(&want, |i| {
                let (kv_b, spans) = &layers[i];
                let q = cpu.absorbed_query(&q, kv_b, dims)?;
                let o_latent = cpu.attend(&q, &pages, spans, dims.absorbed_layout(), scale)?;
                Ok(cpu.expand_values(&o_latent, kv_b, dims)?)
            })?;
        }
    }
    Ok(())
}

/// The weighted sum of each token's experts, in each dtype of products.
fn experts(cpu: &Cpu, inputs: &Inputs) -> Outcome<()> {
    let gate_up = inputs.matrices("gate_up", [2 * EXPERTS, INNER, HIDDEN])?;
    let down = inputs.matrices("down", [EXPERTS, HIDDEN, INNER])?;
    let ways = [("f32", cpu.clone()), ("bf16", cpu.clone().bf16()), ("int8", cpu.clone().int8())];
    for (dtype, cpu) in ways {
        let stack = cpu.expert_stack(EXPERTS, |e| {
            let [gate_proj, up_proj] = [0, 1].map(|part| gate_up[2 * e + part].clone());
            Outcome::Ok(MlpWeights { gate_proj, up_proj, down_proj: down[e].clone() })
        })?;
        for (tokens, batches) in TOKENS {
            let shape = [batches, tokens, HIDDEN];
            let want: Vec<f64> = inputs.values(&format!("want.{tokens}"), &shape)?;
            let want: Vec<&[f64]> = want.chunks(tokens * HIDDEN).collect();
            let x: Vec<f32> = inputs.values(&format!("x.{tokens}"), &shape)?;
            let x = x.chunks(tokens * HIDDEN).map(|x| cpu.upload(x, &[tokens, HIDDEN]));
            let x = x.collect::<Result<Vec<_>, _>>()?;
            let shape = [batches, tokens, EXPERTS];
            let weights: Vec<f64> = inputs.values(&format!("routing.{tokens}"), &shape)?;
            let routings: Vec<Routing> =
                weights.chunks(tokens * EXPERTS).map(routing).collect::<Outcome<_>>()?;
            let case = format!("{tokens} tokens");
            Case { cpu: &cpu, room: "experts", case, dtype }
                .report(&want, |i| Ok(cpu.routed(&stack, &x[i], &routings[i])?))?;
        }
    }
    Ok(())
}

/// A routing from each token's weights of all experts, 0 where one is not chosen.
fn routing(weights: &[f64]) -> Outcome<Routing> {
    let chosen = weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
    let (experts, weights) = chosen.map(|(i, &weight)| (i % EXPERTS, weight)).unzip();
    Ok(Routing::new(EXPERTS, TOP_K, experts, weights)?)
}

/// A safetensors file, read once, whose header ends at `data`; weights stay in it as in a mapped one.
struct Inputs {
    bytes: Arc<Vec<u8>>,
    data: usize,
    metadata: Metadata,
}

impl Inputs {
    fn read(file: &str) -> Outcome<Self> {
        let bytes = std::fs::read(file).map_err(|e| format!("{file}: {e}"))?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|e| format!("{file}: {e}, want a safetensors file"))?;
        Ok(Self { bytes: Arc::new(bytes), data: 8 + header, metadata })
    }

    /// The dtype of a tensor, and where its bytes lie in the file.
    fn find(&self, name: &str, wanted: &[usize]) -> Outcome<(Dtype, Range<usize>)> {
        let info = self.metadata.info(name);
        let info = info.ok_or_else(|| format!("{name}: missing from the inputs"))?;
        if info.shape != wanted {
            return Err(format!("{name}: shape {:?}, want {wanted:?}", info.shape).into());
        }
        let dtype = match info.dtype {
            safetensors::Dtype::F64 => Dtype::F64,
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::BF16 => Dtype::Bf16,
            other => return Err(format!("{name}: dtype {other}, want F64, F32 or BF16").into()),
        };
        let (begin, end) = info.data_offsets;
        Ok((dtype, self.data + begin..self.data + end))
    }

    fn values<T: Scalar>(&self, name: &str, shape: &[usize]) -> Outcome<Vec<T>> {
        let (dtype, range) = self.find(name, shape)?;
        let mut values = vec![T::default(); shape.iter().product()];
        dtype.decode(&self.bytes[range], &mut values);
        Ok(values)
    }

    /// The matrices of a stack.
    fn matrices(&self, name: &str, [count, rows, cols]: [usize; 3]) -> Outcome<Vec<Weight>> {
        let (dtype, range) = self.find(name, &[count, rows, cols])?;
        let matrix = |begin| {
            let bytes = Bytes::new(self.bytes.clone(), begin..begin + rows * cols * dtype.bytes());
            let bytes = bytes.expect("tensors are proved to lie inside of the file");
            Ok(Weight::new(dtype, [rows, cols], bytes, None)?)
        };
        range.step_by(rows * cols * dtype.bytes()).map(matrix).collect()
    }
}
