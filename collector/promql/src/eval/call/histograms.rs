//! Functions of histograms: native ones as they are, classic ones put together from their buckets.

use std::collections::HashMap;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::text;
use crate::annotations::Annotations;
use crate::error::QueryError;
use crate::eval::column::Column;
use crate::eval::{Context, Grid, Row, evaluate, settle};
use crate::histogram::{FloatHistogram, kahan};
use crate::labels::Labels;
use crate::plan::Call;
use crate::position::Span;
use crate::print::format_float;
use crate::quantile::{
    ClassicBucket, Noticed, bucket_fraction, bucket_quantile, histogram_fraction, histogram_quantile,
};

const BUCKET_LABEL: &str = "le";

/// Evaluates a function of histograms.
pub(super) fn call(context: &Context<'_>, call: &Call, grid: &Grid) -> Result<Vec<Row>, QueryError> {
    let name = call.function.name;
    if let Some(function) = native_only(name) {
        let rows = evaluate(context, &call.args[0], grid)?.rows()?;
        return settle(context, map_native(rows, grid, function));
    }
    let (vector, numbers) = match name {
        "histogram_quantile" => (1, vec![0]),
        "histogram_fraction" => (2, vec![0, 1]),
        "histogram_quantiles" => (0, (2..call.args.len()).collect()),
        _ => return Err(QueryError::Execution(format!("unknown function {name}"))),
    };
    let mut columns = Vec::new();
    for at in numbers {
        let column = evaluate(context, &call.args[at], grid)?.scalar()?;
        if name != "histogram_fraction" {
            for q in column.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                context.note(|notes| notes.invalid_quantile(*q, call.arg_spans[at]));
            }
        }
        columns.push(column);
    }
    let rows = evaluate(context, &call.args[vector], grid)?.rows()?;
    let (count, native) = (rows.len(), rows.iter().map(|row| row.column.histogram_bytes()).sum());
    let asked = Asked { context, grid, span: call.arg_spans[vector] };
    let histograms = asked.histograms(rows)?;
    let out = match name {
        "histogram_fraction" => asked.fractions(&histograms, &columns[0], &columns[1])?,
        "histogram_quantile" => asked.quantiles(&histograms, &columns[0])?,
        _ => {
            let label = text(&call.args[1])?;
            let mut out = Vec::new();
            for column in &columns {
                for row in asked.quantiles(&histograms, column)? {
                    let value = open_metrics_float(column[0]);
                    out.push(Row { labels: row.labels.with(label, &value), ..row });
                }
            }
            out
        }
    };
    context.release_rows(count, grid.steps);
    context.budget.release(native);
    settle(context, crate::eval::merge::merge(context, out)?)
}

/// A number as OpenMetrics writes it: whole numbers with `.0`.
fn open_metrics_float(value: f64) -> String {
    let text = if value.is_finite() { crate::print::format_g(value) } else { format_float(value) };
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

fn native_only(name: &str) -> Option<fn(&FloatHistogram) -> f64> {
    Some(match name {
        "histogram_count" => |histogram| histogram.count,
        "histogram_sum" => |histogram| histogram.sum,
        "histogram_avg" => |histogram| histogram.sum / histogram.count,
        "histogram_stddev" => |histogram| variance(histogram).sqrt(),
        "histogram_stdvar" => variance,
        _ => return None,
    })
}

fn map_native(rows: Vec<Row>, grid: &Grid, function: fn(&FloatHistogram) -> f64) -> Vec<Row> {
    let map = |row: Row| {
        let histograms = row.column.histograms.as_ref()?;
        let mut column = Column::empty(grid.steps);
        for (step, histogram) in histograms.iter().enumerate() {
            if let (Some(histogram), true) = (histogram, row.column.present.get(step)) {
                column.set_float(step, function(histogram));
            }
        }
        (!column.present.is_empty()).then_some(Row { drop_name: true, column, ..row })
    };
    rows.into_iter().filter_map(map).collect()
}

/// The variance as far as buckets tell: every observation counts as the middle of its bucket.
fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let (mut variance, mut compensation) = (0.0, 0.0);
    for bucket in histogram.all_buckets().iter().filter(|bucket| bucket.count != 0.0) {
        let value = if histogram.uses_custom_buckets() {
            f64::midpoint(bucket.upper, bucket.lower)
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = value - mean;
        (variance, compensation) = kahan(bucket.count * delta * delta, variance, compensation);
    }
    (variance + compensation) / histogram.count
}

/// A histogram of either kind over all steps: one row of native histograms, or rows of buckets with their bounds.
struct Whole {
    /// Without `le`.
    labels: Labels,
    native: Option<Column>,
    /// Sorted by bound.
    buckets: Vec<(f64, Column)>,
}

/// What all histograms of a call have in common.
struct Asked<'a> {
    context: &'a Context<'a>,
    grid: &'a Grid,
    span: Span,
}

impl Asked<'_> {
    /// Puts rows together by their labels without `le`. Where a native and a classic histogram have the same labels at
    /// the same time, neither counts.
    fn histograms(&self, rows: Vec<Row>) -> Result<Vec<Whole>, QueryError> {
        let mut by_labels: HashMap<Labels, usize> = HashMap::new();
        let mut out: Vec<Whole> = Vec::new();
        let mut natives: Vec<(Labels, Column)> = Vec::new();
        for (at, row) in rows.into_iter().enumerate() {
            self.context.check_at(at)?;
            let Row { labels, mut column, .. } = row;
            if column.histograms.is_some() {
                let mut native = column.clone();
                let floats = (0..self.grid.steps).filter(|step| column.histogram(*step).is_none());
                floats.for_each(|step| native.present.clear(step));
                natives.push((labels.clone(), native));
                column.drop_histograms();
            }
            if column.present.is_empty() {
                continue;
            }
            let le = labels.value(BUCKET_LABEL);
            let Some(bound) = parse_bound(le) else {
                self.context.note(|notes| notes.bad_bucket_label(labels.name(), le, self.span));
                continue;
            };
            let whole = labels.with(BUCKET_LABEL, "");
            let at = *by_labels.entry(whole.clone()).or_insert_with(|| {
                out.push(Whole { labels: whole, native: None, buckets: Vec::new() });
                out.len() - 1
            });
            out[at].buckets.push((bound, column));
        }
        for whole in &mut out {
            whole.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        for (labels, mut native) in natives {
            if let Some(at) = by_labels.get(&labels) {
                self.part(&mut out[*at], &mut native);
            }
            if !native.present.is_empty() {
                out.push(Whole { labels, native: Some(native), buckets: Vec::new() });
            }
        }
        Ok(out)
    }

    /// Takes out the steps at which a classic and a native histogram collide.
    fn part(&self, classic: &mut Whole, native: &mut Column) {
        let mut collision = native.present.clone();
        let mut any = super::Bits::none(self.grid.steps);
        classic.buckets.iter().for_each(|(_, column)| any.or(&column.present));
        collision.and(&any);
        if collision.is_empty() {
            return;
        }
        native.present.and_not(&collision);
        classic.buckets.iter_mut().for_each(|(_, column)| column.present.and_not(&collision));
        self.context.note(|notes| notes.mixed_classic_native(classic.labels.name(), self.span));
    }

    /// A number per step and histogram; `of_native` and `of_classic` find it.
    fn each(
        &self,
        histograms: &[Whole],
        of_native: impl Fn(&FloatHistogram, usize) -> (f64, Noticed) + Sync,
        of_classic: impl Fn(&mut Vec<ClassicBucket>, usize, &str, &mut Annotations) -> f64 + Sync,
    ) -> Result<Vec<Row>, QueryError> {
        self.context.charge_rows(histograms.len(), self.grid.steps)?;
        let one = |whole: &Whole| -> Result<(Row, Annotations), QueryError> {
            let mut notes = Annotations::default();
            let metric = whole.labels.name();
            let native = |step: usize, notes: &mut Annotations| {
                let column = whole.native.as_ref().filter(|column| column.present.get(step))?;
                let (value, noticed) = of_native(column.histogram(step)?, step);
                self.tell(noticed, metric, notes);
                Some(value)
            };
            let mut column = Column::empty(self.grid.steps);
            let mut buckets: Vec<ClassicBucket> = Vec::with_capacity(whole.buckets.len());
            for step in 0..self.grid.steps {
                self.context.check_at(step)?;
                if let Some(value) = native(step, &mut notes) {
                    column.set_float(step, value);
                    continue;
                }
                let present = whole.buckets.iter().filter(|(_, column)| column.present.get(step));
                buckets.clear();
                buckets
                    .extend(present.map(|(upper, column)| ClassicBucket { upper: *upper, count: column.values[step] }));
                if !buckets.is_empty() {
                    column.set_float(step, of_classic(&mut buckets, step, metric, &mut notes));
                }
            }
            Ok((Row { serial: 0, labels: whole.labels.clone(), drop_name: true, column }, notes))
        };
        let made: Vec<(Row, Annotations)> = histograms.into_par_iter().map(one).collect::<Result<_, _>>()?;
        let mut rows = Vec::with_capacity(made.len());
        for (row, notes) in made {
            if !notes.is_empty() {
                self.context.note(|all| all.merge(notes));
            }
            if !row.column.present.is_empty() {
                rows.push(row);
            }
        }
        self.context.release_rows(histograms.len() - rows.len(), self.grid.steps);
        Ok(rows)
    }

    fn tell(&self, noticed: Noticed, metric: &str, notes: &mut Annotations) {
        match noticed {
            Noticed::Nothing => {}
            Noticed::NanResult => notes.quantile_nan_result(metric, self.span),
            Noticed::NanSkew => notes.quantile_nan_skew(metric, self.span),
            Noticed::NanExcluded => notes.fraction_nan(metric, self.span),
        }
    }

    fn quantiles(&self, histograms: &[Whole], q: &[f64]) -> Result<Vec<Row>, QueryError> {
        self.context.budget.check()?;
        let delayed = self.context.delayed_name_removal;
        self.each(
            histograms,
            |histogram, step| histogram_quantile(q[step], histogram),
            |buckets, step, metric, notes| {
                let (value, bent) = bucket_quantile(q[step], buckets, self.grid.time(step));
                if let Some(bent) = bent {
                    notes.forced_monotonicity(if delayed { metric } else { "" }, self.span, bent);
                }
                value
            },
        )
    }

    fn fractions(&self, histograms: &[Whole], lower: &[f64], upper: &[f64]) -> Result<Vec<Row>, QueryError> {
        self.each(
            histograms,
            |histogram, step| histogram_fraction(lower[step], upper[step], histogram),
            |buckets, step, _, _| bucket_fraction(lower[step], upper[step], buckets),
        )
    }
}

/// A bound as Go's `strconv.ParseFloat` reads it.
fn parse_bound(text: &str) -> Option<f64> {
    text.parse().ok().filter(|_| !text.is_empty())
}
