//! `series`, `labels`, `label/{name}/values`, `metadata`, `query_exemplars`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use weir_promql::ast::{Expr, VectorSelector};
use weir_promql::parse::{parse, parse_selector};
use weir_promql::source::Matcher;
use weir_query::{SeriesExemplars, Span};

use super::super::HttpState;
use super::super::envelope::{Answer, ApiError};
use super::super::number::{push_labels, push_quoted_float, push_text, push_time};
use super::super::params::{Params, TIME_MAX_MS, TIME_MIN_MS};
use super::{Admission, of_query};

/// `series`: label sets of the series that match.
pub(super) async fn series(State(state): State<Arc<HttpState>>, params: Params) -> Result<Answer, ApiError> {
    let selectors = selectors(&params)?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let (limit, span) = (params.limit("limit")?, span(&params)?);
    let admission = Admission::of(&state, &params)?;
    let (engine, budget) = (Arc::clone(&state.engine), Arc::clone(admission.budget()));
    let work = move || Ok(engine.source().series(&selectors, span, &budget)?);
    let (found, mut warnings) = state.gate.run(admission.budget(), admission.timeout, work).await?;
    let shown = cut(&found, limit, &mut warnings);
    let mut data = String::from("[");
    join(&mut data, shown, push_labels);
    data.push(']');
    Ok(Answer { data, warnings, infos: Vec::new() })
}

/// `labels`: names of labels.
pub(super) async fn labels(State(state): State<Arc<HttpState>>, params: Params) -> Result<Answer, ApiError> {
    let (selectors, limit, span) = (selectors(&params)?, params.limit("limit")?, span(&params)?);
    let admission = Admission::of(&state, &params)?;
    let (engine, budget) = (Arc::clone(&state.engine), Arc::clone(admission.budget()));
    let work = move || Ok(engine.source().label_names(&selectors, span, &budget)?);
    let (names, warnings) = state.gate.run(admission.budget(), admission.timeout, work).await?;
    Ok(texts(&names, limit, warnings))
}

/// `label/{name}/values`: values of one label; a name may be escaped as `U__…`.
pub(super) async fn label_values(
    State(state): State<Arc<HttpState>>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Answer, ApiError> {
    let name = unescaped(&name).ok_or_else(|| ApiError::bad_data(format!("invalid label name: \"{name}\"")))?;
    let (selectors, limit, span) = (selectors(&params)?, params.limit("limit")?, span(&params)?);
    let admission = Admission::of(&state, &params)?;
    let (engine, budget) = (Arc::clone(&state.engine), Arc::clone(admission.budget()));
    let work = move || Ok(engine.source().label_values(&name, &selectors, span, &budget)?);
    let (values, warnings) = state.gate.run(admission.budget(), admission.timeout, work).await?;
    Ok(texts(&values, limit, warnings))
}

/// `metadata`: type and unit of metrics. Help texts are not kept.
pub(super) async fn metadata(State(state): State<Arc<HttpState>>, params: Params) -> Result<Answer, ApiError> {
    let (limit, per_metric) = (params.limit("limit")?, params.limit("limit_per_metric")?);
    let metric = params.value("metric").to_owned();
    let admission = Admission::of(&state, &params)?;
    let (engine, budget) = (Arc::clone(&state.engine), Arc::clone(admission.budget()));
    let work = move || Ok(engine.source().metadata(&metric, &budget)?);
    let found = state.gate.run(admission.budget(), admission.timeout, work).await?;
    let mut by_name: BTreeMap<Arc<str>, Vec<_>> = BTreeMap::new();
    for metric in found {
        let known = by_name.entry(Arc::clone(&metric.name)).or_default();
        if per_metric.is_none_or(|most| known.len() < most) {
            known.push(metric);
        }
    }
    let mut data = String::from("{");
    join(&mut data, by_name.iter().take(limit.unwrap_or(usize::MAX)), |data, (name, known)| {
        push_text(data, name);
        data.push_str(":[");
        join(data, known, |data, metric| {
            data.push_str("{\"type\":\"");
            data.push_str(metric.kind);
            data.push_str("\",\"help\":");
            push_text(data, &metric.help);
            data.push_str(",\"unit\":");
            push_text(data, &metric.unit);
            data.push('}');
        });
        data.push(']');
    });
    data.push('}');
    Ok(Answer::new(data))
}

/// `query_exemplars`: exemplars of all selectors of a query.
pub(super) async fn exemplars(State(state): State<Arc<HttpState>>, params: Params) -> Result<Answer, ApiError> {
    let (start, end) = (params.time_or("start", TIME_MIN_MS)?, params.time_or("end", TIME_MAX_MS)?);
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let expression = parse(params.value("query"), &state.engine.options().language)
        .map_err(|error| ApiError::bad_data(error.to_string()))?;
    let mut found = Vec::new();
    collect(&expression, &mut found);
    let selectors: Vec<Vec<Matcher>> = found.into_iter().map(|selector| selector.matchers.clone()).collect();
    let admission = Admission::of(&state, &params)?;
    let (engine, budget) = (Arc::clone(&state.engine), Arc::clone(admission.budget()));
    let work = move || Ok(engine.source().exemplars(&selectors, (start, end), &budget)?);
    let found = state.gate.run(admission.budget(), admission.timeout, work).await.map_err(of_query)?;
    let mut data = String::from("[");
    join(&mut data, &found, push_exemplars);
    data.push(']');
    Ok(Answer::new(data))
}

fn push_exemplars(data: &mut String, series: &SeriesExemplars) {
    data.push_str("{\"seriesLabels\":");
    push_labels(data, &series.labels);
    data.push_str(",\"exemplars\":[");
    join(data, &series.exemplars, |data, exemplar| {
        data.push_str("{\"labels\":");
        push_labels(data, &exemplar.labels);
        data.push_str(",\"value\":");
        push_quoted_float(data, exemplar.value);
        data.push_str(",\"timestamp\":");
        push_time(data, exemplar.t_ms);
        data.push('}');
    });
    data.push_str("]}");
}

/// All selectors of an expression.
fn collect<'a>(expression: &'a Expr, into: &mut Vec<&'a VectorSelector>) {
    match expression {
        Expr::Vector(selector) => into.push(selector),
        Expr::Matrix(matrix) => into.push(&matrix.selector),
        Expr::Subquery(subquery) => collect(&subquery.expr, into),
        Expr::Aggregate(aggregate) => collect(&aggregate.expr, into),
        Expr::Binary(binary) => {
            collect(&binary.left, into);
            collect(&binary.right, into);
        }
        Expr::Call(call) => call.args.iter().for_each(|arg| collect(arg, into)),
        Expr::Unary { expr, .. } | Expr::Paren { expr, .. } => collect(expr, into),
        Expr::Number(_) | Expr::Text { .. } => {}
    }
}

/// The `match[]` parameters; each must hold something that does not match the empty text.
fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let texts = params.values("match[]");
    texts
        .into_iter()
        .map(|text| parse_selector(text).map_err(|error| ApiError::parameter("match[]", &error.to_string())))
        .collect()
}

/// `start` and `end`, all time where they are absent.
fn span(params: &Params) -> Result<Span, ApiError> {
    let span = Span { start_ms: params.time_or("start", TIME_MIN_MS)?, end_ms: params.time_or("end", TIME_MAX_MS)? };
    if span.end_ms < span.start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start timestamp"));
    }
    Ok(span)
}

fn texts(all: &[Arc<str>], limit: Option<usize>, mut warnings: Vec<String>) -> Answer {
    let mut data = String::from("[");
    join(&mut data, cut(all, limit, &mut warnings), |data, text| push_text(data, text));
    data.push(']');
    Answer { data, warnings, infos: Vec::new() }
}

fn cut<'a, T>(all: &'a [T], limit: Option<usize>, warnings: &mut Vec<String>) -> &'a [T] {
    match limit {
        Some(limit) if all.len() > limit => {
            warnings.push("results truncated due to limit".to_owned());
            &all[..limit]
        }
        _ => all,
    }
}

fn join<T>(data: &mut String, items: impl IntoIterator<Item = T>, push: impl Fn(&mut String, T)) {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            data.push(',');
        }
        push(data, item);
    }
}

/// A label name, where `U__` escapes of UTF-8 names are undone: `_xx_` is a character, `__` an underscore.
/// Source: prometheus/common model/metric.go, `UnescapeName`.
fn unescaped(name: &str) -> Option<String> {
    let Some(escaped) = name.strip_prefix("U__") else { return (!name.is_empty()).then(|| name.to_owned()) };
    let mut plain = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            plain.push('_');
            rest = after;
            continue;
        }
        let Some(end) = rest.find('_') else { return Some(name.to_owned()) };
        let Some(c) = u32::from_str_radix(&rest[..end], 16).ok().and_then(char::from_u32) else {
            return Some(name.to_owned());
        };
        plain.push(c);
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_undone() {
        assert_eq!(unescaped("job").as_deref(), Some("job"));
        assert_eq!(unescaped("U__http_2e_status__code").as_deref(), Some("http.status_code"));
        assert_eq!(unescaped("U__bad_zz_").as_deref(), Some("U__bad_zz_"));
        assert_eq!(unescaped(""), None);
    }
}
