//! Popular names of what Weir derives from spans. They answer on equality only and come back as asked; nothing is
//! stored under them.
//! Source: Grafana Tempo modules/generator/processor (span metrics, service graphs), OpenTelemetry Collector
//! connector/spanmetricsconnector.

use std::sync::Arc;

use weir_proto::semconv;

use super::lookup::View;

/// What an alias stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alias {
    /// The name asked for.
    pub(crate) name: &'static str,
    /// The metric name as sent of what is stored.
    pub(crate) sent: &'static str,
    /// Which face of it.
    pub(crate) view: View,
    /// Only series that have this label value.
    pub(crate) only: Option<(&'static str, &'static str)>,
    /// A label that the alias does not have; series that differ in it alone become one.
    pub(crate) without: Option<&'static str>,
    /// A label repeated under another name: (new, from).
    pub(crate) copied: Option<(&'static str, &'static str)>,
}

/// Tempo calls the service `service`.
const TEMPO_SERVICE: Option<(&str, &str)> = Some(("service", "service_name"));
/// The service graph stores failed and good calls apart.
const FAILED: &str = "failed";

const RED: Alias =
    Alias { name: "", sent: semconv::RED_DURATION, view: View::Count, only: None, without: None, copied: None };
const TEMPO: Alias = Alias { copied: TEMPO_SERVICE, ..RED };
const GRAPH: Alias = Alias { sent: semconv::GRAPH_CLIENT, without: Some(FAILED), ..RED };

/// All aliases that are not just `_bucket`, `_count` and `_sum` of a canonical name.
const ALIASES: [Alias; 8] = [
    Alias { name: "traces_span_metrics_calls_total", ..RED },
    Alias { name: "traces_spanmetrics_calls_total", ..TEMPO },
    Alias { name: "traces_spanmetrics_latency", view: View::Native, ..TEMPO },
    Alias { name: "traces_spanmetrics_latency_bucket", view: View::Bucket, ..TEMPO },
    Alias { name: "traces_spanmetrics_latency_count", ..TEMPO },
    Alias { name: "traces_spanmetrics_latency_sum", view: View::Sum, ..TEMPO },
    Alias { name: "traces_service_graph_request_total", ..GRAPH },
    Alias { name: "traces_service_graph_request_failed_total", only: Some((FAILED, "true")), ..GRAPH },
];

/// The alias called `name`.
pub(crate) fn alias(name: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|alias| alias.name == name)
}

impl Alias {
    /// The labels of the alias, from those of what is stored (without its name); `None` when it is left out.
    pub(crate) fn relabel(&self, labels: &mut Vec<(Arc<str>, Arc<str>)>) -> Option<()> {
        if let Some((name, value)) = self.only {
            labels.iter().find(|label| label.0.as_ref() == name && label.1.as_ref() == value)?;
        }
        if let Some(without) = self.without {
            labels.retain(|label| label.0.as_ref() != without);
        }
        if let Some((copy, from)) = self.copied
            && let Some(value) = labels.iter().find(|label| label.0.as_ref() == from).map(|label| Arc::clone(&label.1))
        {
            labels.push((copy.into(), value));
        }
        Some(())
    }

    /// The stored label that `name` asks about; `None` when it cannot be asked of the index.
    pub(crate) fn stored_label(&self, name: &Arc<str>) -> Option<Arc<str>> {
        if self.without == Some(name.as_ref()) {
            return None;
        }
        match self.copied {
            Some((copy, from)) if copy == name.as_ref() => Some(from.into()),
            _ => Some(Arc::clone(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tempo_names_have_a_service_label() {
        let mut labels = vec![("service_name".into(), "cart".into())];
        alias("traces_spanmetrics_calls_total").unwrap().relabel(&mut labels).unwrap();
        assert!(labels.contains(&("service".into(), "cart".into())));
    }

    #[test]
    fn failed_calls_are_a_part_of_all_calls() {
        let good = vec![("client".into(), "a".into()), (Arc::from(FAILED), Arc::from("false"))];
        assert!(alias("traces_service_graph_request_failed_total").unwrap().relabel(&mut good.clone()).is_none());
        let mut all = good;
        alias("traces_service_graph_request_total").unwrap().relabel(&mut all).unwrap();
        assert_eq!(all, [("client".into(), "a".into())]);
    }
}
