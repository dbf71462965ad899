//! Pages: formats, labels, staleness, counting, prediction.

use super::*;
use crate::batch::STALE_NAN_BITS;
use crate::prometheus::{Promotion, translate};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn target() -> TargetIdentity {
    let resource = vec![KeyValue::new("service.name", "node"), KeyValue::new("service.instance.id", "localhost:9100")];
    TargetIdentity {
        resource: Arc::new(Resource { attributes: Attributes::new(resource) }),
        labels: vec![("env".into(), "test".into())],
        honor_labels: false,
        honor_timestamps: true,
    }
}

/// Reads a page and prints what is in the batch: `name{labels} value @time`, stale markers as `stale`.
fn read(
    reader: &mut PageReader,
    body: &str,
    content_type: &str,
    at_ns: i64,
) -> Result<(String, PageOutcome), ReadError> {
    let mut batch = MetricBatch::default();
    let page = Page { body: body.as_bytes(), content_type, at_ns };
    let outcome = reader.read(&page, None, &mut batch)?;
    Ok((shown(&batch), outcome))
}

fn shown(batch: &MetricBatch) -> String {
    let mut lines = Vec::new();
    for (row, &series) in batch.numbers.series.iter().enumerate() {
        let series = translate(&batch.series[series as usize], &Promotion::default());
        let hidden = ["job", "instance", "env"];
        let labels = series.labels.iter().filter(|label| !hidden.contains(&label.0.as_ref()));
        let labels: Vec<_> = labels.map(|label| format!("{}={:?}", label.0, label.1)).collect();
        let value = batch.numbers.value[row];
        let value = if value.to_bits() == STALE_NAN_BITS { "stale".to_owned() } else { value.to_string() };
        lines.push(format!("{}{{{}}} {value} @{}", series.name, labels.join(","), batch.numbers.time_ns[row]));
    }
    lines.join("\n")
}

fn one(body: &str, content_type: &str) -> Result<String, ReadError> {
    read(&mut PageReader::new(target()), body, content_type, 7).map(|read| read.0)
}

#[test]
fn a_page_is_read_with_types_times_and_odd_spacing() {
    let page = "# HELP up whatever \\n text\n# TYPE http_requests_total counter\n\
        http_requests_total{code=\"200\",path=\"/a \\\"b\\\"\"} 1027 1395066363000\n\n   \n# a comment\n\
        \tspaced  \t{ a = \"1\" , }\t-1.5e3  \nlast NaN";
    let mut batch = MetricBatch::default();
    let outcome = PageReader::new(target())
        .read(&Page { body: page.as_bytes(), content_type: TEXT, at_ns: 7 }, None, &mut batch)
        .unwrap();
    assert_eq!(
        shown(&batch),
        "http_requests_total{code=\"200\",path=\"/a \\\"b\\\"\"} 1027 @1395066363000000000\n\
         spaced{a=\"1\"} -1500 @7\nlast{} NaN @7"
    );
    let kinds: Vec<_> = batch.series.iter().map(|series| series.kind).collect();
    assert_eq!(kinds, [MetricKind::Counter, MetricKind::Unknown, MetricKind::Unknown]);
    assert_eq!((outcome.scraped, outcome.after_relabel, outcome.added), (3, 3, 3));
    let labels = translate(&batch.series[2], &Promotion::default()).labels;
    let labels: Vec<_> = labels.iter().map(|label| format!("{}={}", label.0, label.1)).collect();
    assert_eq!(labels, ["env=test", "instance=localhost:9100", "job=node"]);
}

#[test]
fn comments_that_describe_nothing_are_comments() {
    let page = "#TYPE a counter\n# HELP\n#\n# TYPE\n#HELP a b\n# a 1\na 1\n";
    let mut batch = MetricBatch::default();
    let page = Page { body: page.as_bytes(), content_type: TEXT, at_ns: 7 };
    PageReader::new(target()).read(&page, None, &mut batch).unwrap();
    assert_eq!((shown(&batch).as_str(), batch.series[0].kind), ("a{} 1 @7", MetricKind::Unknown));
}

#[test]
fn le_and_quantile_have_one_spelling_and_only_where_they_are_bounds() {
    let page = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\
        # TYPE s summary\ns{quantile=\"1\"} 4\ns_sum{quantile=\"1\"} 4\n# TYPE g gauge\ng{le=\"1\"} 5\n";
    assert_eq!(
        one(page, TEXT).unwrap(),
        "h_bucket{le=\"1.0\"} 1 @7\nh_bucket{le=\"+Inf\"} 2 @7\nh_sum{} 3 @7\nh_count{} 2 @7\n\
         s{quantile=\"1.0\"} 4 @7\ns_sum{quantile=\"1\"} 4 @7\ng{le=\"1\"} 5 @7"
    );
}

#[test]
fn openmetrics_has_units_exemplars_seconds_and_an_end() {
    let page = "# TYPE rpc_seconds histogram\n# UNIT rpc_seconds seconds\n# HELP rpc_seconds Time.\n\
        rpc_seconds_bucket{le=\"0.5\"} 3 1520879607.789 # {trace_id=\"0102030405060708090a0b0c0d0e0f10\",\
        span_id=\"0102030405060708\",user=\"u # 1\"} 0.43 1520879607.700\n\
        rpc_seconds_count 3 # {} 0.1\n# EOF\n";
    let mut batch = MetricBatch::default();
    let page = Page { body: page.as_bytes(), content_type: OPENMETRICS, at_ns: 7 };
    PageReader::new(target()).read(&page, None, &mut batch).unwrap();
    assert_eq!(shown(&batch), "rpc_seconds_bucket{le=\"0.5\"} 3 @1520879607789000000\nrpc_seconds_count{} 3 @7");
    assert_eq!(batch.series[0].unit.as_ref(), "seconds");
    let exemplars = &batch.exemplars;
    assert_eq!(exemplars.time_ns, [1_520_879_607_700_000_000, 7]);
    assert_eq!(exemplars.value, [0.43, 0.1]);
    assert_eq!(exemplars.trace_id[0], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    assert_eq!(exemplars.attributes, [KeyValue::new("user", "u # 1")]);
    assert_eq!(exemplars.attribute_offsets, [0, 1, 1]);
}

#[test]
fn a_wrong_line_fails_the_page_with_its_number_and_leaves_the_batch() {
    let cases = [
        ("a 1\nb{ 2\n", TEXT, "line 2 of the page: no sample: \"b{ 2\""),
        ("a one\n", TEXT, "line 1 of the page: invalid value \"one\""),
        ("a 1 2 3\n", TEXT, "line 1 of the page: unexpected \"3\" behind the value"),
        ("a 1 1.5\n", TEXT, "line 1 of the page: invalid timestamp \"1.5\""),
        ("a 1 -5\n", TEXT, "line 1 of the page: invalid timestamp \"-5\""),
        ("a 1e999\n", TEXT, "line 1 of the page: invalid value \"1e999\""),
        ("a 1 # {} 1 2 3\n", OPENMETRICS, "line 1 of the page: unexpected \" 3\" behind the exemplar"),
        ("# TYPE a thing\n", TEXT, "line 1 of the page: invalid metric type \"thing\""),
        ("a 1\n", OPENMETRICS, "line 1 of the page: the page does not end with # EOF"),
        ("a 1\n# EOF\na 1\n", OPENMETRICS, "line 3 of the page: text after # EOF"),
        ("<html>\n<body>\n", TEXT, "line 1 of the page: no sample: \"<html>\""),
        ("a{b=\"\u{0}\"} 1\n\n", OPENMETRICS, "line 2 of the page: a blank line, which OpenMetrics does not allow"),
    ];
    for (body, content_type, message) in cases {
        let mut reader = PageReader::new(target());
        let mut batch = MetricBatch::default();
        let page = Page { body: body.as_bytes(), content_type, at_ns: 7 };
        assert_eq!(reader.read(&page, None, &mut batch).unwrap_err().to_string(), message);
        assert_eq!((batch.points(), batch.series.len()), (0, 0), "{body}");
    }
}

#[test]
fn a_vanished_series_ends_once_and_comes_back_as_added() {
    let mut reader = PageReader::new(target());
    let (_, first) = read(&mut reader, "a 1\nb 2\n", TEXT, 1).unwrap();
    assert_eq!(first.added, 2);
    let (second, outcome) = read(&mut reader, "a 1\n", TEXT, 2).unwrap();
    assert_eq!((second.as_str(), outcome.added), ("a{} 1 @2\nb{} stale @2", 0));
    assert_eq!(read(&mut reader, "a 1\n", TEXT, 3).unwrap().0, "a{} 1 @3");
    let (fourth, outcome) = read(&mut reader, "a 1\nb 3\n", TEXT, 4).unwrap();
    assert_eq!((fourth.as_str(), outcome.added), ("a{} 1 @4\nb{} 3 @4", 1));
}

#[test]
fn a_failed_page_does_not_forget_the_last_good_one() {
    let mut reader = PageReader::new(target());
    read(&mut reader, "a 1\nb 2\n", TEXT, 1).unwrap();
    assert!(read(&mut reader, "a 1\nc 1\noops\n", TEXT, 2).is_err());
    let mut batch = MetricBatch::default();
    reader.stale(2, &mut batch);
    assert_eq!(shown(&batch), "a{} stale @2\nb{} stale @2");
    let mut batch = MetricBatch::default();
    reader.stale(3, &mut batch);
    assert_eq!(batch.points(), 0);
    assert_eq!(read(&mut reader, "a 1\n", TEXT, 4).unwrap().1.added, 1);
}

#[test]
fn a_series_with_its_own_time_is_not_ended() {
    let mut reader = PageReader::new(target());
    read(&mut reader, "a 1 5\nb 2\n", TEXT, 1).unwrap();
    assert_eq!(read(&mut reader, "c 1\n", TEXT, 2).unwrap().0, "c{} 1 @2\nb{} stale @2");
    let mut deaf = PageReader::new(TargetIdentity { honor_timestamps: false, ..target() });
    assert_eq!(read(&mut deaf, "a 1 5\n", TEXT, 1).unwrap().0, "a{} 1 @1");
    assert_eq!(read(&mut deaf, "", TEXT, 2).unwrap().0, "a{} stale @2");
}

#[test]
fn labels_that_the_target_has_too_are_renamed_or_honored() {
    let page = "a{job=\"mine\",env=\"prod\",exported_env=\"x\"} 1\n";
    let labels = |honor_labels| {
        let mut reader = PageReader::new(TargetIdentity { honor_labels, ..target() });
        let mut batch = MetricBatch::default();
        let page = Page { body: page.as_bytes(), content_type: TEXT, at_ns: 7 };
        reader.read(&page, None, &mut batch).unwrap();
        let labels = translate(&batch.series[0], &Promotion::default()).labels;
        labels.iter().map(|label| format!("{}={}", label.0, label.1)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        labels(false),
        "env=test exported_env=x exported_exported_env=prod exported_job=mine instance=localhost:9100 job=node"
    );
    assert_eq!(labels(true), "env=prod exported_env=x instance=localhost:9100 job=mine");
}

#[test]
fn relabelling_drops_and_changes_and_is_counted() {
    struct Rules;
    impl MetricRelabel for Rules {
        fn relabel(&self, labels: &mut Vec<(Arc<str>, Arc<str>)>) -> bool {
            labels.retain(|label| label.0.as_ref() != "instance" && label.0.as_ref() != "secret");
            !labels.iter().any(|label| label.0.as_ref() == "__name__" && label.1.starts_with("go_"))
        }
    }
    let mut reader = PageReader::new(target());
    for at_ns in [1, 2] {
        let mut batch = MetricBatch::default();
        let page = Page { body: b"go_x 1\na{secret=\"s\"} 2\ngo_y 3\n", content_type: TEXT, at_ns };
        let outcome = reader.read(&page, Some(&Rules), &mut batch).unwrap();
        assert_eq!((outcome.scraped, outcome.after_relabel), (3, 1));
        let series = translate(&batch.series[0], &Promotion::default());
        let labels: Vec<_> = series.labels.iter().map(|label| label.0.as_ref()).collect();
        assert_eq!((batch.points(), labels), (1, vec!["env", "job"]));
    }
}

#[test]
fn a_series_twice_on_a_page_counts_once() {
    let (text, outcome) = read(&mut PageReader::new(target()), "a 1\na 2\na{b=\"\"} 3\na 4 9\n", TEXT, 7).unwrap();
    assert_eq!(text, "a{} 1 @7\na{} 4 @9000000");
    assert_eq!(outcome.refused.reasons, [("duplicate_sample", 2)]);
}

#[test]
fn a_steady_a_shuffled_and_a_changed_page_read_alike() {
    let mut reader = PageReader::new(target());
    let lines = ["# TYPE a counter", "a{x=\"1\"} 1", "a{x=\"10\"} 2", "# TYPE b gauge", "b 3", "b_more 4"];
    let orders: [&[usize]; 6] =
        [&[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3, 4, 5], &[3, 5, 4, 0, 2, 1], &[0, 2, 3, 4], &[1, 4], &[0, 1, 2, 3, 4, 5]];
    for (round, order) in orders.iter().enumerate() {
        let page: String = order.iter().map(|&at| format!("{}\n", lines[at])).collect();
        let at_ns = i64::try_from(round).unwrap() + 1;
        let predicted = read(&mut reader, &page, TEXT, at_ns).unwrap().0;
        let fresh = read(&mut PageReader::new(target()), &page, TEXT, at_ns).unwrap().0;
        let predicted: Vec<_> = predicted.lines().filter(|line| !line.contains("stale")).collect();
        assert_eq!(predicted.join("\n"), fresh, "round {round}");
    }
}

#[test]
fn memory_of_a_churning_target_is_bounded_and_staleness_survives_forgetting() {
    let mut reader = PageReader::new(target());
    let page = |round: usize| (0..1_500).map(|at| format!("a{{x=\"{}\"}} 1\n", round * 1_500 + at)).collect::<String>();
    for round in 0..40 {
        let (text, outcome) = read(&mut reader, &page(round), TEXT, 1).unwrap();
        assert_eq!(outcome.added, 1_500);
        let stale = text.lines().filter(|line| line.contains("stale")).count();
        assert_eq!(stale, if round == 0 { 0 } else { 1_500 }, "round {round}");
        assert!(reader.memory.lines_len() <= 4 * 1_500 + 4_096 + 1_500);
    }
}

mod hostile {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_page_panics(pages in prop::collection::vec("[a-c{}=\",\\\\# \\n\\t0-9.eE+-]{0,80}", 1..5)) {
            let mut reader = PageReader::new(target());
            for page in &pages {
                for content_type in [TEXT, OPENMETRICS] {
                    read(&mut reader, page, content_type, 1).ok();
                }
            }
        }

        #[test]
        fn no_bytes_panic(page in prop::collection::vec(any::<u8>(), 0..200)) {
            let page = Page { body: &page, content_type: TEXT, at_ns: 1 };
            PageReader::new(target()).read(&page, None, &mut MetricBatch::default()).ok();
        }

        /// What was seen before never changes what a page means.
        #[test]
        fn memory_changes_speed_and_not_meaning(
            pages in prop::collection::vec(prop::collection::vec((0..6_usize, 0..3_usize, 0..100_u32), 0..12), 1..6)
        ) {
            let heads = ["a{x=\"1\"} ", "a{x=\"2\"}", "b ", "# TYPE a counter\na ", "# TYPE a gauge\nb_sum ", "ab\t"];
            let tails = ["\n", " 5\n", "  \n"];
            let mut reader = PageReader::new(target());
            for page in &pages {
                let text: String =
                    page.iter().map(|&(head, tail, value)| format!("{}{value}{}", heads[head], tails[tail])).collect();
                let (remembered, _) = read(&mut reader, &text, TEXT, 1).unwrap();
                let (fresh, _) = read(&mut PageReader::new(target()), &text, TEXT, 1).unwrap();
                let remembered: Vec<_> = remembered.lines().filter(|line| !line.contains("stale")).collect();
                prop_assert_eq!(remembered.join("\n"), fresh);
            }
        }
    }
}

#[test]
fn a_page_over_the_sample_limit_is_not_used_and_the_page_before_can_still_be_ended() {
    let mut reader = PageReader::new(target()).with_samples_max(2);
    read(&mut reader, "a 1\nb 2\n", TEXT, 1).unwrap();
    let error = read(&mut reader, "a 1\nb 2\nc 3\n", TEXT, 2).unwrap_err();
    assert_eq!(error, ReadError::TooManySamples { samples: 3, limit: 2 });
    let mut batch = MetricBatch::default();
    reader.stale(2, &mut batch);
    assert_eq!(shown(&batch), "a{} stale @2\nb{} stale @2", "c was never kept and needs no end");
}
