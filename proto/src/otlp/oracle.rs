//! Property tests: prost encodes arbitrary requests, and our readers' batches must say what prost's messages say.
//!
//! The reference below is written from the messages, row by row, with no memory and no wire in it. Strategies use
//! few keys and values, so that series, layouts and attributes repeat and the remembered paths are taken; a reader
//! is asked for the same requests twice, in different batches.

mod reference;
mod requests;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::batch::{MetricBatch, SpanBatch};

/// Reads `body` with a reader of its own, ignoring what it says.
fn read_anything(body: &[u8]) {
    let mut metrics = MetricBatch::default();
    if MetricsReader::new(ReaderLimits::default()).read(body, &mut metrics).is_err() {
        assert_eq!((metrics.points(), metrics.series.len(), metrics.exemplars.series.len()), (0, 0, 0));
    }
    let mut spans = SpanBatch::default();
    if TracesReader::new(ReaderLimits::default()).read(body, &mut spans).is_err() {
        assert_eq!((spans.len(), spans.events.time_ns.len(), spans.attributes.len()), (0, 0, 0));
    }
    reference::assert_sound(&metrics, &spans);
}

/// What prost reads from `body`; a few values (`-0.0` where 0 is the default) do not survive its encoding.
fn decoded<M: Message + Default>(body: &[u8]) -> M {
    M::decode(body).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn metrics_are_what_prost_decodes(sent in prop::collection::vec(requests::metrics(), 1..4)) {
        let mut reader = MetricsReader::new(ReaderLimits::default());
        for request in sent.iter().chain(&sent) {
            let mut batch = MetricBatch::default();
            let body = request.encode_to_vec();
            let refused = reader.read(&body, &mut batch).unwrap();
            let expected = reference::metrics(&decoded(&body));
            prop_assert_eq!(reference::shown(&batch), expected.rows);
            prop_assert_eq!(refused.count, expected.refused);
            reference::assert_sound(&batch, &SpanBatch::default());
        }
    }

    #[test]
    fn metrics_read_into_one_batch_are_the_rows_of_all(sent in prop::collection::vec(requests::metrics(), 1..4)) {
        let mut reader = MetricsReader::new(ReaderLimits { series_remembered_max: 3, ..ReaderLimits::default() });
        let mut batch = MetricBatch::default();
        let mut expected = reference::Rows::default();
        for request in sent.iter().chain(&sent) {
            let body = request.encode_to_vec();
            reader.read(&body, &mut batch).unwrap();
            expected.append(reference::metrics(&decoded(&body)).rows);
        }
        prop_assert_eq!(reference::shown(&batch), expected);
        reference::assert_sound(&batch, &SpanBatch::default());
    }

    #[test]
    fn spans_are_what_prost_decodes(sent in prop::collection::vec(requests::traces(), 1..4)) {
        let mut reader = TracesReader::new(ReaderLimits::default());
        let mut all = SpanBatch::default();
        let mut expected_of_all = Vec::new();
        for request in sent.iter().chain(&sent) {
            let mut batch = SpanBatch::default();
            let body = request.encode_to_vec();
            let refused = reader.read(&body, &mut batch).unwrap();
            let expected = reference::spans(&decoded(&body));
            prop_assert_eq!(&reference::shown_spans(&batch), &expected.rows);
            prop_assert_eq!(refused.count, expected.refused);
            reader.read(&body, &mut all).unwrap();
            expected_of_all.extend(expected.rows);
        }
        prop_assert_eq!(reference::shown_spans(&all), expected_of_all);
    }

    #[test]
    fn broken_bytes_never_panic_and_leave_the_batch(
        metrics in requests::metrics(),
        traces in requests::traces(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        for mut body in [metrics.encode_to_vec(), traces.encode_to_vec()] {
            if body.is_empty() {
                continue;
            }
            read_anything(&body[..cut.index(body.len())]);
            for (at, byte) in &edits {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            read_anything(&body);
            // What prost takes, we take: it is stricter about wire types and text.
            let mut batch = MetricBatch::default();
            if ExportMetricsServiceRequest::decode(&body[..]).is_ok() {
                prop_assert!(MetricsReader::new(ReaderLimits::default()).read(&body, &mut batch).is_ok());
            }
            if ExportTraceServiceRequest::decode(&body[..]).is_ok() {
                let mut spans = SpanBatch::default();
                prop_assert!(TracesReader::new(ReaderLimits::default()).read(&body, &mut spans).is_ok());
            }
        }
    }

    #[test]
    fn noise_never_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
        read_anything(&body);
    }
}
