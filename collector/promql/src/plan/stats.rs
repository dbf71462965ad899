//! Which selectors need only count and sum of histograms: those under `histogram_count`, `_sum` or `_avg` with
//! nothing between that looks at buckets. Binary operators end the search (a comparison looks at buckets), and a
//! subquery needs the buckets to see resets.

/// What the calls around a node mean for the selectors in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing is known to suffice.
    Whole,
    /// Count and sum suffice.
    Stats,
    /// A call between here and the root, or a subquery, needs buckets; nothing below changes that.
    Buckets,
}

impl Reading {
    /// Inside a call of this function.
    pub(super) fn inside_call(self, function: &str) -> Self {
        match function {
            "histogram_count" | "histogram_sum" | "histogram_avg" if self != Self::Buckets => Self::Stats,
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => Self::Buckets,
            _ => self,
        }
    }
}
