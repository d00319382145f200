//! Which experts take which kind of text.

use std::collections::BTreeMap;
use std::sync::Arc;

use latent_model::mla::AttendBackward;
use latent_model::moe::specialisation::mutual_information;
use latent_model::moe::{Experts, ExpertsBackward};
use latent_model::{Keep, Model, ModelError, Observer};
use serde::{Deserialize, Serialize};

use crate::Prepared;
use crate::random::{Use, permutation};

/// How many tokens of each kind of text were sent to each expert.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoutingByKind {
    /// The kinds of text.
    pub kinds: Vec<String>,
    /// For each layer with experts, a row for each kind: the tokens sent to each expert.
    pub layers: BTreeMap<usize, Vec<Vec<u64>>>,
}

impl RoutingByKind {
    /// Sends the validation documents of a run through a model, as far as its evaluations go.
    ///
    /// # Errors
    /// Those of the model.
    pub fn of<B: AttendBackward + ExpertsBackward>(
        model: &Model<B>,
        run: &Prepared,
    ) -> Result<Self, ModelError> {
        let mut kinds: Vec<Arc<str>> = Vec::new();
        let mut layers = BTreeMap::new();
        let limit = run.config.run.eval_batches.unwrap_or(usize::MAX);
        for batch in run.micro.pass(&run.validation).take(limit) {
            let mut rows = Vec::new();
            for segment in &batch.segments {
                let known = kinds.iter().position(|kind| *kind == segment.kind);
                let kind = known.unwrap_or_else(|| {
                    kinds.push(segment.kind.clone());
                    kinds.len() - 1
                });
                rows.extend(segment.tokens.iter().map(|_| kind));
            }
            let tokens: Vec<&[u32]> = batch.segments.iter().map(|s| s.tokens.as_slice()).collect();
            let mut counting =
                Counting { backend: model.backend(), rows: &rows, layers: &mut layers };
            model.forward_saving(&tokens, run.loss.form, Keep::Inputs, &mut counting)?;
        }
        let mut found = Self { kinds: kinds.iter().map(ToString::to_string).collect(), layers };
        found.sort();
        Ok(found)
    }

    /// Kinds by name, and a row for each of them in each layer.
    fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.kinds.len()).collect();
        order.sort_by(|&a, &b| self.kinds[a].cmp(&self.kinds[b]));
        self.kinds = order.iter().map(|&i| self.kinds[i].clone()).collect();
        for rows in self.layers.values_mut() {
            *rows = order.iter().map(|&i| rows.get(i).cloned().unwrap_or_default()).collect();
        }
    }

    /// What an expert tells of the kind of its tokens, in bits: the mean over layers of
    /// [`mutual_information`]; 0 without layers.
    #[must_use]
    pub fn mutual_information(&self) -> f64 {
        let each = self.layers.values().map(|counts| mutual_information(counts));
        each.sum::<f64>() / self.layers.len().max(1) as f64
    }

    /// The same choices dealt out again: each kind has as many tokens and each expert, too, and neither
    /// knows of the other.
    #[must_use]
    pub fn shuffled(&self, seed: u64) -> Self {
        let mut layers = BTreeMap::new();
        for (&layer, counts) in &self.layers {
            let mut experts: Vec<usize> = Vec::new();
            for row in counts {
                for (expert, &n) in row.iter().enumerate() {
                    experts.extend((0..n).map(|_| expert));
                }
            }
            let order = permutation(experts.len(), seed, Use::Dealing, layer as u64);
            let mut rest = order.into_iter().map(|i| experts[i]);
            let deal = |row: &Vec<u64>| {
                let mut dealt = vec![0; row.len()];
                let n = usize::try_from(row.iter().sum::<u64>()).unwrap_or(usize::MAX);
                rest.by_ref().take(n).for_each(|expert| dealt[expert] += 1);
                dealt
            };
            layers.insert(layer, counts.iter().map(deal).collect());
        }
        Self { kinds: self.kinds.clone(), layers }
    }
}

/// Counts what gates choose for rows of a known kind.
struct Counting<'a, B> {
    backend: &'a B,
    rows: &'a [usize],
    layers: &'a mut BTreeMap<usize, Vec<Vec<u64>>>,
}

impl<B: Experts> Observer<B> for Counting<'_, B> {
    fn routing(&mut self, layer: usize, routing: &B::Routing) -> Result<(), ModelError> {
        let routing = self.backend.host_routing(routing)?;
        let experts = routing.n_routed_experts();
        let counts = self.layers.entry(layer).or_default();
        let kinds = self.rows.iter().max().map_or(0, |kind| kind + 1);
        counts.resize(counts.len().max(kinds), vec![0; experts]);
        let per_token = routing.num_experts_per_tok().max(1);
        for (chosen, &kind) in routing.experts().chunks(per_token).zip(self.rows) {
            chosen.iter().for_each(|&expert| counts[kind][expert] += 1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_kinds() -> RoutingByKind {
        let layers = BTreeMap::from([(1, vec![vec![40, 0, 10], vec![0, 30, 20]])]);
        RoutingByKind { kinds: vec!["a".into(), "b".into()], layers }
    }

    #[test]
    fn dealing_out_keeps_the_sums_and_takes_the_information() {
        let found = two_kinds();
        let dealt = found.shuffled(3);
        let (before, after) = (&found.layers[&1], &dealt.layers[&1]);
        for (a, b) in before.iter().zip(after) {
            assert_eq!(a.iter().sum::<u64>(), b.iter().sum::<u64>());
        }
        for expert in 0..3 {
            let sum = |rows: &Vec<Vec<u64>>| rows.iter().map(|row| row[expert]).sum::<u64>();
            assert_eq!(sum(before), sum(after));
        }
        assert!(found.mutual_information() > 0.6, "{}", found.mutual_information());
        assert!(dealt.mutual_information() < 0.1, "{}", dealt.mutual_information());
        assert_eq!(dealt, found.shuffled(3));
        assert_ne!(dealt, found.shuffled(4));
    }

    #[test]
    fn kinds_are_in_the_order_of_their_names() {
        let mut found = two_kinds();
        found.kinds.reverse();
        found.sort();
        assert_eq!(found.kinds, ["a", "b"]);
        assert_eq!(found.layers[&1], [vec![0, 30, 20], vec![40, 0, 10]]);
    }
}
