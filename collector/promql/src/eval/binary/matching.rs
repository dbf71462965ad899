//! Arithmetic and comparison of vectors: series pair up by signature once, then whole columns are combined.
//!
//! The right side is the "one" side (`group_right` swaps). At any step it may have one series per signature; so may the
//! left, unless `group_left` says that there may be many, and then their results must differ in labels.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::ast::{Cardinality, Matching, Op};
use crate::error::QueryError;
use crate::eval::column::{Bits, Column};
use crate::eval::groups::{Groups, Key};
use crate::eval::merge::merge;
use crate::eval::{Cell, Context, Grid, Row};
use crate::labels::Labels;
use crate::plan::Binary;

use super::elements::{Complaints, apply, arithmetic};

/// Which labels decide whether series are partners.
pub(super) fn signature_key(matching: &Matching) -> Key {
    let mut labels = matching.labels.clone();
    labels.sort();
    if matching.on { Key::By(labels) } else { Key::Without(labels) }
}

/// The labels of a partner that is made up.
fn partner_labels(labels: &Labels, matching: &Matching) -> Labels {
    signature_key(matching).labels(labels)
}

/// The rows of one signature.
#[derive(Default)]
struct Partners {
    left: Vec<usize>,
    right: Vec<usize>,
}

struct Pairing<'a> {
    context: &'a Context<'a>,
    binary: &'a Binary,
    matching: &'a Matching,
    swapped: bool,
    left: &'a [Row],
    right: &'a [Row],
    grid: Grid,
    complaints: Complaints,
    out: Vec<Row>,
}

/// Evaluates an operator on two vectors.
pub(super) fn pair(
    context: &Context<'_>,
    binary: &Binary,
    left: Vec<Row>,
    right: Vec<Row>,
    grid: &Grid,
) -> Result<Vec<Row>, QueryError> {
    let matching = binary.matching.clone().unwrap_or_default();
    let swapped = matching.cardinality == Cardinality::OneToMany;
    let (left, right) = if swapped { (right, left) } else { (left, right) };
    let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    let mut groups = Groups::new(signature_key(&matching));
    let mut partners: Vec<Partners> = Vec::new();
    for (side, rows) in [(0, &left), (1, &right)] {
        for (at, row) in rows.iter().enumerate() {
            context.check_at(at)?;
            let group = groups.group(&row.labels) as usize;
            if group == partners.len() {
                partners.push(Partners::default());
            }
            let partners = &mut partners[group];
            if side == 0 { partners.left.push(at) } else { partners.right.push(at) }
        }
    }
    // Where the other side is empty nothing is matched, so nothing can be ambiguous.
    let mut anything_left = if filled { Bits::all(grid.steps) } else { Bits::none(grid.steps) };
    left.iter().for_each(|row| anything_left.or(&row.column.present));
    let complaints = Complaints::default();
    let mut pairing = Pairing {
        context,
        binary,
        matching: &matching,
        swapped,
        left: &left,
        right: &right,
        grid: *grid,
        complaints,
        out: Vec::new(),
    };
    for partners in &partners {
        context.budget.check()?;
        pairing.check_one_side(partners, &anything_left)?;
        pairing.combine(partners)?;
    }
    let Pairing { complaints, mut out, .. } = pairing;
    complaints.report(context, binary);
    let made = out.len();
    out.retain(|row| !row.column.present.is_empty());
    context.release_rows(made - out.len(), grid.steps);
    context.release(&left, grid.steps);
    context.release(&right, grid.steps);
    let out = merge(context, out)?;
    crate::eval::settle(context, out)
}

impl Pairing<'_> {
    /// At no step may the one side have two series of one signature.
    fn check_one_side(&self, partners: &Partners, anything_left: &Bits) -> Result<(), QueryError> {
        if partners.right.len() < 2 {
            return Ok(());
        }
        let mut seen = Bits::none(self.grid.steps);
        for (at, row) in partners.right.iter().enumerate() {
            let mut present = self.right[*row].column.present.clone();
            present.and(anything_left);
            if let Some(step) = present.iter().find(|step| seen.get(*step)) {
                let earlier = partners.right[..at].iter().find(|row| self.right[**row].column.present.get(step));
                let other = earlier.map_or(&self.right[*row], |row| &self.right[*row]);
                return Err(self.duplicate(&self.right[*row], other));
            }
            seen.or(&present);
        }
        Ok(())
    }

    fn duplicate(&self, a: &Row, b: &Row) -> QueryError {
        let group = partner_labels(&a.labels, self.matching);
        let side = if self.swapped { "left" } else { "right" };
        let mut pair = [a.labels.to_string(), b.labels.to_string()];
        pair.sort();
        let [first, second] = pair;
        QueryError::Execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
             [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
        ))
    }

    fn combine(&mut self, partners: &Partners) -> Result<(), QueryError> {
        let steps = self.grid.steps;
        let mut any_right = Bits::none(steps);
        let mut any_left = Bits::none(steps);
        partners.right.iter().for_each(|row| any_right.or(&self.right[*row].column.present));
        partners.left.iter().for_each(|row| any_left.or(&self.left[*row].column.present));
        let mut results = Results::new(self.matching.cardinality, steps);
        let (left, right) = (self.left, self.right);
        for (at, l) in partners.left.iter().enumerate() {
            self.context.check_at(at)?;
            for r in &partners.right {
                self.combine_rows(&left[*l], &right[*r], &mut results)?;
            }
            if let Some(fill) = self.matching.fill_right {
                let mut missing = left[*l].column.present.clone();
                missing.and_not(&any_right);
                let made_up = self.made_up(&left[*l], fill, missing);
                self.combine_rows(&left[*l], &made_up, &mut results)?;
            }
        }
        if let Some(fill) = self.matching.fill_left {
            for r in &partners.right {
                let mut missing = right[*r].column.present.clone();
                missing.and_not(&any_left);
                let made_up = self.made_up(&right[*r], fill, missing);
                self.combine_rows(&made_up, &right[*r], &mut results)?;
            }
        }
        Ok(())
    }

    /// A partner of a row with a given value, where it has none.
    fn made_up(&self, of: &Row, fill: f64, present: Bits) -> Row {
        let column = Column { values: vec![fill; self.grid.steps], present, histograms: None };
        Row { serial: 0, labels: partner_labels(&of.labels, self.matching), drop_name: false, column }
    }

    fn combine_rows(&mut self, left: &Row, right: &Row, results: &mut Results) -> Result<(), QueryError> {
        let mut both = left.column.present.clone();
        both.and(&right.column.present);
        if both.is_empty() {
            return Ok(());
        }
        let labels = self.result_labels(&left.labels, &right.labels);
        let one = self.matching.cardinality == Cardinality::OneToOne;
        let serial = if one { 0 } else { left.serial };
        results.take(&labels, serial, &both)?;
        self.context.charge_rows(1, self.grid.steps)?;
        let column = self.column(&left.column, &right.column, both);
        self.context.charge_histograms(&column)?;
        self.out.push(Row { serial, labels, drop_name: self.binary.return_bool, column });
        Ok(())
    }

    fn column(&mut self, left: &Column, right: &Column, both: Bits) -> Column {
        let (a, b) = if self.swapped { (right, left) } else { (left, right) };
        let op = self.binary.op;
        if a.histograms.is_none() && b.histograms.is_none() && op.changes_schema() {
            let values = a.values.iter().zip(&b.values).map(|(a, b)| arithmetic(op, *a, *b).unwrap_or(f64::NAN));
            return Column { values: values.collect(), present: both, histograms: None };
        }
        let mut out = Column::empty(self.grid.steps);
        for step in both.iter() {
            let (Some(a), Some(b)) = (a.cell(step), b.cell(step)) else { continue };
            let Some((value, keep)) = apply(op, &a, &b, &mut self.complaints) else { continue };
            if self.binary.return_bool {
                out.set(step, Cell::Float(f64::from(u8::from(keep))));
            } else if keep {
                out.set(step, value);
            }
        }
        out
    }

    fn result_labels(&self, left: &Labels, right: &Labels) -> Labels {
        let op: Op = self.binary.op;
        let mut labels = if op.changes_schema() { left.without_metadata() } else { left.clone() };
        if self.matching.cardinality == Cardinality::OneToOne {
            labels =
                if self.matching.on { labels.keep(&self.matching.labels) } else { labels.drop(&self.matching.labels) };
        }
        for name in &self.matching.include {
            labels = labels.with(name, right.value(name));
        }
        labels
    }
}

/// Which results of a signature are taken at which steps.
enum Results {
    /// One at each step.
    One(Bits),
    /// One of each label set at each step.
    Many(HashMap<(Labels, u32), Bits>),
}

impl Results {
    fn new(cardinality: Cardinality, steps: usize) -> Self {
        if cardinality == Cardinality::OneToOne { Self::One(Bits::none(steps)) } else { Self::Many(HashMap::new()) }
    }

    fn take(&mut self, labels: &Labels, serial: u32, at: &Bits) -> Result<(), QueryError> {
        let (taken, problem) = match self {
            Self::One(taken) => {
                (taken, "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")
            }
            Self::Many(taken) => match taken.entry((labels.clone(), serial)) {
                Entry::Vacant(place) => {
                    place.insert(at.clone());
                    return Ok(());
                }
                Entry::Occupied(place) => {
                    (place.into_mut(), "multiple matches for labels: grouping labels must ensure unique matches")
                }
            },
        };
        if taken.overlaps(at) {
            return Err(QueryError::Execution(problem.to_owned()));
        }
        taken.or(at);
        Ok(())
    }
}
