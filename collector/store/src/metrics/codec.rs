//! The numbers of one chunk as a row of the samples table, and back, bit for bit.
//!
//! Most values are decimals (`12345`, `0.25`): `v == m / 10^e` holds exactly for some integer `m`, since a division
//! of two exact floats is correctly rounded. Differences of such mantissas are small integers, and small integers
//! split by byte compress several times better than floats do. What is not decimal stays raw.
//! The row's form is drawn in `weir_proto::schema::metrics`.

use std::ops::Range;

use super::pages::Planes;

/// Largest integer magnitude that a float holds exactly.
const MANTISSA_MAX: f64 = 9_007_199_254_740_992.0;
/// Decimals tried. On real scrapes 93 % of series need none and none needed more than 13.
const EXPONENT_MAX: i8 = 13;
/// A column with at most one fall in this many points is a counter with restarts: increments, not offsets.
const POINTS_PER_RESET: usize = 32;

/// How a row's values are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum Kind {
    Constant = 0,
    Increments = 1,
    Offsets = 2,
    Raw = 3,
}

/// The value columns of one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) kind: Kind,
    pub(crate) exponent: i8,
    pub(crate) first: f64,
    pub(crate) differences: Differences,
}

/// The list of a row, in the narrowest type that holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Differences {
    None,
    Narrow(Vec<i32>),
    Wide(Vec<i64>),
    Raw,
}

impl Kind {
    pub(crate) fn from_i8(number: i8) -> Option<Self> {
        Some(match number {
            0 => Self::Constant,
            1 => Self::Increments,
            2 => Self::Offsets,
            3 => Self::Raw,
            _ => return None,
        })
    }
}

/// Encodes at least one value. `Differences::Raw` means: store `values` as they are.
pub(crate) fn encode(values: &[f64]) -> Encoded {
    let first = values[0];
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        return Encoded { kind: Kind::Constant, exponent: 0, first, differences: Differences::None };
    }
    let Some((exponent, mantissas)) = mantissas(values) else {
        return Encoded { kind: Kind::Raw, exponent: 0, first, differences: Differences::Raw };
    };
    let falls = mantissas.windows(2).filter(|pair| pair[1] < pair[0]).count();
    let (kind, differences): (_, Vec<i64>) = if falls * POINTS_PER_RESET <= mantissas.len() {
        (Kind::Increments, mantissas.windows(2).map(|pair| pair[1] - pair[0]).collect())
    } else {
        (Kind::Offsets, mantissas[1..].iter().map(|mantissa| mantissa - mantissas[0]).collect())
    };
    let narrow: Result<Vec<i32>, _> = differences.iter().map(|&difference| i32::try_from(difference)).collect();
    let differences = narrow.map_or(Differences::Wide(differences), Differences::Narrow);
    Encoded { kind, exponent, first, differences }
}

/// The values of a row of `n` points. `None` when the row cannot be what [`encode`] made.
pub(crate) fn decode(kind: Kind, exponent: i8, first: f64, n: usize, list: DecodeList<'_>) -> Option<Vec<f64>> {
    match (kind, list) {
        (Kind::Constant, DecodeList::None) => Some(vec![first; n]),
        (Kind::Raw, DecodeList::Raw(values)) if values.len() == n => Some(values.to_vec()),
        (Kind::Increments | Kind::Offsets, DecodeList::Narrow(list)) if list.len() + 1 == n => {
            from_differences(kind, exponent, first, list.iter().map(|&difference| i64::from(difference)))
        }
        (Kind::Increments | Kind::Offsets, DecodeList::Wide(list)) if list.len() + 1 == n => {
            from_differences(kind, exponent, first, list.iter().copied())
        }
        _ => None,
    }
}

/// Writes the values `points` of a row of `n` points to `into`, which has room for just those. False when the row
/// cannot be what [`encode`] made.
pub(crate) fn decode_into(row: &Row<'_>, n: usize, points: Range<usize>, into: &mut [f64]) -> bool {
    debug_assert_eq!(points.len(), into.len(), "room for the points asked for");
    if points.end > n || points.start > points.end {
        return false;
    }
    match (row.kind, &row.list) {
        (Kind::Constant, Stored::None) => {
            into.fill(row.first);
            true
        }
        (Kind::Raw, Stored::Raw(list)) if list.len() == n => {
            write_raw(list, points, into);
            true
        }
        (Kind::Increments | Kind::Offsets, Stored::Narrow(list)) if list.len() + 1 == n => {
            let [a, b, c, d] = std::array::from_fn(|plane| list.plane(plane));
            let bytes = a.iter().zip(b).zip(c.iter().zip(d));
            let differences = bytes.map(|((&a, &b), (&c, &d))| i64::from(i32::from_le_bytes([a, b, c, d])));
            write_differences(row, differences, points, into)
        }
        (Kind::Increments | Kind::Offsets, Stored::Wide(list)) if list.len() + 1 == n => {
            let differences = (0..list.len()).map(|at| i64::from_le_bytes(eight(list, at)));
            write_differences(row, differences, points, into)
        }
        _ => false,
    }
}

fn write_raw(list: &Planes<'_>, points: Range<usize>, into: &mut [f64]) {
    let planes: [&[u8]; 8] = std::array::from_fn(|plane| &list.plane(plane)[points.clone()]);
    for (at, value) in into.iter_mut().enumerate() {
        *value = f64::from_le_bytes(std::array::from_fn(|plane| planes[plane][at]));
    }
}

fn eight(list: &Planes<'_>, at: usize) -> [u8; 8] {
    std::array::from_fn(|plane| list.plane(plane)[at])
}

/// As [`from_differences`], for some of the points.
#[expect(clippy::cast_precision_loss, reason = "mantissas are below 2^53; a corrupt one gives a wrong value, no harm")]
#[inline]
fn write_differences(
    row: &Row<'_>,
    mut differences: impl Iterator<Item = i64>,
    points: Range<usize>,
    mut into: &mut [f64],
) -> bool {
    let Some(scale) = power_of_ten(row.exponent) else { return false };
    let Some(start) = mantissa(row.first, scale) else { return false };
    let skipped = points.start.saturating_sub(1);
    if points.start == 0 {
        let Some((first, rest)) = into.split_first_mut() else { return true };
        *first = row.first;
        into = rest;
    }
    if row.kind == Kind::Offsets {
        for (value, offset) in into.iter_mut().zip(differences.skip(skipped)) {
            *value = start.wrapping_add(offset) as f64 / scale;
        }
        return true;
    }
    let mut running = differences.by_ref().take(skipped).fold(start, i64::wrapping_add);
    // Most series are whole numbers, and a division takes longer than all the rest.
    if row.exponent == 0 {
        for (value, more) in into.iter_mut().zip(differences) {
            running = running.wrapping_add(more);
            *value = running as f64;
        }
        return true;
    }
    for (value, more) in into.iter_mut().zip(differences) {
        running = running.wrapping_add(more);
        *value = running as f64 / scale;
    }
    true
}

/// The value columns of a row in a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) kind: Kind,
    pub(crate) exponent: i8,
    pub(crate) first: f64,
    pub(crate) list: Stored<'a>,
}

/// The list of a row, split by byte.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stored<'a> {
    None,
    Narrow(Planes<'a>),
    Wide(Planes<'a>),
    Raw(Planes<'a>),
}

/// The list of a stored row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DecodeList<'a> {
    None,
    Narrow(&'a [i32]),
    Wide(&'a [i64]),
    Raw(&'a [f64]),
}

#[expect(clippy::cast_precision_loss, reason = "mantissas are below 2^53; a corrupt one gives a wrong value, no harm")]
fn from_differences(kind: Kind, exponent: i8, first: f64, list: impl Iterator<Item = i64>) -> Option<Vec<f64>> {
    let scale = power_of_ten(exponent)?;
    let start = mantissa(first, scale)?;
    let mut values = Vec::with_capacity(list.size_hint().0 + 1);
    values.push(first);
    let mut running = start;
    for difference in list {
        running = match kind {
            Kind::Increments => running.wrapping_add(difference),
            _ => start.wrapping_add(difference),
        };
        values.push(running as f64 / scale);
    }
    Some(values)
}

/// The smallest exponent at which every value is a decimal, and the mantissas there.
fn mantissas(values: &[f64]) -> Option<(i8, Vec<i64>)> {
    let mut exponent = 0;
    let mut scale = 1.0;
    for &value in values {
        // A decimal of fewer digits stays one with more, as long as the mantissa fits: checked in the second pass.
        while mantissa(value, scale).is_none() {
            exponent += 1;
            if exponent > EXPONENT_MAX || value.abs() * scale > MANTISSA_MAX {
                return None;
            }
            scale = power_of_ten(exponent)?;
        }
    }
    let mantissas: Option<Vec<i64>> = values.iter().map(|&value| mantissa(value, scale)).collect();
    Some((exponent, mantissas?))
}

/// The integer `m` with `m / scale == value` bit for bit.
#[expect(clippy::cast_possible_truncation, reason = "checked to be at most 2^53 just before")]
#[expect(clippy::cast_precision_loss, reason = "an integer of at most 2^53 is exact")]
fn mantissa(value: f64, scale: f64) -> Option<i64> {
    let scaled = (value * scale).round();
    // NaN fails the comparison. The integer has no sign of zero, so negative zero is no decimal.
    if scaled.abs() <= MANTISSA_MAX {
        let integer = scaled as i64;
        return (integer as f64 / scale).to_bits().eq(&value.to_bits()).then_some(integer);
    }
    None
}

fn power_of_ten(exponent: i8) -> Option<f64> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    POWERS.get(usize::try_from(exponent).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> Encoded {
        let encoded = encode(values);
        let list = match &encoded.differences {
            Differences::None => DecodeList::None,
            Differences::Narrow(list) => DecodeList::Narrow(list),
            Differences::Wide(list) => DecodeList::Wide(list),
            Differences::Raw => DecodeList::Raw(values),
        };
        let decoded = decode(encoded.kind, encoded.exponent, encoded.first, values.len(), list).unwrap();
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&decoded), bits(values), "{encoded:?}");
        let (bytes, count) = split(list);
        let planes = Planes::new(&bytes, count, 0, count);
        let list = match list {
            DecodeList::None => Stored::None,
            DecodeList::Narrow(_) => Stored::Narrow(planes),
            DecodeList::Wide(_) => Stored::Wide(planes),
            DecodeList::Raw(_) => Stored::Raw(planes),
        };
        let row = Row { kind: encoded.kind, exponent: encoded.exponent, first: encoded.first, list };
        for points in [0..values.len(), values.len() / 3..values.len() / 2, values.len() / 2..values.len(), 0..0] {
            let mut some = vec![0.0; points.len()];
            assert!(decode_into(&row, values.len(), points.clone(), &mut some));
            assert_eq!(bits(&some), bits(&values[points]), "{encoded:?}");
        }
        encoded
    }

    /// The list as BYTE_STREAM_SPLIT stores it.
    fn split(list: DecodeList<'_>) -> (Vec<u8>, usize) {
        let values: Vec<Vec<u8>> = match list {
            DecodeList::None => Vec::new(),
            DecodeList::Narrow(list) => list.iter().map(|value| value.to_le_bytes().to_vec()).collect(),
            DecodeList::Wide(list) => list.iter().map(|value| value.to_le_bytes().to_vec()).collect(),
            DecodeList::Raw(list) => list.iter().map(|value| value.to_le_bytes().to_vec()).collect(),
        };
        let width = values.first().map_or(0, Vec::len);
        ((0..width).flat_map(|plane| values.iter().map(move |value| value[plane])).collect(), values.len())
    }

    #[test]
    fn each_shape_takes_its_kind() {
        let kind = |values: &[f64]| round_trip(values).kind;
        assert_eq!(kind(&[f64::NAN, f64::NAN]), Kind::Constant);
        assert_eq!(kind(&[1.0, 2.0, 2.0]), Kind::Increments);
        assert_eq!(kind(&[3.0, 2.0, 5.0]), Kind::Offsets);
        assert_eq!(kind(&[0.1, 0.25, 0.5]), Kind::Increments);
        assert_eq!(kind(&[0.1 + 0.2, 1.0]), Kind::Raw);
        assert_eq!(kind(&[0.0, -0.0]), Kind::Raw);
        assert_eq!(kind(&[1.0, f64::INFINITY]), Kind::Raw);
        assert!(matches!(round_trip(&[0.0, 9e15]).differences, Differences::Wide(_)));
    }

    #[test]
    fn a_counter_that_restarts_keeps_small_increments() {
        let mut values: Vec<f64> = (0..100).map(|at| f64::from(at) + 1e9).collect();
        values.extend((0..100).map(f64::from));
        assert_eq!(round_trip(&values).kind, Kind::Increments);
    }

    #[test]
    fn rows_that_no_encoder_made_are_refused() {
        assert!(decode(Kind::Constant, 0, 1.0, 2, DecodeList::Narrow(&[1])).is_none());
        assert!(decode(Kind::Increments, 0, 1.0, 3, DecodeList::Narrow(&[1])).is_none());
        assert!(decode(Kind::Increments, 99, 1.0, 2, DecodeList::Narrow(&[1])).is_none());
        assert!(decode(Kind::Increments, 0, f64::NAN, 2, DecodeList::Narrow(&[1])).is_none());
    }

    proptest! {
        #[test]
        fn any_bits_come_back(bits in prop::collection::vec(any::<u64>(), 1..200)) {
            round_trip(&bits.into_iter().map(f64::from_bits).collect::<Vec<_>>());
        }

        #[test]
        fn any_decimals_come_back(
            numbers in prop::collection::vec(any::<i64>(), 1..200),
            shift in 0_u32..64,
            exponent in 0_i8..16,
        ) {
            let scale = power_of_ten(exponent).unwrap();
            round_trip(&numbers.into_iter().map(|number| (number >> shift) as f64 / scale).collect::<Vec<_>>());
        }
    }
}
