//! Groups by steps, and how a series is added to its group. Floats are columns of sums with their compensations;
//! histograms, rare, are kept by cell.

use std::collections::HashMap;
use std::sync::Arc;

use crate::annotations::Combining;
use crate::ast::Aggregation;
use crate::error::QueryError;
use crate::eval::column::{Bits, Column};
use crate::eval::groups::Groups;
use crate::eval::{Context, Row, STEPS_UNCHECKED};
use crate::histogram::{Combined, FloatHistogram, HistogramSum, IncompatibleSchemas, ResetHint, kahan};
use crate::plan::Aggregate;

/// The histograms of one group at one step.
struct HistogramCell {
    sum: HistogramSum,
    count: f64,
    /// Whether `sum` is a running mean, because a sum would leave the numbers.
    running: bool,
    incompatible: bool,
    reset: bool,
    not_reset: bool,
}

/// What is told about the whole aggregation.
#[derive(Default)]
struct Noticed {
    histogram_ignored: bool,
    reconciled: bool,
    mixed_schemas: Option<String>,
}

/// Running values of all groups at all steps.
pub(super) struct Accumulator {
    op: Aggregation,
    steps: usize,
    /// Sum, mean (of a variance), minimum or maximum.
    value: Vec<f64>,
    /// Compensation of the sum; sum of squares of a variance.
    second: Vec<f64>,
    count: Vec<f64>,
    /// Cells whose value is a running mean, because a sum would leave the numbers.
    running: Option<Bits>,
    floats: Bits,
    /// Groups whose steps are all known to have floats.
    whole: Vec<bool>,
    histograms: HashMap<usize, HistogramCell>,
    drop_name: Vec<bool>,
    noticed: Noticed,
}

impl Accumulator {
    pub(super) fn new(op: Aggregation, groups: usize, steps: usize) -> Self {
        let cells = groups * steps;
        let second = matches!(op, Aggregation::Sum | Aggregation::Avg | Aggregation::Stddev | Aggregation::Stdvar);
        let count = matches!(op, Aggregation::Avg | Aggregation::Count | Aggregation::Stddev | Aggregation::Stdvar);
        Self {
            op,
            steps,
            value: vec![0.0; cells],
            second: vec![0.0; if second { cells } else { 0 }],
            count: vec![0.0; if count { cells } else { 0 }],
            running: None,
            floats: Bits::none(cells),
            whole: vec![false; groups],
            histograms: HashMap::new(),
            drop_name: vec![false; groups],
            noticed: Noticed::default(),
        }
    }

    /// Bytes of one accumulator.
    pub(super) fn bytes(groups: usize, steps: usize) -> u64 {
        (groups * steps * 25) as u64
    }

    /// Adds a series to a group.
    pub(super) fn add(&mut self, group: usize, metric: &str, drop_name: bool, column: &Column) {
        self.drop_name[group] |= drop_name;
        let base = group * self.steps;
        if column.histograms.is_none() && column.present.is_full() {
            if self.whole[group] {
                return self.add_whole(group, &column.values);
            }
            self.whole[group] = true;
            for (step, value) in column.values.iter().enumerate() {
                self.add_float(base + step, *value);
            }
            return;
        }
        for step in column.present.iter() {
            match column.histogram(step) {
                None => self.add_float(base + step, column.values[step]),
                Some(histogram) => self.add_histogram(base + step, metric, histogram),
            }
        }
    }

    /// Adds floats at all steps to a group that has some at all steps.
    fn add_whole(&mut self, group: usize, values: &[f64]) {
        let base = group * self.steps;
        let cells = base..base + self.steps;
        match self.op {
            Aggregation::Sum => {
                let sums = self.value[cells.clone()].iter_mut().zip(&mut self.second[cells]);
                for ((sum, compensation), value) in sums.zip(values) {
                    (*sum, *compensation) = kahan(*value, *sum, *compensation);
                }
            }
            Aggregation::Count => self.count[cells].iter_mut().for_each(|count| *count += 1.0),
            Aggregation::Min => {
                for (least, value) in self.value[cells].iter_mut().zip(values) {
                    *least = if *least > *value || least.is_nan() { *value } else { *least };
                }
            }
            Aggregation::Max => {
                for (most, value) in self.value[cells].iter_mut().zip(values) {
                    *most = if *most < *value || most.is_nan() { *value } else { *most };
                }
            }
            Aggregation::Group => {}
            _ => values.iter().enumerate().for_each(|(step, value)| self.add_float(base + step, *value)),
        }
    }

    #[inline]
    fn add_float(&mut self, cell: usize, value: f64) {
        let first = !self.floats.get(cell);
        if first {
            self.floats.set(cell);
        }
        match self.op {
            Aggregation::Sum => {
                (self.value[cell], self.second[cell]) = kahan(value, self.value[cell], self.second[cell]);
            }
            Aggregation::Avg => self.add_to_average(cell, value, first),
            Aggregation::Count => self.count[cell] += 1.0,
            Aggregation::Min => {
                let least = self.value[cell];
                if first || least > value || least.is_nan() {
                    self.value[cell] = value;
                }
            }
            Aggregation::Max => {
                let most = self.value[cell];
                if first || most < value || most.is_nan() {
                    self.value[cell] = value;
                }
            }
            Aggregation::Stddev | Aggregation::Stdvar => {
                self.count[cell] += 1.0;
                if first {
                    self.value[cell] = value;
                    self.second[cell] = if value.is_finite() { 0.0 } else { f64::NAN };
                } else {
                    let delta = value - self.value[cell];
                    self.value[cell] += delta / self.count[cell];
                    self.second[cell] += delta * (value - self.value[cell]);
                }
            }
            _ => {}
        }
    }

    fn is_running(&self, cell: usize) -> bool {
        self.running.as_ref().is_some_and(|running| running.get(cell))
    }

    fn add_to_average(&mut self, cell: usize, value: f64, first: bool) {
        self.count[cell] += 1.0;
        let count = self.count[cell];
        if !self.is_running(cell) {
            let (sum, compensation) = kahan(value, self.value[cell], self.second[cell]);
            if first || !sum.is_infinite() {
                (self.value[cell], self.second[cell]) = (sum, compensation);
                return;
            }
            let cells = self.value.len();
            self.running.get_or_insert_with(|| Bits::none(cells)).set(cell);
            self.value[cell] /= count - 1.0;
            self.second[cell] /= count - 1.0;
        }
        let share = (count - 1.0) / count;
        (self.value[cell], self.second[cell]) =
            kahan(value / count, share * self.value[cell], share * self.second[cell]);
    }

    fn add_histogram(&mut self, cell: usize, metric: &str, histogram: &FloatHistogram) {
        match self.op {
            Aggregation::Count => {
                self.count[cell] += 1.0;
                self.floats.set(cell);
            }
            Aggregation::Group => self.floats.set(cell),
            Aggregation::Sum | Aggregation::Avg => {
                let average = self.op == Aggregation::Avg;
                let added = match self.histograms.get_mut(&cell) {
                    Some(running) => running.add(histogram, average),
                    None => {
                        self.histograms.insert(cell, HistogramCell::of(histogram));
                        return;
                    }
                };
                match added {
                    Ok(reconciled) => self.noticed.reconciled |= reconciled,
                    Err(_) => {
                        self.noticed.mixed_schemas.get_or_insert_with(|| metric.to_owned());
                    }
                }
            }
            _ => self.noticed.histogram_ignored = true,
        }
    }

    /// Takes over what another thread has added.
    pub(super) fn join(&mut self, other: Self) {
        for (ours, theirs) in self.drop_name.iter_mut().zip(&other.drop_name) {
            *ours |= theirs;
        }
        for cell in other.floats.iter() {
            self.join_cell(cell, &other);
        }
        self.floats.or(&other.floats);
        for (cell, theirs) in other.histograms {
            match self.histograms.get_mut(&cell) {
                None => {
                    self.histograms.insert(cell, theirs);
                }
                Some(ours) => match ours.join(theirs) {
                    Ok(reconciled) => self.noticed.reconciled |= reconciled,
                    Err(_) => {
                        self.noticed.mixed_schemas.get_or_insert_with(String::new);
                    }
                },
            }
        }
        self.noticed.histogram_ignored |= other.noticed.histogram_ignored;
        self.noticed.reconciled |= other.noticed.reconciled;
        self.noticed.mixed_schemas = self.noticed.mixed_schemas.take().or(other.noticed.mixed_schemas);
    }

    fn join_cell(&mut self, cell: usize, other: &Self) {
        if !self.floats.get(cell) {
            self.value[cell] = other.value[cell];
            if let Some(theirs) = other.second.get(cell) {
                self.second[cell] = *theirs;
            }
            if let Some(theirs) = other.count.get(cell) {
                self.count[cell] = *theirs;
            }
            if other.is_running(cell) {
                let cells = self.value.len();
                self.running.get_or_insert_with(|| Bits::none(cells)).set(cell);
            }
            return;
        }
        let (theirs, ours) = (other.value[cell], self.value[cell]);
        match self.op {
            Aggregation::Sum => {
                let (sum, compensation) = kahan(theirs, ours, self.second[cell]);
                (self.value[cell], self.second[cell]) = kahan(other.second[cell], sum, compensation);
            }
            Aggregation::Avg => self.join_average(cell, other),
            Aggregation::Count => self.count[cell] += other.count[cell],
            Aggregation::Min if theirs < ours || ours.is_nan() => self.value[cell] = theirs,
            Aggregation::Max if theirs > ours || ours.is_nan() => self.value[cell] = theirs,
            Aggregation::Stddev | Aggregation::Stdvar => {
                let (n, more) = (self.count[cell], other.count[cell]);
                let delta = theirs - ours;
                self.count[cell] = n + more;
                self.value[cell] = ours + delta * more / (n + more);
                self.second[cell] += other.second[cell] + delta * delta * n * more / (n + more);
            }
            _ => {}
        }
    }

    fn join_average(&mut self, cell: usize, other: &Self) {
        let (n, more) = (self.count[cell], other.count[cell]);
        self.count[cell] = n + more;
        if !self.is_running(cell) && !other.is_running(cell) {
            let (sum, compensation) = kahan(other.value[cell], self.value[cell], self.second[cell]);
            if !sum.is_infinite() {
                (self.value[cell], self.second[cell]) = kahan(other.second[cell], sum, compensation);
                return;
            }
        }
        let total = n + more;
        let mean = |sums: &Self, count: f64| {
            let divisor = if sums.is_running(cell) { 1.0 } else { count };
            (sums.value[cell] / divisor, sums.second[cell] / divisor)
        };
        let ((ours, ours_c), (theirs, theirs_c)) = (mean(self, n), mean(other, more));
        let (sum, compensation) = kahan(theirs * (more / total), ours * (n / total), ours_c * (n / total));
        (self.value[cell], self.second[cell]) = (sum, compensation + theirs_c * (more / total));
        let cells = self.value.len();
        self.running.get_or_insert_with(|| Bits::none(cells)).set(cell);
    }

    /// The value of a cell that has floats.
    fn float(&self, cell: usize) -> f64 {
        match self.op {
            Aggregation::Sum if self.value[cell].is_infinite() => self.value[cell],
            Aggregation::Sum => self.value[cell] + self.second[cell],
            Aggregation::Avg if self.is_running(cell) => self.value[cell] + self.second[cell],
            Aggregation::Avg => self.value[cell] / self.count[cell] + self.second[cell] / self.count[cell],
            Aggregation::Count => self.count[cell],
            Aggregation::Group => 1.0,
            Aggregation::Stddev => (self.second[cell] / self.count[cell]).sqrt(),
            Aggregation::Stdvar => self.second[cell] / self.count[cell],
            _ => self.value[cell],
        }
    }

    /// The rows of all groups that have a value anywhere.
    pub(super) fn finish(
        mut self,
        context: &Context<'_>,
        aggregate: &Aggregate,
        groups: &Groups,
    ) -> Result<Vec<Row>, QueryError> {
        let (mut mixed, mut collision) = (false, false);
        let mut rows = Vec::new();
        let any_histogram = !self.histograms.is_empty();
        for group in 0..groups.len() {
            context.charge_rows(1, self.steps)?;
            let mut column = Column::empty(self.steps);
            for step in 0..self.steps {
                if step.is_multiple_of(STEPS_UNCHECKED) {
                    context.budget.check()?;
                }
                let cell = group * self.steps + step;
                let has_float = self.floats.get(cell);
                let histogram = if any_histogram { self.histograms.remove(&cell) } else { None };
                match histogram {
                    None if has_float => column.set_float(step, self.float(cell)),
                    None => {}
                    Some(_) if has_float => mixed = true,
                    Some(histogram) => {
                        collision |= histogram.reset && histogram.not_reset;
                        let value = histogram.value(self.op == Aggregation::Avg);
                        value.into_iter().for_each(|value| column.set_histogram(step, Arc::new(value)));
                    }
                }
            }
            if column.present.is_empty() {
                context.release_rows(1, self.steps);
            } else {
                context.charge_histograms(&column)?;
                let (labels, drop_name) = (groups.labels(group), self.drop_name[group]);
                rows.push(Row { serial: 0, labels, drop_name, column });
            }
        }
        let (span, noticed, op) = (aggregate.expr_span, self.noticed, self.op);
        if mixed || collision || noticed.any() {
            context.note(|notes| {
                if mixed {
                    notes.mixed_floats_histograms_aggregation(span);
                }
                if collision {
                    notes.reset_collision(Combining::Aggregation, span);
                }
                if noticed.histogram_ignored {
                    notes.histogram_ignored_in_aggregation(op.text(), span);
                }
                if noticed.reconciled {
                    notes.mismatched_bounds(Combining::Aggregation, span);
                }
                if let Some(metric) = &noticed.mixed_schemas {
                    notes.mixed_exponential_custom(metric, span);
                }
            });
        }
        Ok(rows)
    }
}

impl Noticed {
    fn any(&self) -> bool {
        self.histogram_ignored || self.reconciled || self.mixed_schemas.is_some()
    }
}

impl HistogramCell {
    fn of(histogram: &FloatHistogram) -> Self {
        let mut cell = Self {
            sum: HistogramSum::of(histogram),
            count: 1.0,
            running: false,
            incompatible: false,
            reset: false,
            not_reset: false,
        };
        cell.see(histogram.reset_hint);
        cell
    }

    fn see(&mut self, hint: ResetHint) {
        self.reset |= hint == ResetHint::Reset;
        self.not_reset |= hint == ResetHint::NotReset;
    }

    /// Adds a histogram; whether custom bounds had to be reconciled.
    fn add(&mut self, histogram: &FloatHistogram, average: bool) -> Result<bool, IncompatibleSchemas> {
        if self.incompatible {
            return Ok(false);
        }
        self.see(histogram.reset_hint);
        self.count += 1.0;
        let added = if average { self.add_to_average(histogram) } else { self.sum.add(histogram) };
        self.incompatible = added.is_err();
        added.map(|combined| combined.reconciled)
    }

    fn add_to_average(&mut self, histogram: &FloatHistogram) -> Result<Combined, IncompatibleSchemas> {
        if !self.running {
            let mut next = self.sum.clone();
            let combined = next.add(histogram)?;
            if !next.has_overflow() {
                self.sum = next;
                return Ok(combined);
            }
            self.running = true;
            let before = self.count - 1.0;
            self.sum.scale(|part| part / before);
        }
        add_to_mean(&mut self.sum, histogram, self.count)
    }

    fn join(&mut self, other: Self) -> Result<bool, IncompatibleSchemas> {
        self.reset |= other.reset;
        self.not_reset |= other.not_reset;
        self.incompatible |= other.incompatible;
        if self.incompatible {
            return Ok(false);
        }
        let (n, more) = (self.count, other.count);
        self.count = n + more;
        let mut theirs = other.sum;
        if self.running || other.running {
            let ours = if self.running { n } else { 1.0 } / self.count;
            let weight = if other.running { more } else { 1.0 } / self.count;
            self.sum.scale(|part| part * ours);
            theirs.scale(|part| part * weight);
            self.running = true;
        }
        let added = self.sum.add(&theirs.value());
        self.incompatible = added.is_err();
        added.map(|combined| combined.reconciled)
    }

    fn value(mut self, average: bool) -> Option<FloatHistogram> {
        if self.incompatible {
            return None;
        }
        if average && !self.running {
            let count = self.count;
            self.sum.scale(|part| part / count);
        }
        Some(self.sum.value())
    }
}

/// Moves a running mean by one more histogram.
fn add_to_mean(
    mean: &mut HistogramSum,
    histogram: &FloatHistogram,
    count: f64,
) -> Result<Combined, IncompatibleSchemas> {
    let share = (count - 1.0) / count;
    mean.scale(|part| part * share);
    let mut part = histogram.clone();
    part.div(count);
    mean.add(&part)
}
