//! Functions of dates, in UTC.

use crate::calendar::{Civil, civil, days_in_month};
use crate::error::QueryError;
use crate::eval::column::{Bits, Column};
use crate::eval::{Context, Grid, Row, evaluate, settle};
use crate::labels::Labels;
use crate::plan::Call;

use super::math::map;

/// The part of a date that a function of this name answers.
pub(super) fn part(name: &str) -> Option<fn(Civil) -> f64> {
    Some(match name {
        "days_in_month" => |at| f64::from(days_in_month(at)),
        "day_of_month" => |at| f64::from(at.day),
        "day_of_week" => |at| f64::from(at.weekday),
        "day_of_year" => |at| f64::from(at.yearday),
        "hour" => |at| f64::from(at.hour),
        "minute" => |at| f64::from(at.minute),
        "month" => |at| f64::from(at.month),
        "year" => |at| at.year as f64,
        _ => return None,
    })
}

/// Of each float, seconds since the epoch; without an argument of the step's time.
pub(super) fn dates(
    context: &Context<'_>,
    call: &Call,
    grid: &Grid,
    part: fn(Civil) -> f64,
) -> Result<Vec<Row>, QueryError> {
    let Some(arg) = call.args.first() else {
        let values = (0..grid.steps).map(|step| part(civil(grid.time(step).div_euclid(1000)))).collect();
        let column = Column { values, present: Bits::all(grid.steps), histograms: None };
        return Ok(vec![Row { serial: 0, labels: Labels::default(), drop_name: false, column }]);
    };
    let rows = evaluate(context, arg, grid)?.rows()?;
    settle(context, map(context, rows, |seconds| part(civil(seconds as i64)))?)
}
