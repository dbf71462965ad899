//! `query`, `query_range` and `format_query`.

use std::sync::Arc;

use axum::extract::State;
use weir_promql::engine::QueryRange;
use weir_promql::parse::parse;
use weir_promql::value::{QueryOutput, Value};

use super::super::HttpState;
use super::super::envelope::{Answer, ApiError};
use super::super::number::push_text;
use super::super::params::Params;
use super::render::Histograms;
use super::{Admission, of_query, render};

/// Notes of each kind that the engine hands over; the envelope cuts them.
const NOTES_MAX: usize = 10;

/// `query`: PromQL at one time.
pub(super) async fn query(State(state): State<Arc<HttpState>>, params: Params) -> Result<Answer, ApiError> {
    let limit = params.limit("limit")?;
    let t_ms = params.time_or("time", state.now_ms())?;
    let admission = Admission::of(&state, &params)?;
    let text: Arc<str> = params.value("query").into();
    let (engine, context, asked) = (Arc::clone(&state.engine), admission.context.clone(), Arc::clone(&text));
    let work = move || engine.instant(&asked, t_ms, &context);
    let output = state.gate.run(admission.budget(), admission.timeout, work).await.map_err(of_query)?;
    Ok(answer(output, &text, limit, &params))
}

/// `query_range`: PromQL at every step.
pub(super) async fn query_range(State(state): State<Arc<HttpState>>, params: Params) -> Result<Answer, ApiError> {
    let limit = params.limit("limit")?;
    let (start_ms, end_ms) = (params.time("start")?, params.time("end")?);
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = params.duration("step")?;
    if step_ms <= 0 {
        let text = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", text));
    }
    if (end_ms - start_ms) / step_ms > i64::try_from(state.engine.options().points_max).unwrap_or(i64::MAX) {
        let text = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution \
                    (?step=XX)";
        return Err(ApiError::bad_data(text));
    }
    let admission = Admission::of(&state, &params)?;
    let text: Arc<str> = params.value("query").into();
    let (engine, context, asked) = (Arc::clone(&state.engine), admission.context.clone(), Arc::clone(&text));
    let work = move || engine.range(&asked, QueryRange { start_ms, end_ms, step_ms }, &context);
    let output = state.gate.run(admission.budget(), admission.timeout, work).await.map_err(of_query)?;
    Ok(answer(output, &text, limit, &params))
}

/// `format_query`: the query as the printer writes it.
pub(super) async fn format_query(State(state): State<Arc<HttpState>>, params: Params) -> Result<Answer, ApiError> {
    let expression = parse(params.value("query"), &state.engine.options().language)
        .map_err(|error| ApiError::parameter("query", &error.to_string()))?;
    let mut data = String::new();
    push_text(&mut data, &expression.to_string());
    Ok(Answer::new(data))
}

fn answer(mut output: QueryOutput, query: &str, limit: Option<usize>, params: &Params) -> Answer {
    let mut cut = false;
    if let Some(limit) = limit {
        match &mut output.value {
            Value::Vector(samples) if samples.len() > limit => {
                samples.truncate(limit);
                cut = true;
            }
            Value::Matrix(series) if series.len() > limit => {
                series.truncate(limit);
                cut = true;
            }
            _ => {}
        }
    }
    let (mut warnings, infos) = output.annotations.as_strings(query, NOTES_MAX);
    if cut {
        warnings.push("results truncated due to limit".to_owned());
    }
    let mut data = String::new();
    let native = params.value("histograms") == "native";
    let histograms = if native { Histograms::Native } else { Histograms::Buckets };
    render::push_data(&mut data, &output.value, histograms);
    if !params.value("stats").is_empty() {
        data.pop();
        render::push_stats(&mut data, &output.stats);
        data.push('}');
    }
    Answer { data, warnings, infos }
}
