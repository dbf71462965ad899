//! The Prometheus text exposition (0.0.4) of everything recorded, for `/metrics`. Latencies are summaries.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use metrics::Key;

use crate::{Recorder, US_PER_SECOND};

/// The quantiles that a latency is shown with.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 1.0];

impl Recorder {
    /// The page of `/metrics`, sorted by name.
    #[must_use]
    pub fn text(&self) -> String {
        let mut families: BTreeMap<String, (&str, Vec<String>)> = BTreeMap::new();
        let mut add = |key: &Key, kind: &'static str, lines: Vec<String>| {
            families.entry(key.name().to_owned()).or_insert((kind, Vec::new())).1.extend(lines);
        };
        self.0.visit_counters(|key, cell| {
            add(key, "counter", vec![format!("{}{} {}", key.name(), labels(key, None), cell.load(Ordering::Relaxed))]);
        });
        self.0.visit_gauges(|key, cell| {
            let value = f64::from_bits(cell.load(Ordering::Relaxed));
            add(key, "gauge", vec![format!("{}{} {value}", key.name(), labels(key, None))]);
        });
        self.0.visit_histograms(|key, cell| {
            let lines = cell.read(|hdr, sum| {
                let mut lines: Vec<String> = QUANTILES
                    .iter()
                    .map(|&quantile| {
                        #[expect(clippy::cast_precision_loss, reason = "an hour in microseconds is far below 2^53")]
                        let value = hdr.value_at_quantile(quantile) as f64 / US_PER_SECOND;
                        format!("{}{} {value}", key.name(), labels(key, Some(quantile)))
                    })
                    .collect();
                lines.push(format!("{}_sum{} {sum}", key.name(), labels(key, None)));
                lines.push(format!("{}_count{} {}", key.name(), labels(key, None), hdr.len()));
                lines
            });
            add(key, "summary", lines);
        });
        let mut page = String::new();
        for (name, (kind, mut lines)) in families {
            lines.sort();
            let _infallible = writeln!(page, "# TYPE {name} {kind}\n{}", lines.join("\n"));
        }
        page
    }
}

fn labels(key: &Key, quantile: Option<f64>) -> String {
    let mut pairs: Vec<String> = key
        .labels()
        .map(|label| {
            let value = label.value().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{}=\"{value}\"", label.key())
        })
        .collect();
    if let Some(quantile) = quantile {
        pairs.push(format!("quantile=\"{quantile}\""));
    }
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

#[cfg(test)]
mod tests {
    use metrics::{Level, Metadata, Recorder as _};

    use super::*;

    #[test]
    fn the_page_is_valid_exposition_text() {
        let here = Metadata::new("tests", Level::INFO, None);
        let recorder = Recorder::new();
        let key = Key::from_parts("weir_x_total", [("reason", "a \"b\"\n")].as_slice());
        recorder.register_counter(&key, &here).increment(2);
        recorder.register_histogram(&Key::from_name("weir_y_seconds"), &here).record(0.25);
        let page = recorder.text();
        assert!(page.contains("# TYPE weir_x_total counter\nweir_x_total{reason=\"a \\\"b\\\"\\n\"} 2\n"), "{page}");
        assert!(page.contains("weir_y_seconds_count 1\n"), "{page}");
        assert!(page.contains("weir_y_seconds{quantile=\"0.99\"} 0.25"), "{page}");
    }
}
