//! Queries, rounded and laid out as columns of products.

use latent_kernels::cpu::tiles::TILE_ROWS;
use latent_kernels::cpu::{Cpu, Kernel, LANES, Simd, round_line};

use super::lines::{LINE, Line, WIDTH, lines_of};
use super::product::Operand;

/// The queries of a block.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    /// `[query / 16, element / 32, pair of elements, query % 16]`, zeros where there is none.
    lines: Vec<Line>,
    tiles: usize,
    across: usize,
}

impl Queries {
    /// Rounds queries of `width` elements each.
    pub(crate) fn new(cpu: &Cpu, rows: &[&[f32]], width: usize) -> Self {
        let across = lines_of(width);
        let tiles = rows.len().div_ceil(TILE_ROWS);
        let lines = vec![Line::default(); tiles * across * TILE_ROWS];
        let mut queries = Self { lines, tiles, across };
        for (i, rows) in rows.chunks(TILE_ROWS).enumerate() {
            let to = &mut queries.lines[i * across * TILE_ROWS..];
            cpu.isa().run(Transpose { rows, across, to });
        }
        queries
    }

    /// The tiles of queries.
    pub(super) fn tiles(&self) -> usize {
        self.tiles
    }

    /// The products of a sum.
    pub(super) fn depth(&self) -> usize {
        self.across
    }

    /// The tiles from one on.
    pub(super) fn columns(&self, tile: usize) -> Operand {
        Operand {
            first: self.lines[tile * self.across * TILE_ROWS..].as_ptr().cast(),
            row: LINE,
            tile: self.across * TILE_ROWS * LINE,
            step: TILE_ROWS * LINE,
        }
    }
}

/// A tile of up to sixteen queries.
struct Transpose<'a> {
    rows: &'a [&'a [f32]],
    across: usize,
    to: &'a mut [Line],
}

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for at in 0..self.across {
            let mut words = [Line::default(); LANES];
            let to = &mut self.to[at * TILE_ROWS..][..TILE_ROWS];
            // SAFETY: by the contract of the trait; both are sixteen lines.
            unsafe {
                for row in 0..self.rows.len() {
                    let to = words[row].0.as_mut_ptr().cast();
                    round_line::<S>(&self.rows[row][at * WIDTH..], to);
                }
                S::transpose(words.as_ptr().cast(), LANES, to.as_mut_ptr().cast(), LANES);
            }
        }
    }
}
