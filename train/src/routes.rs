//! Which experts tokens went to.

use latent_model::mla::Attend;
use latent_model::moe::balance::load;
use latent_model::moe::{Experts, Routing};
use latent_model::{Model, ModelError, Observer};

use crate::Loads;

/// What gates chose in a forward pass.
pub(crate) struct Routes<'a, B> {
    backend: &'a B,
    /// The layers of the main model.
    main: usize,
    /// Of layers with experts, in their order.
    layers: Vec<(usize, Routing)>,
}

impl<'a, B: Attend + Experts> Routes<'a, B> {
    /// Those of a forward pass that is about to begin.
    pub(crate) fn new(model: &'a Model<B>) -> Self {
        let main = model.config().num_hidden_layers;
        Self { backend: model.backend(), main, layers: Vec::new() }
    }

    /// The tokens that each expert got, those of layers for multi-token prediction included.
    pub(crate) fn loads(&self) -> Loads {
        let mut loads = Loads::default();
        self.layers.iter().for_each(|(layer, routing)| loads.add(*layer, &load(routing)));
        loads
    }

    /// The experts of each token, layer by layer of the main model.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Vec<usize>> {
        let of_main = self.layers.iter().filter(|(layer, _)| *layer < self.main);
        let tokens = of_main.clone().next().map_or(0, |(_, routing)| routing.tokens());
        (0..tokens).map(move |token| {
            of_main.clone().flat_map(|(_, routing)| routing.token(token).0).copied().collect()
        })
    }
}

impl<B: Experts> Observer<B> for Routes<'_, B> {
    fn routing(&mut self, layer: usize, routing: &B::Routing) -> Result<(), ModelError> {
        self.layers.push((layer, self.backend.host_routing(routing)?));
        Ok(())
    }
}
