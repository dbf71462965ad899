//! Blocks of the samples, for the peer.
//!
//! They are made of OpenMetrics text two hours at a time, since promtool reads its input once per block, and each text
//! is deleted at once. Prometheus then runs for as long as it merges blocks, as it would have over a day.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use weir_benches::prometheus::blocks;
use weir_promql::labels::Labels;

use crate::data::{INTERVAL_MS, SLICE, Series};

/// Slices of the data in a block: Prometheus' two hours.
const SLICES: usize = 4;

/// Writes texts and has blocks made of them.
pub(crate) struct Blocks {
    text: PathBuf,
    data: PathBuf,
    out: Option<BufWriter<std::fs::File>>,
    slices: usize,
    heads: Vec<String>,
}

impl Blocks {
    /// Blocks go to `data`.
    pub(crate) fn new(data: &Path, series: &[Series]) -> Self {
        let heads = series.iter().map(|series| head(&series.labels)).collect();
        Self { text: data.with_extension("om"), data: data.to_owned(), out: None, slices: 0, heads }
    }

    /// Adds a slice that begins at `start_ms`; every fourth makes a block.
    pub(crate) fn add(&mut self, start_ms: i64, series: &[Series], values: &[Vec<f64>]) -> Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            None => self.out.insert(BufWriter::with_capacity(1 << 20, std::fs::File::create(&self.text)?)),
        };
        // In order of time, so that promtool does not have to keep everything.
        for at in 0..SLICE {
            let beat = start_ms + INTERVAL_MS * at as i64;
            for ((series, values), head) in series.iter().zip(values).zip(&self.heads) {
                let ms = beat + series.offset_ms;
                writeln!(out, "{head} {} {}.{:03}", values[at], ms / 1000, ms % 1000)?;
            }
        }
        self.slices += 1;
        if self.slices == SLICES { self.finish() } else { Ok(()) }
    }

    /// Makes a block of what was added since the last one.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.slices = 0;
        let Some(mut out) = self.out.take() else { return Ok(()) };
        writeln!(out, "# EOF")?;
        out.flush()?;
        blocks(&self.text, &self.data, false)
    }
}

fn head(labels: &Labels) -> String {
    let pairs =
        labels.iter().filter(|(name, _)| &**name != "__name__").map(|(name, value)| format!("{name}=\"{value}\""));
    format!("{}{{{}}}", labels.name(), pairs.collect::<Vec<_>>().join(","))
}
