//! What was measured, as a table for people and as JSON.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use latent_model::kernels::{Cost, Ledger, Peaks};
use serde_json::{Value, json};

use crate::commands::units;

/// Reading a prompt or decoding behind it, once.
#[derive(Debug, Clone)]
pub(super) struct Phase {
    /// The tokens that went through the model.
    pub(super) tokens: usize,
    pub(super) seconds: f64,
    pub(super) ledger: Ledger,
}

/// The runs of both phases.
#[derive(Debug)]
pub(super) struct Report {
    backend: String,
    prefill: Measured,
    decode: Measured,
    /// Bytes a second, as the user or a data sheet says.
    peak: Option<f64>,
    /// What was measured beside.
    measured: Option<Peaks>,
}

/// One phase: its median run, and the fastest and the slowest.
#[derive(Debug)]
struct Measured {
    median: Phase,
    least_seconds: f64,
    most_seconds: f64,
}

impl Measured {
    /// `phases` are the runs of one phase, at least one.
    fn new(mut phases: Vec<Phase>) -> Self {
        phases.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let (least_seconds, most_seconds) = (phases[0].seconds, phases[phases.len() - 1].seconds);
        let median = phases.swap_remove(phases.len() / 2);
        Self { median, least_seconds, most_seconds }
    }

    fn rate(&self) -> f64 {
        self.median.tokens as f64 / self.median.seconds.max(1e-9)
    }

    fn per_token(&self, n: u64) -> f64 {
        n as f64 / self.median.tokens as f64
    }

    /// Bytes a second that had to move at least.
    fn bandwidth(&self) -> f64 {
        self.median.ledger.total().floor_bytes as f64 / self.median.seconds.max(1e-9)
    }

    /// Multiply-adds a second.
    fn arithmetic(&self) -> f64 {
        self.median.ledger.total().multiply_adds as f64 / self.median.seconds.max(1e-9)
    }
}

impl Report {
    /// `runs` are pairs of prefill and decode, at least one; `peak` is in GB/s.
    pub(super) fn new(
        backend: String,
        runs: &[[Phase; 2]],
        peak: Option<f64>,
        measured: Option<Peaks>,
    ) -> Self {
        let phases = |i: usize| Measured::new(runs.iter().map(|run| run[i].clone()).collect());
        let peak = peak.map(|p| p * 1e9);
        Self { backend, prefill: phases(0), decode: phases(1), peak, measured }
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header(["", "prefill", "decode"]);
        let phases = [&self.prefill, &self.decode];
        let mut row = |name: &str, cell: &dyn Fn(&Measured) -> String| {
            table.add_row([name.to_owned(), cell(phases[0]), cell(phases[1])]);
        };
        row("tokens", &|m| units::grouped(m.median.tokens as u64));
        row("tokens a second", &|m| format!("{:.2}", m.rate()));
        row("seconds", &|m| {
            let (median, least, most) = (m.median.seconds, m.least_seconds, m.most_seconds);
            format!("{median:.3} ({least:.3} to {most:.3})")
        });
        if self.counted() {
            let cost = |m: &Measured| m.median.ledger.total();
            row("launches per token", &|m| format!("{:.1}", m.per_token(cost(m).launches)));
            row("waits per token", &|m| {
                format!("{:.2}", m.per_token(m.median.ledger.synchronisations))
            });
            row("bytes per token, at least", &|m| bytes(m.per_token(cost(m).floor_bytes)));
            row("bytes per token, asked for", &|m| bytes(m.per_token(cost(m).moved_bytes)));
            row("multiply-adds per token", &|m| count(m.per_token(cost(m).multiply_adds)));
            row("GB/s of the least", &|m| format!("{:.2}", m.bandwidth() / 1e9));
            row("GFLOP/s", &|m| format!("{:.2}", 2.0 * m.arithmetic() / 1e9));
            if let Some(Peaks { read_bytes, multiply_adds }) = self.measured {
                let name = format!("share of {:.1} GB/s, measured", read_bytes / 1e9);
                row(&name, &|m| percent(m.bandwidth() / read_bytes));
                let name = format!("share of {:.0} GFLOP/s, measured", 2.0 * multiply_adds / 1e9);
                row(&name, &|m| percent(m.arithmetic() / multiply_adds));
            }
            if let Some(peak) = self.peak {
                let name = format!("share of {:.0} GB/s", peak / 1e9);
                row(&name, &|m| percent(m.bandwidth() / peak));
            }
        }
        for column in 1..3 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let kernels = if self.counted() { self.kernels() } else { String::new() };
        format!("{}\n{table}\n{kernels}", self.backend)
    }

    /// What each kernel costs per decoded token.
    fn kernels(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header([
            "kernel, per decoded token",
            "launches",
            "bytes, at least",
            "bytes, asked for",
            "multiply-adds",
        ]);
        for (name, cost) in &self.decode.median.ledger.kernels {
            let Cost { launches, floor_bytes, moved_bytes, multiply_adds } = *cost;
            let per = |n| self.decode.per_token(n);
            table.add_row([
                (*name).to_owned(),
                format!("{:.1}", per(launches)),
                bytes(per(floor_bytes)),
                bytes(per(moved_bytes)),
                count(per(multiply_adds)),
            ]);
        }
        for column in 1..5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        format!("{table}\n")
    }

    pub(super) fn json(&self) -> String {
        let phase = |m: &Measured| {
            let ledger = &m.median.ledger;
            let cost = |c: &Cost| {
                json!({
                    "launches": c.launches,
                    "floor_bytes": c.floor_bytes,
                    "moved_bytes": c.moved_bytes,
                    "multiply_adds": c.multiply_adds,
                })
            };
            let kernels: serde_json::Map<String, Value> =
                ledger.kernels.iter().map(|(name, c)| ((*name).to_owned(), cost(c))).collect();
            json!({
                "tokens": m.median.tokens,
                "tokens_per_second": m.rate(),
                "seconds": m.median.seconds,
                "least_seconds": m.least_seconds,
                "most_seconds": m.most_seconds,
                "synchronisations": ledger.synchronisations,
                "total": cost(&ledger.total()),
                "kernels": kernels,
            })
        };
        let report = json!({
            "backend": self.backend,
            "measured_read_bytes_per_second": self.measured.map(|peaks| peaks.read_bytes),
            "measured_multiply_adds_per_second": self.measured.map(|peaks| peaks.multiply_adds),
            "prefill": phase(&self.prefill),
            "decode": phase(&self.decode),
        });
        format!("{report:#}\n")
    }

    /// Whether the backend keeps a ledger.
    fn counted(&self) -> bool {
        self.decode.median.ledger.total().launches > 0
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of bytes")]
fn bytes(n: f64) -> String {
    units::bytes(n.round() as u64)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn count(n: f64) -> String {
    units::count(n.round() as u64)
}
