//! `info(v, {matchers})`: adds the labels of info metrics (`target_info` and its like) to series of the same `job` and
//! `instance`, as of each time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::error::QueryError;
use crate::eval::column::Column;
use crate::eval::instant::{Taking, select_taking};
use crate::eval::merge::merge;
use crate::eval::{Context, Grid, Row, evaluate};
use crate::labels::{Labels, METRIC_NAME};
use crate::matchers::CompiledMatcher;
use crate::plan::{Call, Extent, Node, RangeInput, Select};
use crate::source::{MatchOp, Matcher};

const IDENTIFYING: [&str; 2] = ["instance", "job"];
const DEFAULT_INFO: &str = "target_info";
const INFO_NAMES: &str = ".+_info";

/// What is asked of info metrics.
struct Wanted {
    /// Matchers of their names.
    names: Vec<Matcher>,
    /// Matchers of their labels.
    data: Vec<(Matcher, CompiledMatcher)>,
}

impl Wanted {
    fn of(arg: Option<&Node>) -> Result<Self, QueryError> {
        let matchers = match arg.and_then(super::selector) {
            Some(select) => select.matchers.clone(),
            None => vec![name_is(DEFAULT_INFO)],
        };
        let mut wanted = Self { names: Vec::new(), data: Vec::new() };
        for matcher in matchers {
            if &*matcher.name == METRIC_NAME {
                wanted.names.push(matcher);
            } else {
                let compiled = CompiledMatcher::new(&matcher).map_err(QueryError::Execution)?;
                wanted.data.push((matcher, compiled));
            }
        }
        let positive = |matcher: &Matcher| matches!(matcher.op, MatchOp::Equal | MatchOp::Regex);
        if wanted.names.is_empty() {
            wanted.names.push(name_is(DEFAULT_INFO));
        } else if !wanted.names.iter().any(positive) {
            // Only told what they are not called, all that are called like info metrics are meant.
            let (name, value) = (Arc::from(METRIC_NAME), Arc::from(INFO_NAMES));
            wanted.names.push(Matcher { name, op: MatchOp::Regex, value });
        }
        Ok(wanted)
    }

    /// Whether a metric of this name is itself an info metric, which is not enriched.
    fn is_info(&self, name: &str) -> bool {
        let compiled = |matcher: &Matcher| CompiledMatcher::new(matcher).is_ok_and(|matcher| matcher.matches(name));
        self.names.iter().all(compiled)
    }

    fn takes(&self, label: &str) -> bool {
        self.data.is_empty() || self.data.iter().any(|(matcher, _)| &*matcher.name == label)
    }

    /// Whether a series without any info may stay.
    fn allows_none(&self) -> bool {
        self.data.iter().all(|(_, compiled)| compiled.matches(""))
    }
}

fn name_is(name: &str) -> Matcher {
    Matcher { name: Arc::from(METRIC_NAME), op: MatchOp::Equal, value: Arc::from(name) }
}

/// Evaluates `info`.
pub(super) fn info(context: &Context<'_>, call: &Call, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    let wanted = Wanted::of(call.args.get(1))?;
    let rows = evaluate(context, &call.args[0], grid)?.rows()?;
    let infos = info_rows(context, call, grid, &wanted, &rows)?;
    let mut by_identity: HashMap<Vec<String>, Vec<usize>> = HashMap::new();
    for (at, info) in infos.iter().enumerate() {
        by_identity.entry(identity(&info.labels)).or_default().push(at);
    }
    let mut out = Vec::new();
    for (at, row) in rows.into_iter().enumerate() {
        context.check_at(at)?;
        if wanted.is_info(row.labels.name()) {
            out.push(row);
            continue;
        }
        let candidates = by_identity.get(&identity(&row.labels)).map_or(&[][..], Vec::as_slice);
        enrich(row, candidates, &infos, &wanted, &mut out)?;
    }
    merge(context, out)
}

fn identity(labels: &Labels) -> Vec<String> {
    IDENTIFYING.iter().map(|name| labels.value(name).to_owned()).collect()
}

/// The info series that may belong to any of the rows; their values are the times of their samples, in ms.
fn info_rows(
    context: &Context<'_>,
    call: &Call,
    grid: &Grid,
    wanted: &Wanted,
    rows: &[Row],
) -> Result<Vec<Row>, QueryError> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !wanted.is_info(row.labels.name())) {
        for name in IDENTIFYING {
            let value = row.labels.value(name);
            if !value.is_empty() {
                values.entry(name).or_default().insert(value);
            }
        }
    }
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let mut matchers: Vec<Matcher> = wanted.data.iter().map(|(matcher, _)| matcher.clone()).collect();
    matchers.extend(wanted.names.iter().cloned());
    for (name, values) in values {
        let pattern: Vec<String> = values.into_iter().map(regex::escape).collect();
        let value = Arc::from(pattern.join("|"));
        matchers.push(Matcher { name: Arc::from(name), op: MatchOp::Regex, value });
    }
    let (at_ms, offset_ms) = first_selector(&call.args[0]).map_or((None, 0), |select| (select.at_ms, select.offset_ms));
    let select = Select {
        matchers,
        range_ms: 0,
        offset_ms,
        at_ms,
        extent: Extent::Plain,
        stats_only: false,
        projection: None,
        shared: None,
        span: call.span,
    };
    let plain = crate::eval::instant::select(context, &select, grid)?;
    if plain.iter().any(|row| row.column.histograms.is_some()) {
        return Err(QueryError::Execution("info sample should be float".to_owned()));
    }
    select_taking(context, &select, grid, Taking::Time)
}

/// The selector whose times an expression has.
fn first_selector(node: &Node) -> Option<&Arc<Select>> {
    match node {
        Node::Select(select) => Some(select),
        Node::Range(RangeInput::Select(select)) => Some(select),
        Node::Range(RangeInput::Subquery(subquery)) => first_selector(&subquery.expr),
        Node::RangeCall(call) => match &call.input {
            RangeInput::Select(select) => Some(select),
            RangeInput::Subquery(subquery) => first_selector(&subquery.expr),
        },
        Node::Call(call) => call.args.iter().find_map(first_selector),
        Node::Aggregate(aggregate) => first_selector(&aggregate.expr),
        Node::Binary(binary) => first_selector(&binary.left).or_else(|| first_selector(&binary.right)),
        Node::Negate(inner) | Node::Invariant(inner) => first_selector(inner),
        Node::Number(_) | Node::Text(_) => None,
    }
}

/// One row per combination of info series that a row meets.
fn enrich(
    row: Row,
    candidates: &[usize],
    infos: &[Row],
    wanted: &Wanted,
    out: &mut Vec<Row>,
) -> Result<(), QueryError> {
    let steps = row.column.steps();
    let mut by_labels: BTreeMap<Labels, Column> = BTreeMap::new();
    let mut last: Option<(Vec<usize>, Option<Labels>)> = None;
    for step in row.column.present.iter() {
        let met = newest(candidates, infos, step)?;
        let labels = match &last {
            Some((before, labels)) if *before == met => labels.clone(),
            _ => enriched(&row.labels, &met, infos, wanted)?,
        };
        last = Some((met, labels.clone()));
        if let (Some(labels), Some(cell)) = (labels, row.column.cell(step)) {
            by_labels.entry(labels).or_insert_with(|| Column::empty(steps)).set(step, cell);
        }
    }
    out.extend(by_labels.into_iter().map(|(labels, column)| Row {
        serial: 0,
        labels,
        drop_name: row.drop_name,
        column,
    }));
    Ok(())
}

/// Of each info metric the series with the newest sample.
fn newest(candidates: &[usize], infos: &[Row], step: usize) -> Result<Vec<usize>, QueryError> {
    let mut newest: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for at in candidates {
        let Some(t) = infos[*at].column.float(step) else { continue };
        let name = infos[*at].labels.name();
        match newest.get(name) {
            Some((other, _)) if *other > t => {}
            Some((other, existing)) if *other == t => {
                let (existing, new) = (&infos[*existing].labels, &infos[*at].labels);
                let ms = (t * 1000.0).round() as i64;
                return Err(QueryError::Execution(format!(
                    "found duplicate series for info metric: existing {existing} @ {ms}, new {new} @ {ms}"
                )));
            }
            _ => {
                newest.insert(name, (t, *at));
            }
        }
    }
    Ok(newest.into_values().map(|(_, at)| at).collect())
}

/// The labels with those of the info series; none when a series without info is not wanted.
fn enriched(labels: &Labels, met: &[usize], infos: &[Row], wanted: &Wanted) -> Result<Option<Labels>, QueryError> {
    let mut added: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
    for at in met {
        for (name, value) in infos[*at].labels.iter().filter(|(name, _)| &**name != METRIC_NAME) {
            if !wanted.takes(name) {
                continue;
            }
            if added.get(name).is_some_and(|other| other != value) {
                return Err(QueryError::Execution(format!("conflicting label: {name}")));
            }
            if labels.value(name).is_empty() {
                added.insert(Arc::clone(name), Arc::clone(value));
            }
        }
    }
    if met.is_empty() && !wanted.allows_none() {
        return Ok(None);
    }
    Ok(Some(labels.iter().cloned().chain(added).collect()))
}
