//! One column of unsigned numbers, in whichever of seven forms is smallest. A column does not say how long it is;
//! the section around it does.
//!
//! ```text
//! ┌─────┬──────────────────────────────────────────────────────────────────────────────┐
//! │  0  │ varint                            every value is this one                    │
//! │  1  │ (varint length, varint value)*    runs of equal values                       │
//! │  2  │ varint*                           each value                                 │
//! │  3  │ (varint length, zigzag step)*     runs of equal steps from the value before  │
//! │  4  │ zigzag varint*                    steps from the value before, which began 0 │
//! │  5  │ u8 width, width planes            byte-split: all lowest bytes, then the next│
//! │  6  │ u8 width, width planes            byte-split zigzag steps                    │
//! └─────┴──────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Signed numbers are cast (times, which step) or zigzagged (residuals) by the caller; doubles are their bits.
//! The choice is by exact size before zstd. A plane costs less than its size, since zstd shrinks constant planes
//! to nothing and packs skewed ones, so planes win ties.

use super::FrameError;
use super::bytes::{Cursor, put_varint, unzigzag, varint_len, zigzag};

const CONSTANT: u8 = 0;
const RUNS: u8 = 1;
const VARINTS: u8 = 2;
const STEP_RUNS: u8 = 3;
const STEPS: u8 = 4;
const PLANES: u8 = 5;
const STEP_PLANES: u8 = 6;

/// What each form but the constant one would take, found in one pass.
struct Sizes {
    runs: usize,
    varints: usize,
    step_runs: usize,
    steps: usize,
    value_bits: u64,
    step_bits: u64,
}

/// Appends `values` in the smallest form; nothing for an empty column.
pub(super) fn put_column(values: &[u64], out: &mut Vec<u8>) {
    let Some(&first) = values.first() else { return };
    if values.iter().all(|&value| value == first) {
        out.push(CONSTANT);
        put_varint(first, out);
        return;
    }
    let sizes = measure(values);
    let planes = width(sizes.value_bits) * values.len();
    let step_planes = width(sizes.step_bits) * values.len();
    let forms = [
        (planes, PLANES),
        (step_planes, STEP_PLANES),
        (sizes.runs, RUNS),
        (sizes.varints, VARINTS),
        (sizes.step_runs, STEP_RUNS),
        (sizes.steps, STEPS),
    ];
    let (_, form) = *forms.iter().min_by_key(|(size, _)| *size).expect("the list of forms is not empty");
    out.push(form);
    match form {
        RUNS => put_runs(values.iter().copied(), out),
        VARINTS => values.iter().for_each(|&value| put_varint(value, out)),
        STEP_RUNS => put_runs(steps(values), out),
        STEPS => steps(values).for_each(|step| put_varint(step, out)),
        PLANES => put_planes(values.iter().copied(), width(sizes.value_bits), out),
        _ => put_planes(steps(values), width(sizes.step_bits), out),
    }
}

/// Appends the `n` values of the next column to `into`.
///
/// # Errors
/// When the column is cut short, runs past `n`, or is in no known form. The caller has charged for `n` values.
pub(super) fn take_column(cursor: &mut Cursor<'_>, n: usize, into: &mut Vec<u64>) -> Result<(), FrameError> {
    if n == 0 {
        return Ok(());
    }
    let from = into.len();
    match cursor.byte()? {
        CONSTANT => {
            let value = cursor.varint()?;
            into.resize(from + n, value);
        }
        RUNS => take_runs(cursor, n, into)?,
        VARINTS => {
            into.reserve(n);
            for _ in 0..n {
                into.push(cursor.varint()?);
            }
        }
        STEP_RUNS => {
            take_runs(cursor, n, into)?;
            sum_steps(&mut into[from..]);
        }
        STEPS => {
            into.reserve(n);
            let mut value = 0_u64;
            for _ in 0..n {
                value = value.wrapping_add(unzigzag(cursor.varint()?) as u64);
                into.push(value);
            }
        }
        PLANES => take_planes(cursor, n, into)?,
        STEP_PLANES => {
            take_planes(cursor, n, into)?;
            sum_steps(&mut into[from..]);
        }
        _ => return Err(cursor.malformed("column in an unknown form")),
    }
    Ok(())
}

fn steps(values: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let mut before = 0_u64;
    values.iter().map(move |&value| {
        let step = zigzag(value.wrapping_sub(before) as i64);
        before = value;
        step
    })
}

fn sum_steps(values: &mut [u64]) {
    let mut value = 0_u64;
    for slot in values {
        value = value.wrapping_add(unzigzag(*slot) as u64);
        *slot = value;
    }
}

fn measure(values: &[u64]) -> Sizes {
    let mut sizes = Sizes { runs: 0, varints: 0, step_runs: 0, steps: 0, value_bits: 0, step_bits: 0 };
    // Neither can be the first value's run: the first value and the first step always open one.
    let (mut before, mut step_before) = (0_u64, None);
    for (at, &value) in values.iter().enumerate() {
        let step = zigzag(value.wrapping_sub(before) as i64);
        let (value_len, step_len) = (varint_len(value), varint_len(step));
        sizes.varints += value_len;
        sizes.steps += step_len;
        sizes.value_bits |= value;
        sizes.step_bits |= step;
        // Two bytes for a run's length: long runs are few, short ones take one.
        if at == 0 || step != 0 {
            sizes.runs += value_len + 2;
        }
        if step_before != Some(step) {
            sizes.step_runs += step_len + 2;
        }
        (before, step_before) = (value, Some(step));
    }
    sizes
}

/// Bytes that the widest of numbers with these bits needs.
fn width(bits: u64) -> usize {
    (64 - bits.leading_zeros()).div_ceil(8).max(1) as usize
}

fn put_runs(values: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    let mut run: Option<(u64, u64)> = None;
    for value in values {
        match &mut run {
            Some((length, held)) if *held == value => *length += 1,
            _ => {
                if let Some((length, held)) = run.replace((1, value)) {
                    put_varint(length, out);
                    put_varint(held, out);
                }
            }
        }
    }
    if let Some((length, held)) = run {
        put_varint(length, out);
        put_varint(held, out);
    }
}

fn take_runs(cursor: &mut Cursor<'_>, n: usize, into: &mut Vec<u64>) -> Result<(), FrameError> {
    let end = into.len() + n;
    into.reserve(n);
    while into.len() < end {
        let length = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
        let value = cursor.varint()?;
        if length == 0 || length > end - into.len() {
            return Err(cursor.malformed("run that does not fit its column"));
        }
        into.resize(into.len() + length, value);
    }
    Ok(())
}

fn put_planes(values: impl Iterator<Item = u64>, width: usize, out: &mut Vec<u8>) {
    out.push(u8::try_from(width).expect("a u64 has at most eight bytes"));
    let from = out.len();
    let values: Vec<u64> = values.collect();
    out.resize(from + width * values.len(), 0);
    for (plane, column) in out[from..].chunks_exact_mut(values.len()).enumerate() {
        let shift = 8 * plane;
        column.iter_mut().zip(&values).for_each(|(slot, value)| *slot = (value >> shift) as u8);
    }
}

fn take_planes(cursor: &mut Cursor<'_>, n: usize, into: &mut Vec<u64>) -> Result<(), FrameError> {
    let width = usize::from(cursor.byte()?);
    if width == 0 || width > 8 {
        return Err(cursor.malformed("planes of an impossible width"));
    }
    let bytes = cursor.take(width.saturating_mul(n))?;
    let from = into.len();
    into.resize(from + n, 0);
    for (plane, column) in bytes.chunks_exact(n).enumerate() {
        let shift = 8 * plane;
        into[from..].iter_mut().zip(column).for_each(|(slot, &byte)| *slot |= u64::from(byte) << shift);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(values: &[u64]) -> usize {
        let mut out = Vec::new();
        put_column(values, &mut out);
        let mut back = Vec::new();
        let mut cursor = Cursor::new(&out, 0);
        take_column(&mut cursor, values.len(), &mut back).unwrap();
        assert!(cursor.is_at_end());
        assert_eq!(back, values);
        out.len()
    }

    #[test]
    fn each_shape_of_column_comes_back_and_is_small() {
        assert_eq!(round(&[]), 0);
        assert_eq!(round(&[7; 1000]), 2);
        assert!(round(&(0..1000).collect::<Vec<_>>()) < 8, "a sequence is two runs of steps");
        assert!(round(&(0..1000).map(|i| u64::MAX - i / 250).collect::<Vec<_>>()) < 50);
        assert!(round(&(0..1000).map(|i| 1_700_000_000_000_000_000 + i * 999_999_937).collect::<Vec<_>>()) < 20);
        let noise: Vec<u64> = (0..1000_u64).map(|i| (i * i).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        assert_eq!(round(&noise), 8002, "noise is planes of eight bytes");
        round(&[u64::MAX, 0, u64::MAX, 1]);
    }

    proptest::proptest! {
        #[test]
        fn any_column_comes_back(values: Vec<u64>) {
            round(&values);
        }

        #[test]
        fn any_bytes_give_an_answer_or_an_error(bytes: Vec<u8>, n in 0_usize..1000) {
            let mut back = Vec::new();
            let taken = take_column(&mut Cursor::new(&bytes, 0), n, &mut back);
            proptest::prop_assert!(taken.is_err() || back.len() == n);
        }
    }
}
