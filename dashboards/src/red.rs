//! The PromQL of rate, errors and duration, written once. Everything is asked of one native histogram that Weir derives
//! from spans before any sampling; a request is a span of kind server or consumer, an error one whose status is an error.

/// Durations of spans as a native histogram: the translation of `traces.span.metrics.duration`.
pub(crate) const DURATION: &str = "traces_span_metrics_duration_seconds";
/// Calls between services as the caller sees them: the translation of `traces.service.graph.request.client`.
pub(crate) const GRAPH_CLIENT: &str = "traces_service_graph_request_client_seconds";
/// Calls between services as the callee sees them.
pub(crate) const GRAPH_SERVER: &str = "traces_service_graph_request_server_seconds";
/// Matcher of the spans that are requests to a service.
pub(crate) const REQUESTS: &str = r#"span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER""#;
/// Matcher of the spans that are calls out of a service.
pub(crate) const CALLS: &str = r#"span_kind=~"SPAN_KIND_CLIENT|SPAN_KIND_PRODUCER""#;
/// Matcher of failed spans.
pub(crate) const FAILED: &str = r#"status_code="STATUS_CODE_ERROR""#;

/// A native histogram with its matchers and what makes one of its events a failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Histogram<'a> {
    pub(crate) metric: &'a str,
    pub(crate) matchers: &'a str,
    pub(crate) failed: &'a str,
}

impl Histogram<'_> {
    /// Events per second by `by` (a comma-separated list, or empty) over `window`.
    pub(crate) fn rate(&self, by: &str, window: &str) -> String {
        self.counted(by, window, self.matchers)
    }

    /// Failed events per second.
    pub(crate) fn error_rate(&self, by: &str, window: &str) -> String {
        self.counted(by, window, &format!("{},{}", self.matchers, self.failed))
    }

    /// The part of events that failed: zero, not absent, where events are and none of them failed.
    pub(crate) fn error_ratio(&self, by: &str, window: &str) -> String {
        let (failed, all) = (self.error_rate(by, window), self.rate(by, window));
        format!("({failed} or 0 * {all}) / {all}")
    }

    /// The quantile `q` of durations in seconds.
    pub(crate) fn quantile(&self, q: f64, by: &str, window: &str) -> String {
        format!("histogram_quantile({q}, {})", self.merged(by, window))
    }

    /// The histogram itself per second, for heatmaps.
    pub(crate) fn merged(&self, by: &str, window: &str) -> String {
        format!("{}(rate({}{{{}}}[{window}]))", sum(by), self.metric, self.matchers)
    }

    /// Seconds spent per second: how many workers the events keep busy.
    pub(crate) fn busy(&self, by: &str, window: &str) -> String {
        format!("{}(histogram_sum(rate({}{{{}}}[{window}])))", sum(by), self.metric, self.matchers)
    }

    fn counted(&self, by: &str, window: &str, matchers: &str) -> String {
        format!("{}(histogram_count(rate({}{{{matchers}}}[{window}])))", sum(by), self.metric)
    }
}

fn sum(by: &str) -> String {
    if by.is_empty() { "sum".to_owned() } else { format!("sum by ({by}) ") }
}
