//! Everything that a prompt makes inside of a model, on the host.

use std::collections::BTreeMap;

use latent_kernels::{Backend, Tensor};
use latent_mla::{Attend, AttentionConfig, Form, PagedCache, SequenceId};
use latent_moe::Experts;

use crate::logits::in_parts;
use crate::sampling::{Sampler, SamplingConfig};
use crate::{Feed, Model, ModelError, Observer};

/// How a prompt is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceOptions {
    /// How attention is computed.
    pub form: Form,
    /// The number of prompt tokens per forward pass; 0 takes the prompt as a whole.
    pub chunk: usize,
    /// The number of tokens to decode greedily behind the prompt, whatever they are.
    pub generate: usize,
}

/// What a layer cached for the prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum CachedRows<T> {
    /// Latent attention.
    Latent {
        /// `[token, kv_lora_rank]`, after its norm.
        c_kv: Vec<T>,
        /// `[token, qk_rope_head_dim]`, rotated, pairs as the config's layout has them.
        k_rope: Vec<T>,
    },
    /// MHA, GQA or MQA.
    Grouped {
        /// `[token, num_key_value_heads * head_dim]`, rotated.
        keys: Vec<T>,
        /// `[token, num_key_value_heads * head_dim]`.
        values: Vec<T>,
    },
}

/// Which experts the tokens of a prompt went to, and with which weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choices {
    /// `[token, num_experts_per_tok]`, ascending.
    pub experts: Vec<usize>,
    /// Matching; after normalisation and scale.
    pub weights: Vec<f64>,
}

/// Everything that a prompt of `token` ids makes inside of a model, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace<T> {
    /// `[token, vocab]`.
    pub logits: Vec<T>,
    /// Of each index `[token, hidden]`: 0 the embeddings, `i + 1` what layer `i` leaves; before
    /// the last norm.
    pub hidden: Vec<Vec<T>>,
    /// What each layer with experts chose.
    pub routing: BTreeMap<usize, Choices>,
    /// What each layer cached for the prompt.
    pub cached: Vec<CachedRows<T>>,
    /// The tokens decoded behind the prompt.
    pub greedy: Vec<u32>,
    /// The logits that each of them was chosen by, `[greedy, vocab]`.
    pub greedy_logits: Vec<T>,
    /// What the first multi-token-prediction layer predicts at each prompt position, given the
    /// true next token and at the last position the greedy one, `[token, vocab]`.
    pub mtp_logits: Option<Vec<T>>,
}

/// Runs `prompt` through `model` and keeps everything.
///
/// # Errors
/// [`ModelError::Empty`] for an empty prompt, or the error of the forward pass.
pub fn trace<B: Attend + Experts>(
    model: &Model<B>,
    prompt: &[u32],
    options: TraceOptions,
) -> Result<Trace<B::Scalar>, ModelError> {
    if prompt.is_empty() {
        return Err(ModelError::Empty("prompt"));
    }
    let backend = model.backend();
    let chunk = if options.chunk == 0 { prompt.len() } else { options.chunk };
    let mut cache = model.cache(prompt.len().saturating_add(options.generate))?;
    let sequence = cache.new_sequence();

    let mut record = Record { backend, hidden: Vec::new(), routing: BTreeMap::new() };
    let (mut normed, mut logits) = (Vec::new(), Vec::new()); // [token, hidden], [token, vocab]
    for tokens in prompt.chunks(chunk) {
        let feed = Feed { sequence, tokens };
        let x = model.forward(&mut cache, &[feed], options.form, &mut record)?;
        normed.extend(backend.download(&x)?);
        logits.extend(all_logits(model, &x)?);
    }
    let Record { hidden, routing, .. } = record;
    let cached = cached_rows(model, &cache, sequence)?;

    let mut sampler = Sampler::new(SamplingConfig::default())?;
    let vocab = model.config().vocab_size;
    let mut last = logits[logits.len() - vocab..].to_vec();
    let next = sampler.next(&last, &[])?;
    let mtp_logits = if model.config().num_nextn_predict_layers == 0 {
        None
    } else {
        let next = [&prompt[1..], &[next]].concat();
        Some(mtp_logits(model, &normed, &next, chunk, options.form)?)
    };
    let (mut decoded, mut greedy_logits) = (Vec::new(), Vec::new());
    while decoded.len() < options.generate {
        let token = sampler.next(&last, &[])?;
        decoded.push(token);
        greedy_logits.extend_from_slice(&last);
        if decoded.len() < options.generate {
            let feed = Feed { sequence, tokens: &[token] };
            let x = model.forward(&mut cache, &[feed], options.form, &mut ())?;
            last = backend.download(&model.logits(&x)?)?;
        }
    }
    Ok(Trace { logits, hidden, routing, cached, greedy: decoded, greedy_logits, mtp_logits })
}

fn mtp_logits<B: Attend + Experts>(
    model: &Model<B>,
    normed: &[B::Scalar],
    next: &[u32],
    chunk: usize,
    form: Form,
) -> Result<Vec<B::Scalar>, ModelError> {
    let (backend, width) = (model.backend(), model.config().hidden_size);
    let mut cache = model.mtp_cache(next.len())?;
    let sequence = cache.new_sequence();
    let mut logits = Vec::new();
    for (normed, tokens) in normed.chunks(chunk * width).zip(next.chunks(chunk)) {
        let hidden = backend.upload(normed, &[tokens.len(), width])?;
        let feed = Feed { sequence, tokens };
        let x = model.forward_mtp(0, &hidden, &[feed], &mut cache, form)?;
        logits.extend(all_logits(model, &x)?);
    }
    Ok(logits)
}

/// The logits of every row of `hidden` on the host.
fn all_logits<B: Attend + Experts>(
    model: &Model<B>,
    hidden: &B::Tensor,
) -> Result<Vec<B::Scalar>, ModelError> {
    let rows = hidden.shape()[0];
    let mut logits = Vec::with_capacity(rows * model.config().vocab_size);
    in_parts(model, hidden, rows, &mut |some| {
        logits.extend(some);
        Ok(())
    })?;
    Ok(logits)
}

fn cached_rows<B: Attend + Experts>(
    model: &Model<B>,
    cache: &PagedCache<B>,
    sequence: SequenceId,
) -> Result<Vec<CachedRows<B::Scalar>>, ModelError> {
    let backend = model.backend();
    let split = |layer, at| -> Result<_, ModelError> {
        let (a, b) = backend.split_columns(&cache.read(layer, sequence)?, at)?;
        Ok((backend.download(&a)?, backend.download(&b)?))
    };
    (0..model.config().num_hidden_layers)
        .map(|layer| match &model.config().attention {
            AttentionConfig::Latent(c) => {
                let (c_kv, k_rope) = split(layer, c.kv_lora_rank)?;
                Ok(CachedRows::Latent { c_kv, k_rope })
            }
            AttentionConfig::Grouped(c) => {
                let (keys, values) = split(layer, c.num_key_value_heads * c.head_dim)?;
                Ok(CachedRows::Grouped { keys, values })
            }
        })
        .collect()
}

/// Hidden states and routing, appended chunk by chunk.
struct Record<'a, B: Backend> {
    backend: &'a B,
    hidden: Vec<Vec<B::Scalar>>,
    routing: BTreeMap<usize, Choices>,
}

impl<B: Attend + Experts> Observer<B> for Record<'_, B> {
    fn hidden(&mut self, index: usize, x: &B::Tensor) -> Result<(), ModelError> {
        if index == self.hidden.len() {
            self.hidden.push(Vec::new());
        }
        self.hidden[index].extend(self.backend.download(x)?);
        Ok(())
    }

    fn routing(&mut self, layer: usize, routing: &B::Routing) -> Result<(), ModelError> {
        let routing = self.backend.host_routing(routing)?;
        let kept = self.routing.entry(layer).or_default();
        kept.experts.extend(routing.experts());
        kept.weights.extend(routing.weights());
        Ok(())
    }
}
