//! The gradients of the assembled model.

use latent_kernels::{Gradients, KernelError, Scalar, Tensor};
use latent_mla::{AttendBackward, Form, PagedCache, Step, Written};
use latent_moe::ExpertsBackward;
use latent_moe::balance::BalanceLosses;

use super::Model;
use crate::block::{Balancing, SavedBlock};
use crate::tensors::{EMBEDDING, NORM, layer_prefix};
use crate::{ModelError, Observer};

/// What a forward pass keeps of its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// The results of all products: the fastest.
    #[default]
    Products,
    /// What goes into each layer; the rest is computed again, which takes a second forward pass.
    Inputs,
}

/// What a forward pass keeps for its gradients, and the rows that it cached.
#[derive(Debug)]
pub struct Saved<B: AttendBackward + ExpertsBackward> {
    cache: PagedCache<B>,
    step: Step,
    form: Form,
    ids: Vec<u32>,
    layers: Vec<SavedLayer<B>>,
    last: B::Tensor, // [token, hidden], into the last norm
}

#[derive(Debug)]
struct SavedLayer<B: AttendBackward + ExpertsBackward> {
    x: B::Tensor, // [token, hidden]
    products: Option<SavedBlock<B>>,
}

impl<B: AttendBackward + ExpertsBackward> Saved<B> {
    /// The bytes of the activations that are kept, cached rows included.
    pub fn bytes(&self) -> usize {
        let inputs = self.layers.iter().map(|layer| &layer.x).chain([&self.last]);
        let of_inputs: usize = inputs.map(Tensor::elements).sum();
        let products = self.layers.iter().flat_map(|layer| &layer.products);
        let of_products: usize = products.map(SavedBlock::elements).sum();
        (of_inputs + of_products) * B::Scalar::BYTES + self.cache.bytes()
    }
}

impl<B: AttendBackward + ExpertsBackward> Model<B> {
    /// What the model makes of whole sequences, bit for bit what [`forward`](Self::forward) makes of
    /// them in the same form, with what [`backward`](Self::backward) needs.
    ///
    /// # Shapes
    /// - returns `[token, hidden]`, sequences one after another
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward), and [`ModelError::Attention`] for
    /// [`Form::Auto`] with latent attention.
    pub fn forward_saving(
        &self,
        sequences: &[&[u32]],
        form: Form,
        keep: Keep,
        observer: &mut dyn Observer<B>,
    ) -> Result<(B::Tensor, Saved<B>), ModelError> {
        let (mut cache, step) = whole(sequences, |tokens| self.cache(tokens))?;
        let ids = sequences.concat();
        let mut x = self.embed_ids(&ids)?;
        observer.hidden(0, &x)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for (i, layer) in self.layers.iter().enumerate() {
            let (y, saved) = layer
                .forward_saving(&self.backend, &x, &mut cache, &step, i, form)
                .map_err(|error| error.in_layer(i))?;
            observer.hidden(i + 1, &y)?;
            if let Some(routing) = saved.routing() {
                observer.routing(i, routing)?;
            }
            layers.push(SavedLayer { x, products: (keep == Keep::Products).then_some(saved) });
            x = y;
        }
        let hidden = self.backend.rms_norm(&x, &self.norm, self.config.rms_norm_eps)?;
        Ok((hidden, Saved { cache, step, form, ids, layers, last: x }))
    }

    /// The gradients of a loss by every weight below the head, from that by the hidden states of
    /// [`forward_saving`](Self::forward_saving); and the losses on routers, which are added, as the sum
    /// over layers.
    ///
    /// A name may occur more than once: such gradients are to be added. `lengths` are the tokens of each
    /// sequence as the losses on routers see them, whatever the sequences of attention are.
    ///
    /// # Shapes
    /// - `d_hidden`: `[token, hidden]`
    ///
    /// # Errors
    /// The error of the part that refused.
    pub fn backward(
        &self,
        saved: Saved<B>,
        d_hidden: &B::Tensor,
        losses: &BalanceLosses,
        lengths: &[usize],
    ) -> Result<(Gradients<B::Tensor>, f64), ModelError> {
        let backend = &self.backend;
        let Saved { mut cache, step, form, ids, layers, last } = saved;
        let (mut gradients, mut balance) = (Gradients::default(), 0.0);
        let (mut dy, d_gain) =
            backend.rms_norm_backward(&last, &self.norm, self.config.rms_norm_eps, d_hidden)?;
        gradients.push(NORM, d_gain);
        for (i, (layer, SavedLayer { x, products })) in
            self.layers.iter().zip(layers).enumerate().rev()
        {
            let back = || {
                let saved = match products {
                    Some(saved) => saved,
                    None => layer.forward_saving(backend, &x, &mut cache, &step, i, form)?.1,
                };
                let written = Written { cache: &cache, step: &step, layer: i };
                layer.backward(backend, &x, &saved, written, &dy, Balancing { losses, lengths })
            };
            let of_layer = back().map_err(|error| error.in_layer(i))?;
            gradients.extend(of_layer.gradients.under(&layer_prefix(i)));
            balance += of_layer.balance;
            dy = of_layer.dx;
        }
        let vocab = self.config.vocab_size;
        gradients.push(EMBEDDING, backend.gather_backward(vocab, &ids, &dy)?);
        Ok((gradients, balance))
    }
}

/// A cache for whole sequences, and the open step that takes them.
pub(crate) fn whole<B: AttendBackward>(
    sequences: &[&[u32]],
    cache: impl FnOnce(usize) -> Result<PagedCache<B>, ModelError>,
) -> Result<(PagedCache<B>, Step), ModelError> {
    let page = latent_mla::PAGE_TOKENS;
    let mut cache = cache(sequences.iter().map(|s| s.len().next_multiple_of(page)).sum())?;
    let plan: Vec<_> = sequences.iter().map(|s| (cache.new_sequence(), s.len())).collect();
    let step = cache.begin(&plan)?;
    Ok((cache, step))
}

/// `d` in the rows `rows` of `tokens`, zeros in the others: the way back of `select_rows`. A row named
/// more than once gets the sum.
///
/// # Shapes
/// - `d`: `[row, dim]`
/// - returns `[tokens, dim]`
///
/// # Errors
/// [`ModelError::Kernel`] when there is not a row of `d` for each of `rows`, or one is not below
/// `tokens`.
pub fn put_rows<B: AttendBackward>(
    backend: &B,
    tokens: usize,
    rows: &[usize],
    d: &B::Tensor,
) -> Result<B::Tensor, ModelError> {
    let narrow: Option<Vec<u32>> = rows.iter().map(|&row| u32::try_from(row).ok()).collect();
    let wanted = "want less than 2^32 tokens";
    let rows = narrow.ok_or_else(|| KernelError::shape("put_rows: rows", &[tokens], wanted))?;
    Ok(backend.gather_backward(tokens, &rows, d)?)
}
