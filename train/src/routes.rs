//! Which experts tokens went to.

use latent_model::moe::balance::load;
use latent_model::moe::{Experts, Routing};
use latent_model::{ModelError, Observer};

use crate::Loads;

/// What gates chose in a forward pass.
pub(crate) struct Routes<'a, B> {
    backend: &'a B,
    /// Of layers with experts, in their order.
    layers: Vec<(usize, Routing)>,
}

impl<'a, B: Experts> Routes<'a, B> {
    /// Those of a forward pass on this backend that is about to begin.
    pub(crate) fn new(backend: &'a B) -> Self {
        Self { backend, layers: Vec::new() }
    }

    /// The tokens that each expert got.
    pub(crate) fn loads(&self) -> Loads {
        let mut loads = Loads::default();
        self.layers.iter().for_each(|(layer, routing)| loads.add(*layer, &load(routing)));
        loads
    }

    /// The experts of each token, layer by layer.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Vec<usize>> {
        let tokens = self.layers.first().map_or(0, |(_, routing)| routing.tokens());
        (0..tokens).map(|token| {
            self.layers.iter().flat_map(|(_, routing)| routing.token(token).0).copied().collect()
        })
    }
}

impl<B: Experts> Observer<B> for Routes<'_, B> {
    fn routing(&mut self, layer: usize, routing: &B::Routing) -> Result<(), ModelError> {
        self.layers.push((layer, self.backend.host_routing(routing)?));
        Ok(())
    }
}
