//! What goes in comes out: random batches over one epoch, hostile bytes, gaps, and the golden file.

use std::sync::Arc;

use super::*;
use crate::attribute::{Attributes, KeyValue, Value};
use crate::batch::*;
use crate::identity::*;

/// A small deterministic generator, so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.roll() >> 33) % n
    }

    fn double(&mut self) -> f64 {
        match self.below(8) {
            0 => 0.0,
            1 => -0.0,
            2 => self.below(100_000) as f64,
            3 => -(self.below(100_000) as f64) / 1000.0,
            4 => f64::from_bits(STALE_NAN_BITS),
            5 => f64::INFINITY,
            6 => self.below(1_000_000) as f64 / 100.0,
            _ => f64::from_bits(self.roll()),
        }
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.below(if depth > 2 { 7 } else { 9 }) {
            0 => Value::Empty,
            1 => Value::Bool(self.below(2) == 0),
            2 => Value::Int(self.roll() as i64),
            3 => Value::Double(self.double()),
            4 => Value::Bytes(self.roll().to_le_bytes()[..self.below(8) as usize].into()),
            5 => format!("unique {}", self.roll()).into(),
            6 => format!("v{}", self.below(5)).into(),
            7 => Value::Array((0..self.below(4)).map(|_| self.value(depth + 1)).collect()),
            _ => Value::Map((0..self.below(3)).map(|_| self.pair(depth + 1)).collect()),
        }
    }

    fn pair(&mut self, depth: u32) -> KeyValue {
        KeyValue::new(format!("key.{}", self.below(9)), self.value(depth))
    }

    fn pairs(&mut self) -> Vec<KeyValue> {
        (0..self.below(6)).map(|_| self.pair(0)).collect()
    }

    fn resource(&mut self) -> Arc<Resource> {
        let service = KeyValue::new("service.name", format!("service {}", self.below(3)));
        Arc::new(Resource { attributes: Attributes::new(vec![service]) })
    }

    fn scope(&mut self) -> Arc<Scope> {
        let name = format!("scope {}", self.below(3)).into();
        Arc::new(Scope { name, version: "1".into(), attributes: Attributes::new(self.pairs()) })
    }

    fn series(&mut self) -> Arc<SeriesIdentity> {
        Arc::new(SeriesIdentity::new(SeriesParts {
            name: format!("metric.{}", self.below(20)).into(),
            unit: "s".into(),
            kind: MetricKind::from_u8(self.below(9) as u8).unwrap(),
            temporality: Temporality::from_u8(self.below(3) as u8).unwrap(),
            resource: self.resource(),
            scope: self.scope(),
            attributes: Attributes::new(self.pairs()),
        }))
    }

    fn time(&mut self) -> i64 {
        if self.below(20) == 0 { self.roll() as i64 } else { 1_700_000_000_000_000_000 + self.below(5) as i64 }
    }

    fn id<const N: usize>(&mut self) -> [u8; N] {
        let mut id = [0; N];
        id[0] = self.below(6) as u8;
        if self.below(2) == 0 {
            id.iter_mut().for_each(|byte| *byte = self.roll() as u8);
        }
        id
    }

    fn metrics(&mut self, known: &mut Vec<Arc<SeriesIdentity>>) -> MetricBatch {
        let mut metrics = MetricBatch::default();
        if self.below(4) > 0 || known.is_empty() {
            known.extend((0..self.below(20)).map(|_| self.series()).collect::<Vec<_>>());
            known.sort_by_key(|series| series.fingerprint);
            known.dedup_by_key(|series| series.fingerprint);
        }
        metrics.series.extend(known.iter().skip(self.below(3) as usize).cloned());
        if metrics.series.is_empty() {
            return metrics;
        }
        let n = metrics.series.len() as u64;
        for _ in 0..self.below(60) {
            metrics.numbers.series.push(self.below(n) as u32);
            metrics.numbers.start_ns.push(self.time());
            metrics.numbers.time_ns.push(self.time());
            metrics.numbers.value.push(self.double());
        }
        for _ in 0..self.below(20) {
            self.histogram(n, &mut metrics.histograms);
        }
        for _ in 0..self.below(5) {
            let exemplars = &mut metrics.exemplars;
            exemplars.series.push(self.below(n) as u32);
            exemplars.time_ns.push(self.time());
            exemplars.value.push(self.double());
            exemplars.trace_id.push(self.id());
            exemplars.span_id.push(self.id());
            exemplars.attributes.extend(self.pairs());
            exemplars.attribute_offsets.push(exemplars.attributes.len() as u32);
        }
        metrics
    }

    fn histogram(&mut self, series: u64, points: &mut HistogramColumns) {
        points.series.push(self.below(series) as u32);
        points.start_ns.push(self.time());
        points.time_ns.push(self.time());
        points.count.push(self.roll());
        points.sum.push(self.double());
        points.min.push(self.double());
        points.max.push(self.double());
        points.zero_count.push(self.below(3));
        points.layout.push(points.layouts.len() as u32);
        let counts = self.below(5);
        points.counts.extend((0..counts).map(|_| self.below(100)).collect::<Vec<_>>());
        points.counts_offsets.push(points.counts.len() as u32);
        points.layouts.push(if self.below(2) == 0 {
            HistogramLayout::Explicit { bounds: (0..counts.max(1) - 1).map(|i| i as f64).collect() }
        } else {
            HistogramLayout::Exponential {
                scale: self.below(30) as i32 - 10,
                zero_threshold: self.double().abs(),
                positive_offset: self.below(2000) as i32 - 1000,
                positive_len: counts as u32,
                negative_offset: self.roll() as i32,
            }
        });
    }

    fn owner(&mut self, table: &mut Vec<KeyValue>, attributes: &mut Vec<u32>, offsets: &mut Vec<u32>) {
        for pair in self.pairs() {
            if self.below(3) == 0 || table.is_empty() {
                table.push(pair);
            }
            attributes.push(self.below(table.len() as u64) as u32);
        }
        offsets.push(attributes.len() as u32);
    }

    fn spans(&mut self) -> SpanBatch {
        let mut spans = SpanBatch::default();
        spans.resources.extend((0..1 + self.below(3)).map(|_| self.resource()).collect::<Vec<_>>());
        spans.scopes.extend((0..1 + self.below(3)).map(|_| self.scope()).collect::<Vec<_>>());
        spans.strings.extend((0..self.below(5)).map(|i| Arc::from(format!("text {i}"))).collect::<Vec<_>>());
        let texts = spans.strings.len() as u64;
        for _ in 0..self.below(30) {
            spans.resource.push(self.below(spans.resources.len() as u64) as u32);
            spans.scope.push(self.below(spans.scopes.len() as u64) as u32);
            spans.trace_id.push(self.id());
            spans.span_id.push(self.id());
            spans.parent_span_id.push(self.id());
            spans.start_ns.push(self.time());
            spans.duration_ns.push(self.time());
            spans.name.push(self.below(texts) as u32);
            spans.kind.push(self.below(6) as u8);
            spans.status.push(self.below(3) as u8);
            spans.status_message.push(self.below(texts) as u32);
            spans.trace_state.push(self.below(texts) as u32);
            spans.flags.push(self.roll() as u32);
            self.owner(&mut spans.key_values, &mut spans.attributes, &mut spans.attribute_offsets);
            spans.dropped_attributes.push(self.below(2) as u32);
            spans.dropped_events.push(if self.below(9) == 0 { u32::MAX } else { 0 });
            spans.dropped_links.push(0);
            for _ in 0..self.below(3) {
                spans.events.time_ns.push(self.time());
                spans.events.name.push(self.below(texts) as u32);
                spans.events.dropped_attributes.push(0);
                let events = &mut spans.events;
                self.owner(&mut spans.key_values, &mut events.attributes, &mut events.attribute_offsets);
            }
            spans.event_offsets.push(spans.events.time_ns.len() as u32);
            for _ in 0..self.below(2) {
                spans.links.trace_id.push(self.id());
                spans.links.span_id.push(self.id());
                spans.links.trace_state.push(self.below(texts) as u32);
                spans.links.flags.push(1);
                spans.links.dropped_attributes.push(0);
                let links = &mut spans.links;
                self.owner(&mut spans.key_values, &mut links.attributes, &mut links.attribute_offsets);
            }
            spans.link_offsets.push(spans.links.trace_id.len() as u32);
        }
        spans
    }

    /// A batch whose first histograms are marked as Prometheus' are.
    fn marked(&mut self, known: &mut Vec<Arc<SeriesIdentity>>) -> Batch {
        let mut batch = self.batch(known);
        let histograms = &mut batch.metrics.histograms;
        for _ in 0..self.below(histograms.series.len() as u64 + 1) {
            histograms.marks.push(HistogramMarks::from_bits(self.below(32) as u8).unwrap());
        }
        batch
    }

    fn batch(&mut self, known: &mut Vec<Arc<SeriesIdentity>>) -> Batch {
        let metrics = if self.below(4) == 0 { MetricBatch::default() } else { self.metrics(known) };
        let spans = if self.below(3) == 0 { SpanBatch::default() } else { self.spans() };
        Batch { metrics, spans }
    }
}

/// Everything a batch says, without how its tables are laid out.
fn told(batch: &Batch) -> Vec<String> {
    let mut lines = Vec::new();
    let metrics = &batch.metrics;
    let series = |at: u32| format!("{:?}", metrics.series[at as usize]);
    let points = &metrics.numbers;
    for row in 0..points.series.len() {
        let value = points.value[row].to_bits();
        lines.push(format!("{} {} {} {value}", series(points.series[row]), points.start_ns[row], points.time_ns[row]));
    }
    let points = &metrics.histograms;
    for row in 0..points.series.len() {
        let counts = &points.counts[points.counts_offsets[row] as usize..points.counts_offsets[row + 1] as usize];
        let doubles = [points.sum[row].to_bits(), points.min[row].to_bits(), points.max[row].to_bits()];
        lines.push(format!(
            "{} {} {} {} {doubles:?} {} {:?} {counts:?} {:?}",
            series(points.series[row]),
            points.start_ns[row],
            points.time_ns[row],
            points.count[row],
            points.zero_count[row],
            points.layouts[points.layout[row] as usize],
            points.marks_of(row),
        ));
    }
    let exemplars = &metrics.exemplars;
    for row in 0..exemplars.series.len() {
        let owned = exemplars.attribute_offsets[row] as usize..exemplars.attribute_offsets[row + 1] as usize;
        lines.push(format!(
            "{} {} {} {:?} {:?} {:?}",
            series(exemplars.series[row]),
            exemplars.time_ns[row],
            exemplars.value[row].to_bits(),
            exemplars.trace_id[row],
            exemplars.span_id[row],
            &exemplars.attributes[owned],
        ));
    }
    told_spans(&batch.spans, &mut lines);
    lines
}

fn told_spans(spans: &SpanBatch, lines: &mut Vec<String>) {
    let text = |at: u32| &spans.strings[at as usize];
    let pairs = |offsets: &[u32], attributes: &[u32], row: usize| -> Vec<KeyValue> {
        let owned = offsets[row] as usize..offsets[row + 1] as usize;
        attributes[owned].iter().map(|&at| spans.key_values[at as usize].clone()).collect()
    };
    for row in 0..spans.len() {
        let ids = (spans.trace_id[row], spans.span_id[row], spans.parent_span_id[row]);
        let texts = (text(spans.name[row]), text(spans.status_message[row]), text(spans.trace_state[row]));
        let numbers = (spans.start_ns[row], spans.duration_ns[row], spans.kind[row], spans.status[row]);
        let rest =
            (spans.flags[row], spans.dropped_attributes[row], spans.dropped_events[row], spans.dropped_links[row]);
        let resource = &spans.resources[spans.resource[row] as usize];
        let scope = &spans.scopes[spans.scope[row] as usize];
        let attributes = pairs(&spans.attribute_offsets, &spans.attributes, row);
        lines.push(format!("{ids:?} {texts:?} {numbers:?} {rest:?} {resource:?} {scope:?} {attributes:?}"));
        for at in spans.event_offsets[row] as usize..spans.event_offsets[row + 1] as usize {
            let events = &spans.events;
            let attributes = pairs(&events.attribute_offsets, &events.attributes, at);
            let name = text(events.name[at]);
            lines.push(format!("event {} {name} {attributes:?} {}", events.time_ns[at], events.dropped_attributes[at]));
        }
        for at in spans.link_offsets[row] as usize..spans.link_offsets[row + 1] as usize {
            let links = &spans.links;
            let attributes = pairs(&links.attribute_offsets, &links.attributes, at);
            let ids = (links.trace_id[at], links.span_id[at], links.flags[at], links.dropped_attributes[at]);
            lines.push(format!("link {ids:?} {} {attributes:?}", text(links.trace_state[at])));
        }
    }
}

/// Fails at the first line that differs.
fn same(sent: &Batch, back: &Batch) {
    let (sent, back) = (told(sent), told(back));
    for (sent, back) in sent.iter().zip(&back) {
        assert_eq!(sent, back);
    }
    assert_eq!(sent.len(), back.len());
}

fn encoded(encoder: &mut Encoder, batch: &Batch) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.encode(batch, &mut out).unwrap();
    out
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(128))]

    /// Whatever an epoch's batches hold, they come back; also over a dictionary that restarts every few frames.
    #[test]
    fn batches_of_an_epoch_come_back(seed in 1_u64.., bytes_max in 0_usize..40_000) {
        let (mut dice, mut known) = (Dice(seed), Vec::new());
        let mut encoder = Encoder::new().with_dictionary_bytes_max(bytes_max);
        let mut decoder = Decoder::new();
        for _ in 0..8 {
            let batch = dice.batch(&mut known);
            let back = decoder.decode(&encoded(&mut encoder, &batch)).unwrap();
            same(&batch, &back);
            check::check(&back).unwrap();
        }
    }

    /// A flipped or cut frame is an error, or (a flipped flag) the same batch; the decoder takes a fresh start after.
    #[test]
    fn a_damaged_frame_is_an_error_and_no_panic(seed in 1_u64.., flips in 1_u64..4) {
        let (mut dice, mut known) = (Dice(seed), Vec::new());
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let batch = dice.batch(&mut known);
        let mut frame = encoded(&mut encoder, &batch);
        for _ in 0..flips {
            let at = dice.below(frame.len() as u64) as usize;
            frame[at] ^= 1 << dice.below(8);
        }
        frame.truncate(frame.len() - dice.below(2) as usize);
        if let Ok(back) = decoder.decode(&frame) {
            same(&batch, &back);
        }
        encoder.restart();
        let back = decoder.decode(&encoded(&mut encoder, &batch)).unwrap();
        same(&batch, &back);
    }

    /// A body of damaged numbers behind a right checksum: what a hostile sender would make.
    #[test]
    fn a_hostile_body_is_an_error_and_no_panic(seed in 1_u64.., flips in 1_u64..6) {
        let (mut dice, mut known) = (Dice(seed), Vec::new());
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        encoded(&mut encoder, &dice.batch(&mut known));
        encoder.restart();
        let frame = encoded(&mut encoder, &dice.batch(&mut known));
        let mut body = if frame[3] & FLAG_ZSTD == 0 {
            frame[HEADER_BYTES..].to_vec()
        } else {
            zstd::bulk::decompress(&frame[HEADER_BYTES..], BODY_BYTES_MAX).unwrap()
        };
        for _ in 0..flips {
            let at = dice.below(body.len() as u64) as usize;
            body[at] = dice.roll() as u8;
        }
        let mut hostile = frame[..8].to_vec();
        hostile[3] = FLAG_AFRESH;
        hostile.extend_from_slice(&(body.len() as u32).to_le_bytes());
        hostile.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        hostile.extend_from_slice(&body);
        if let Ok(batch) = decoder.decode(&hostile) {
            check::check(&batch).unwrap();
        }
    }
}

/// Random bytes, and a few bytes that ask for a lot.
#[test]
fn a_few_bytes_cannot_ask_for_gigabytes() {
    let mut body = Vec::new();
    for _ in 0..13 {
        put_varint(u64::MAX >> 1, &mut body);
    }
    let mut frame = Vec::from(MAGIC);
    frame.extend_from_slice(&[VERSION, FLAG_AFRESH, 0, 0, 0, 0]);
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    frame.extend_from_slice(&body);
    assert!(matches!(Decoder::new().decode(&frame), Err(FrameError::TooBig { .. })));
    assert!(matches!(Decoder::new().decode(b"GET / HTTP/1.1\r\n"), Err(FrameError::NotAFrame(_))));
    assert!(matches!(Decoder::new().decode(b"WF\x07"), Err(FrameError::Version(7))));
}

/// A frame that never arrived is noticed, and nothing after it is decoded against the wrong dictionary.
#[test]
fn a_missing_frame_is_a_gap_until_a_fresh_start() {
    let (mut dice, mut known) = (Dice(7), Vec::new());
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    decoder.decode(&encoded(&mut encoder, &dice.batch(&mut known))).unwrap();
    encoded(&mut encoder, &dice.batch(&mut known));
    for _ in 0..2 {
        let error = decoder.decode(&encoded(&mut encoder, &dice.batch(&mut known))).unwrap_err();
        assert!(matches!(error, FrameError::Gap { expected: 1, .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    encoder.restart();
    decoder.decode(&encoded(&mut encoder, &dice.batch(&mut known))).unwrap();
}

/// A key whose values never repeat stops filling the dictionary, on both sides, and still comes back.
#[test]
fn unique_values_do_not_fill_the_dictionary() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let mut dice = Dice(3);
    for frame in 0..40 {
        let mut spans = SpanBatch::default();
        spans.resources.push(Arc::default());
        spans.scopes.push(Arc::default());
        for row in 0..200_u32 {
            spans.resource.push(0);
            spans.scope.push(0);
            spans.trace_id.push(dice.id());
            spans.span_id.push(dice.id());
            spans.parent_span_id.push([0; 8]);
            spans.key_values.push(KeyValue::new("request.id", format!("{frame}-{row}")));
            spans.attributes.push(row);
            spans.attribute_offsets.push(row + 1);
            for column in [&mut spans.start_ns, &mut spans.duration_ns] {
                column.push(0);
            }
            for column in [&mut spans.kind, &mut spans.status] {
                column.push(1);
            }
            spans.event_offsets.push(0);
            spans.link_offsets.push(0);
            let zeros = [&mut spans.name, &mut spans.status_message, &mut spans.trace_state, &mut spans.flags];
            zeros.into_iter().for_each(|column| column.push(0));
            let dropped = [&mut spans.dropped_attributes, &mut spans.dropped_events, &mut spans.dropped_links];
            dropped.into_iter().for_each(|column| column.push(0));
        }
        let batch = Batch { spans, ..Batch::default() };
        let back = decoder.decode(&encoded(&mut encoder, &batch)).unwrap();
        same(&batch, &back);
        assert_eq!(encoder.dictionary_bytes(), decoder.dictionary_bytes());
    }
    assert!(encoder.dictionary_bytes() < 2048, "{}", encoder.dictionary_bytes());
}

/// What the encoder takes, the decoder takes: near the bound too, with little shared.
#[test]
fn a_batch_near_the_bound_is_taken_by_both_or_by_neither() {
    let mut dice = Dice(17);
    for doubling in 12..20 {
        let mut batch = Batch::default();
        for at in 0..1_u32 << doubling {
            let attributes = Attributes::new(vec![KeyValue::new(format!("k{at}"), format!("{:x}", dice.roll()))]);
            batch.metrics.series.push(Arc::new(SeriesIdentity::new(SeriesParts {
                name: format!("m{at}").into(),
                unit: "".into(),
                kind: MetricKind::Gauge,
                temporality: Temporality::Unspecified,
                resource: Arc::new(Resource { attributes: attributes.clone() }),
                scope: Arc::new(Scope {
                    name: format!("s{at}").into(),
                    version: "".into(),
                    attributes: attributes.clone(),
                }),
                attributes,
            })));
            batch.metrics.numbers.series.push(at);
            batch.metrics.numbers.start_ns.push(dice.roll() as i64);
            batch.metrics.numbers.time_ns.push(dice.roll() as i64);
            batch.metrics.numbers.value.push(1.0);
        }
        let mut frame = Vec::new();
        match Encoder::new().encode(&batch, &mut frame) {
            Ok(()) => assert_eq!(Decoder::new().decode(&frame).unwrap().metrics.points(), 1 << doubling),
            Err(error) => {
                assert!(matches!(error, FrameError::TooBig { .. }), "{error}");
                assert!(doubling > 14, "sixteen thousand series are not too many");
                return;
            }
        }
    }
    panic!("half a million resources in one batch should have been too many");
}

/// A batch that is not consistent is refused, not a panic, and the epoch goes on.
#[test]
fn an_inconsistent_batch_is_refused_and_harms_nothing() {
    let (mut dice, mut known) = (Dice(11), Vec::new());
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    decoder.decode(&encoded(&mut encoder, &dice.batch(&mut known))).unwrap();
    let mut bad = Batch::default();
    bad.metrics.numbers.series.push(5);
    let mut out = Vec::new();
    let error = encoder.encode(&bad, &mut out).unwrap_err();
    assert_eq!((error.kind(), out.len()), (ErrorKind::Invalid, 0));
    decoder.decode(&encoded(&mut encoder, &dice.batch(&mut known))).unwrap();
}

/// Frames of format 1, written once, are read by every later version. `UPDATE=1` rewrites the file, which is right
/// only before a release or with a new version number.
#[test]
fn golden_frames_stay_readable() {
    let (mut dice, mut known) = (Dice(42), Vec::new());
    stay_readable("frame-v1.bin", &(0..12).map(|_| dice.batch(&mut known)).collect::<Vec<_>>());
}

#[test]
fn golden_frames_with_marks_stay_readable() {
    let (mut dice, mut known) = (Dice(43), Vec::new());
    stay_readable("frame-v1-marks.bin", &(0..12).map(|_| dice.marked(&mut known)).collect::<Vec<_>>());
}

#[test]
fn marks_that_nobody_writes_are_refused() {
    let mut dice = Dice(44);
    let mut batch = Batch::default();
    while batch.metrics.histograms.series.is_empty() {
        batch = dice.batch(&mut Vec::new());
    }
    assert!(HistogramMarks::from_bits(32).is_none());
    let rows = batch.metrics.histograms.series.len();
    batch.metrics.histograms.marks = vec![HistogramMarks::default(); rows + 1];
    assert!(matches!(Encoder::new().encode(&batch, &mut Vec::new()), Err(FrameError::BadBatch { .. })));
}

fn stay_readable(file: &str, batches: &[Batch]) {
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    let mut encoder = Encoder::new();
    let mut written = Vec::new();
    for batch in batches {
        let frame = encoded(&mut encoder, batch);
        written.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        written.extend_from_slice(&frame);
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let kept = std::fs::read(path).unwrap();
    let (mut decoder, mut rest) = (Decoder::new(), kept.as_slice());
    for batch in batches {
        let (length, after) = rest.split_at(4);
        let (frame, after) = after.split_at(u32::from_le_bytes(length.try_into().unwrap()) as usize);
        same(&decoder.decode(frame).unwrap(), batch);
        rest = after;
    }
    assert!(rest.is_empty());
}
