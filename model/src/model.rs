//! The assembled model: embedding, layers, norm, head.

use latent_kernels::{Backend, Matrix, Tensor, Weight};
use latent_mla::{Attend, CacheFormat, Form, PagedCache, SequenceId, Step};
use latent_moe::Experts;

use crate::block::Block;
use crate::config::ModelConfig;
use crate::mtp::MtpLayer;
use crate::tensors::{EMBEDDING, HEAD, NORM, layer_prefix};
use crate::{ModelError, Observer};

mod backward;
mod head;

pub(crate) use backward::whole;
pub use backward::{Keep, Saved, put_rows};
pub use head::{HeadChunk, HeadLoss};

/// Tokens to append to one sequence of a cache.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// The sequence in the cache.
    pub sequence: SequenceId,
    /// Its new tokens: a prompt, a part of one, or a single decoded token.
    pub tokens: &'a [u32],
}

/// A model on a backend. It holds weights alone and never changes: threads can share it.
///
/// ```no_run
/// use latent_model::kernels::Reference;
/// use latent_model::{Feed, Form, Model, LoadOptions};
///
/// let (model, _) = Model::load(Reference::<f32>::new(), "DIR".as_ref(), &LoadOptions::default())?;
/// let mut cache = model.cache(1024)?;
/// let sequence = cache.new_sequence();
/// let feed = Feed { sequence, tokens: &[1, 2, 3] };
/// let hidden = model.forward(&mut cache, &[feed], Form::Absorbed, &mut ())?; // [3, hidden]
/// let logits = model.logits(&hidden)?; // [3, vocab]
/// # Ok::<(), latent_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Model<B: Attend + Experts> {
    backend: B,
    config: ModelConfig,
    embed_tokens: B::Matrix,
    layers: Vec<Block<B>>,
    norm: B::Tensor,
    /// `None` where the embedding serves as the head.
    lm_head: Option<B::Matrix>,
    pub(crate) mtp: Vec<MtpLayer<B>>,
}

impl<B: Attend + Experts> Model<B> {
    /// A model of the weights that `get` returns by their published names.
    ///
    /// `get` is called once for each name of [`ModelConfig::tensors`].
    ///
    /// # Errors
    /// Those of `get`; [`ModelError::Config`] for a config that is not usable, and a shape error
    /// for a weight that does not fit it.
    pub fn new(
        backend: B,
        config: ModelConfig,
        get: &mut dyn FnMut(&str) -> Result<Weight, ModelError>,
    ) -> Result<Self, ModelError> {
        config.validate()?;
        let embed_tokens = backend.exact(get(EMBEDDING)?)?;
        let wanted = [config.vocab_size, config.hidden_size];
        prove_shape::<B>(EMBEDDING, &embed_tokens, wanted)?;
        let mut layers = Vec::new();
        let mut mtp = Vec::new();
        for layer in 0..config.num_hidden_layers + config.num_nextn_predict_layers {
            let prefix = layer_prefix(layer);
            let mut get = |name: &str| get(&format!("{prefix}{name}"));
            if layer < config.num_hidden_layers {
                layers.push(Block::new(&backend, &config, layer, &mut get)?);
            } else {
                mtp.push(MtpLayer::new(&backend, &config, layer, &mut get)?);
            }
        }
        let norm = backend.vector(&get(NORM)?)?;
        let lm_head = if config.tie_word_embeddings {
            None
        } else {
            let head = backend.matrix(get(HEAD)?)?;
            prove_shape::<B>(HEAD, &head, wanted)?;
            Some(head)
        };
        Ok(Self { backend, config, embed_tokens, layers, norm, lm_head, mtp })
    }

    /// The backend that the model runs on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The sizes and settings.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The bytes that the backend holds for the embedding and the head.
    pub fn vocabulary_bytes(&self) -> usize {
        self.embed_tokens.bytes() + self.lm_head.as_ref().map_or(0, Matrix::bytes)
    }

    /// An empty cache for at most `max_tokens` tokens over all sequences, its rows stored unrounded.
    ///
    /// # Errors
    /// [`ModelError::Attention`] when the size is not usable.
    pub fn cache(&self, max_tokens: usize) -> Result<PagedCache<B>, ModelError> {
        self.cache_in(CacheFormat::Scalar, max_tokens)
    }

    /// The same with rows stored in `format`.
    ///
    /// # Errors
    /// [`ModelError::Attention`] when the size is not usable, or the format cannot store what the
    /// model caches.
    pub fn cache_in(
        &self,
        format: CacheFormat,
        max_tokens: usize,
    ) -> Result<PagedCache<B>, ModelError> {
        let layers = vec![self.config.attention.clone(); self.config.num_hidden_layers];
        Ok(PagedCache::with_format(self.backend.clone(), &layers, max_tokens, format)?)
    }

    /// Appends each feed's tokens to its sequence and returns what the model makes of them, after
    /// the last norm and ready for [`logits`](Self::logits).
    ///
    /// A batch may mix prompts, parts of prompts and single tokens. With a fixed `form` a token's
    /// result has the same bits whatever else is in the batch and however its prompt was cut.
    /// After an error the cache is as it was.
    ///
    /// # Shapes
    /// - returns `[token, hidden]`, feeds one after another; no feeds give `[0, hidden]`
    ///
    /// # Errors
    /// [`ModelError::Token`] for an id outside of the vocabulary, [`ModelError::Attention`] when
    /// the cache is full or is not of this model, or the error of the part that refused.
    pub fn forward(
        &self,
        cache: &mut PagedCache<B>,
        feeds: &[Feed<'_>],
        form: Form,
        observer: &mut dyn Observer<B>,
    ) -> Result<B::Tensor, ModelError> {
        let mut x = self.embed(feeds)?;
        in_step(cache, feeds, |cache, step| {
            observer.hidden(0, &x)?;
            for (i, layer) in self.layers.iter().enumerate() {
                let routing;
                (x, routing) = layer
                    .forward(&self.backend, &x, cache, step, i, form)
                    .map_err(|error| error.in_layer(i))?;
                observer.hidden(i + 1, &x)?;
                if let Some(routing) = routing {
                    observer.routing(i, &routing)?;
                }
            }
            Ok(self.backend.rms_norm(&x, &self.norm, self.config.rms_norm_eps)?)
        })
    }

    /// The logits `[token, vocab]` of `hidden` `[token, hidden]`, from
    /// [`forward`](Self::forward) or [`forward_mtp`](Self::forward_mtp).
    ///
    /// # Errors
    /// [`ModelError::Kernel`] when `hidden` has another width.
    pub fn logits(&self, hidden: &B::Tensor) -> Result<B::Tensor, ModelError> {
        Ok(self.backend.linear(hidden, self.lm_head.as_ref().unwrap_or(&self.embed_tokens))?)
    }

    /// The logits `[1, vocab]` of the last row of `hidden` alone: what decoding wants of a prompt.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] when `hidden` has another width, [`ModelError::Empty`] when it has no
    /// row.
    pub fn last_logits(&self, hidden: &B::Tensor) -> Result<B::Tensor, ModelError> {
        match hidden.shape().first() {
            None | Some(0) => Err(ModelError::Empty("batch")),
            Some(rows) => self.logits(&self.backend.select_rows(hidden, &[rows - 1])?),
        }
    }

    /// The embeddings of all tokens of a batch, `[token, hidden]`.
    pub(crate) fn embed(&self, feeds: &[Feed<'_>]) -> Result<B::Tensor, ModelError> {
        let ids: Vec<u32> = feeds.iter().flat_map(|feed| feed.tokens).copied().collect();
        self.embed_ids(&ids)
    }

    /// The embeddings of tokens by their ids.
    pub(crate) fn embed_ids(&self, ids: &[u32]) -> Result<B::Tensor, ModelError> {
        let vocab_size = self.config.vocab_size;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(ModelError::Token { id, vocab_size });
        }
        Ok(self.backend.gather(&self.embed_tokens, ids)?)
    }
}

/// Runs `forward` within one step of the cache: it advances when all went well, and not at all
/// otherwise.
pub(crate) fn in_step<B: Attend, R>(
    cache: &mut PagedCache<B>,
    feeds: &[Feed<'_>],
    forward: impl FnOnce(&mut PagedCache<B>, &Step) -> Result<R, ModelError>,
) -> Result<R, ModelError> {
    let lengths: Vec<_> = feeds.iter().map(|feed| (feed.sequence, feed.tokens.len())).collect();
    let step = cache.begin(&lengths)?;
    match forward(cache, &step) {
        Ok(result) => {
            cache.commit(step)?;
            Ok(result)
        }
        Err(error) => {
            cache.abort(step)?;
            Err(error)
        }
    }
}

fn prove_shape<B: Backend>(
    name: &str,
    matrix: &B::Matrix,
    wanted: [usize; 2],
) -> Result<(), ModelError> {
    let found = [matrix.rows(), matrix.cols()];
    if found == wanted {
        return Ok(());
    }
    Err(ModelError::Shape { name: name.into(), found: found.to_vec(), wanted: wanted.to_vec() })
}
