//! Printing: aligned columns for people, and complaints.

use std::io::{self, Write};

/// Widest cell; more is cut, since a table that wraps cannot be read.
const CELL_CHARS_MAX: usize = 120;

/// Prints `rows` under `heads`, columns aligned; numbers to the right.
pub(crate) fn print(heads: &[String], rows: &[Vec<String>]) -> io::Result<()> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| cut(cell)).collect()).collect();
    let wide = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = heads.iter().enumerate().map(|(at, head)| head.chars().count().max(wide(at))).collect();
    let numeric =
        |at: usize| !rows.is_empty() && rows.iter().all(|row| row[at].is_empty() || row[at].parse::<f64>().is_ok());
    let right: Vec<bool> = (0..heads.len()).map(numeric).collect();
    let mut out = io::stdout().lock();
    line(&mut out, heads, &widths, &right)?;
    for row in &rows {
        line(&mut out, row, &widths, &right)?;
    }
    out.flush()
}

/// Prints one line.
pub(crate) fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Prints one line to standard error; when even that is gone there is nobody to tell.
pub(crate) fn complain(text: &str) {
    let _nobody_listens = writeln!(io::stderr().lock(), "{text}");
}

fn line(out: &mut impl Write, cells: &[String], widths: &[usize], right: &[bool]) -> io::Result<()> {
    let mut text = String::new();
    for (at, cell) in cells.iter().enumerate() {
        let pad = " ".repeat(widths[at] - cell.chars().count());
        let (before, after) = if right[at] { (pad.as_str(), "") } else { ("", pad.as_str()) };
        text.push_str(&format!("{before}{cell}{after}  "));
    }
    writeln!(out, "{}", text.trim_end())
}

fn cut(cell: &str) -> String {
    let flat = cell.replace(['\n', '\r', '\t'], " ");
    if flat.chars().count() <= CELL_CHARS_MAX {
        return flat;
    }
    flat.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}
