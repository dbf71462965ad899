//! Days and civil dates in UTC, for the calendar functions and for times in messages. Proleptic Gregorian; the
//! arithmetic is Howard Hinnant's `days_from_civil`, so that no time library is needed.

/// A civil time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: u32,
    /// 1 to 31.
    pub(crate) day: u32,
    /// 0 to 23.
    pub(crate) hour: u32,
    /// 0 to 59.
    pub(crate) minute: u32,
    /// 0 to 59.
    pub(crate) second: u32,
    /// 0 for Sunday.
    pub(crate) weekday: u32,
    /// 1 to 366.
    pub(crate) yearday: u32,
}

const DAY_SECONDS: i64 = 86_400;

/// Days from 1970-01-01 to a date.
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = i64::from((month + 9) % 12);
    let day_of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The civil time of seconds since the epoch.
pub(crate) fn civil(seconds: i64) -> Civil {
    // Beyond this the year no longer fits the arithmetic; such values come only from nonsense input.
    let seconds = seconds.clamp(-(1 << 55), 1 << 55);
    let days = seconds.div_euclid(DAY_SECONDS);
    let rest = seconds.rem_euclid(DAY_SECONDS);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_shifted + 2) / 5 + 1) as u32;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil {
        year,
        month,
        day,
        hour: (rest / 3_600) as u32,
        minute: (rest % 3_600 / 60) as u32,
        second: (rest % 60) as u32,
        weekday: (days + 4).rem_euclid(7) as u32,
        yearday: (days - days_from_civil(year, 1, 1) + 1) as u32,
    }
}

/// How many days the month of a civil time has.
pub(crate) fn days_in_month(at: Civil) -> u32 {
    let (year, month) = if at.month == 12 { (at.year + 1, 1) } else { (at.year, at.month + 1) };
    (days_from_civil(year, month, 1) - days_from_civil(at.year, at.month, 1)) as u32
}

/// `2006-01-02T15:04:05Z`.
pub(crate) fn rfc3339_seconds(seconds: i64) -> String {
    let at = civil(seconds);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", at.year, at.month, at.day, at.hour, at.minute, at.second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_around_leap_days_and_the_epoch() {
        assert_eq!(rfc3339_seconds(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339_seconds(-1), "1969-12-31T23:59:59Z");
        assert_eq!(rfc3339_seconds(1_456_790_399), "2016-02-29T23:59:59Z");
        assert_eq!(civil(1_483_191_420).yearday, 366);
        assert_eq!(civil(0).weekday, 4);
        assert_eq!(days_in_month(civil(1_454_284_800)), 29);
        assert_eq!(days_in_month(civil(1_485_907_200)), 28);
    }
}
