//! Series in figures: which colour each has, and how many a figure shows.

use super::page::Block;
use super::plot::COLORS;

/// The colour that a series has in all figures. Series are counted from 1.
pub(super) fn slot(number: usize) -> usize {
    match number {
        0 | 1 => 0,
        n => 1 + (n - 2) % (COLORS - 1),
    }
}

/// As many series at a time as there are colours, the first among them each time; what `blocks` makes of them is
/// folded but for the first time, under the `noun` of a series.
pub(super) fn at_a_time<T>(
    all: &[T],
    noun: &str,
    mut blocks: impl FnMut(&[&T]) -> Vec<Block>,
) -> Vec<Block> {
    let Some((base, others)) = all.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    let parts: Vec<&[T]> = match others.is_empty() {
        true => vec![&[]],
        false => others.chunks(COLORS - 1).collect(),
    };
    for (i, part) in parts.into_iter().enumerate() {
        let shown: Vec<&T> = std::iter::once(base).chain(part).collect();
        let made = blocks(&shown);
        let first = 2 + i * (COLORS - 1);
        let summary = match part.len() {
            1 => format!("{noun} {first}"),
            n => format!("{noun}s {first} to {}", (first + n).saturating_sub(1)),
        };
        match made.is_empty() {
            true => {}
            false if i > 0 => found.push(Block::Folded { summary, open: false, blocks: made }),
            false => found.extend(made),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_in_all_figures_and_has_a_colour_of_its_own() {
        let all: Vec<usize> = (1..=16).collect();
        let mut shown = Vec::new();
        let blocks = at_a_time(&all, "Run", |part| {
            shown.push(part.iter().map(|number| **number).collect::<Vec<_>>());
            vec![Block::Scale]
        });
        assert_eq!(shown[0], (1..=8).collect::<Vec<_>>());
        assert_eq!(shown[2], [1, 16]);
        let slots = |part: &[usize]| part.iter().map(|number| slot(*number)).collect::<Vec<_>>();
        assert_eq!(slots(&shown[1]), (0..8).collect::<Vec<_>>());
        let summaries: Vec<&str> = blocks
            .iter()
            .filter_map(|block| match block {
                Block::Folded { summary, .. } => Some(summary.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(summaries, ["Runs 9 to 15", "Run 16"]);
        assert!(at_a_time(&Vec::<usize>::new(), "Run", |_| vec![Block::Scale]).is_empty());
    }
}
